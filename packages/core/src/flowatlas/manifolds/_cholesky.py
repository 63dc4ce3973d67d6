"""Symmetric matrices seen from a Cholesky factor."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowatlas.manifolds._spectral import symmetric


def factor(x: Tensor) -> Tensor:
    """Lower Cholesky factor; NaN where there is none, so that no exception stops a batch."""
    lower, info = torch.linalg.cholesky_ex(x)
    result: Tensor = torch.where((info > 0)[..., None, None], torch.nan, lower)
    return result


def gram(lower: Tensor) -> Tensor:
    return symmetric(lower @ lower.mT)


def congruent(lower: Tensor, w: Tensor) -> Tensor:
    """L W L^T."""
    return symmetric(lower @ w @ lower.mT)


def whitened(lower: Tensor, u: Tensor) -> Tensor:
    """L^-1 U L^-T."""
    half = torch.linalg.solve_triangular(lower, u, upper=False)
    return symmetric(torch.linalg.solve_triangular(lower, half.mT, upper=False))


def lower_half(x: Tensor) -> Tensor:
    return torch.tril(x, -1) + torch.diag_embed(diagonal(x) / 2)


def diagonal(x: Tensor) -> Tensor:
    return x.diagonal(dim1=-2, dim2=-1)


def symmetric_units(like: Tensor) -> Tensor:
    """Symmetric matrices of norm one, orthogonal to each other: `(n (n + 1) / 2, n, n)`."""
    n = like.shape[-1]
    i, j = torch.tril_indices(n, n, 0, device=like.device)
    units = like.new_zeros(len(i), n, n)
    index = torch.arange(len(i), device=like.device)
    units[index, i, j] = math.sqrt(0.5)
    units[index, j, i] = math.sqrt(0.5)
    units[index[i == j], i[i == j], i[i == j]] = 1.0
    return units
