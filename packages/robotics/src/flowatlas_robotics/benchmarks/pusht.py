"""`robotics/pusht`: what people did, pushed onwards by a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from flowatlas.benchmarks.contract import Array, Metric, Published
from flowatlas_robotics.benchmarks.policies import (
    SUCCESS,
    PolicyBenchmark,
    held_out,
    success,
    times,
)
from flowatlas_robotics.benchmarks.settings import METHODS, PolicyPreset, PolicyTask
from flowatlas_robotics.horizon import Episodes
from flowatlas_robotics.pusht import (
    PUSHT,
    load_pusht,
    mirrored_pusht,
    pusht_coverage,
)
from flowatlas_robotics.rollouts import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PUSH_T", "PushT", "coverage_scores"]

_CPU = PolicyPreset(
    width=512,
    depth=4,
    demonstrations=206,
    batch=128,
    lr=1e-3,
    steps=6000,
    ema=0.999,
    samples=50,
    threads=1,
)
#: Coverage at which an episode ends, and by which the published score divides.
_ENOUGH = 0.95
_PAPER = "Chi et al., 2023, arXiv:2303.04137, table 1 (state policy)"
_NOTE = (
    "the same demonstrations in the authors' simulator; mean of the last ten checkpoints of three "
    "seeds, trained far longer on a GPU"
)


def coverage_scores(trials: Sequence[Trial]) -> dict[str, float]:
    """Best coverage of each trial, its share of what ends an episode, and how often that happens.

    The score is min(best coverage / 0.95, 1), as published; 1 is a success.
    """
    best = np.array([trial.best["coverage"] for trial in trials])
    return {
        "score": float(np.minimum(best / _ENOUGH, 1).mean()),
        "coverage": float(best.mean()),
        **success(trials, "is_success"),
    }


class PushT(PolicyBenchmark):
    """Push a T onto its mark, as 206 demonstrations by people show."""

    name = "robotics/pusht"
    summary = "push a block onto its mark, taught by people"
    data = PUSHT.name
    licence = PUSHT.licence
    protocol = (
        "All but the last tenth of the 206 demonstrations, each also in the mirror; trials of at "
        "most 300 steps in gym-pusht from starts of other seeds. The score of a trial is its best "
        "coverage over 0.95, at most 1. The regression has the same network, windows and training. "
        "Demonstrations are scored by their best recorded state; their last step is not recorded."
    )
    baselines = {"regression": "least squares", "demonstrations": "demonstrations"}  # noqa: RUF012
    presets = {  # noqa: RUF012
        "cpu": _CPU,
        "gpu": replace(_CPU, width=1024, depth=6, steps=60_000, samples=100, device="auto"),
    }
    methods = {name: METHODS[name] for name in ("target", "flow")}  # noqa: RUF012
    counts = (1, 4, 10)
    judged = "score"
    measure = "score of trials: best coverage over 0.95, at most 1"
    metrics = (
        Metric("score", "score", "higher", 3),
        Metric("coverage", "best coverage", "higher", 3),
        *SUCCESS,
        *times(counts),
    )
    published = (
        Published("score", "Diffusion Policy, convolutions", 0.91, None, _PAPER, False, _NOTE),
        Published("score", "Diffusion Policy, transformer", 0.79, None, _PAPER, False, _NOTE),
        Published("score", "LSTM-GMM", 0.61, None, _PAPER, False, _NOTE),
        Published("score", "IBC", 0.84, None, _PAPER, False, _NOTE),
        Published("score", "BET", 0.70, None, _PAPER, False, _NOTE),
    )

    def demonstrations(self, task: PolicyTask) -> tuple[Episodes, Episodes]:
        episodes = load_pusht(task.data_root)
        count = min(task.preset.demonstrations, len(episodes))
        kept = episodes if count == len(episodes) else episodes.split(count)[0]
        train, validation = held_out(kept)
        return mirrored_pusht(train), validation

    def measures(self, trials: Sequence[Trial]) -> dict[str, float]:
        return coverage_scores(trials)

    def references(self, episodes: Episodes, task: PolicyTask) -> dict[str, float]:
        covered = pusht_coverage(episodes.observation["state"].numpy())
        best = np.array([one.max() for one in np.split(covered, episodes.ends[:-1].numpy())])
        return {
            "demonstrations/coverage": float(best.mean()),
            "demonstrations/score": float(np.minimum(best / _ENOUGH, 1).mean()),
        }

    def drawn(self, seen: Mapping[str, Array]) -> Array:
        """Coverage over time."""
        return pusht_coverage(seen["state"])[:, None]

    def picture(self, panels: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas_robotics.plots import coverage_steps

        best = {name: np.nanmax(lines[:, :, 0], 1) for name, lines in panels.items()}
        return {"share of episodes that cover so much": coverage_steps(best, title=title)}


PUSH_T = PushT()
