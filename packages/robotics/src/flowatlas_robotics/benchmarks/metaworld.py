"""`robotics/metaworld-*`: a robot arm at a table, taught by scripted experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from flowatlas.benchmarks.contract import Array
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
from flowatlas_robotics.metaworld import demonstrate_metaworld
from flowatlas_robotics.rollouts import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DRAWER_OPEN", "PICK_PLACE", "PUSH", "REACH", "MetaWorld"]

_CPU = PolicyPreset(
    width=512,
    depth=4,
    demonstrations=50,
    batch=256,
    lr=1e-3,
    steps=1000,
    ema=0.995,
    samples=50,
    threads=1,
)


class MetaWorld(PolicyBenchmark):
    """One of Meta-World's tasks, from its state of 39 numbers.

    Args:
        task: as Meta-World calls it.
        summary: what is to be done.
    """

    data = "episodes of Meta-World's scripted expert, with noise of 0.1 on its actions"
    licence = "MIT (Meta-World); generated here"
    protocol = (
        "Demonstrations from the starts and goals of one seed, trials from those of another; "
        "success at any time within 300 steps. The regression has the same network, windows and "
        "training; the expert acts without noise, on other starts of its own."
    )
    baselines = {"regression": "least squares", "expert": "scripted expert"}  # noqa: RUF012
    presets = {  # noqa: RUF012
        "demo": replace(
            _CPU, width=256, depth=3, demonstrations=25, steps=400, lr=2e-3, ema=0.98, samples=10
        ),
        "cpu": _CPU,
        "gpu": replace(_CPU, demonstrations=200, steps=10_000, samples=100, device="auto"),
    }
    metrics = (*SUCCESS, *times(COUNTS))

    def __init__(self, task: str, summary: str) -> None:
        self.task = task
        self.name = f"robotics/metaworld-{task.removesuffix('-v3')}"
        self.summary = summary

    def demonstrations(self, task: PolicyTask) -> tuple[Episodes, Episodes]:
        episodes, _ = demonstrate_metaworld(self.task, task.preset.demonstrations, seed=task.seed)
        return held_out(episodes)

    def measures(self, trials: Sequence[Trial]) -> dict[str, float]:
        return success(trials)

    def references(self, episodes: Episodes, task: PolicyTask) -> dict[str, float]:
        count = task.preset.samples
        _, failed = demonstrate_metaworld(
            self.task, count, seed=self.arena.held_out + task.seed, noise=0.0, after=0
        )
        return {"expert/success": count / (count + failed)}

    def drawn(self, seen: Mapping[str, Array]) -> Array:
        """Places of the hand."""
        return seen["state"][:, :3]

    def picture(self, panels: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas_robotics.plots import hands

        return {"the hand from the side, a line an episode": hands(panels)}


REACH = MetaWorld("reach-v3", "reach a goal in space with a robot arm")
PUSH = MetaWorld("push-v3", "push a puck to a goal with a robot arm")
PICK_PLACE = MetaWorld("pick-place-v3", "pick a puck up and hold it at a goal in the air")
DRAWER_OPEN = MetaWorld("drawer-open-v3", "pull a drawer open with a robot arm")
