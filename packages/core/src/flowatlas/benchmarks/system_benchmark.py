"""Benchmarks whose training makes a system that is kept."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flowatlas.benchmarks.contract import Array, Benchmark, M, Outcome, P, Task
from flowatlas.errors import ConfigError
from flowatlas.solvers import Solver
from flowatlas.system import System

__all__ = ["Fitted", "Judge", "SystemBenchmark", "closeness"]

S = TypeVar("S", bound=System[Any])
#: A system and a solver to the quality of its samples.
Judge = Callable[[S, Solver], float]


def closeness(square: float, floor: float) -> float:
    r"""$\sqrt{\text{floor} / \text{square}}$, at most 1: nearness by a squared distance.

    Args:
        square: squared distance of samples to data, such as an energy or Frechet distance.
        floor: that of as many real data, positive.
    """
    return math.sqrt(floor / max(square, floor))


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
    class Mine(SystemBenchmark[PointMethod, PointPreset, System[Tensor]]):
        ...  # name, summary, data, licence, methods, presets, metrics, figures: as of a Benchmark

        def train(self, task): ...          # Fitted(system=..., steps=..., ...)
        def score(self, fitted, task): ...  # an Outcome
    ```

    With `couplings`, `judge` and `measure` it takes part in `flowatlas bench compare`, the
    comparison of solvers and couplings across benchmarks.

    Attributes:
        measure: what the judge's quality is, in words.
    """

    measure: str = ""

    @property
    def couplings(self) -> Mapping[str, str]:
        """The method that stands for each coupling in the comparison; empty to stay out of it.

        Couplings are called `"independent"` and `"optimal transport"`.
        """
        return {}

    def judge(self, task: Task[M, P]) -> Judge[S]:
        """How good samples of systems of this task are, for the comparison.

        A `Judge` takes a system and a solver, and says how near its samples come to real data: 1 if
        they are as good, 0 if they have nothing of them. For a distance it is `closeness`, for a
        share of what is right that share over that of real data.

        Raises:
            ConfigError: this benchmark takes no part.
        """
        raise ConfigError(
            f"{self.name}: takes no part in comparisons, for it does not say how good samples are "
            "in one number. Name others; see flowatlas bench compare --help."
        )

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
