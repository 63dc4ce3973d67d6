"""Fractional coordinates of the atoms in a unit cell, modulo translation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import ShapeError
from flowatlas.manifolds import Capability, FlatTorus, Manifold

__all__ = ["FractionalCoordinates"]

_CELL = FlatTorus(1.0)


class FractionalCoordinates(Manifold):
    r"""The flat torus of N atoms modulo translations of all of them: $T^{3N} / T^3$.

    $$\exp_x(u) = x + u \bmod 1, \qquad \log_x(y) = \arg\min \{ |u|^2 : \textstyle\sum_i u_i = 0,\;
      u_i = y_i - x_i + n_i + s \}$$

    over integers $n_i$ and a common shift s. A crystal that is moved as a whole is the same point.
    Along each axis the minimum is the nearest point of the lattice $A_{N-1}^*$: with the
    differences d wrapped and sorted, one of N candidates, in which the k smallest have gone once
    around. The mean of wrapped differences taken off, as is often done, is the candidate k = 0, and
    not always the shortest.

    Points are `(..., N, 3)`, the coordinates along the axes of the lattice; any representative
    stands for a point, and maps return the one in [0, 1) with the first atom at the origin.
    Tangents `(..., N, 3)` have mean zero over the atoms. The volume is $N^{-3/2}$, and the shortest
    closed geodesic has length $\sqrt{(N - 1) / N}$, for one atom going around the others.

    All crystals of a batch have the same number of atoms.

    Reference: FlowMM: Generating Materials with Riemannian Flow Matching, Miller et al., 2024,
    arXiv:2406.04713, for the space; the nearest point of $A_n^*$ by sorting: Conway and Sloane,
    Sphere Packings, Lattices and Groups, chapter 20 (from memory).

    Example:
        ```python
        from flowatlas_molecules import FractionalCoordinates

        crystal = FractionalCoordinates()
        x = torch.rand(8, 5, 3)
        crystal.dist(x, x + 0.3)  # zeros
        ```
    """

    point_ndim = 2
    codim = 3
    #: Of two atoms; more atoms have a larger one.
    injectivity_radius = math.sqrt(0.5) / 2
    capabilities = frozenset({Capability.UNIFORM, Capability.TANGENT_BASIS})

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        if x.ndim < 2 or x.shape[-1] != 3 or x.shape[-2] == 0:
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; points of {self!r} are fractional "
                "coordinates (..., atoms, 3). Divide Cartesian ones by the lattice matrix."
            )

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return self.projx(x + u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return shortest_windings(_CELL.logmap(x, y))

    def projx(self, x: Tensor) -> Tensor:
        return _CELL.projx(x - x[..., :1, :])

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return _centred(u)

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum((-2, -1))

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        u = self.logmap(x_0, x_1)
        return self.expmap(x_0, s[..., None, None] * u), u

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        return self.expmap(x, u)

    def pushforward(self, x: Tensor, u: Tensor) -> Tensor:
        return u - u[..., :1, :]

    def random_uniform(self, shape: Sequence[int], **options: Any) -> Tensor:
        return self.projx(_CELL.random_uniform(shape, **options))

    def uniform_log_prob(self, x: Tensor) -> Tensor:
        return x.new_full(x.shape[:-2], 1.5 * math.log(x.shape[-2]))

    def tangent_basis(self, x: Tensor) -> Tensor:
        n = x.shape[-2]
        axes = torch.eye(3, dtype=x.dtype, device=x.device)
        basis = torch.einsum("kn,ab->kanb", mean_zero_basis(n, x), axes).reshape(-1, n, 3)
        return basis.expand(*x.shape[:-2], *basis.shape)

    def residual(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-2])


def shortest_windings(d: Tensor, exists: Tensor | None = None) -> Tensor:
    r"""The shortest of $d_i + n_i + s$ over integers $n_i$ and a common shift s, per axis.

    Args:
        d: differences wrapped to [-1/2, 1/2], `(..., N, 3)`.
        exists: True where an atom does, `(..., N)`; all if None.

    Returns:
        `(..., N, 3)` of mean zero over the atoms that exist, zero elsewhere.
    """
    if exists is None:
        exists = torch.ones(d.shape[:-1], dtype=torch.bool, device=d.device)
    here = exists.unsqueeze(-1)
    n = here.sum(-2, keepdim=True)
    d = torch.where(here, d, 0.0)
    # Padding comes last.
    order = torch.where(here, d, 2.0).argsort(-2)
    low = d.gather(-2, order).cumsum(-2)
    # After the k-th smallest has gone around, n times the variance is k more or less this.
    k = torch.arange(d.shape[-2], dtype=d.dtype, device=d.device).unsqueeze(-1)
    before = torch.cat([torch.zeros_like(low[..., :1, :]), low[..., :-1, :]], -2)
    variance = 2 * before + k - (low[..., -1:, :] + k).square() / n
    variance = torch.where(k < n, variance, torch.inf)
    around = order.argsort(-2) < variance.argmin(-2, keepdim=True)
    u = torch.where(here, d + around.to(d.dtype), 0.0)
    return torch.where(here, u - u.sum(-2, keepdim=True) / n, 0.0)


def mean_zero_basis(n: int, like: Tensor) -> Tensor:
    """Orthonormal rows that add up to zero, `(n - 1, n)`: Helmert's matrix."""
    k = torch.arange(1, n, dtype=like.dtype, device=like.device).unsqueeze(-1)
    i = torch.arange(n, dtype=like.dtype, device=like.device)
    rows = (i < k).to(like.dtype) - k * (i == k).to(like.dtype)
    return rows / (k * (k + 1)).sqrt()


def _centred(u: Tensor) -> Tensor:
    return u - u.mean(-2, keepdim=True)
