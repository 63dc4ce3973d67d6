"""Couplings, solvers and evaluations side by side on many benchmarks: what helps where."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flowatlas.benchmarks.contract import Task
from flowatlas.benchmarks.registry import benchmark as by_name
from flowatlas.benchmarks.runner import apply_settings, threads
from flowatlas.benchmarks.system_benchmark import Judge, SystemBenchmark
from flowatlas.errors import ConfigError, DataError, FlowAtlasError, IntervalError, SolverError
from flowatlas.networks._files import write_bytes
from flowatlas.paths.base import StatePath
from flowatlas.paths.interval import Interval
from flowatlas.solvers import Dopri5, Dynamics, Solver, Trajectory
from flowatlas.solvers.named import STAGES, fixed_step_solver
from flowatlas.system import System

__all__ = ["COMPARED", "EVALUATIONS", "SOLVERS", "TOLERANCE", "Cell", "compare", "read_cells"]

#: Solvers with fixed steps, and evaluations of the field per sample.
SOLVERS = ("euler", "midpoint")
EVALUATIONS = (1, 4, 16, 64)
#: Relative and absolute, of Dopri5, which chooses its evaluations.
TOLERANCE = 1e-3

#: The file in the directory of results.
COMPARED = "comparison.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One way of drawing from one trained system.

    Attributes:
        benchmark: name.
        preset: name.
        seed: of the training and the samples.
        coupling: `"independent"` or `"optimal transport"`.
        method: of the benchmark, that has the coupling.
        solver: `"euler"`, `"midpoint"` or `"dopri5"`.
        evaluations: of the field per sample; for Dopri5 those that it took.
        quality: 1 for samples as good as real data, 0 for such as have nothing of them; None where
            the solver cannot go through.
        seconds: of drawing and judging.
        measure: what quality is, in words.
    """

    benchmark: str
    preset: str
    seed: int
    coupling: str
    method: str
    solver: str
    evaluations: int
    quality: float | None
    seconds: float
    measure: str

    @property
    def training(self) -> tuple[str, str, int, str]:
        """What the system was trained as; a later training replaces an earlier one."""
        return (self.benchmark, self.preset, self.seed, self.coupling)


def compare(
    benchmark: SystemBenchmark[Any, Any, Any] | str,
    *,
    preset: str = "demo",
    seed: int = 0,
    output: str | Path = "runs/bench",
    resume: bool = False,
    data_root: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> list[Cell]:
    """Train one system for each coupling of a benchmark, and draw from it in every way.

    The cells go to `output/comparison.jsonl`, of which `report` makes a page; systems are kept in
    `output/compared/...`.

    Args:
        benchmark: or its name.
        preset: by name.
        seed: of the split, the weights, the training and the samples.
        output: directory of the results.
        resume: go on from the last checkpoint; a coupling whose cells are there already is not
            trained again.
        data_root: directory with data files.
        settings: of the preset or the method, to change; strings are converted.
        progress: whether to draw progress bars.

    Raises:
        ConfigError: unknown names or settings, or a benchmark that takes no part.
        DataError: data that are missing or wrong.
        FlowAtlasError: a directory that cannot be written.
    """
    declared = by_name(benchmark) if isinstance(benchmark, str) else benchmark
    if not isinstance(declared, SystemBenchmark) or not declared.couplings:
        raise ConfigError(
            f"name: {declared.name} takes no part in comparisons: it does not say how good samples "
            "are in one number. Name another."
        )
    output = Path(output)
    known = read_cells(output)
    found: list[Cell] = []
    for coupling, name in declared.couplings.items():
        about = (declared.name, preset, seed, coupling)
        done = [cell for cell in known if cell.training == about]
        if resume and done:
            found += done
            continue
        size, method = apply_settings(
            declared.preset(preset), declared.method(name), settings or {}
        )
        folder = f"{declared.name.replace('/', '-')}/{name}-{preset}-{seed}"
        task: Task[Any, Any] = Task(
            method=method,
            preset=size,
            seed=seed,
            directory=_made(output / "compared" / folder),
            resume=resume,
            data_root=None if data_root is None else Path(data_root),
            progress=progress,
        )
        with threads(size.threads):
            system = declared.train(task).system
            system.save(task.directory / "system")
            cells = [
                Cell(
                    benchmark=declared.name,
                    preset=preset,
                    seed=seed,
                    coupling=coupling,
                    method=name,
                    measure=declared.measure,
                    **drawn,
                )
                for drawn in _drawn(declared.judge(task), system)
            ]
        # Read again: others may have been compared in the meantime, in the same directory.
        others = [cell for cell in read_cells(output) if cell.training != about]
        _write(output, others + cells)
        found += cells
    return found


def read_cells(directory: Path) -> list[Cell]:
    """The cells in a directory of results; none if nothing was compared there.

    Raises:
        DataError: a line is no cell.
    """
    path = directory / COMPARED
    if not path.is_file():
        return []
    cells = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            cells.append(Cell(**json.loads(line)))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{path}, line {number}: no cell of a comparison ({error}). Delete the line, or "
                "choose another directory."
            ) from error
    return cells


def _drawn(judge: Judge[Any], system: System[Any]) -> list[dict[str, Any]]:
    """Solver, evaluations, quality and seconds of every way to draw."""
    found = []
    for name in SOLVERS:
        for evaluations in EVALUATIONS:
            if evaluations % STAGES[name] == 0:
                solver = fixed_step_solver(name, evaluations // STAGES[name])
                quality, seconds = _judged(judge, system, solver)
                found.append(
                    {
                        "solver": name,
                        "evaluations": evaluations,
                        "quality": quality,
                        "seconds": seconds,
                    }
                )
    adaptive = _Counted(Dopri5(rtol=TOLERANCE, atol=TOLERANCE))
    quality, seconds = _judged(judge, system, adaptive)
    found.append(
        {
            "solver": "dopri5",
            "evaluations": adaptive.mean,
            "quality": quality,
            "seconds": seconds,
        }
    )
    return found


def _judged(judge: Judge[Any], system: System[Any], solver: Solver) -> tuple[float | None, float]:
    begin = time.monotonic()
    try:
        value = judge(system, solver)
    except (SolverError, IntervalError):
        # Steps too long for the field, or a field that is not finite where the solver has to go.
        value = math.nan
    seconds = round(time.monotonic() - begin, 3)
    return (value if math.isfinite(value) else None), seconds


class _Counted(Solver):
    """Another solver, whose evaluations are counted."""

    def __init__(self, solver: Solver) -> None:
        self.solver, self.evaluates = solver, solver.evaluates
        self._counts: list[int] = []

    @property
    def mean(self) -> int:
        """Evaluations of a solve; several make a set of samples that is drawn in parts."""
        return round(sum(self._counts) / max(1, len(self._counts)))

    def interval(self, path: StatePath) -> Interval:
        return self.solver.interval(path)

    def solve(self, dynamics: Dynamics, x: Any, times: Sequence[float]) -> Trajectory:
        found = self.solver.solve(dynamics, x, times)
        self._counts.append(dynamics.nfe)
        return found


def _made(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FlowAtlasError(
            f"output: {directory} cannot be made ({error.strerror}). Choose another directory with "
            "--output."
        ) from error
    return directory


def _write(directory: Path, cells: Sequence[Cell]) -> None:
    lines = [json.dumps(asdict(cell), allow_nan=False) + "\n" for cell in cells]
    write_bytes(directory / COMPARED, "".join(lines).encode())
