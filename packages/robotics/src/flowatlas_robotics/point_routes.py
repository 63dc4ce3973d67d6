"""The task with two right answers, for policies that have to look at points."""

from __future__ import annotations

import gymnasium
import numpy as np
from numpy.typing import NDArray

from flowatlas.errors import ConfigError
from flowatlas_robotics.horizon import Episodes
from flowatlas_robotics.rollouts import as_named
from flowatlas_robotics.routes import RouteEnvironment, Scene, demonstrate

__all__ = ["PointRoutes", "demonstrate_point_routes"]

Array = NDArray[np.float64]
#: Half the spread to the side of start, obstacle and goal, and of the obstacle along the way; its
#: smallest and largest radius; radius of the goal: metres.
_START, _ASIDE, _GOAL, _ALONG, _SMALL, _LARGE, _RING = 0.1, 0.4, 0.6, 0.2, 0.2, 0.35, 0.1
#: Standard deviation of the places at which points are seen.
_BLUR = 0.005


class PointRoutes(RouteEnvironment):
    """`TwoRoutes` with obstacle and goal in any place, that are seen as points on their outlines.

    The observation has `"state"`, the place of the walking point `(2,)`; `"obstacle"`, points on
    the outline of the obstacle `(points, 2)`; and `"goal"`, half as many on the ring within which
    the goal is reached. Points are drawn anew at each step, uniformly and in no order, with an
    error of 5 mm. Nothing else tells where the two are: the centre of the obstacle is uniform in
    [0.8, 1.2] x [-0.4, 0.4], its radius in [0.2, 0.35], and the goal in {2} x [-0.6, 0.6].

    Args:
        render_mode: that of `RouteEnvironment`.
        points: how many are seen of the obstacle.

    Raises:
        ConfigError: `points` below 2, another render mode.

    Example:
        ```python
        from flowatlas_robotics import PointRoutes

        seen, _ = PointRoutes(points=30).reset(seed=0)
        assert seen["obstacle"].shape == (30, 2)
        ```
    """

    half_width = 1.2

    def __init__(self, render_mode: str | None = None, *, points: int = 16) -> None:
        super().__init__(render_mode)
        if points < 2:
            raise ConfigError(f"points: got {points}; it must be 2 or more.")
        self.points = points
        self._seen: dict[str, Array] = {}
        shapes = {"state": (2,), "obstacle": (points, 2), "goal": (points // 2, 2)}
        self.observation_space = gymnasium.spaces.Dict(
            {
                name: gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float64)
                for name, shape in shapes.items()
            }
        )

    def draw_scene(self) -> Scene:
        start, along, aside, goal = self.np_random.uniform(-1.0, 1.0, 4)
        return Scene(
            start=np.array([0.0, _START * start]),
            obstacle=np.array([1.0 + _ALONG * along, _ASIDE * aside]),
            radius=float(self.np_random.uniform(_SMALL, _LARGE)),
            goal=np.array([2.0, _GOAL * goal]),
        )

    def look(self) -> dict[str, Array]:
        scene = self.scene
        self._seen = {
            "state": self.place,
            "obstacle": self._outline(scene.obstacle, scene.radius, self.points),
            "goal": self._outline(scene.goal, _RING, self.points // 2),
        }
        return self._seen

    def marks(self) -> tuple[tuple[Array, float, tuple[int, int, int]], ...]:
        dots = np.concatenate([self._seen["obstacle"], self._seen["goal"]])
        return tuple((dot, 0.02, (60, 60, 60)) for dot in dots)

    def _outline(self, center: Array, radius: float, points: int) -> Array:
        angle = self.np_random.uniform(0, 2 * np.pi, points)
        error = _BLUR * self.np_random.standard_normal((points, 2))
        return center + radius * np.stack([np.cos(angle), np.sin(angle)], 1) + error


def demonstrate_point_routes(
    count: int, *, seed: int = 0, noise: float = 0.1, points: int = 16
) -> tuple[Episodes, list[int]]:
    """Scripted demonstrations in `PointRoutes` that take both routes equally often.

    Args:
        count: how many successful episodes.
        seed: of coins, scenes, points and noise.
        noise: standard deviation on each axis of the action, which is at most 1.
        points: how many are seen of the obstacle.

    Returns:
        Episodes with the observations "state", "obstacle" and "goal", and the route of each, 1 or
        2.

    Raises:
        ConfigError: `count` below 1, `points` below 2, `noise` negative or above 0.5.

    Example:
        ```python
        from flowatlas_robotics import demonstrate_point_routes

        episodes, routes = demonstrate_point_routes(4)
        assert episodes.observation["obstacle"].shape[1:] == (16, 2)
        ```
    """
    environment = PointRoutes(points=points)
    return demonstrate(environment, count, seed=seed, noise=noise, observe=as_named)
