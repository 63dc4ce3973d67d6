"""Dormand-Prince with shared steps against torchdiffeq's, at equal error rather than tolerance.

Solvers mean different things by a tolerance, so each is run over a range of them, and evaluations
and time are compared where the errors are the same: on torchdiffeq's curve of cost against error,
at our error.
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
#: torchdiffeq's error is the larger at equal tolerance; two more let its curve reach ours.
FURTHER = (1e-8, 1e-9)
SMALL, IMAGE = (256, 2), (64, 3, 32, 32)
Field = Callable[..., Tensor]


@dataclass(frozen=True)
class Run:
    """One tolerance: root mean square error, and evaluations of the field."""

    error: float
    evaluations: int


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

    def cost(tolerance: float) -> Run:
        nonlocal calls
        calls = 0
        error = _rms(theirs(tolerance), truth)
        return Run(error, calls)

    tolerances = TOLERANCES[:2] if settings.quick else TOLERANCES
    solutions = [ours(tolerance) for tolerance in tolerances]
    mine = [Run(_rms(solution.x, truth), solution.nfe) for solution in solutions]
    other = [cost(t) for t in (*tolerances, *(() if settings.quick else FURTHER))]
    at_equal_error = [run.evaluations / _evaluations_for(run.error, other) for run in mine]
    size = " x ".join(map(str, shape))
    timed = [
        run_case(
            Case(
                f"{name}, tolerance {tolerance:g}",
                size,
                partial(ours, tolerance),
                # Their outputs differ by their errors, which are compared above.
                [Rival("", partial(theirs, tolerance), compare=False)],
            ),
            settings,
        )
        for tolerance in tolerances
    ]
    time_at_equal_error = []
    for ratio, run, peer, result in zip(at_equal_error, mine, other, timed, strict=False):
        between = result.rows[1].ratio
        assert between is not None
        # Time of one evaluation, the solver's work included, taken in turns.
        each = between.median * peer.evaluations / run.evaluations
        time_at_equal_error.append(ratio * each)
    seconds = [Spread.of(result.rows[i].seconds.median for result in timed) for i in (0, 1)]
    rows = [
        Row("ours", seconds[0], facts=_facts(mine, tolerances)),
        Row("torchdiffeq, evaluations", seconds[1], Spread.of(at_equal_error), 1.0),
        Row("torchdiffeq, time", seconds[1], Spread.of(time_at_equal_error), 1.0),
    ]
    rows[1].facts.update(_facts(other, tolerances))
    return Result(f"Dopri5, {name}", size, "solve", len(tolerances), rows)


def _facts(runs: Sequence[Run], tolerances: Sequence[float]) -> dict[str, float]:
    middle = len(tolerances) // 2
    at = f"at tolerance {tolerances[middle]:g}"
    return {f"evaluations {at}": runs[middle].evaluations, "error": runs[middle].error}


def _rms(x: Tensor, y: Tensor) -> float:
    return (x - y).square().mean().sqrt().item()


def _evaluations_for(error: float, runs: Sequence[Run]) -> float:
    """What `runs` need for an error, between the two nearest of them in logarithms.

    A run counts with the fewest evaluations that gave its error or less. Beyond the least error of
    all, the count is that of the least, which is too few for it, so that we are not flattered.
    """
    ordered = sorted(runs, key=lambda run: run.error)
    fewest = [
        min(other.evaluations for other in runs if other.error <= run.error) for run in ordered
    ]
    errors = np.log([run.error for run in ordered])
    return math.exp(np.interp(math.log(error), errors, np.log(fewest)))
