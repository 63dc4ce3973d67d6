"""Chains of rigid frames, with their centre at the origin."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.manifolds import SE3, Capability, Manifold
from flowatlas_molecules.manifolds.fractional_coordinates import mean_zero_basis

__all__ = ["ANGSTROM", "BackboneFrames"]

#: What an angstrom counts beside a radian.
ANGSTROM = 0.1

_SE3 = SE3()


class BackboneFrames(Manifold):
    r"""Backbones of proteins, one frame a residue: $SO(3)^N \times \mathbb{R}^{3N}$, centred.

    $$\exp_x(w, v)_i = (R_i \exp(\hat w_i),\; p_i + v_i), \qquad
      \langle (w, v), (w', v') \rangle = \sum_i w_i \cdot w_i' + s^2\, v_i \cdot v_i'$$

    with $\sum_i p_i = \sum_i v_i = 0$: where a chain is as a whole means nothing. Points are
    homogeneous matrices `(..., N, 4, 4)` with translations in angstrom, tangents `(..., N, 6)`
    angular velocities in body frames (radians) and velocities (angstrom); s = 0.1 per angstrom is
    the unit in which distances add up turns and moves. The metric is that of SO(3) x R^3 for each
    residue: geodesics turn and move at constant rates.

    Args:
        mask: True for the residues that exist, for chains with gaps or padding; all if None. The
            frames of the others are the identity, and nothing there counts: neither in the centre
            nor in a distance.

    Raises:
        ConfigError: a mask without any residue.

    Reference: SE(3) diffusion model with application to protein backbone generation, Yim et al.,
    2023, arXiv:2302.02277, for the space and the centring.

    Example:
        ```python
        from flowatlas_molecules import BackboneFrames

        frames = BackboneFrames()
        x = frames.projx(frames.join(SO3().random_uniform((8, 60, 3, 3)), torch.randn(8, 60, 3)))
        frames.dist(x, x)  # zeros
        ```
    """

    point_ndim = 3
    injectivity_radius = math.pi
    capabilities = frozenset({Capability.TANGENT_BASIS})

    def __init__(self, mask: Sequence[bool] | None = None) -> None:
        self.mask = None if mask is None else tuple(bool(one) for one in mask)
        if self.mask is not None and not any(self.mask):
            raise ConfigError("mask: got no residue that exists; at least one must.")
        missing = 0 if self.mask is None else self.mask.count(False)
        self.codim = 3 + 6 * missing

    def tangent_shape(self, point_shape: Sequence[int]) -> tuple[int, ...]:
        return (point_shape[0], 6)

    @staticmethod
    def join(rotation: Tensor, translation: Tensor) -> Tensor:
        """Homogeneous matrices of rotations `(..., N, 3, 3)` and translations `(..., N, 3)`."""
        return SE3.join(rotation, translation)

    @staticmethod
    def split(x: Tensor) -> tuple[Tensor, Tensor]:
        """Rotations `(..., N, 3, 3)` and translations `(..., N, 3)` of frames."""
        return SE3.split(x)

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        wanted = "N" if self.mask is None else str(len(self.mask))
        wrong = x.ndim < 3 or x.shape[-2:] != (4, 4) or x.shape[-3] == 0
        if wrong or (self.mask is not None and x.shape[-3] != len(self.mask)):
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; points of {self!r} are chains of homogeneous "
                f"matrices (..., {wanted}, 4, 4): BackboneFrames.join(rotation, translation)."
            )

    def check_point(self, x: Tensor, name: str = "x") -> None:
        self.check_shape(x, name)
        # A long chain must not make room for a bad rotation.
        if x.is_floating_point():
            _SE3.check_point(x, name)
            here = self._where(x)
            centre = self._centre(x[..., :3, 3]).abs().amax().item() if x.numel() else 0.0
            size = x.abs().amax().item() if x.numel() else 0.0
            allowed = self.tolerance.get(x.dtype, 1e-2) * max(1.0, size)
            if centre > allowed:
                raise GeometryError(
                    f"{name}: got a chain whose centre is {centre:.3g} angstrom from the origin; "
                    f"at most {allowed:.0e} is allowed. Centre it: BackboneFrames().projx({name})."
                )
            blank = _identity(x)
            if not torch.equal(torch.where(here, blank, x), blank.expand_as(x)):
                raise GeometryError(
                    f"{name}: got frames where the mask has no residue; there they are the "
                    f"identity. Use BackboneFrames(mask).projx({name})."
                )
        super().check_point(x, name)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return _SE3.expmap(x, u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return self.proju(x, _SE3.logmap(x, y))

    def projx(self, x: Tensor) -> Tensor:
        rotation, translation = self.split(x)
        centred = self.join(rotation, translation - self._centre(translation))
        return torch.where(self._where(x), _SE3.projx(centred), _identity(x))

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        w, v = u[..., :3], u[..., 3:]
        return torch.cat([w, v - self._centre(v)], -1) * self._exists(u)

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return ((u * v) * _units(u).square()).sum((-2, -1))

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        u = self.logmap(x_0, x_1)
        return self.expmap(x_0, s[..., None, None] * u), u

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        return _SE3.retract(x, u)

    def pullback(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return _SE3.pullback(x, u, v)

    def pushforward(self, x: Tensor, u: Tensor) -> Tensor:
        return _SE3.pushforward(x, u)

    def tangent_from_noise(self, x: Tensor, noise: Tensor) -> Tensor:
        return self.proju(x, noise) / _units(noise)

    def tangent_basis(self, x: Tensor) -> Tensor:
        n = x.shape[-3]
        here = range(n) if self.mask is None else [i for i, one in enumerate(self.mask) if one]
        place = torch.eye(n, dtype=x.dtype, device=x.device)[list(here)]
        six = torch.eye(6, dtype=x.dtype, device=x.device)
        turns = torch.einsum("kn,ab->kanb", place, six[:3]).reshape(-1, n, 6)
        moves = mean_zero_basis(len(place), x) @ place
        moves = torch.einsum("kn,ab->kanb", moves, six[3:]).reshape(-1, n, 6) / ANGSTROM
        basis = torch.cat([turns, moves])
        return basis.expand(*x.shape[:-3], *basis.shape)

    def _exists(self, like: Tensor) -> Tensor:
        """Ones and zeros `(N, 1)`."""
        if self.mask is None:
            return like.new_ones(like.shape[-2], 1)
        return torch.tensor(self.mask, dtype=like.dtype, device=like.device).unsqueeze(-1)

    def _where(self, x: Tensor) -> Tensor:
        return self._exists(x[..., 0]).bool().unsqueeze(-1)

    def _centre(self, v: Tensor) -> Tensor:
        """Mean of `(..., N, 3)` over the residues that exist, `(..., 1, 3)`."""
        exists = self._exists(v)
        return (v * exists).sum(-2, keepdim=True) / exists.sum()

    def __repr__(self) -> str:
        if self.mask is None:
            return "BackboneFrames()"
        return f"BackboneFrames(<{sum(self.mask)} of {len(self.mask)} residues>)"


def _units(u: Tensor) -> Tensor:
    # Made where u is: a constant of the host would have to be copied there.
    return torch.cat([u.new_ones(3), u.new_full((3,), ANGSTROM)])


def _identity(x: Tensor) -> Tensor:
    return torch.eye(4, dtype=x.dtype, device=x.device)
