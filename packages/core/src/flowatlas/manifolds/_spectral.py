r"""Functions of symmetric matrices through their eigenvalues, with derivatives at equal ones.

The derivative of an eigendecomposition divides by gaps of eigenvalues and is NaN where two are
equal, although $f(A) = V f(\Lambda) V^\top$ is smooth there. Here the decomposition is that of a
constant, and what depends on A is the Taylor polynomial of f around it, in divided differences
(Daleckii and Krein):

$$f(A + D) = V \big[ f(\Lambda) + f[\lambda_i, \lambda_j]\, \hat D_{ij}
    + \textstyle\sum_k f[\lambda_i, \lambda_k, \lambda_j]\, \hat D_{ik} \hat D_{kj} \big] V^\top
    + O(D^3), \qquad \hat D = V^\top D V.$$

D is zero in value, so that values are exact, and so are first and second derivatives in any mode of
differentiation. Third derivatives are not.

Reference: Functions of Matrices, Higham, 2008, chapter 3 (from memory).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["EXP", "EXPM1", "LOG", "LOG1P", "Spectral", "clamped", "log_sinhc", "symmetric"]


@dataclass(frozen=True)
class Spectral:
    """A function of one variable, made a function of symmetric matrices.

    Attributes:
        value: f.
        first: f[a, b], which is f'(a) at a = b.
        taylor: second, fourth and fifth Taylor coefficients of f at a point.
        scale: distances well below it are short for the Taylor series at a point.
    """

    value: Callable[[Tensor], Tensor]
    first: Callable[[Tensor, Tensor], Tensor]
    taylor: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    scale: Callable[[Tensor], Tensor]

    def __call__(self, a: Tensor) -> Tensor:
        """f of symmetric matrices `(..., n, n)`."""
        constant = a.detach()
        values, v = torch.linalg.eigh(constant)
        d = v.mT @ (a - constant) @ v
        first = self.first(values.unsqueeze(-1), values.unsqueeze(-2))
        inner = torch.diag_embed(self.value(values)) + first * d
        thirds = self.second(values, first)
        inner = inner + (thirds * d.unsqueeze(-1) * d.unsqueeze(-3)).sum(-2)
        return symmetric(v @ inner @ v.mT)

    def second(self, values: Tensor, first: Tensor) -> Tensor:
        r"""$f[\lambda_i, \lambda_k, \lambda_j]$ at index (i, k, j): `(..., n)` to `(..., n, n, n)`.

        From first differences over the widest of the three gaps, or where all are narrow from the
        series about their mean, $f_2 + f_4 h_2 + f_5 h_3$ with $f_k$ the Taylor coefficients,
        $h_2$ half the sum of the squared distances to the mean and $h_3$ their product.
        """
        i, k, j = values[..., None, None], values[..., None, :, None], values[..., None, None, :]
        f_ik, f_kj, f_ij = first.unsqueeze(-1), first.unsqueeze(-3), first.unsqueeze(-2)
        gap, over = i - j, f_ik - f_kj
        for other, difference in ((i - k, f_ij - f_kj), (k - j, f_ik - f_ij)):
            wider = other.abs() > gap.abs()
            gap, over = torch.where(wider, other, gap), torch.where(wider, difference, over)
        mean = (i + j + k) / 3
        close = gap.abs() < 0.03 * self.scale(mean)
        two, four, five = self.taylor(mean)
        x, y, z = i - mean, k - mean, j - mean
        series = two + four * (x * x + y * y + z * z) / 2 + five * x * y * z
        return torch.where(close, series, over / torch.where(close, 1.0, gap))


def symmetric(x: Tensor) -> Tensor:
    """Symmetric part of matrices."""
    return (x + x.mT) / 2


def clamped(a: Tensor, least: Tensor) -> Tensor:
    """Symmetric matrices with eigenvalues raised to `least` (...), which is taken as a constant."""
    constant = a.detach()
    values, v = torch.linalg.eigh(constant)
    raised = torch.maximum(values, least.unsqueeze(-1))
    i, j = values.unsqueeze(-1), values.unsqueeze(-2)
    gap = i - j
    same = gap.abs() < 1e-12 * (i.abs() + j.abs()) + torch.finfo(a.dtype).tiny
    slope = (raised.unsqueeze(-1) - raised.unsqueeze(-2)) / torch.where(same, 1.0, gap)
    slope = torch.where(same, (i > least[..., None, None]).to(a.dtype), slope)
    d = v.mT @ (a - constant) @ v
    return symmetric(v @ (torch.diag_embed(raised) + slope * d) @ v.mT)


def log_sinhc(x: Tensor) -> Tensor:
    """log(sinh(x) / x), without overflow; smooth at zero."""
    size = x.abs()
    small = size < 0.1
    square = torch.where(small, x, 0.0).square()
    series = square / 6 * (1 - square / 30 * (1 - square * 4 / 63 * (1 - square * 3 / 40)))
    safe = torch.where(small, 1.0, size)
    far = safe + torch.log(-torch.expm1(-2 * safe) / (2 * safe))
    return torch.where(small, series, far)


def _exp_first(a: Tensor, b: Tensor) -> Tensor:
    """(e^a - e^b) / (a - b) = e^((a + b) / 2) sinhc((a - b) / 2)."""
    return torch.exp((a + b) / 2 + log_sinhc((a - b) / 2))


def _log_first(a: Tensor, b: Tensor) -> Tensor:
    """(log a - log b) / (a - b) = 2 arctanh(z) / (z (a + b)) with z = (a - b) / (a + b)."""
    total = a + b
    z = ((a - b) / total).abs()
    small = z < 0.1
    square = torch.where(small, z, 0.0).square()
    series = 1 + square * (
        1 / 3 + square * (1 / 5 + square * (1 / 7 + square * (1 / 9 + square / 11)))
    )
    safe = torch.where(small, 0.5, z)
    # log((1 + z) / (1 - z)) is log(a / b) for the larger over the smaller.
    ratio = torch.maximum(a, b) / torch.minimum(a, b)
    far = torch.log(torch.where(small, 3.0, ratio)) / (2 * safe)
    return 2 / total * torch.where(small, series, far)


def _exp_taylor(m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    value = torch.exp(m)
    return value / 2, value / 24, value / 120


def _log_taylor(m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return -1 / (2 * m**2), -1 / (4 * m**4), 1 / (5 * m**5)


EXP = Spectral(torch.exp, _exp_first, _exp_taylor, torch.ones_like)
EXPM1 = Spectral(torch.expm1, _exp_first, _exp_taylor, torch.ones_like)
LOG = Spectral(torch.log, _log_first, _log_taylor, torch.abs)
LOG1P = Spectral(
    torch.log1p,
    lambda a, b: _log_first(1 + a, 1 + b),
    lambda m: _log_taylor(1 + m),
    lambda m: (1 + m).abs(),
)
