"""Where policies are tried, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from flowatlas.errors import ConfigError
from flowatlas.plugins import close_matches
from flowatlas.solvers import Solver
from flowatlas_robotics.avoidance import TwoRoutes
from flowatlas_robotics.films import discs
from flowatlas_robotics.metaworld import METAWORLD_TASKS, metaworld_environment
from flowatlas_robotics.point_routes import PointRoutes
from flowatlas_robotics.policy import ChunkPolicy
from flowatlas_robotics.pusht import pusht_environment
from flowatlas_robotics.rollouts import Observe, Trial, as_named, as_state, rollout

__all__ = ["ARENAS", "Arena", "arena"]

Environment = gymnasium.Env[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Arena:
    """An environment, and how policies are tried in it.

    Attributes:
        name: of it.
        make: an environment from a seed, with pictures by `render()` if the second is true.
        watch: entries of its `info` of which trials keep the best; the first ends a trial.
        limit: longest trial, steps.
        held_out: seeds of trials begin here, far from those of demonstrations.
        reseeds: whether each trial has a seed of its own, or the environment one for all.
        rate: of films, frames per second.
        observe: from its observations to arrays by the policy's names.

    Example:
        ```python
        from flowatlas_robotics import arena

        assert arena("avoidance").limit == 100
        ```
    """

    name: str
    make: Callable[[int, bool], Environment]
    watch: tuple[str, ...] = ("success",)
    limit: int = 300
    held_out: int = 10_000
    reseeds: bool = False
    rate: float = 20.0
    observe: Observe = as_state

    def trials(
        self,
        policy: ChunkPolicy,
        count: int,
        *,
        seed: int = 0,
        evaluations: int | None = None,
        solver: Solver | None = None,
        frames: bool = False,
    ) -> list[Trial]:
        """A policy at work, from starts that are the same for every policy.

        Args:
            policy: trained, for what is observed here.
            count: how many trials.
            seed: of starts and of the policy's noise.
            evaluations: as `predict_action` takes them.
            solver: likewise.
            frames: whether to keep pictures of each step.
        """
        first = self.held_out + seed * count
        environment = self.make(self.held_out + seed, frames)
        try:
            return rollout(
                policy,
                environment,
                count,
                watch=self.watch,
                stop=self.watch[0],
                limit=self.limit,
                seed=seed,
                reset_seeds=range(first, first + count) if self.reseeds else None,
                evaluations=evaluations,
                solver=solver,
                observe=self.observe,
                frames=frames,
            )
        finally:
            environment.close()


class _HandView(gymnasium.Env[Any, Any]):
    """Meta-World from the side and from above, drawn from what is observed: no OpenGL is needed."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self, environment: Environment) -> None:
        self._inner = environment
        self.observation_space = environment.observation_space
        self.action_space = environment.action_space
        self._seen = np.zeros(39)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        self._seen, info = self._inner.reset(seed=seed, options=options)
        return self._seen, info

    def step(self, action: Any) -> tuple[NDArray[Any], Any, bool, bool, dict[str, Any]]:
        self._seen, reward, terminated, truncated, info = self._inner.step(action)
        return self._seen, reward, terminated, truncated, info

    def render(self) -> Any:
        across = np.linspace(0.3, 1.0, 168)
        views = []
        # Metres: depth to the right; height, or the side, upwards.
        for axis, up in ((2, np.linspace(0.5, -0.1, 144)), (0, np.linspace(0.3, -0.3, 144))):
            shown = (
                (self._seen[36:39], 0.03, (160, 215, 165)),
                (self._seen[4:7], 0.02, (170, 170, 170)),
                (self._seen[:3], 0.015, (30, 90, 170)),
            )
            views.append(
                discs(across, up, [(place[[1, axis]], size, hue) for place, size, hue in shown])
            )
        views.insert(1, np.full((144, 4, 3), 220, np.uint8))
        return np.concatenate(views, 1)

    def close(self) -> None:
        self._inner.close()


def _avoidance(seed: int, render: bool) -> Environment:
    return TwoRoutes("rgb_array" if render else None)


def _avoidance_points(seed: int, render: bool) -> Environment:
    return PointRoutes("rgb_array" if render else None)


def _pusht(seed: int, render: bool) -> Environment:
    return pusht_environment(render=render)


def _metaworld(task: str, seed: int, render: bool) -> Environment:
    made = metaworld_environment(task, seed=seed)
    return _HandView(made) if render else made


#: Every arena by name.
ARENAS = {
    one.name: one
    for one in (
        Arena(
            name="avoidance",
            make=_avoidance,
            watch=("success", "collision", "route"),
            limit=100,
            held_out=1_000_000,
            reseeds=True,
        ),
        Arena(
            name="avoidance-points",
            make=_avoidance_points,
            watch=("success", "collision", "route"),
            limit=100,
            held_out=1_000_000,
            reseeds=True,
            observe=as_named,
        ),
        Arena(
            name="pusht",
            make=_pusht,
            watch=("is_success", "coverage"),
            held_out=100_000,
            reseeds=True,
            rate=10.0,
        ),
        *(
            Arena(name=f"metaworld-{task.removesuffix('-v3')}", make=partial(_metaworld, task))
            for task in METAWORLD_TASKS
        ),
    )
}


def arena(name: str) -> Arena:
    """An arena by name.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in ARENAS:
        raise ConfigError(
            f"arena: got {name!r}.{close_matches(name, ARENAS)} Allowed: {', '.join(ARENAS)}."
        )
    return ARENAS[name]
