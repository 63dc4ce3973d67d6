"""What all benchmarks of policies share: train on demonstrations, try in the environment."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.contract import Array, Benchmark, Metric, Outcome, Task
from flowatlas.benchmarks.fitting import fit_network, load_fitted, loss_arrays
from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.preset import Preset
from flowatlas.training import FitResult, TensorData
from flowatlas_robotics.horizon import Episodes
from flowatlas_robotics.policy import ChunkPolicy, FlowPolicy, RegressionPolicy
from flowatlas_robotics.rollouts import Trial
from flowatlas_robotics.statistics import proportion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "METHODS",
    "SUCCESS",
    "TIMES",
    "PolicyBenchmark",
    "PolicyMethod",
    "PolicyPreset",
    "PolicyTask",
    "success",
]

#: Evaluations of the network for a chunk at which every flow is tried.
COUNTS = (1, 2, 4, 10)


@dataclass(frozen=True, kw_only=True)
class PolicyMethod(Method):
    """A flow policy, and how its chunks are drawn.

    Attributes:
        evaluations: Euler steps for a chunk, of the headline numbers.
        scaling: of observations and actions, `"limits"` or `"standard"`.
    """

    evaluations: int = 4
    scaling: str = "limits"

    def __post_init__(self) -> None:
        require(self.evaluations >= 1, "evaluations", self.evaluations, "1 or more")
        allowed = self.scaling in ("limits", "standard")
        require(allowed, "scaling", self.scaling, "limits or standard")


@dataclass(frozen=True, kw_only=True)
class PolicyPreset(Preset):
    """Network, demonstrations and trials.

    Attributes:
        width: units of each hidden layer.
        depth: hidden layers.
        demonstrations: episodes to learn from; a tenth of them, at least one, for validation.
        The others are those of `Preset`; `samples` counts trials of each policy.
    """

    width: int = 512
    depth: int = 4
    demonstrations: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.demonstrations >= 2, "demonstrations", self.demonstrations, "2 or more")


PolicyTask = Task[PolicyMethod, PolicyPreset]
METHODS = {"flow": PolicyMethod(name="flow", summary="chunks of actions by a flow from noise")}
#: Columns that every policy has; the interval is Wilson's.
SUCCESS = (
    Metric("success", "success", "higher", 3),
    Metric("success_low", "from (95 %)", "", 3),
    Metric("success_high", "to (95 %)", "", 3),
)
TIMES = (
    *(Metric(f"success_{n}", f"success, {n} evaluations", "higher", 3) for n in COUNTS),
    Metric("chunk_ms", "ms a chunk", "lower", 2),
    Metric("seconds_training", "training, s", "", 0),
)


class PolicyBenchmark(Benchmark[PolicyMethod, PolicyPreset]):
    """Train a flow and a regression of the same size on the same windows, and try both.

    A subclass says where demonstrations come from and how a policy is tried and scored.
    """

    methods = METHODS
    observation: str = "state"

    @abstractmethod
    def demonstrations(self, task: PolicyTask) -> Episodes:
        """Episodes to learn from, with the one observation `self.observation`."""

    @abstractmethod
    def trials(self, policy: ChunkPolicy, task: PolicyTask, evaluations: int) -> list[Trial]:
        """The policy at work, from starts that are the same for every policy."""

    @abstractmethod
    def score(self, trials: Sequence[Trial], task: PolicyTask) -> dict[str, float]:
        """Metrics of trials, `success` among them."""

    @abstractmethod
    def references(self, episodes: Episodes, task: PolicyTask) -> dict[str, float]:
        """Metrics of baselines other than the regression, as `name/key`."""

    @abstractmethod
    def pictures(
        self, flow: Sequence[Trial], regression: Sequence[Trial], episodes: Episodes
    ) -> dict[str, Array]:
        """What the benchmark's own picture needs."""

    @abstractmethod
    def picture(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        """The benchmark's own pictures, by caption."""

    def run(self, task: PolicyTask) -> Outcome:
        episodes = self.demonstrations(task)
        flow, fitted = self._trained(FlowPolicy, episodes, task)
        flow.save_pretrained(task.directory / "policy")
        counts = sorted({*COUNTS, task.method.evaluations})
        tried = {n: self.trials(flow, task, n) for n in counts}
        best = tried[task.method.evaluations]
        metrics = self.score(best, task)
        metrics |= {f"success_{n}": self.score(tried[n], task)["success"] for n in counts}
        metrics["chunk_ms"] = _milliseconds(best)
        metrics["seconds_training"] = fitted.seconds
        beside = replace(task, directory=task.directory / "regression")
        beside.directory.mkdir(parents=True, exist_ok=True)
        regression, _ = self._trained(RegressionPolicy, episodes, beside)
        plain = self.trials(regression, task, 1)
        metrics |= {f"regression/{key}": value for key, value in self.score(plain, task).items()}
        metrics["regression/chunk_ms"] = _milliseconds(plain)
        metrics |= self.references(episodes, task)
        rates = [proportion(round(metrics[f"success_{n}"] * len(best)), len(best)) for n in counts]
        arrays = {
            "counts": np.array(counts),
            "rates": np.array([[rate.value, rate.low, rate.high] for rate in rates]),
            "regression_rate": np.array(metrics["regression/success"]),
            **self.pictures(best, plain, episodes),
            **loss_arrays(fitted.log),
        }
        return Outcome(metrics=metrics, nfe=task.method.evaluations, arrays=arrays)

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import loss_curve
        from flowatlas_robotics.plots import success_curve

        validation = (arrays["validation_steps"], arrays["validation"])
        return {
            **self.picture(arrays, title),
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

    def _trained(
        self, kind: type[ChunkPolicy], episodes: Episodes, task: PolicyTask
    ) -> tuple[ChunkPolicy, FitResult]:
        """A policy with averaged weights, ready to be asked."""
        preset = task.preset
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(task.seed)
            policy = kind(
                {self.observation: episodes.observation[self.observation].shape[1]},
                episodes.action.shape[1],
                width=preset.width,
                depth=preset.depth,
                evaluations=None if kind is RegressionPolicy else task.method.evaluations,
                scaling=task.method.scaling,
            )
        train, validation = episodes.split(len(episodes) - max(1, len(episodes) // 10))
        policy.fit_normalizer(train)
        data = TensorData(
            policy.batches(train),
            policy.batches(validation),
            batch_size=preset.batch,
            seed=task.seed,
        )
        result = fit_network(policy.network, policy.objective(), data, task)
        load_fitted(result.checkpoint, preset, policy.network)
        # A chunk at a time is too little work for an accelerator.
        return policy.cpu().eval().requires_grad_(False), result


def _milliseconds(trials: Sequence[Trial]) -> float:
    """Median time of a chunk."""
    return statistics.median(one for trial in trials for one in trial.milliseconds)


def success(trials: Sequence[Trial]) -> dict[str, float]:
    """Success at any time of an episode, with Wilson's 95 % interval."""
    rate = proportion(sum(trial.best["success"] > 0 for trial in trials), len(trials))
    return {"success": rate.value, "success_low": rate.low, "success_high": rate.high}
