"""Results gathered into tables: seeds averaged, measured and published numbers kept apart."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flowatlas.benchmarks.config import settings
from flowatlas.benchmarks.contract import Benchmark, Metric, Published
from flowatlas.benchmarks.results import Result

__all__ = ["Cell", "Row", "Section", "section"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A number with its spread over seeds (measured) or as stated (published)."""

    mean: float
    spread: float | None
    count: int = 1

    def text(self, digits: int) -> str:
        """Such as `0.42 ± 0.05`."""
        main = f"{self.mean:.{digits}f}"
        return main if self.spread is None else f"{main} ± {self.spread:.{digits}f}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        label: a method, a baseline or a published model.
        kind: `"method"`, `"baseline"`, `"reference"` (a bound that is known) or `"published"`.
        preset: that was used; empty for published rows.
        seeds: how many were averaged.
        cells: by key of the metric.
        note: what differs.
    """

    label: str
    kind: str
    preset: str
    seeds: int
    cells: dict[str, Cell]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One benchmark of the report.

    Attributes:
        benchmark: its declaration.
        columns: metrics that have a number.
        rows: methods, then baselines, then published models.
        results: that the rows were made from.
        commands: that make them again.
        notes: choices made on validation.
    """

    benchmark: Benchmark[Any, Any]
    columns: tuple[Metric, ...]
    rows: tuple[Row, ...]
    results: tuple[Result, ...]
    commands: tuple[str, ...]
    notes: tuple[str, ...]

    def best(self, kind: str) -> Row | None:
        """The row of that kind with the best headline metric."""
        headline = self.columns[0] if self.columns else None
        rows = [
            row for row in self.rows if row.kind == kind and headline and headline.key in row.cells
        ]
        if headline is None or not rows:
            return None
        sign = -1.0 if headline.better == "higher" else 1.0
        return min(rows, key=lambda row: sign * row.cells[headline.key].mean)


def section(benchmark: Benchmark[Any, Any], results: Sequence[Result]) -> Section:
    """The table of one benchmark.

    Args:
        benchmark: its declaration.
        results: its lines, one a seed.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in sorted(results, key=lambda r: (r.preset, r.method, r.seed)):
        groups.setdefault((result.method, result.preset), []).append(result)
    rows = [
        Row(method, "method", preset, len(group), _cells(benchmark.metrics, group))
        for (method, preset), group in groups.items()
    ]
    for prefix, label in benchmark.baselines.items():
        # A baseline does not depend on the method, so one line a seed counts.
        once = {result.seed: result for result in results if _has(result, prefix)}
        cells = _cells(benchmark.metrics, list(once.values()), f"{prefix}/")
        if cells:
            kind = "reference" if prefix == "exact" else "baseline"
            rows.append(Row(label, kind, "", len(once), cells))
    rows.extend(_published(benchmark.published))
    columns = tuple(
        metric for metric in benchmark.metrics if any(metric.key in row.cells for row in rows)
    )
    notes = dict.fromkeys(
        f"{result.method}, seed {result.seed}: {name} {text}"
        for result in results
        for name, text in result.notes.items()
    )
    commands = tuple(_command(benchmark, group) for group in groups.values())
    return Section(benchmark, columns, tuple(rows), tuple(results), commands, tuple(notes))


def _has(result: Result, prefix: str) -> bool:
    return any(name.startswith(f"{prefix}/") for name in result.metrics)


def _cells(metrics: Iterable[Metric], group: Sequence[Result], prefix: str = "") -> dict[str, Cell]:
    cells = {}
    for metric in metrics:
        found = [result.metrics.get(prefix + metric.key) for result in group]
        values = [value for value in found if value is not None]
        if values:
            spread = statistics.stdev(values) if len(values) > 1 else None
            cells[metric.key] = Cell(statistics.fmean(values), spread, len(values))
    return cells


def _published(numbers: Iterable[Published]) -> list[Row]:
    rows: dict[tuple[str, str], Row] = {}
    for number in numbers:
        key = (number.method, number.reference)
        note = number.note if number.comparable else f"not comparable: {number.note}"
        row = rows.setdefault(
            key, Row(f"{number.method} ({number.reference})", "published", "", 0, {}, note)
        )
        row.cells[number.metric] = Cell(number.value, number.spread)
    return list(rows.values())


def _command(benchmark: Benchmark[Any, Any], group: Sequence[Result]) -> str:
    """The command line that makes these results again."""
    first = group[0]
    seeds = ",".join(str(result.seed) for result in group)
    usual = {}
    if first.preset in benchmark.presets and first.method in benchmark.methods:
        usual = {
            **settings(benchmark.presets[first.preset]),
            **settings(benchmark.methods[first.method]),
        }
    given = "".join(
        f" --set {name}={_plain(value)}"
        for name, value in first.config.items()
        if name in usual and _plain(usual[name]) != _plain(value)
    )
    return (
        f"flowatlas bench run {first.benchmark} --method {first.method} --preset {first.preset} "
        f"--seed {seeds}{given} --output DIR"
    )


def _plain(value: object) -> str:
    """A setting as `--set` takes it; lists and tuples alike."""
    if isinstance(value, list | tuple):
        return ",".join(str(one) for one in value)
    return "none" if value is None else str(value)
