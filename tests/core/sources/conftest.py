"""Numerical integration and tests of laws, independent of the code under test."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

Radial = Callable[[Tensor], Tensor]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@functools.cache
def legendre(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return nodes, weights


@pytest.fixture
def gauss_legendre() -> Callable[..., tuple[Tensor, Tensor]]:
    """`gauss_legendre(start, end, count)`: nodes and weights in float64."""

    def rule(start: float, end: float, count: int = 200) -> tuple[Tensor, Tensor]:
        nodes, weights = legendre(count)
        half = 0.5 * (end - start)
        return torch.from_numpy(start + half * (1 + nodes)), torch.from_numpy(half * weights)

    return rule


@pytest.fixture
def ks_distance() -> Callable[[Tensor, Radial, float], float]:
    """`ks_distance(draws, density, end)`: largest gap between the empirical distribution function
    of draws in [0, end] and the integral of the density."""

    def distance(draws: Tensor, density: Radial, end: float) -> float:
        # Eight Gauss-Legendre nodes in each of 400 cells.
        grid = np.linspace(0, end, 401)
        nodes, weights = np.polynomial.legendre.leggauss(8)
        half = 0.5 * (grid[1] - grid[0])
        r = torch.from_numpy(grid[:-1, None] + half * (1 + nodes))
        exact = np.concatenate([[0.0], np.cumsum(half * density(r).numpy() @ weights)])
        empirical = np.searchsorted(np.sort(draws.double().numpy()), grid, side="right")
        return float(np.abs(empirical / len(draws) - exact).max())

    return distance


@pytest.fixture
def ks_bound() -> Callable[[int], float]:
    """Gap that a true law exceeds with probability below 1e-6 (Dvoretzky, Kiefer, Wolfowitz)."""
    return lambda count: math.sqrt(math.log(2e6) / (2 * count))
