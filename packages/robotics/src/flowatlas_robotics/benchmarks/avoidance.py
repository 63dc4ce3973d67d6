"""`robotics/avoidance`: two right answers, whose mean is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from flowatlas.benchmarks.contract import Array, Metric
from flowatlas_robotics.avoidance import demonstrate_routes
from flowatlas_robotics.benchmarks.policies import (
    COUNTS,
    SUCCESS,
    PolicyBenchmark,
    held_out,
    success,
    times,
)
from flowatlas_robotics.benchmarks.settings import PolicyPreset, PolicyTask
from flowatlas_robotics.horizon import Episodes
from flowatlas_robotics.rollouts import Trial
from flowatlas_robotics.statistics import entropy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AVOIDANCE", "Avoidance", "route_scores"]

_CPU = PolicyPreset(
    width=256,
    depth=4,
    demonstrations=400,
    batch=256,
    lr=1e-3,
    steps=4000,
    ema=0.999,
    samples=500,
    threads=1,
)


def route_scores(trials: Sequence[Trial]) -> dict[str, float]:
    """Success, collisions, and how evenly the successful trials take the two routes.

    The entropy is in units of that of two equal shares, ln 2; it is 0 if no trial succeeds.
    """
    routes = [int(trial.best["route"]) for trial in trials if trial.best["success"] > 0]
    collided = sum(trial.best["collision"] > 0 for trial in trials) / len(trials)
    spread = entropy(routes) / math.log(2) if routes else 0.0
    return {**success(trials), "collision": collided, "entropy": spread}


class Avoidance(PolicyBenchmark):
    """Pass an obstacle on either side, as the demonstrators did."""

    name = "robotics/avoidance"
    summary = "pass an obstacle on the left or on the right: both are right, their mean is not"
    data = "scripted demonstrators in an environment of ours; half of them take each route"
    licence = "generated here, none needed"
    protocol = (
        "Success, collisions and routes over trials from starts and obstacles that no "
        "demonstration had. Mode entropy is that of the routes of successful trials over ln 2. "
        "The regression has the same network, windows and training."
    )
    baselines = {"regression": "least squares", "demonstrations": "demonstrations"}  # noqa: RUF012
    presets = {  # noqa: RUF012
        "demo": replace(_CPU, width=128, depth=3, steps=3000, ema=0.995, samples=200, lr=2e-3),
        "cpu": _CPU,
        "gpu": replace(_CPU, demonstrations=2000, steps=20_000, samples=2000, device="auto"),
    }
    metrics = (
        *SUCCESS,
        Metric("collision", "collisions", "lower", 3),
        Metric("entropy", "mode entropy / ln 2", "higher", 3),
        *times(COUNTS),
    )

    def demonstrations(self, task: PolicyTask) -> tuple[Episodes, Episodes]:
        return held_out(demonstrate_routes(task.preset.demonstrations, seed=task.seed)[0])

    def measures(self, trials: Sequence[Trial]) -> dict[str, float]:
        return route_scores(trials)

    def references(self, episodes: Episodes, task: PolicyTask) -> dict[str, float]:
        _, routes = demonstrate_routes(task.preset.demonstrations, seed=task.seed)
        return {
            "demonstrations/success": 1.0,
            "demonstrations/collision": 0.0,
            "demonstrations/entropy": entropy(routes) / math.log(2),
        }

    def drawn(self, seen: Mapping[str, Array]) -> Array:
        """Places relative to the obstacle's height."""
        states = seen["state"]
        return np.stack([states[:, 0], states[:, 1] - states[:, 2]], 1)

    def picture(self, panels: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas_robotics.plots import routes

        return {"routes past the obstacle, which is at rest in these coordinates": routes(panels)}


AVOIDANCE = Avoidance()
