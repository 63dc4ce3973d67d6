"""What all benchmarks of policies share: train on demonstrations, try in the environment."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from flowatlas.benchmarks import Fitted, Metric, Outcome, SystemBenchmark
from flowatlas.benchmarks.contract import Array
from flowatlas.solvers import Euler
from flowatlas_robotics.arenas import Arena, arena
from flowatlas_robotics.benchmarks.settings import (
    METHODS,
    PolicyMethod,
    PolicyPreset,
    PolicyTask,
)
from flowatlas_robotics.horizon import Episodes
from flowatlas_robotics.policy import ChunkPolicy, FlowPolicy, RegressionPolicy
from flowatlas_robotics.policy_system import PolicySystem
from flowatlas_robotics.rollouts import Trial
from flowatlas_robotics.statistics import proportion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flowatlas.training import FitResult

__all__ = ["COUNTS", "SUCCESS", "PolicyBenchmark", "held_out", "success", "times"]

P = TypeVar("P", bound=ChunkPolicy)

#: Evaluations of the network for a chunk at which every flow is tried.
COUNTS = (1, 2, 4, 10)
#: Episodes of each kind in a picture.
DRAWN = 40
#: Columns that every policy has; the interval is Wilson's.
SUCCESS = (
    Metric("success", "success", "higher", 3),
    Metric("success_low", "from (95 %)", "", 3),
    Metric("success_high", "to (95 %)", "", 3),
)


class PolicyBenchmark(SystemBenchmark[PolicyMethod, PolicyPreset, PolicySystem]):
    """Train a flow and a regression of the same size on the same windows, and try both.

    A subclass says where demonstrations come from, and how trials are scored and drawn. They take
    place in the arena of the benchmark's name, less `robotics/`.

    Attributes:
        counts: evaluations of the network for a chunk at which the flow is tried.
    """

    methods = METHODS
    counts: tuple[int, ...] = COUNTS

    @abstractmethod
    def demonstrations(self, task: PolicyTask) -> tuple[Episodes, Episodes]:
        """Episodes to learn from, and others to validate by, with the one observation "state"."""

    @abstractmethod
    def measures(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Metrics of trials; `success`, with its interval, among them."""

    @abstractmethod
    def references(self, episodes: Episodes, task: PolicyTask) -> dict[str, float]:
        """Metrics of baselines other than the regression, as `name/key`."""

    @abstractmethod
    def drawn(self, states: Array) -> Array:
        """The line that stands for an episode, `(steps, axes)`, from what was observed."""

    @abstractmethod
    def picture(self, panels: Mapping[str, Array], title: str) -> dict[str, Figure]:
        """Episodes side by side, by caption.

        Args:
            panels: by heading, lines `(episodes, steps, axes)`, NaN after the end of each.
            title: of pictures that have one.
        """

    @property
    def arena(self) -> Arena:
        """Where policies are tried."""
        return arena(self.name.removeprefix("robotics/"))

    def train(self, task: PolicyTask) -> Fitted[PolicySystem]:
        from flowatlas.benchmarks.fitting import loss_arrays

        train, validation = self.demonstrations(task)
        method = task.method
        flow = _untrained(
            FlowPolicy,
            train,
            task,
            evaluations=method.evaluations,
            prediction=method.prediction,
        )
        fitted = _fitted(flow, train, validation, task)
        return Fitted(
            system=PolicySystem(policy=flow, arena=self.arena.name),
            steps=fitted.step,
            seconds=fitted.seconds,
            losses=loss_arrays(fitted.log),
        )

    def score(self, fitted: Fitted[PolicySystem], task: PolicyTask) -> Outcome:
        train, validation = self.demonstrations(task)
        count, chosen = task.preset.samples, task.method.evaluations
        counts = sorted({*self.counts, chosen})
        tried = {
            n: fitted.system.draw(count, seed=task.seed, solver=Euler(n), frames=False)
            for n in counts
        }
        best = tried[chosen]
        metrics = self.measures(best)
        metrics |= {f"success_{n}": self.measures(tried[n])["success"] for n in counts}
        metrics["chunk_ms"] = _milliseconds(best)
        metrics["seconds_training"] = fitted.seconds
        beside = replace(task, directory=task.directory / "regression")
        beside.directory.mkdir(parents=True, exist_ok=True)
        regression = _untrained(RegressionPolicy, train, task)
        _fitted(regression, train, validation, beside)
        plain = self.arena.trials(regression, count, seed=task.seed)
        metrics |= {f"regression/{key}": value for key, value in self.measures(plain).items()}
        metrics["regression/chunk_ms"] = _milliseconds(plain)
        metrics |= self.references(train, task)
        rates = [proportion(round(metrics[f"success_{n}"] * len(best)), len(best)) for n in counts]
        arrays = {
            "counts": np.array(counts),
            "rates": np.array([[rate.value, rate.low, rate.high] for rate in rates]),
            "regression_rate": np.array(metrics["regression/success"]),
            "demonstrations": self._lines(_states(train)),
            "flow": self._lines([trial.observations for trial in best]),
            "regression": self._lines([trial.observations for trial in plain]),
            **fitted.losses,
        }
        # A flow by targets has one evaluation more, at its end.
        extra = int(task.method.prediction == "target")
        return Outcome(metrics=metrics, nfe=chosen + extra, arrays=arrays)

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import loss_curve
        from flowatlas_robotics.plots import success_curve

        validation = (arrays["validation_steps"], arrays["validation"])
        panels = {
            "demonstrations": arrays["demonstrations"],
            "flow": arrays["flow"],
            "least squares": arrays["regression"],
        }
        return {
            **self.picture(panels, title),
            "success against evaluations": success_curve(
                arrays["counts"],
                arrays["rates"],
                regression=float(arrays["regression_rate"]),
                title=title,
            ),
            "loss": loss_curve(
                arrays["loss_steps"], arrays["loss"], validation=validation, title=title
            ),
        }

    def _lines(self, episodes: Sequence[Array]) -> Array:
        """Lines of the first episodes, `(episodes, steps, axes)`; NaN after the end of each."""
        lines = [self.drawn(states) for states in episodes[:DRAWN]]
        made = np.full((len(lines), max(map(len, lines)), lines[0].shape[1]), np.nan)
        for row, line in zip(made, lines, strict=True):
            row[: len(line)] = line
        return made


def _untrained(kind: type[P], train: Episodes, task: PolicyTask, **options: Any) -> P:
    """A policy of the preset's size, with the scales of the demonstrations."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        policy = kind(
            {"state": train.observation["state"].shape[1]},
            train.action.shape[1],
            width=task.preset.width,
            depth=task.preset.depth,
            scaling=task.method.scaling,
            **options,
        )
    policy.fit_normalizer(train)
    return policy


def _fitted(
    policy: ChunkPolicy, train: Episodes, validation: Episodes, task: PolicyTask
) -> FitResult:
    """Train a policy; it has its averaged weights then, and is ready to be asked."""
    # Lightning takes seconds to import, and lists of benchmarks do not need it.
    from flowatlas.benchmarks.fitting import fit_network, load_fitted
    from flowatlas.training import TensorData

    data = TensorData(
        policy.batches(train),
        policy.batches(validation),
        batch_size=task.preset.batch,
        seed=task.seed,
    )
    result = fit_network(policy.network, policy.objective(), data, task)
    load_fitted(result.checkpoint, task.preset, policy.network)
    # A chunk at a time is too little work for an accelerator.
    policy.cpu().eval().requires_grad_(False)
    return result


def _states(episodes: Episodes) -> list[Array]:
    """What was observed in each episode."""
    return np.split(episodes.observation["state"].numpy(), episodes.ends[:-1].numpy())


def _milliseconds(trials: Sequence[Trial]) -> float:
    """Median time of a chunk."""
    return statistics.median(one for trial in trials for one in trial.milliseconds)


def success(trials: Sequence[Trial], key: str = "success") -> dict[str, float]:
    """Success at any time of an episode, with Wilson's 95 % interval.

    Args:
        trials: each with the watched entry `key`.
        key: what tells success.
    """
    rate = proportion(sum(trial.best[key] > 0 for trial in trials), len(trials))
    return {"success": rate.value, "success_low": rate.low, "success_high": rate.high}


def times(counts: Sequence[int]) -> tuple[Metric, ...]:
    """Columns of success by evaluations, and of time."""
    return (
        *(Metric(f"success_{n}", f"success, {n} evaluations", "higher", 3) for n in counts),
        Metric("chunk_ms", "ms a chunk", "lower", 2),
        Metric("seconds_training", "training, s", "", 0),
    )


def held_out(episodes: Episodes) -> tuple[Episodes, Episodes]:
    """All but the last tenth of the episodes, and that tenth, at least one."""
    return episodes.split(len(episodes) - max(1, len(episodes) // 10))
