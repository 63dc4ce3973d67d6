"""The rotations of space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators, randn
from flowatlas.errors import ShapeError
from flowatlas.manifolds import _rotations as rotations
from flowatlas.manifolds._rotation_group import RotationGroup

__all__ = ["SO3"]


class SO3(RotationGroup):
    r"""Rotation matrices, with tangents as body-frame angular velocities.

    $$\exp_R(w) = R \exp(\hat w), \qquad \log_R(S) = \log(R^\top S)^\vee, \qquad
      \langle v, w \rangle = v \cdot w.$$

    Points are `(..., 3, 3)` and tangents `(..., 3)`; distances are rotation angles in radians and
    the volume is $8 \pi^2$. The logarithm is accurate up to and at pi, where one of the two
    shortest rotations is returned. Solvers take Munthe-Kaas steps: stages are added up as rotation
    vectors, with the inverse of the exponential's derivative.

    Reference: A micro Lie theory for state estimation in robotics, Sola, Deray and Atchuthan, 2018,
    arXiv:1812.01537, eq. 132 to 146.
    """

    point_ndim = 2

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        if x.ndim < 2 or x.shape[-2:] != (3, 3):
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; points of SO3() are rotation matrices "
                "(..., 3, 3). Quaternions and rotation vectors need converting first."
            )

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return x @ rotations.exp(u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return rotations.log(x.mT @ y)

    def projx(self, x: Tensor) -> Tensor:
        return rotations.nearest_rotation(x)

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        # |R - S| = 2 sqrt(2) sin(angle / 2) keeps the digits that the trace loses for close pairs.
        x, y = x.reshape(len(x), -1, 9), y.reshape(len(y), -1, 9)
        chord = torch.cdist(x.transpose(0, 1), y.transpose(0, 1))
        half = torch.asin((chord / math.sqrt(8)).clamp(max=1.0))
        return (2 * half).square().sum(0)

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        # Rounding would add up over the steps of a solver.
        return rotations.tighten(x @ rotations.exp(u))

    def pushforward(self, x: Tensor, u: Tensor) -> Tensor:
        return x @ rotations.hat(u)

    def random_uniform(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        q = randn((*shape[:-2], 4), generator=generator, dtype=dtype, device=device)
        return rotations.quaternion_to_rotation(
            q / torch.linalg.vector_norm(q, dim=-1, keepdim=True)
        )
