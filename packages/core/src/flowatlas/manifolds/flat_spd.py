"""Symmetric positive definite matrices with metrics that a map to a linear space carries over."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from flowatlas._autodiff import jvp
from flowatlas.manifolds._cholesky import diagonal, factor, gram, symmetric_units
from flowatlas.manifolds._spd_matrices import SPDMatrices
from flowatlas.manifolds._spectral import EXP, LOG, symmetric

__all__ = ["LogCholeskySPD", "LogEuclideanSPD"]


class FlatSPD(SPDMatrices):
    r"""A metric that a map to a linear space carries over: $\exp_A(U) = f^{-1}(f(A) + Df_A[U])$."""

    @abstractmethod
    def flat(self, x: Tensor) -> Tensor:
        """f, to a linear space of matrices with the Frobenius product."""

    @abstractmethod
    def from_flat(self, z: Tensor) -> Tensor:
        """The inverse of f."""

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        z, w = _derivative(self.flat, x, u)
        return self.from_flat(z + w)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        z = self.flat(x)
        return self._pushed(z, self.flat(y) - z)

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        first, second = (_derivative(self.flat, x, w)[1] for w in (u, v))
        return (first * second).sum((-2, -1))

    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.flat(y) - self.flat(x)).square().sum((-2, -1))

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        z, w = self.flat(x).flatten(1), self.flat(y).flatten(1)
        return torch.cdist(z, w, compute_mode="donot_use_mm_for_euclid_dist").square()

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        z_0, z_1 = self.flat(x_0), self.flat(x_1)
        step = z_1 - z_0
        z = z_0 + s[..., None, None] * step
        return _derivative(self.from_flat, z, step)

    def log_det_expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return u.new_zeros(u.shape[:-2])

    def frame(self, x: Tensor, w: Tensor) -> Tensor:
        return self._pushed(self.flat(x), w)

    def _pushed(self, z: Tensor, w: Tensor) -> Tensor:
        return _derivative(self.from_flat, z, w)[1]


class LogEuclideanSPD(FlatSPD):
    r"""Symmetric positive definite matrices, flat through the matrix logarithm.

    $$d(A, B) = |\log A - \log B|_F, \qquad
      \exp_A(U) = \exp(\log A + D\log_A[U]).$$

    It agrees with the affine-invariant metric where matrices commute, and is invariant under
    rotations and scalings, but not under every change of basis.

    Args:
        n: rows of one matrix.

    Reference: Log-Euclidean Metrics for Fast and Simple Calculus on Diffusion Tensors, Arsigny et
    al., 2006 (from memory).
    """

    def flat(self, x: Tensor) -> Tensor:
        return LOG(symmetric(x))

    def from_flat(self, z: Tensor) -> Tensor:
        return EXP(z)

    def log_volume(self, x: Tensor) -> Tensor:
        values = torch.linalg.eigvalsh(symmetric(x))
        i, j = torch.tril_indices(self.n, self.n, 0, device=x.device)
        log_det = LOG.first(values[..., i], values[..., j]).log().sum(-1)
        return self.n * (self.n - 1) / 4 * math.log(2) + log_det

    def units(self, like: Tensor) -> Tensor:
        return symmetric_units(like)


class LogCholeskySPD(FlatSPD):
    r"""Symmetric positive definite matrices, flat through their Cholesky factors.

    With $A = L L^\top$, the flat coordinates are the entries of L below the diagonal and the
    logarithms of its diagonal. No eigenvalues are computed: the cheapest of the three metrics. It
    is not invariant under reorderings of the rows.

    Args:
        n: rows of one matrix.

    Reference: Riemannian Geometry of Symmetric Positive Definite Matrices via Cholesky
    Decomposition, Lin, 2019, arXiv:1908.09326 (from memory).
    """

    def flat(self, x: Tensor) -> Tensor:
        lower = factor(symmetric(x))
        return torch.tril(lower, -1) + torch.diag_embed(diagonal(lower).log())

    def from_flat(self, z: Tensor) -> Tensor:
        return gram(torch.tril(z, -1) + torch.diag_embed(diagonal(z).exp()))

    def log_volume(self, x: Tensor) -> Tensor:
        logs = diagonal(factor(x)).log()
        powers = torch.arange(self.n + 1, 1, -1, dtype=x.dtype, device=x.device)
        return -self.n * math.log(2) - (powers * logs).sum(-1)

    def units(self, like: Tensor) -> Tensor:
        i, j = torch.tril_indices(self.n, self.n, 0, device=like.device)
        units = like.new_zeros(len(i), self.n, self.n)
        units[torch.arange(len(i), device=like.device), i, j] = 1.0
        return units


def _derivative(fn: Callable[[Tensor], Tensor], x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """fn(x) and its derivative along u."""
    # Forward differentiation refuses tensors whose elements share memory.
    x, u = (a.contiguous() for a in torch.broadcast_tensors(x, u))
    return jvp(fn, (x,), (u,))
