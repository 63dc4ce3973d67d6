"""The rotations of space as unit quaternions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators, randn
from flowatlas.errors import ShapeError
from flowatlas.manifolds import _rotations as rotations
from flowatlas.manifolds._rotation_group import RotationGroup

__all__ = ["UnitQuaternions"]


class UnitQuaternions(RotationGroup):
    r"""Rotations as unit quaternions, with tangents as body-frame angular velocities.

    $$\exp_q(u) = q \cdot \big(\cos\tfrac{|u|}{2}, \tfrac{\sin(|u|/2)}{|u|}\, u\big), \qquad
      \log_p(q) = 2 \operatorname{atan2}(|v|, w)\, v / |v|, \quad (w, v) = \pm p^{-1} q,
      \; w \ge 0.$$

    q and -q are one rotation: either may be given, logarithms go the short way, and what is
    returned has w >= 0 (at half turns, w = 0, it therefore jumps, as angles do at the end of their
    period). This is SO(3) in other coordinates: `to_matrix` is an isometry, and tangents are the
    same numbers here and there, so that geodesics, losses and densities agree. Distances are
    rotation angles in radians, twice the angles of the sphere of quaternions; the volume is
    $8 \pi^2$.

    Points are `(..., 4)`, (w, x, y, z), and tangents `(..., 3)`. Solvers take Munthe-Kaas steps. A
    network that sees q should not tell it from -q beyond the sign convention: rotations near half
    turns that are close have quaternions that are not. Where that matters, feed it `to_matrix(q)`.

    Reference: A micro Lie theory for state estimation in robotics, Sola, Deray and Atchuthan, 2018,
    arXiv:1812.01537, appendix B (from memory).

    Example:
        ```python
        manifold = UnitQuaternions()
        q = manifold.random_uniform((8, 4), generator=torch.Generator().manual_seed(0))
        rotation = manifold.to_matrix(q)  # (8, 3, 3), points of SO3()
        ```
    """

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        if x.ndim < 1 or x.shape[-1] != 4:
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; points of UnitQuaternions() are (..., 4), "
                "(w, x, y, z). UnitQuaternions.from_matrix makes them of rotation matrices."
            )

    @staticmethod
    def to_matrix(q: Tensor) -> Tensor:
        """Rotation matrices `(..., 3, 3)` of unit quaternions `(..., 4)`."""
        return rotations.quaternion_to_rotation(q)

    @staticmethod
    def from_matrix(rotation: Tensor) -> Tensor:
        """Unit quaternions `(..., 4)` with w >= 0 of rotation matrices `(..., 3, 3)`."""
        return rotations.rotation_to_quaternion(rotation)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return rotations.upper(rotations.quaternion_product(x, rotations.quaternion_exp(u)))

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return rotations.quaternion_log(rotations.quaternion_quotient(x, y))

    def projx(self, x: Tensor) -> Tensor:
        return rotations.upper(_unit(x))

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        # Of two chords 2 sin(angle / 4), to q and to -q, the shorter.
        x, y = (z.reshape(len(z), -1, 4).transpose(0, 1) for z in (x, y))
        exact = "donot_use_mm_for_euclid_dist"
        chord = torch.minimum(
            torch.cdist(x, y, compute_mode=exact), torch.cdist(x, -y, compute_mode=exact)
        )
        return (4 * torch.asin((chord / 2).clamp(max=1.0))).square().sum(0)

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        # Rounding would add up over the steps of a solver.
        return rotations.upper(_unit(rotations.quaternion_product(x, rotations.quaternion_exp(u))))

    def pushforward(self, x: Tensor, u: Tensor) -> Tensor:
        return rotations.quaternion_product(x, torch.cat([torch.zeros_like(u[..., :1]), u / 2], -1))

    def random_uniform(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        return self.projx(randn(shape, generator=generator, dtype=dtype, device=device))

    def residual(self, x: Tensor) -> Tensor:
        # Not the distance to projx, which may have the other sign.
        return (_unit(x) - x).abs().amax(-1)


def _unit(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length
