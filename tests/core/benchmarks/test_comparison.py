"""Couplings, solvers and evaluations side by side: what is drawn, kept, averaged and shown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowatlas.benchmarks import (
    Cell,
    Fitted,
    Judge,
    Method,
    Outcome,
    Preset,
    SystemBenchmark,
    Task,
    benchmark,
    closeness,
    compare,
    report,
)
from flowatlas.benchmarks.comparison import read_cells
from flowatlas.benchmarks.comparison_page import comparison_table
from flowatlas.cli import main
from flowatlas.errors import ConfigError, DataError, SolverError
from flowatlas.paths import AffinePath
from flowatlas.sampling import sample
from flowatlas.solvers import Solver
from flowatlas.sources import Gaussian
from flowatlas.system import System

TINY = {"steps": 2, "width": 8, "depth": 1, "samples": 64, "select": 1}


@dataclass
class Spinning(System[Tensor]):
    """x' = 40 x, whose evaluations are counted."""

    name = "spinning"
    default_solver = ("euler", 1)
    rate: float = 40.0
    calls: int = 0

    def field(self, x: Tensor, t: Tensor, condition: None = None) -> Tensor:
        self.calls += 1
        return self.rate * x

    def draw(self, count: int, *, seed: int = 0, solver: Solver | None = None) -> Tensor:
        x: Tensor = sample(
            self.field,
            AffinePath(source=Gaussian()),
            shape=(count, 2),
            solver=_Still() if solver is None else solver,
            generator=torch.Generator().manual_seed(seed),
            chunk_size=4,
        )
        return x

    def export(self, samples: Tensor, output: Path) -> tuple[Path, ...]:
        raise NotImplementedError

    def save_parts(self, directory: Path) -> dict[str, Any]:
        return {"rate": self.rate}

    @classmethod
    def load_parts(cls, directory: Path, stored: Mapping[str, Any]) -> Spinning:
        return cls(**stored)


class Spun(SystemBenchmark[Method, Preset, Spinning]):
    """The quality is the rate of growth by the solver over its exact logarithm, 40."""

    name, summary, data, licence = "spun/one", "one", "none", "MIT"
    methods = {name: Method(name=name, summary=name) for name in ("slow", "fast")}  # noqa: RUF012
    presets = {"demo": Preset(batch=1, lr=1.0, steps=1, samples=8)}  # noqa: RUF012
    metrics = ()
    measure = "growth"
    couplings = {"independent": "slow", "optimal transport": "fast"}  # noqa: RUF012

    def __init__(self) -> None:
        self.trained: list[tuple[str, int]] = []
        self.counted: list[int] = []

    def train(self, task: Task[Method, Preset]) -> Fitted[Spinning]:
        self.trained.append((task.method.name, task.seed))
        rate = {"slow": 20.0, "fast": 40.0}[task.method.name]
        return Fitted(system=Spinning(rate), steps=1, seconds=0.0, losses={})

    def score(self, fitted: Fitted[Spinning], task: Task[Method, Preset]) -> Outcome:
        raise NotImplementedError

    def figures(self, arrays: Any, title: str) -> dict[str, Any]:
        return {}

    def judge(self, task: Task[Method, Preset]) -> Judge[Spinning]:
        def judged(system: Spinning, solver: Solver) -> float:
            if type(solver).__name__ == "Midpoint" and system.rate == 20.0:
                raise SolverError("solver: a step too long.")
            system.calls = 0
            x = system.draw(task.preset.samples, seed=task.seed, solver=solver)
            # Samples are drawn in two parts.
            self.counted.append(system.calls // 2)
            x_0 = system.draw(task.preset.samples, seed=task.seed, solver=None)
            return float((x / x_0).abs().log().mean()) / 40

        return judged


class _Still(Solver):
    def solve(self, dynamics: Any, x: Any, times: Any) -> Any:
        from flowatlas.solvers import Trajectory

        return Trajectory(x, [x for _ in times], 0, 0)


def test_every_way_to_draw_is_a_cell(tmp_path: Path) -> None:
    spun = Spun()
    cells = compare(spun, seed=3, output=tmp_path)
    assert spun.trained == [("slow", 3), ("fast", 3)]
    euler = {
        (cell.coupling, cell.evaluations): cell.quality for cell in cells if cell.solver == "euler"
    }
    for coupling, rate in (("independent", 20.0), ("optimal transport", 40.0)):
        for n in (1, 4, 16, 64):
            # Euler multiplies by 1 + rate / n in each of n steps.
            expected = n * math.log1p(rate / n) / 40
            assert euler[coupling, n] == pytest.approx(expected, rel=1e-5)
    middle = [cell for cell in cells if cell.solver == "midpoint"]
    assert [cell.evaluations for cell in middle] == [4, 16, 64] * 2
    assert all(cell.quality is None for cell in middle[:3])
    for cell in middle[3:]:
        h = 40.0 / (cell.evaluations / 2)
        growth = math.log1p(h + h**2 / 2) * cell.evaluations / 2
        assert cell.quality == pytest.approx(growth / 40, rel=1e-5)
    adaptive = [cell for cell in cells if cell.solver == "dopri5"]
    assert len(adaptive) == 2 and len(cells) == 16
    for cell, rate in zip(adaptive, (20.0, 40.0), strict=True):
        assert cell.quality == pytest.approx(rate / 40, rel=1e-3)
    # What the field was really asked: by Euler, the midpoint where it goes through, and Dopri5.
    asked = [
        n for part in (cells[:4], cells[7:8], cells[8:]) for n in (c.evaluations for c in part)
    ]
    assert spun.counted == asked
    assert adaptive[0].evaluations < adaptive[1].evaluations
    assert read_cells(tmp_path) == cells
    assert {cell.measure for cell in cells} == {"growth"}
    assert Spinning.load(tmp_path / "compared/spun-one/fast-demo-3/system").rate == 40.0


def test_what_is_done_is_resumed_or_replaced(tmp_path: Path) -> None:
    spun = Spun()
    first = compare(spun, output=tmp_path)
    compare(spun, seed=1, output=tmp_path)
    assert compare(spun, output=tmp_path, resume=True) == first
    assert spun.trained == [("slow", 0), ("fast", 0), ("slow", 1), ("fast", 1)]
    lines = (tmp_path / "comparison.jsonl").read_text().splitlines()
    # A run that ended between the couplings.
    (tmp_path / "comparison.jsonl").write_text("\n".join(lines[:8]) + "\n")
    compare(spun, output=tmp_path, resume=True)
    assert spun.trained[4:] == [("fast", 0)]
    compare(spun, output=tmp_path)
    assert spun.trained[5:] == [("slow", 0), ("fast", 0)]
    assert len(read_cells(tmp_path)) == 16


def test_what_others_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    class Slow(Spun):
        def train(self, task: Task[Method, Preset]) -> Fitted[Spinning]:
            if task.method.name == "slow":
                compare(Spun(), seed=9, output=tmp_path)
            return super().train(task)

    compare(Slow(), output=tmp_path)
    assert sorted({cell.seed for cell in read_cells(tmp_path)}) == [0, 9]
    assert len(read_cells(tmp_path)) == 32


def test_damaged_lines_and_those_who_take_no_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in ("{", "{}", '{"benchmark": 1}'):
        (tmp_path / "comparison.jsonl").write_text(line + "\n")
        with pytest.raises(DataError, match=r"comparison.jsonl, line 1: no cell"):
            read_cells(tmp_path)
    with pytest.raises(ConfigError, match="mixed/toy takes no part"):
        compare("mixed/toy", output=tmp_path)
    assert main(["bench", "compare", "toy/two_mons"]) == 2
    assert "Did you mean toy/two_moons" in capsys.readouterr().err


def cell(**changes: Any) -> Cell:
    made = Cell(
        benchmark="b",
        preset="demo",
        seed=0,
        coupling="independent",
        method="m",
        solver="euler",
        evaluations=4,
        quality=0.5,
        seconds=1.0,
        measure="what",
    )
    return replace(made, **changes)


def test_the_table_has_means_over_seeds_and_dashes() -> None:
    cells = [
        cell(quality=0.25),
        cell(seed=1, quality=0.75),
        cell(evaluations=16, quality=0.9),
        cell(evaluations=16, seed=1, quality=None),
        cell(solver="dopri5", evaluations=30),
        cell(solver="dopri5", evaluations=40, seed=1),
        cell(benchmark="a", coupling="optimal transport", quality=1.0),
    ]
    table = comparison_table(cells)
    assert table.rows == ("a, demo", "b, demo") and table.seeds == (1, 2)
    by_line = {
        (line[0], line[1]): dict(zip(table.head, line, strict=True)) for line in table.body()
    }
    assert set(by_line) == {("a, demo", "optimal transport"), ("b, demo", "independent")}
    line = by_line["b, demo", "independent"]
    assert line["Euler 4"] == "0.50" and line["Euler 16"] == "-" and line["Euler 1"] == "-"
    assert line["Dopri5"] == "0.50 (35)"
    assert by_line["a, demo", "optimal transport"]["Euler 4"] == "1.00"
    assert len(table.figure().axes) == 2


def test_the_report_has_the_comparison_with_and_without_results(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"results.jsonl: not found"):
        report(tmp_path)
    lines = [cell(), cell(coupling="optimal transport", quality=0.875)]
    text = "".join(
        json.dumps({k: getattr(one, k) for k in Cell.__dataclass_fields__}) + "\n" for one in lines
    )
    (tmp_path / "comparison.jsonl").write_text(text)
    written = report(tmp_path)
    page, html = written.markdown.read_text(), written.html.read_text()
    for content in (page, html):
        assert "Across domains" in content and "0.88" in content and "b: what" in content
    assert "(figures/comparison-0.png)" in page
    assert (tmp_path / "figures" / "comparison-0.png").stat().st_size > 5000
    assert html.count("data:image/png;base64,") == 1


class Drawing(System[Tensor]):
    """Samples that are given."""

    name = "drawing"
    default_solver = ("euler", 1)

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def draw(self, count: int, *, seed: int = 0, solver: Solver | None = None) -> Tensor:
        return self.x[:count]

    def export(self, samples: Tensor, output: Path) -> tuple[Path, ...]:
        raise NotImplementedError

    def save_parts(self, directory: Path) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def load_parts(cls, directory: Path, stored: Mapping[str, Any]) -> Drawing:
        raise NotImplementedError


def test_closeness_is_one_at_the_floor_and_a_root() -> None:
    assert closeness(0.04, 0.01) == pytest.approx(0.5)
    assert closeness(0.01, 0.01) == closeness(-0.3, 0.01) == 1.0


def test_points_are_judged_by_how_near_they_are(tmp_path: Path) -> None:
    moons: Any = benchmark("toy/two_moons")
    assert moons.couplings == {"independent": "condot", "optimal transport": "condot-ot"}
    earth: Any = benchmark("torsion/proline")
    assert earth.couplings["independent"] == "geodesic"
    task: Task[Any, Any] = Task(
        method=moons.method(None), preset=moons.preset("demo"), seed=0, directory=tmp_path
    )
    judge = moons.judge(task)
    generator = torch.Generator().manual_seed(5)
    law = moons.load(0, None).law
    real = law.sample((2048, 2), generator=generator, dtype=torch.float64)
    noise = torch.randn(2048, 2, generator=generator, dtype=torch.float64)
    values = [judge(Drawing(x), _Still()) for x in (real, real + 0.5 * noise, 2 * noise)]
    assert values[0] > 0.5
    assert values[0] > 2 * values[1] > 4 * values[2] > 0
    assert np.isfinite(values).all()


def test_a_benchmark_of_points_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "compare", "toy/two_moons", "--quiet", "--output", str(tmp_path), "--set"]
    assert main([*words, *(f"{key}={value}" for key, value in TINY.items())]) == 0
    assert "optimal transport" in capsys.readouterr().out
    cells = read_cells(tmp_path)
    assert len(cells) == 16
    assert all(one.quality is not None and 0 < one.quality <= 1 for one in cells)
