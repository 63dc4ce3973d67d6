"""Dormand-Prince with shared steps against torchdiffeq's, at equal error rather than tolerance.

Solvers mean different things by a tolerance, so each is run over a range of them, and evaluations
and time are compared where the errors are the same: on torchdiffeq's line of cost against error, in
logarithms, at our error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Case, Result, Rival, Row, Settings, Spread, run_case
from benchmarks.networks import MLP
from flowatlas import AffinePath, Dopri5, integrate
from flowatlas.exact import ExactMixtureFlow, GaussianMixture

__all__ = ["cases"]

TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
SMALL, IMAGE = (256, 2), (64, 3, 32, 32)
Field = Callable[..., Tensor]


@dataclass(frozen=True)
class Run:
    """One tolerance: root mean square error, evaluations, seconds."""

    error: float
    evaluations: float
    seconds: float


def cases(settings: Settings) -> Iterator[Result]:
    """Three fields on both sizes, in float64, so that rounding is no part of the error."""
    try:
        import torchdiffeq  # noqa: F401
    except ImportError as error:
        print(f"  torchdiffeq left out: {error}")
        return
    for shape in (SMALL,) if settings.quick else (SMALL, IMAGE):
        for name, field in _fields(shape).items():
            yield _compare(name, field, shape, settings)


def _fields(shape: tuple[int, ...]) -> dict[str, Field]:
    size = math.prod(shape[1:])
    g = torch.Generator().manual_seed(0)
    means = 2 * torch.randn(3, size, generator=g, dtype=torch.float64)
    exact = ExactMixtureFlow(GaussianMixture(torch.ones(3), means, stds=0.3))
    torch.manual_seed(0)
    net = MLP(size).double().requires_grad_(False)

    def mixture(x: Tensor, t: Tensor, condition: Any = None, /, **masks: Any) -> Tensor:
        return exact.velocity(x.flatten(1), t).view(x.shape)

    def rotating(x: Tensor, t: Tensor, condition: Any = None, /, **masks: Any) -> Tensor:
        # Pairs of neighbours turn by a full circle.
        return 2 * math.pi * torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)

    return {"Gaussian mixture, exact": mixture, "rotation": rotating, "MLP 256 x 4, untrained": net}


def _compare(name: str, field: Field, shape: tuple[int, ...], settings: Settings) -> Result:
    from torchdiffeq import odeint

    x_0 = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    path = AffinePath()
    calls = 0

    def counted(t: Tensor, x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return field(x, t.expand(len(x)))

    def theirs(tolerance: float) -> Tensor:
        with torch.no_grad():
            options = {"rtol": tolerance, "atol": tolerance, "method": "dopri5"}
            end: Tensor = odeint(counted, x_0, ends, **options)[-1]
            return end

    def ours(tolerance: float) -> Any:
        return integrate(field, path, x_0, solver=Dopri5(tolerance, tolerance))

    def our_state(tolerance: float) -> Any:
        return ours(tolerance).x

    truth = theirs(1e-12)
    mine: list[Run] = []
    other: list[Run] = []
    tolerances = TOLERANCES[:2] if settings.quick else TOLERANCES
    for tolerance in tolerances:
        solution = ours(tolerance)
        calls = 0
        found = theirs(tolerance)
        evaluations = calls
        case = Case(
            name,
            "",
            partial(our_state, tolerance),
            [Rival("theirs", partial(theirs, tolerance), compare=False)],
        )
        rows = run_case(case, settings).rows
        mine.append(Run(_rms(solution.x, truth), solution.nfe, rows[0].seconds.median))
        other.append(Run(_rms(found, truth), evaluations, rows[1].seconds.median))
    size = " x ".join(map(str, shape))
    evaluations_at = _at_equal_error(mine, other, lambda run: run.evaluations)
    seconds_at = _at_equal_error(mine, other, lambda run: run.seconds)
    facts = {f"{t:g}": run.error for t, run in zip(tolerances, mine, strict=True)}
    their_facts = {f"{t:g}": run.error for t, run in zip(tolerances, other, strict=True)}
    ours_row = Row("ours", Spread.of(run.seconds for run in mine), facts={**_nfe(mine), **facts})
    rows = [
        ours_row,
        Row(
            "torchdiffeq, evaluations",
            Spread.of(run.seconds for run in other),
            Spread.of(evaluations_at),
            1.0,
            {**_nfe(other), **their_facts},
        ),
        Row("torchdiffeq, time", Spread.of(r.seconds for r in other), Spread.of(seconds_at), 1.0),
    ]
    return Result(f"Dopri5, {name}", size, "solve", len(tolerances), rows)


def _nfe(runs: Sequence[Run]) -> dict[str, float]:
    return {"evaluations": sum(run.evaluations for run in runs) / len(runs)}


def _rms(x: Tensor, y: Tensor) -> float:
    return (x - y).square().mean().sqrt().item()


def _at_equal_error(
    mine: Sequence[Run], other: Sequence[Run], cost: Callable[[Run], float]
) -> list[float]:
    """Our cost over theirs at our error, one ratio for each of our tolerances.

    Their cost is read off the straight line through the logarithms of all of their runs, for a
    method of fixed order has one, and single runs scatter about it by a step more or less.
    """
    errors = np.log([run.error for run in other])
    costs = np.log([cost(run) for run in other])
    slope, offset = np.polyfit(errors, costs, 1)
    return [cost(run) / math.exp(offset + slope * math.log(run.error)) for run in mine]
