"""`robotics/avoidance-points`: two right answers, and nothing but points to see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from flowatlas.benchmarks.contract import Array, Metric
from flowatlas_robotics.benchmarks.avoidance import route_scores
from flowatlas_robotics.benchmarks.policies import (
    COUNTS,
    SUCCESS,
    PolicyBenchmark,
    held_out,
    times,
)
from flowatlas_robotics.benchmarks.settings import METHODS, PolicyPreset, PolicyTask
from flowatlas_robotics.benchmarks.training import LEAST_SQUARES, Rival
from flowatlas_robotics.horizon import Episodes
from flowatlas_robotics.point_routes import demonstrate_point_routes
from flowatlas_robotics.policy import FlowPolicy
from flowatlas_robotics.rollouts import Trial
from flowatlas_robotics.statistics import entropy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AVOIDANCE_POINTS", "AvoidancePoints"]

_CPU = PolicyPreset(
    width=256,
    depth=3,
    cloud_width=64,
    demonstrations=1000,
    batch=128,
    lr=1e-3,
    steps=4000,
    ema=0.998,
    samples=200,
    threads=1,
)


class AvoidancePoints(PolicyBenchmark):
    """Pass an obstacle on either side to a goal, both of which are seen as points."""

    name = "robotics/avoidance-points"
    summary = (
        "pass an obstacle on either side to a goal, both of which are seen as clouds of points"
    )
    data = "scripted demonstrators in an environment of ours; half of them take each route"
    licence = "generated here, none needed"
    protocol = (
        "Place and size of the obstacle are in 16 points on its outline alone, the place of the "
        "goal in 8, drawn anew at each step. Success, collisions and routes over trials from "
        "scenes that no demonstration had. Mode entropy is that of the routes of successful "
        "trials over ln 2. All policies have the same network, windows and training; the blind "
        "one is the flow without the points."
    )
    rivals = {  # noqa: RUF012
        "blind": Rival(kind=FlowPolicy, without=("obstacle", "goal")),
        "regression": LEAST_SQUARES,
    }
    baselines = {  # noqa: RUF012
        "blind": "flow without points",
        "regression": "least squares",
        "demonstrations": "demonstrations",
    }
    presets = {  # noqa: RUF012
        "demo": replace(
            _CPU, width=128, demonstrations=200, steps=1000, ema=0.99, lr=2e-3, samples=50
        ),
        "cpu": _CPU,
        "gpu": replace(_CPU, demonstrations=2000, steps=20_000, samples=2000, device="auto"),
    }
    methods = {"flow": METHODS["flow"]}  # noqa: RUF012
    metrics = (
        *SUCCESS,
        Metric("collision", "collisions", "lower", 3),
        Metric("entropy", "mode entropy / ln 2", "higher", 3),
        *times(COUNTS),
    )

    def demonstrations(self, task: PolicyTask) -> tuple[Episodes, Episodes]:
        return held_out(demonstrate_point_routes(task.preset.demonstrations, seed=task.seed)[0])

    def measures(self, trials: Sequence[Trial]) -> dict[str, float]:
        return route_scores(trials)

    def references(self, episodes: Episodes, task: PolicyTask) -> dict[str, float]:
        _, routes = demonstrate_point_routes(task.preset.demonstrations, seed=task.seed)
        return {
            "demonstrations/success": 1.0,
            "demonstrations/collision": 0.0,
            "demonstrations/entropy": entropy(routes) / math.log(2),
        }

    def drawn(self, seen: Mapping[str, Array]) -> Array:
        """Places from the obstacle's centre, in its radii, both by all points of the episode."""
        cloud = seen["obstacle"].reshape(-1, 2)
        center = cloud.mean(0)
        radius = np.hypot(*(cloud - center).T).mean()
        return np.asarray((seen["state"] - center) / radius)

    def picture(self, panels: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas_robotics.plots import routes

        labels = ("along the way, radii", "to the side, radii")
        made = routes(panels, center=0.0, radius=1.0, labels=labels)
        return {"routes past the obstacle, which is the same disc in these coordinates": made}


AVOIDANCE_POINTS = AvoidancePoints()
