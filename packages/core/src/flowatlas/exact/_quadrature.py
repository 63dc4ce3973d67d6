"""Gauss-Legendre rules, and how many nodes a peak needs."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["gauss_legendre", "nodes_for"]


@lru_cache(maxsize=64)
def _unit_rule(count: int) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def gauss_legendre(count: int, lower: float, upper: float) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [lower, upper], `(count,)` each, in float64."""
    nodes, weights = _unit_rule(count)
    half = 0.5 * (upper - lower)
    return lower + half * (1 + nodes), half * weights


def nodes_for(length: float, width: float) -> int:
    """How many nodes integrate a Gaussian of standard deviation `width` over an interval.

    In the middle of the interval, where they are sparsest, neighbours are h = pi length / (2 count)
    apart, and equally spaced nodes err by exp(-(2 pi width / h)^2 / 2). This asks for 1e-15 of it,
    with some to spare at the ends.
    """
    return 24 + math.ceil(2.1 * length / width)
