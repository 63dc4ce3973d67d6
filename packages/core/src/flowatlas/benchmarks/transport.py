"""Distances between clouds of points by exact optimal transport."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flowatlas.errors import ShapeError

__all__ = ["Cloud", "displacement", "two_halves", "wasserstein"]


@dataclass(frozen=True, slots=True)
class Cloud:
    """Points with weights.

    Attributes:
        points: `(n, dim)`.
        weights: `(n,)`, zero or more, of sum one.
    """

    points: Tensor
    weights: Tensor

    @classmethod
    def uniform(cls, points: Tensor) -> Cloud:
        """All points alike."""
        x = points.detach().double().cpu()
        if x.ndim != 2 or len(x) == 0:
            raise ShapeError(
                f"points: got shape {tuple(points.shape)}; need (n, dim) with one point or more. "
                "Use points.flatten(1)."
            )
        return cls(x, torch.full((len(x),), 1 / len(x), dtype=torch.float64))


def wasserstein(x: Cloud | Tensor, y: Cloud | Tensor, *, order: int = 1) -> float:
    r"""$W_p = (\min_\pi \sum_{ij} \pi_{ij} |x_i - y_j|^p)^{1/p}$, exactly; p = 1: earth mover's.

    Args:
        x: a cloud, or points `(n, dim)`.
        y: a cloud, or points `(m, dim)`.
        order: p, 1 or 2.
    """
    x, y = _cloud(x), _cloud(y)
    cost = torch.cdist(x.points, y.points, compute_mode="donot_use_mm_for_euclid_dist") ** order
    plan = _plan(x, y, cost)
    power = float((torch.from_numpy(plan) * cost).sum())
    return math.pow(power, 1 / order)


def displacement(x: Tensor, y: Tensor, part: float) -> Cloud:
    r"""The cloud at `part` of the way from x to y: the law of $(1 - s) X + s Y$ for the best plan.

    What optimal transport says of the time in between with nothing learned.

    Reference: A Convexity Principle for Interacting Gases, McCann, 1997, for squared distances.
    """
    a, b = Cloud.uniform(x), Cloud.uniform(y)
    plan = _plan(a, b, torch.cdist(a.points, b.points).square())
    i, j = np.nonzero(plan > 1e-12)
    weights = torch.from_numpy(plan[i, j])
    points = (1 - part) * a.points[torch.from_numpy(i)] + part * b.points[torch.from_numpy(j)]
    return Cloud(points, weights / weights.sum())


def two_halves(x: Tensor, *, beside: int, repeats: int = 4, seed: int = 0) -> float:
    r"""Earth mover's distance that two sets of the law of x have, of `beside` and n points.

    It is measured between halves of x, and scaled to those sizes by the rate at which it falls,
    $(1/n + 1/m)^{1 / \max(d, 2)}$. No model can be expected to be below it.

    Args:
        x: `(n, dim)`.
        beside: size of the other set.
        repeats: of random halves, whose mean is taken.
        seed: of the halves.
    """
    n, dim = x.shape
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(repeats):
        order = torch.randperm(n, generator=generator)
        found.append(wasserstein(x[order[: n // 2]], x[order[n // 2 :]]))
    scale = math.pow((1 / beside + 1 / n) / (4 / n), 1 / max(dim, 2))
    return scale * sum(found) / repeats


def _cloud(x: Cloud | Tensor) -> Cloud:
    return x if isinstance(x, Cloud) else Cloud.uniform(x)


def _plan(x: Cloud, y: Cloud, cost: Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The best plan, `(n, m)`."""
    import ot

    plan: np.ndarray[tuple[int, int], np.dtype[np.float64]] = ot.emd(
        x.weights.numpy(), y.weights.numpy(), cost.numpy(), numItermax=2_000_000
    )
    return plan
