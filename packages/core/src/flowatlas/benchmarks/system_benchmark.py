"""Benchmarks whose training makes a system that is kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flowatlas.benchmarks.contract import Array, Benchmark, M, Outcome, P, Task
from flowatlas.system import System

__all__ = ["Fitted", "SystemBenchmark"]

S = TypeVar("S", bound=System[Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted(Generic[S]):
    """A system that was trained, and how.

    Attributes:
        system: ready to draw.
        steps: that were taken.
        seconds: of training in this call.
        losses: arrays of the loss curve, as `loss_arrays` gives them.
        notes: choices that were made, in words.
    """

    system: S
    steps: int
    seconds: float
    losses: Mapping[str, Array]
    notes: Mapping[str, str] = field(default_factory=dict)


class SystemBenchmark(Benchmark[M, P], Generic[M, P, S]):
    """A benchmark in two parts: training, which makes a system, and scoring it.

    `flowatlas train NAME` does the first alone; `flowatlas bench run NAME` does both, and keeps the
    system as `system` in the directory of the run.

    ```python
    class Mine(SystemBenchmark[MyMethod, MyPreset, MySystem]):
        ...  # name, summary, data, licence, methods, presets, metrics, figures: as of a Benchmark

        def train(self, task): ...          # Fitted(system=..., steps=..., ...)
        def score(self, fitted, task): ...  # an Outcome
    ```
    """

    @abstractmethod
    def train(self, task: Task[M, P]) -> Fitted[S]:
        """Train, within the preset's budget, below the task's directory."""

    @abstractmethod
    def score(self, fitted: Fitted[S], task: Task[M, P]) -> Outcome:
        """Draw samples and measure them."""

    def run(self, task: Task[M, P]) -> Outcome:
        fitted = self.train(task)
        fitted.system.save(task.directory / "system")
        return self.score(fitted, task)
