"""Distances between two sets of points, and likelihoods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowatlas._random import randn
from flowatlas.manifolds import FlatTorus, Manifold
from flowatlas.paths.base import StatePath
from flowatlas.sampling import Exact, log_prob
from flowatlas.solvers import Dopri5, Solver

__all__ = [
    "Likelihood",
    "embed",
    "energy_distance",
    "log_density",
    "negative_log_likelihood",
    "sampling_noise",
    "sliced_wasserstein",
]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Minus the mean log density of some points.

    Attributes:
        log_prob: `(batch,)`, nats with respect to the manifold's volume.
        nfe: evaluations of the field for one pass.
    """

    log_prob: Tensor
    nfe: int

    @property
    def nll(self) -> float:
        """The mean."""
        return -float(self.log_prob.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean, from the spread of the points."""
        n = len(self.log_prob)
        return float(self.log_prob.std() / n**0.5) if n > 1 else 0.0


#: Points scored at a time: small enough for the cache of one core to be of use.
_CHUNK = 4096


def embed(manifold: Manifold, x: Tensor) -> Tensor:
    """Coordinates `(n, k)` in a flat space around the manifold: of angles, cosine and sine."""
    if isinstance(manifold, FlatTorus):
        return torch.cat([torch.cos(x), torch.sin(x)], -1)
    return x.flatten(1)


def energy_distance(x: Tensor, y: Tensor) -> float:
    r"""$2 E|X - Y| - E|X - X'| - E|Y - Y'|$, zero for equal laws; unbiased, so it can be negative.

    Args:
        x: `(n, k)`.
        y: `(m, k)`.

    Reference: Energy statistics, Szekely and Rizzo, 2013, J. Stat. Plan. Inference 143, eq. 6.
    """
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    within = torch.cdist(x, x).sum() / (n * (n - 1)) + torch.cdist(y, y).sum() / (m * (m - 1))
    return float(2 * torch.cdist(x, y).mean() - within)


def sampling_noise(x: Tensor, test: Tensor, *, count: int, most: int = 8) -> float:
    """Energy distance between two finite sets of data: root mean square over parts of one.

    Args:
        x: `(n, k)`, cut into parts of `count` points, of which `most` are used.
        test: `(m, k)`.
        count: points of a part.
        most: parts.
    """
    parts = [part for part in torch.split(x, count)[:most] if len(part) > 1]
    square = [energy_distance(part, test) ** 2 for part in parts]
    return float((sum(square) / len(square)) ** 0.5)


def sliced_wasserstein(
    x: Tensor, y: Tensor, *, directions: int = 256, generator: torch.Generator | None = None
) -> float:
    """Root mean square, over random directions, of the 2-Wasserstein distance of the projections.

    Args:
        x: `(n, k)`.
        y: `(m, k)`; the larger set is cut to the size of the smaller.
        directions: how many.
        generator: of the directions.
    """
    count = min(len(x), len(y))
    x, y = x[:count].double(), y[:count].double()
    u = randn((directions, x.shape[1]), generator=generator, dtype=torch.float64)
    u = (u / torch.linalg.vector_norm(u, dim=1, keepdim=True)).to(x.device)
    gap = (x @ u.T).sort(0).values - (y @ u.T).sort(0).values
    return float(gap.square().mean().sqrt())


@torch.no_grad()
def log_density(field: Any, path: StatePath, x: Tensor, *, solver: Solver) -> Tensor:
    """Log density of the flow at `x`, `(batch,)` in float64, by the exact divergence."""
    # Some kinds of prediction have no velocity at the data itself; the density is then taken just
    # before.
    start = min(1.0, path.interval.end)
    parts = [
        log_prob(field, path, part, solver=solver, divergence=Exact(), start=start)
        for part in torch.split(x, _CHUNK)
    ]
    return torch.cat(parts).double()


def negative_log_likelihood(
    field: Any, path: StatePath, x: Tensor, *, rtol: float, atol: float
) -> Likelihood:
    """Mean and standard error of minus the log density of `x`; by Dopri5."""
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return field(*args, **kwargs)

    value = log_density(counted, path, x, solver=Dopri5(rtol=rtol, atol=atol))
    return Likelihood(value, calls // len(torch.split(x, _CHUNK)))
