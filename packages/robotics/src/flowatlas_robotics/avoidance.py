"""A task with two right answers: pass an obstacle on the left or on the right."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from flowatlas.errors import ConfigError
from flowatlas_robotics.films import discs
from flowatlas_robotics.horizon import Episodes

__all__ = ["TwoRoutes", "demonstrate_routes"]

Array = NDArray[np.float64]
#: Centre of the obstacle along the way and its radius, place of the goal and radius within which
#: it is reached: all in metres.
_CENTER, _RADIUS, _GOAL, _REACHED = 1.0, 0.3, 2.0, 0.1
#: Metres per step at full speed; half the spread of start and obstacle to the sides; longest time.
_STEP, _JITTER, _LIMIT = 0.05, 0.1, 100
#: Pixels of pictures: their places along the way and, from the top, to the side.
_ACROSS, _UP = np.linspace(-0.15, 2.15, 276), np.linspace(0.77, -0.77, 184)


class TwoRoutes(gymnasium.Env[Array, Array]):
    """A point walks to a goal behind a round obstacle, which it may pass on either side.

    The observation is (x, y, obstacle y): the start lies about (0, 0), the obstacle about (1, 0),
    both shifted to the side by chance, the goal at (2, 0). The action is a velocity in [-1, 1]^2;
    faster ones are clipped. An episode ends at the goal, at a collision, or after 100 steps. `info`
    says `success`, `collision` and `route`: 1 and 2 for above and below once the obstacle is
    passed, 0 before.

    The mean of the two routes leads into the obstacle, so that a regression on demonstrations of
    both has to fail, and a policy that keeps but one route is seen as well.

    Args:
        render_mode: `"rgb_array"` for pictures by `render()`, as gymnasium calls it.

    Raises:
        ConfigError: another render mode; at a call of `render()`, none.

    Example:
        ```python
        from flowatlas_robotics import TwoRoutes

        seen, _ = TwoRoutes().reset(seed=0)
        assert seen.shape == (3,)
        ```
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode: got {render_mode!r}; allowed is 'rgb_array', or None.")
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float64)
        self._place = np.zeros(2)
        self._trail: list[Array] = []
        self._obstacle = np.zeros(2)
        self._steps = 0
        self._route = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        start, shift = self.np_random.uniform(-_JITTER, _JITTER, 2)
        self._place = np.array([0.0, start])
        self._trail = [self._place]
        self._obstacle = np.array([_CENTER, shift])
        self._steps = 0
        self._route = 0
        return self._seen(), self._info()

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One step of at most 5 cm along each axis.

        Raises:
            ConfigError: an action that is not two finite numbers.
        """
        move = np.asarray(action, dtype=np.float64)
        if move.shape != (2,) or not np.isfinite(move).all():
            raise ConfigError(f"action: got {action}; it must be two finite numbers.")
        self._place = self._place + _STEP * np.clip(move, -1.0, 1.0)
        self._trail.append(self._place)
        self._steps += 1
        offset = self._place - self._obstacle
        if self._route == 0 and offset[0] >= 0:
            self._route = 1 if offset[1] > 0 else 2
        info = self._info()
        ended = info["success"] or info["collision"]
        return self._seen(), float(info["success"]), ended, self._steps >= _LIMIT, info

    def render(self) -> NDArray[np.uint8]:
        """Goal, obstacle, where the point has been and where it is: `(184, 276, 3)`."""
        if self.render_mode is None:
            raise ConfigError('render_mode: got None; pictures need TwoRoutes("rgb_array").')
        shown = (
            (np.array([_GOAL, 0.0]), _REACHED, (160, 215, 165)),
            (self._obstacle, _RADIUS, (170, 170, 170)),
            *((place, 0.01, (150, 185, 225)) for place in self._trail),
            (self._place, 0.03, (30, 90, 170)),
        )
        return discs(_ACROSS, _UP, shown)

    def _seen(self) -> Array:
        return np.array([*self._place, self._obstacle[1]])

    def _info(self) -> dict[str, Any]:
        offset = self._place - self._obstacle
        return {
            "success": bool(math.hypot(self._place[0] - _GOAL, self._place[1]) < _REACHED),
            "collision": bool(np.linalg.norm(offset) < _RADIUS),
            "route": self._route,
        }


def demonstrate_routes(
    count: int, *, seed: int = 0, noise: float = 0.1
) -> tuple[Episodes, list[int]]:
    """Scripted demonstrations that take both routes equally often.

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
    if count < 1 or not 0 <= noise <= 0.5:
        raise ConfigError(
            f"count, noise: got {count}, {noise}; count must be 1 or more, noise in [0, 0.5]."
        )
    random, environment = np.random.default_rng(seed), TwoRoutes()
    parts: list[tuple[dict[str, torch.Tensor], torch.Tensor]] = []
    routes: list[int] = []
    while len(parts) < count:
        state, _ = environment.reset(seed=int(random.integers(2**31)))
        side = random.choice([-1.0, 1.0])
        clearance = _RADIUS + random.uniform(0.15, 0.3)
        seen, done = [], []
        ended, info = False, {"success": False, "route": 0}
        while not ended:
            action = _towards(state, side, clearance) + noise * random.standard_normal(2)
            action = np.clip(action, -1.0, 1.0)
            seen.append(state)
            done.append(action)
            state, _, terminated, truncated, info = environment.step(action)
            ended = terminated or truncated
        if info["success"]:
            parts.append(({"state": _rows(seen)}, _rows(done)))
            routes.append(int(info["route"]))
    return Episodes.join(parts), routes


def _towards(state: Array, side: float, clearance: float) -> Array:
    """Full speed to the next of three places: beside the obstacle, behind it, the goal."""
    x, y, shift = state
    beside = shift + side * clearance
    if x < _CENTER - _RADIUS:
        aim = np.array([_CENTER - _RADIUS / 2, beside])
    elif x < _CENTER + _RADIUS / 2:
        aim = np.array([_CENTER + _RADIUS, beside])
    else:
        aim = np.array([_GOAL, 0.0])
    way = aim - np.array([x, y])
    distance = max(float(np.linalg.norm(way)), 1e-9)
    slow: Array = way / max(distance, _STEP)
    return slow


def _rows(values: list[Array]) -> torch.Tensor:
    return torch.from_numpy(np.stack(values)).float()
