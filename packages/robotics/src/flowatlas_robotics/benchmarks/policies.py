"""What all benchmarks of policies share: train on demonstrations, try in the environment."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from flowatlas.benchmarks import Fitted, Judge, Metric, Outcome, SystemBenchmark
from flowatlas.benchmarks.contract import Array
from flowatlas.solvers import Euler, Solver
from flowatlas_robotics.arenas import Arena, arena
from flowatlas_robotics.benchmarks.settings import (
    METHODS,
    PolicyMethod,
    PolicyPreset,
    PolicyTask,
)
from flowatlas_robotics.benchmarks.training import LEAST_SQUARES, Rival, trained, untrained
from flowatlas_robotics.horizon import Episodes
from flowatlas_robotics.policy import FlowPolicy
from flowatlas_robotics.policy_system import PolicySystem
from flowatlas_robotics.rollouts import Trial
from flowatlas_robotics.statistics import proportion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COUNTS", "SUCCESS", "PolicyBenchmark", "held_out", "success", "times"]

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
    """Train a flow and its rivals, of the same size and on the same windows, and try them all.

    A subclass says where demonstrations come from, and how trials are scored and drawn. They take
    place in the arena of the benchmark's name, less `robotics/`.

    Attributes:
        counts: evaluations of the network for a chunk at which the flow is tried.
        rivals: policies that are trained beside the flow, among the baselines by name.
        judged: the measure of trials that stands for quality in `flowatlas bench compare`; 1 where
            all trials reach what is asked for, as demonstrations do.
    """

    methods = METHODS
    counts: tuple[int, ...] = COUNTS
    rivals: Mapping[str, Rival] = MappingProxyType({"regression": LEAST_SQUARES})
    judged: str = "success"
    measure = "success of trials, over that of demonstrations"

    @abstractmethod
    def demonstrations(self, task: PolicyTask) -> tuple[Episodes, Episodes]:
        """Episodes to learn from, and others to validate by."""

    @abstractmethod
    def measures(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Metrics of trials; `success`, with its interval, among them."""

    @abstractmethod
    def references(self, episodes: Episodes, task: PolicyTask) -> dict[str, float]:
        """Metrics of baselines that are no rivals, as `name/key`."""

    @abstractmethod
    def drawn(self, seen: Mapping[str, Array]) -> Array:
        """The line that stands for an episode, `(steps, axes)`, from its observations by name."""

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

    @property
    def couplings(self) -> Mapping[str, str]:
        # No two windows have the same observation, so that chunks may not be dealt out anew among
        # the noise of a batch: what is near in a batch was not the answer to what was seen.
        return {"independent": self.default_method}

    def judge(self, task: PolicyTask) -> Judge[PolicySystem]:
        def judged(system: PolicySystem, solver: Solver) -> float:
            count = task.preset.samples
            trials = system.draw(count, seed=task.seed, solver=solver, frames=False)
            return self.measures(trials)[self.judged]

        return judged

    def train(self, task: PolicyTask) -> Fitted[PolicySystem]:
        from flowatlas.benchmarks.fitting import loss_arrays

        train, validation = self.demonstrations(task)
        method = task.method
        flow = untrained(
            FlowPolicy, train, task, evaluations=method.evaluations, prediction=method.prediction
        )
        fitted = trained(flow, train, validation, task)
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
        metrics = {**self.measures(best), **_milliseconds(best)}
        metrics |= {f"success_{n}": self.measures(tried[n])["success"] for n in counts}
        metrics["seconds_training"] = fitted.seconds
        arrays = {
            "demonstrations": self._lines(_split(train)),
            "flow": self._lines([trial.observations for trial in best]),
        }
        for name, rival in self.rivals.items():
            beside = replace(task, directory=task.directory / name)
            beside.directory.mkdir(parents=True, exist_ok=True)
            policy = untrained(rival.kind, train, task, without=rival.without)
            trained(policy, train, validation, beside)
            trials = self.arena.trials(policy, count, seed=task.seed)
            found = {**self.measures(trials), **_milliseconds(trials)}
            metrics |= {f"{name}/{key}": value for key, value in found.items()}
            arrays[name] = self._lines([trial.observations for trial in trials])
        metrics |= self.references(train, task)
        rates = [proportion(round(metrics[f"success_{n}"] * len(best)), len(best)) for n in counts]
        arrays |= {
            "counts": np.array(counts),
            "rates": np.array([[rate.value, rate.low, rate.high] for rate in rates]),
            "rival_rates": np.array([metrics[f"{name}/success"] for name in self.rivals]),
            **fitted.losses,
        }
        return Outcome(metrics=metrics, nfe=chosen, arrays=arrays)

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import loss_curve
        from flowatlas_robotics.plots import success_curve

        validation = (arrays["validation_steps"], arrays["validation"])
        rivals = {name: self.baselines[name] for name in self.rivals}
        headings = {"demonstrations": "demonstrations", "flow": "flow", **rivals}
        panels = {heading: arrays[name] for name, heading in headings.items()}
        return {
            **self.picture(panels, title),
            "success against evaluations": success_curve(
                arrays["counts"],
                arrays["rates"],
                rivals=dict(zip(rivals.values(), arrays["rival_rates"], strict=True)),
                title=title,
            ),
            "loss": loss_curve(
                arrays["loss_steps"], arrays["loss"], validation=validation, title=title
            ),
        }

    def _lines(self, episodes: Sequence[Mapping[str, Array]]) -> Array:
        """Lines of the first episodes, `(episodes, steps, axes)`; NaN after the end of each."""
        lines = [self.drawn(seen) for seen in episodes[:DRAWN]]
        made = np.full((len(lines), max(map(len, lines)), lines[0].shape[1]), np.nan)
        for row, line in zip(made, lines, strict=True):
            row[: len(line)] = line
        return made


def _split(episodes: Episodes) -> list[dict[str, Array]]:
    """What was observed in each episode."""
    parts = {
        name: np.split(value.numpy(), episodes.ends[:-1].numpy())
        for name, value in episodes.observation.items()
    }
    return [{name: part[i] for name, part in parts.items()} for i in range(len(episodes))]


def _milliseconds(trials: Sequence[Trial]) -> dict[str, float]:
    """Times of a chunk: CPU time of the fastest tenth, and the median on the clock.

    All chunks are the same work, and other programs can but slow it, by taking the core and by
    taking the caches, which is CPU time of the policy: the fastest tenth have met the fewest.
    """
    computed = [one for trial in trials for one in trial.cpu_milliseconds]
    return {
        "chunk_cpu_ms": float(np.quantile(computed, 0.1)),
        "chunk_ms": statistics.median(one for trial in trials for one in trial.milliseconds),
    }


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
        Metric("chunk_cpu_ms", "ms of CPU time a chunk, fastest tenth", "lower", 2),
        Metric("chunk_ms", "ms a chunk on the clock, median", "lower", 2),
        Metric("seconds_training", "training, s", "", 0),
    )


def held_out(episodes: Episodes) -> tuple[Episodes, Episodes]:
    """All but the last tenth of the episodes, and that tenth, at least one."""
    return episodes.split(len(episodes) - max(1, len(episodes) // 10))
