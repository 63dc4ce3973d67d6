"""A task with two right answers: pass an obstacle on the left or on the right."""

from __future__ import annotations

import gymnasium
import numpy as np
from numpy.typing import NDArray

from flowatlas_robotics.horizon import Episodes
from flowatlas_robotics.rollouts import as_state
from flowatlas_robotics.routes import RouteEnvironment, Scene, demonstrate

__all__ = ["TwoRoutes", "demonstrate_routes"]

Array = NDArray[np.float64]
#: Centre of the obstacle along the way and its radius; half the spread of start and obstacle to the
#: sides; the goal: all in metres.
_CENTER, _RADIUS, _JITTER, _GOAL = 1.0, 0.3, 0.1, np.array([2.0, 0.0])


class TwoRoutes(RouteEnvironment):
    """A point walks to a goal behind a round obstacle, which it may pass on either side.

    The observation is (x, y, obstacle y): the start lies about (0, 0), the obstacle about (1, 0),
    both shifted to the side by chance, the goal at (2, 0). The action is a velocity in [-1, 1]^2;
    faster ones are clipped. An episode ends at the goal, at a collision, or after 100 steps. `info`
    says `success`, `collision` and `route`: 1 and 2 for above and below once the obstacle is
    passed, 0 before.

    The mean of the two routes leads into the obstacle, so that a regression on demonstrations of
    both has to fail, and a policy that keeps but one route is seen as well.

    Args: those of `RouteEnvironment`.

    Example:
        ```python
        from flowatlas_robotics import TwoRoutes

        seen, _ = TwoRoutes().reset(seed=0)
        assert seen.shape == (3,)
        ```
    """

    half_width = 0.77

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)

    def draw_scene(self) -> Scene:
        start, shift = self.np_random.uniform(-_JITTER, _JITTER, 2)
        return Scene(np.array([0.0, start]), np.array([_CENTER, shift]), _RADIUS, _GOAL)

    def look(self) -> Array:
        return np.array([*self.place, self.scene.obstacle[1]])

    def marks(self) -> tuple[()]:
        return ()


def demonstrate_routes(
    count: int, *, seed: int = 0, noise: float = 0.1
) -> tuple[Episodes, list[int]]:
    """Scripted demonstrations in `TwoRoutes` that take both routes equally often.

    A demonstrator tosses a coin, walks to a place beside the obstacle, past it, and to the goal,
    with noise on its actions. Trials that collide are left out.

    Args:
        count: how many successful episodes.
        seed: of coins, starts and noise.
        noise: standard deviation on each axis of the action, which is at most 1.

    Returns:
        Episodes with the observation "state", and the route of each, 1 or 2.

    Raises:
        ConfigError: `count` below 1, `noise` negative or above 0.5, where most would collide.

    Example:
        ```python
        from flowatlas_robotics import demonstrate_routes

        episodes, routes = demonstrate_routes(4)
        assert len(episodes) == 4 and set(routes) <= {1, 2}
        ```
    """
    return demonstrate(TwoRoutes(), count, seed=seed, noise=noise, observe=as_state)
