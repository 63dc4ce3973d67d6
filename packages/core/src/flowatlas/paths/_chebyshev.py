"""Polynomials through Chebyshev's points."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["chebyshev", "lagrange"]


def chebyshev(start: float, end: float, count: int) -> Tensor:
    """Chebyshev's points of the second kind, the ends among them, ascending, in float64."""
    cosine = torch.cos(math.pi * torch.arange(count - 1, -1, -1, dtype=torch.float64) / (count - 1))
    return start + (end - start) * (cosine + 1) / 2


def lagrange(nodes: Tensor, at: Tensor) -> Tensor:
    """`(at, nodes)`: what each value at a node of `chebyshev` has of the polynomial's value.

    Reference: Barycentric Lagrange Interpolation, Berrut and Trefethen, 2004.
    """
    weights = torch.ones_like(nodes)
    weights[1::2] = -1
    weights[[0, -1]] *= 0.5
    gap = at.unsqueeze(1) - nodes
    at_node = gap == 0
    share = weights / torch.where(at_node, 1.0, gap)
    share = share / share.sum(1, keepdim=True)
    return torch.where(at_node.any(1, keepdim=True), at_node.double(), share)
