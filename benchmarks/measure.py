"""Time of one call against that of others, interleaved in one process, at equal outputs."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

__all__ = ["Case", "Result", "Rival", "Row", "Settings", "Spread", "available", "run_case"]

Call = Callable[[], Any]


@dataclass(frozen=True)
class Settings:
    """How long to measure.

    Attributes:
        budget: seconds for one case, all its contenders together.
        batch: seconds that one contender runs before the next has its turn.
        rounds: least and most turns of each contender.
        quick: only the smallest sizes, to see that everything runs.
    """

    budget: float = 3.0
    batch: float = 2e-3
    rounds: tuple[int, int] = (7, 201)
    quick: bool = False

    @classmethod
    def fast(cls) -> Settings:
        """A few turns each: for tests, not for numbers."""
        return cls(budget=0.02, batch=1e-4, rounds=(3, 3), quick=True)


@dataclass(frozen=True)
class Rival:
    """Something to be compared with.

    Attributes:
        name: of the package, or "bare".
        call: does the same work as ours.
        at_most: the target for our time divided by its; None where it is only reported.
        compare: whether its outputs must equal ours.
    """

    name: str
    call: Call
    at_most: float | None = None
    compare: bool = True


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: what is done.
        size: of the state.
        ours: the call that is measured against the rivals'.
        rivals: the others.
        per: units of work in a call, such as steps; times are of one unit.
        unit: name of that unit.
        tolerance: largest difference of outputs, relative to 1 + |output|.
        facts: of ours or a rival, by name, such as an error.
    """

    name: str
    size: str
    ours: Call
    rivals: Sequence[Rival]
    per: int = 1
    unit: str = "call"
    tolerance: float = 1e-5
    facts: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """A median and its quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        low, median, high = statistics.quantiles(list(values), n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Row:
    """One contender of a case.

    Attributes:
        name: of the contender.
        seconds: of one unit of work.
        ratio: our time divided by its, round by round; None for ours.
        at_most: the target for the median of `ratio`.
        facts: numbers beside the time.
    """

    name: str
    seconds: Spread
    ratio: Spread | None = None
    at_most: float | None = None
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.ratio is None or self.at_most is None:
            return None
        return self.ratio.median <= self.at_most


@dataclass(frozen=True)
class Result:
    """The rows of one case, ours first."""

    name: str
    size: str
    unit: str
    rounds: int
    rows: Sequence[Row]


def available(builders: dict[str, Callable[[], Call]]) -> dict[str, Call]:
    """The calls of those packages that are installed."""
    calls = {}
    for name, build in builders.items():
        try:
            calls[name] = build()
        except ImportError as error:
            print(f"  {name} left out: {error}")
    return calls


def run_case(case: Case, settings: Settings) -> Result:
    """Check that outputs are equal, then time all contenders in turns.

    Raises:
        AssertionError: outputs differ, so that times would compare nothing.
    """
    _check_equal(case)
    calls = {"ours": case.ours, **{rival.name: rival.call for rival in case.rivals}}
    counts = {name: _count(call, settings.batch) for name, call in calls.items()}
    one_round = sum(_seconds(call, counts[name]) for name, call in calls.items())
    low, high = settings.rounds
    rounds = min(max(low, int(settings.budget / one_round)), high)
    order, shuffled = list(calls), random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            # A fixed order would give each the same neighbour, whose caches it inherits.
            shuffled.shuffle(order)
            for name in order:
                took = _seconds(calls[name], counts[name]) / counts[name]
                times[name].append(took / case.per)
    finally:
        gc.enable()
    facts = case.facts
    rows = [Row("ours", Spread.of(times["ours"]), facts=facts.get("ours", {}))]
    for rival in case.rivals:
        pairs = zip(times["ours"], times[rival.name], strict=True)
        rows.append(
            Row(
                rival.name,
                Spread.of(times[rival.name]),
                Spread.of(a / b for a, b in pairs),
                rival.at_most,
                facts.get(rival.name, {}),
            )
        )
    return Result(case.name, case.size, case.unit, rounds, rows)


def _check_equal(case: Case) -> None:
    expected = case.ours()
    for rival in case.rivals:
        found = rival.call()  # also warms up, and compiles
        if rival.compare:
            torch.testing.assert_close(
                found,
                expected,
                rtol=case.tolerance,
                atol=case.tolerance,
                msg=partial("{}, {}, {}: {}".format, case.name, case.size, rival.name),
            )


def _count(call: Call, batch: float) -> int:
    """Calls that take about `batch` seconds."""
    call()
    count = 1
    while (took := _seconds(call, count)) < batch / 2:
        count = max(2 * count, int(count * batch / max(took, batch / 100)))
    return count


def _seconds(call: Call, count: int) -> float:
    """Time of the processor, not of the clock: other programs' turns do not count."""
    start = time.thread_time_ns()
    for _ in range(count):
        call()
    return (time.thread_time_ns() - start) * 1e-9
