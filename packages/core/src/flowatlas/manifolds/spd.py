"""Symmetric positive definite matrices with the affine-invariant metric."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowatlas.manifolds._cholesky import congruent, diagonal, factor, symmetric_units, whitened
from flowatlas.manifolds._spd_matrices import SPDMatrices
from flowatlas.manifolds._spectral import EXPM1, LOG1P, log_sinhc, symmetric

__all__ = ["SPD"]


class SPD(SPDMatrices):
    r"""Symmetric positive definite matrices with the affine-invariant metric.

    $$\langle U, V \rangle_A = \operatorname{tr}(A^{-1} U A^{-1} V), \qquad
      \exp_A(U) = L \exp(L^{-1} U L^{-\top}) L^\top, \qquad
      \log_A(B) = L \log(L^{-1} B L^{-\top}) L^\top$$

    for any L with $A = L L^\top$, here the Cholesky factor. Distances are those of
    $\log \lambda_i(A^{-1} B)$ and do not change under $A \mapsto M A M^\top$. Its curvature is not
    positive: there is no cut locus, and with $w_i$ the eigenvalues of $L^{-1} U L^{-\top}$

    $$|\det d\exp_A(U)| = \prod_{i < j} \frac{\sinh((w_i - w_j) / 2)}{(w_i - w_j) / 2}, \qquad
      \log \det G = \tfrac{n (n - 1)}{2} \log 2 - (n + 1) \log \det A$$

    in half-vectorised coordinates. Logarithms are taken of differences, B - A, so that close points
    do not cancel.

    Args:
        n: rows of one matrix.

    Reference: A Riemannian Framework for Tensor Computing, Pennec, Fillard and Ayache, 2006,
    IJCV 66 (from memory).

    Example:
        ```python
        manifold = SPD(3)
        source = WrappedNormal(manifold, torch.eye(3), 0.5)
        x_0 = source.sample((64, 3, 3), generator=torch.Generator().manual_seed(0))
        ```
    """

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        lower = factor(x)
        return x + congruent(lower, EXPM1(whitened(lower, u)))

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        lower = factor(x)
        return congruent(lower, LOG1P(whitened(lower, y - x)))

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        lower = factor(x)
        return (whitened(lower, u) * whitened(lower, v)).sum((-2, -1))

    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        values = torch.linalg.eigvalsh(whitened(factor(x), y - x))
        return torch.log1p(values).square().sum(-1)

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        lower = factor(x_0)
        w = LOG1P(whitened(lower, x_1 - x_0))
        grown = EXPM1(s[..., None, None] * w)
        # exp(s w) and w commute; the sum keeps the velocity symmetric.
        rate = w + symmetric(w @ grown)
        return x_0 + congruent(lower, grown), congruent(lower, rate)

    def log_volume(self, x: Tensor) -> Tensor:
        n = self.n
        half_log_det = diagonal(factor(x)).log().sum(-1)
        return n * (n - 1) / 4 * math.log(2) - (n + 1) * half_log_det

    def log_det_expmap(self, x: Tensor, u: Tensor) -> Tensor:
        w = torch.linalg.eigvalsh(whitened(factor(x), u))
        i, j = torch.tril_indices(self.n, self.n, -1, device=u.device)
        return log_sinhc((w[..., i] - w[..., j]) / 2).sum(-1)

    def frame(self, x: Tensor, w: Tensor) -> Tensor:
        return congruent(factor(x), w)

    def units(self, like: Tensor) -> Tensor:
        return symmetric_units(like)
