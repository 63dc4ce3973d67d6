"""Results as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.measure import Result, Row, Spread

__all__ = ["as_json", "as_markdown", "summary"]

HEADER = "| | size | contender | time | ours / it | quartiles | target | met | |"
RULE = "|---|---|---|---|---|---|---|---|---|"


def as_markdown(machine: Mapping[str, str], results: Mapping[str, Sequence[Result]]) -> str:
    """One table for each family."""
    lines = ["# Speed", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    for family, found in results.items():
        lines += ["", f"## {family}", "", HEADER, RULE]
        for result in found:
            for i, row in enumerate(result.rows):
                first = (result.name, result.size) if i == 0 else ("", "")
                lines.append("| " + " | ".join([*first, *_cells(row, result.unit)]) + " |")
    return "\n".join(lines) + "\n"


def as_json(machine: Mapping[str, str], results: Mapping[str, Sequence[Result]]) -> str:
    """Everything, times in seconds."""
    families: dict[str, list[Any]] = {}
    for family, found in results.items():
        families[family] = [asdict(result) for result in found]
        for result, written in zip(found, families[family], strict=True):
            for row, cells in zip(result.rows, written["rows"], strict=True):
                cells["met"] = row.met
    return json.dumps({"machine": dict(machine), "families": families}, indent=1) + "\n"


def summary(results: Mapping[str, Sequence[Result]]) -> tuple[int, list[str]]:
    """Number of targets, and the ones that are missed."""
    count, missed = 0, []
    for found in results.values():
        for result in found:
            for row in result.rows:
                count += row.met is not None
                if row.met is False:
                    assert row.ratio is not None
                    missed.append(
                        f"{result.name}, {result.size}, {row.name}: {_number(row.ratio.median)} "
                        f"(target {_number(row.at_most)})"
                    )
    return count, missed


def _cells(row: Row, unit: str) -> list[str]:
    seconds = _seconds(row.seconds.median) + (f" a {unit}" if unit != "call" else "")
    facts = ", ".join(f"{name} {_number(value)}" for name, value in row.facts.items())
    if row.ratio is None:
        return [f"**{row.name}**", seconds, "", "", "", "", facts]
    target = "" if row.at_most is None else f"≤ {_number(row.at_most)}"
    met = {True: "yes", False: "**no**", None: ""}[row.met]
    ratio = f"{row.ratio.median:.2f}"
    return [row.name, seconds, ratio, _quartiles(row.ratio), target, met, facts]


def _quartiles(spread: Spread) -> str:
    return f"{spread.low:.2f} to {spread.high:.2f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _seconds(value: float) -> str:
    for scale, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale:
            return f"{value / scale:.3g} {name}"
    return f"{value * 1e6:.2g} µs"
