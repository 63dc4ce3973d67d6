"""Symmetric positive definite matrices, with three metrics."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from flowatlas._autodiff import jvp
from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.manifolds._spectral import EXP, EXPM1, LOG, LOG1P, clamped, log_sinhc, symmetric
from flowatlas.manifolds.base import Capability, Manifold

__all__ = ["SPD", "LogCholeskySPD", "LogEuclideanSPD"]


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
        return _gram(lower @ (torch.tril(step, -1) + torch.diag_embed(_diagonal(step).exp())))

    def pullback(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        lower = factor(x)
        step = self._steps(lower, u)
        grown = _diagonal(step).exp()
        then = lower @ (torch.tril(step, -1) + torch.diag_embed(grown))
        rate = torch.linalg.solve_triangular(lower, then, upper=False) @ self._steps(then, v)
        rate = torch.tril(rate, -1) + torch.diag_embed(_diagonal(rate) / grown)
        return _congruent(lower, rate + rate.mT)

    def _steps(self, lower: Tensor, u: Tensor) -> Tensor:
        """Phi(L^-1 U L^-T)."""
        return _lower_half(_whitened(lower, u))

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
        return x + _congruent(lower, EXPM1(_whitened(lower, u)))

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        lower = factor(x)
        return _congruent(lower, LOG1P(_whitened(lower, y - x)))

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        lower = factor(x)
        return (_whitened(lower, u) * _whitened(lower, v)).sum((-2, -1))

    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        values = torch.linalg.eigvalsh(_whitened(factor(x), y - x))
        return torch.log1p(values).square().sum(-1)

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        lower = factor(x_0)
        w = LOG1P(_whitened(lower, x_1 - x_0))
        grown = EXPM1(s[..., None, None] * w)
        # exp(s w) and w commute; the sum keeps the velocity symmetric.
        rate = w + symmetric(w @ grown)
        return x_0 + _congruent(lower, grown), _congruent(lower, rate)

    def log_volume(self, x: Tensor) -> Tensor:
        n = self.n
        half_log_det = _diagonal(factor(x)).log().sum(-1)
        return n * (n - 1) / 4 * math.log(2) - (n + 1) * half_log_det

    def log_det_expmap(self, x: Tensor, u: Tensor) -> Tensor:
        w = torch.linalg.eigvalsh(_whitened(factor(x), u))
        i, j = torch.tril_indices(self.n, self.n, -1, device=u.device)
        return log_sinhc((w[..., i] - w[..., j]) / 2).sum(-1)

    def frame(self, x: Tensor, w: Tensor) -> Tensor:
        return _congruent(factor(x), w)

    def units(self, like: Tensor) -> Tensor:
        return _symmetric_units(like)


class _FlatSPD(SPDMatrices):
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


class LogEuclideanSPD(_FlatSPD):
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
        return _symmetric_units(like)


class LogCholeskySPD(_FlatSPD):
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
        return torch.tril(lower, -1) + torch.diag_embed(_diagonal(lower).log())

    def from_flat(self, z: Tensor) -> Tensor:
        return _gram(torch.tril(z, -1) + torch.diag_embed(_diagonal(z).exp()))

    def log_volume(self, x: Tensor) -> Tensor:
        logs = _diagonal(factor(x)).log()
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


def factor(x: Tensor) -> Tensor:
    """Lower Cholesky factor; NaN where there is none, so that no exception stops a batch."""
    lower, info = torch.linalg.cholesky_ex(x)
    result: Tensor = torch.where((info > 0)[..., None, None], torch.nan, lower)
    return result


def _gram(lower: Tensor) -> Tensor:
    return symmetric(lower @ lower.mT)


def _congruent(lower: Tensor, w: Tensor) -> Tensor:
    """L W L^T."""
    return symmetric(lower @ w @ lower.mT)


def _whitened(lower: Tensor, u: Tensor) -> Tensor:
    """L^-1 U L^-T."""
    half = torch.linalg.solve_triangular(lower, u, upper=False)
    return symmetric(torch.linalg.solve_triangular(lower, half.mT, upper=False))


def _lower_half(x: Tensor) -> Tensor:
    return torch.tril(x, -1) + torch.diag_embed(_diagonal(x) / 2)


def _diagonal(x: Tensor) -> Tensor:
    return x.diagonal(dim1=-2, dim2=-1)


def _symmetric_units(like: Tensor) -> Tensor:
    """Symmetric matrices of norm one, orthogonal to each other: `(n (n + 1) / 2, n, n)`."""
    n = like.shape[-1]
    i, j = torch.tril_indices(n, n, 0, device=like.device)
    units = like.new_zeros(len(i), n, n)
    index = torch.arange(len(i), device=like.device)
    units[index, i, j] = math.sqrt(0.5)
    units[index, j, i] = math.sqrt(0.5)
    units[index[i == j], i[i == j], i[i == j]] = 1.0
    return units
