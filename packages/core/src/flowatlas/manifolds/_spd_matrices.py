"""Symmetric positive definite matrices, but for the metric."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.manifolds._cholesky import congruent, diagonal, factor, gram, lower_half, whitened
from flowatlas.manifolds._spectral import clamped, symmetric
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.capability import Capability

__all__ = ["SPDMatrices"]


class SPDMatrices(Manifold):
    r"""What the metrics on symmetric positive definite matrices share: all but the metric.

    Points are `(..., n, n)`, an open cone in the symmetric matrices, and tangents are symmetric
    matrices `(..., n, n)`. Half-vectorised coordinates, the entries on and below the diagonal, are
    those that `log_volume` refers to: a density with respect to them (as scipy's Wishart law has)
    is one with respect to the volume times exp(log_volume).

    Solvers step in log-Cholesky coordinates around a point $A = L L^\top$: with $\Phi$ the part
    below the diagonal and half the diagonal, and $X = \Phi(L^{-1} U L^{-\top})$, a step along U
    leads to $L' L'^\top$ with $L' = L (\lfloor X \rfloor + \exp(\operatorname{diag} X))$, which is
    positive definite whatever the length of U.

    Args:
        n: rows of one matrix.

    Raises:
        ConfigError: n below 1.
    """

    point_ndim = 2
    injectivity_radius = math.inf
    is_chart = True
    unbounded_scale = True
    capabilities = frozenset({Capability.TANGENT_BASIS, Capability.WRAPPED})

    def __init__(self, n: int) -> None:
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ConfigError(f"n: got {n!r}; it is the number of rows of a matrix, 1 or more.")
        self.n = n
        self.codim = n * (n - 1) // 2

    # What a metric is.

    @abstractmethod
    def frame(self, x: Tensor, w: Tensor) -> Tensor:
        """Tangent at `x` with coefficients `w`, `(..., n, n)`, in an orthonormal frame.

        The coefficients lie in a fixed space with the Frobenius product, spanned by `units`.
        """

    @abstractmethod
    def units(self, like: Tensor) -> Tensor:
        """Orthonormal basis of that space, `(n (n + 1) / 2, n, n)`."""

    # What they share.

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        if x.ndim < 2 or x.shape[-2:] != (self.n, self.n):
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; points of {self!r} are symmetric matrices "
                f"(..., {self.n}, {self.n})."
            )

    def projx(self, x: Tensor) -> Tensor:
        # Closest in the Frobenius norm, but for a floor of the eigenvalues: the cone is open.
        x = symmetric(x)
        values = torch.linalg.eigvalsh(x.detach())
        eps = torch.finfo(x.dtype).eps
        floor = 32 * self.n * eps * values.abs().amax(-1).clamp(min=eps)
        inside = (values[..., 0] > floor / 2)[..., None, None]
        eye = torch.eye(self.n, dtype=x.dtype, device=x.device)
        return torch.where(inside, x, clamped(torch.where(inside, eye, x), floor))

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return symmetric(u)

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        lower = factor(x)
        step = self._steps(lower, u)
        return gram(lower @ (torch.tril(step, -1) + torch.diag_embed(diagonal(step).exp())))

    def pullback(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        lower = factor(x)
        step = self._steps(lower, u)
        grown = diagonal(step).exp()
        then = lower @ (torch.tril(step, -1) + torch.diag_embed(grown))
        rate = torch.linalg.solve_triangular(lower, then, upper=False) @ self._steps(then, v)
        rate = torch.tril(rate, -1) + torch.diag_embed(diagonal(rate) / grown)
        return congruent(lower, rate + rate.mT)

    def _steps(self, lower: Tensor, u: Tensor) -> Tensor:
        """Phi(L^-1 U L^-T)."""
        return lower_half(whitened(lower, u))

    def tangent_basis(self, x: Tensor) -> Tensor:
        units = self.units(x)
        many = x.unsqueeze(-3).expand(*x.shape[:-2], *units.shape)
        return self.frame(many, units.expand_as(many))

    def noise_shape(self, x: Tensor) -> tuple[int, ...]:
        return (*x.shape[:-2], self.n * (self.n + 1) // 2)

    def tangent_from_noise(self, x: Tensor, noise: Tensor) -> Tensor:
        return self.frame(x, (noise[..., None, None] * self.units(x)).sum(-3))

    def exp_preimages(self, x: Tensor, y: Tensor, images: int) -> Tensor:
        return self.logmap(x, y).unsqueeze(0)

    def check_point(self, x: Tensor, name: str = "x") -> None:
        super().check_point(x, name)
        if not x.numel():
            return
        least = torch.linalg.eigvalsh(x.detach())[..., 0].min()
        if not least > 0:
            raise GeometryError(
                f"{name}: a matrix has the eigenvalue {least.item():.2e}; points of {self!r} are "
                "positive definite. Add a multiple of the identity to estimates of covariance "
                "from few observations, or pass manifold.projx of them."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n})"
