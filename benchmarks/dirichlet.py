"""The velocity of Dirichlet paths, against finite differences of the incomplete beta function.

The published way is written here from its formulae: the derivative of I_x(alpha, K - 1) by alpha as
a difference quotient of `scipy.special.betainc`, in float64 on the CPU, for each number (or on a
grid of 1000 points, and interpolated), and the velocity as a sum over the vertices, K x K numbers a
point. Errors of the coefficient are against the integral that our table is made from, which the
tests hold to 60 digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import scipy.special
import torch
from torch import Tensor

from benchmarks.measure import Case, Rival, Settings
from flowatlas import Dirichlet, DirichletPath
from flowatlas.paths._dirichlet import rate, rate_table

__all__ = ["cases"]

#: The target: a fiftieth of the published way's time.
LIMIT = 1 / 50
#: Samples, points of each, categories.
SIZES = ((512, 4, 40), (128, 4, 160), (32, 4, 512))
ALPHA = 3.8
#: Of the difference quotient.
STEP = 1e-3
#: Evaluations of a sampler that are measured with the table's making.
STEPS = 20


def cases(settings: Settings) -> Iterator[Case]:
    """The velocity, its coefficient, and a sampler's evaluations with the table made anew."""
    for shape in SIZES[:1] if settings.quick else SIZES:
        yield _velocity(shape, compiled=False)
        yield _coefficient(shape)
    if not settings.quick:
        yield _sampler(SIZES[1])
        for shape in SIZES:
            yield _velocity(shape, compiled=True)


def _inputs(shape: tuple[int, int, int]) -> Tensor:
    return Dirichlet(1.0).sample(shape, generator=torch.Generator().manual_seed(0))


def _differences(x: Tensor, alpha: float) -> Tensor:
    """C for each number by itself."""
    z, b = x.double().numpy(), x.shape[-1] - 1
    slope = (scipy.special.betainc(alpha + STEP, b, z) - scipy.special.betainc(alpha, b, z)) / STEP
    with np.errstate(all="ignore"):
        c = -slope * scipy.special.beta(alpha, b) / ((1 - z) ** b * z ** (alpha - 1))
    return torch.from_numpy(c).to(x.dtype)


def _gridded(x: Tensor, alpha: float, grid: Any, slopes: Any) -> Tensor:
    """C from slopes on a grid of x, made beforehand."""
    z, b = x.double().numpy(), x.shape[-1] - 1
    slope = np.interp(z, grid, slopes)
    with np.errstate(all="ignore"):
        c = -slope * scipy.special.beta(alpha, b) / ((1 - z) ** b * z ** (alpha - 1))
    return torch.from_numpy(c).to(x.dtype)


def _slopes(size: int, alpha: float) -> tuple[Any, Any]:
    grid = np.linspace(0, 1, 1000)
    above, at = (scipy.special.betainc(a, size - 1, grid) for a in (alpha + STEP, alpha))
    return grid, (above - at) / STEP


def _error(found: Tensor, x: Tensor) -> dict[str, float]:
    """The worst relative error, and the share of numbers off by more than a tenth."""
    z = x.double()
    exact = z * rate(torch.logit(z), torch.tensor(ALPHA, dtype=torch.float64), x.shape[-1])
    error = ((found.double() - exact) / exact).abs().nan_to_num(torch.inf)
    off = (error > 0.1).double().mean().item()
    return {"worst relative error": error.max().item(), "off by a tenth": off}


def _published(x: Tensor, alpha: float, logits: Tensor) -> Tensor:
    """dx / d alpha, the vertices' velocities summed by their probabilities."""
    towards = torch.eye(x.shape[-1]) - x.unsqueeze(-1)
    weights = torch.softmax(logits, -1) * _differences(x, alpha)
    return (towards * weights.unsqueeze(-2)).sum(-1)


def _velocity(shape: tuple[int, int, int], *, compiled: bool) -> Case:
    x = _inputs(shape)
    path = DirichletPath(shape[-1])
    logits = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    t = torch.full((shape[0],), (ALPHA - 1) / 7)
    velocity = torch.compile(path.velocity) if compiled else path.velocity
    ours = partial(velocity, x, t, logits)
    rival = Rival(
        "scipy, sum over vertices", partial(_published, x, ALPHA, logits), LIMIT, compare=False
    )
    name = "velocity of a Dirichlet path" + (", compiled" if compiled else "")
    return Case(name, " x ".join(map(str, shape)), ours, [rival])


def _coefficient(shape: tuple[int, int, int]) -> Case:
    x, size = _inputs(shape), shape[-1]
    ours = partial(DirichletPath(size).velocity_coefficient, x, ALPHA)
    calls: dict[str, Callable[[], Tensor]] = {
        "scipy, each number": partial(_differences, x, ALPHA),
        "scipy, interpolated": partial(_gridded, x, ALPHA, *_slopes(size, ALPHA)),
    }
    rivals = [Rival(name, call, compare=False) for name, call in calls.items()]
    facts = {"ours": _error(ours(), x)}
    facts |= {name: _error(call(), x) for name, call in calls.items()}
    return Case("its coefficient alone", " x ".join(map(str, shape)), ours, rivals, facts=facts)


def _sampler(shape: tuple[int, int, int]) -> Case:
    """What the table costs to make, spread over a sampler's evaluations."""
    x, size = _inputs(shape), shape[-1]
    logits = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    times = torch.linspace(0, 0.98, STEPS).tolist()

    def ours() -> Any:
        rate_table.cache_clear()
        path = DirichletPath(size)
        return [path.velocity(x, torch.full((len(x),), t), logits) for t in times][-1]

    def published() -> Any:
        return [_published(x, 1 + 7 * t, logits) for t in times][-1]

    rival = Rival("scipy, sum over vertices", published, LIMIT, compare=False)
    name = f"the table made, and {STEPS} velocities"
    return Case(name, " x ".join(map(str, shape)), ours, [rival], STEPS, "velocity")
