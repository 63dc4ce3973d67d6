"""Walks past an obstacle to a goal, on either side: what all such environments share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from flowatlas.errors import ConfigError
from flowatlas_robotics.films import discs
from flowatlas_robotics.horizon import Episodes
from flowatlas_robotics.rollouts import Observe

__all__ = ["RouteEnvironment", "Scene", "demonstrate"]

Array = NDArray[np.float64]
#: Distance to the goal at which it is reached, largest step along each axis: metres.
_REACHED, _STEP = 0.1, 0.05
#: Longest walk, steps.
_LIMIT = 100
#: Metres along the way and pixels of pictures there, whose scale is that to the side as well.
_FROM, _TO, _COLUMNS = -0.15, 2.15, 276


@dataclass(frozen=True)
class Scene:
    """Where a walk begins, what is in its way, and where it leads.

    Attributes:
        start: `(2,)`, metres.
        obstacle: `(2,)`, centre of a disc.
        radius: of it.
        goal: `(2,)`.
    """

    start: Array
    obstacle: Array
    radius: float
    goal: Array


class RouteEnvironment(gymnasium.Env[Any, Array], ABC):
    """A point walks to a goal behind a round obstacle, which it may pass on either side.

    The action is a velocity in [-1, 1]^2, of 5 cm a step; faster ones are clipped. An episode ends
    within 0.1 m of the goal, at a collision, or after 100 steps. `info` says `success`, `collision`
    and `route`: 1 and 2 for above and below once the obstacle is passed, 0 before. A subclass says
    how a scene is drawn, and what is observed of it.

    Args:
        render_mode: `"rgb_array"` for pictures by `render()`, as gymnasium calls it.

    Raises:
        ConfigError: another render mode; at a call of `render()`, none.

    Attributes:
        scene: of this episode.
        place: of the point, `(2,)`.
        half_width: of pictures, metres to the side.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012
    half_width: float
    scene: Scene
    place: Array
    _trail: list[Array]
    _route: int

    def __init__(self, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode: got {render_mode!r}; allowed is 'rgb_array', or None.")
        self.render_mode = render_mode
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float64)
        self._placed(Scene(np.zeros(2), np.zeros(2), 0.0, np.zeros(2)))

    @abstractmethod
    def draw_scene(self) -> Scene:
        """A scene by the environment's random numbers."""

    @abstractmethod
    def look(self) -> Any:
        """What is observed now."""

    @abstractmethod
    def marks(self) -> tuple[tuple[Array, float, tuple[int, int, int]], ...]:
        """What pictures show beside goal, obstacle and point: discs, as `discs` takes them."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._placed(self.draw_scene())
        return self.look(), self._info()

    def step(self, action: Array) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step of at most 5 cm along each axis.

        Raises:
            ConfigError: an action that is not two finite numbers.
        """
        move = np.asarray(action, dtype=np.float64)
        if move.shape != (2,) or not np.isfinite(move).all():
            raise ConfigError(f"action: got {action}; it must be two finite numbers.")
        self.place = self.place + _STEP * np.clip(move, -1.0, 1.0)
        self._trail.append(self.place)
        offset = self.place - self.scene.obstacle
        if self._route == 0 and offset[0] >= 0:
            self._route = 1 if offset[1] > 0 else 2
        info = self._info()
        ended = info["success"] or info["collision"]
        late = len(self._trail) > _LIMIT
        return self.look(), float(info["success"]), ended, late, info

    def render(self) -> NDArray[np.uint8]:
        """Goal, obstacle, where the point has been and where it is: `(rows, 276, 3)`."""
        if self.render_mode is None:
            raise ConfigError("render_mode: got None; pictures need render_mode='rgb_array'.")
        rows = round(2 * self.half_width * (_COLUMNS - 1) / (_TO - _FROM))
        shown = (
            (self.scene.goal, _REACHED, (160, 215, 165)),
            (self.scene.obstacle, self.scene.radius, (170, 170, 170)),
            *self.marks(),
            *((place, 0.01, (150, 185, 225)) for place in self._trail),
            (self.place, 0.03, (30, 90, 170)),
        )
        up = np.linspace(self.half_width, -self.half_width, rows)
        return discs(np.linspace(_FROM, _TO, _COLUMNS), up, shown)

    def _placed(self, scene: Scene) -> None:
        self.scene, self.place = scene, scene.start
        self._trail, self._route = [self.place], 0

    def _info(self) -> dict[str, Any]:
        x, y = self.place - self.scene.goal
        return {
            "success": bool(math.hypot(x, y) < _REACHED),
            "collision": bool(np.linalg.norm(self.place - self.scene.obstacle) < self.scene.radius),
            "route": self._route,
        }


def demonstrate(
    environment: RouteEnvironment, count: int, *, seed: int, noise: float, observe: Observe
) -> tuple[Episodes, list[int]]:
    """Scripted demonstrations that take both routes equally often.

    A demonstrator knows the scene, tosses a coin, walks to a place beside the obstacle, past it,
    and to the goal, with noise on its actions. Walks that do not get there are left out.

    Args:
        environment: to walk in.
        count: how many successful episodes.
        seed: of coins, scenes and noise.
        noise: standard deviation on each axis of the action, which is at most 1.
        observe: from an observation to arrays by name, which are kept.

    Returns:
        Episodes, and the route of each, 1 or 2.

    Raises:
        ConfigError: `count` below 1, `noise` negative or above 0.5, where most would collide.
    """
    if count < 1 or not 0 <= noise <= 0.5:
        raise ConfigError(
            f"count, noise: got {count}, {noise}; count must be 1 or more, noise in [0, 0.5]."
        )
    random = np.random.default_rng(seed)
    parts: list[tuple[dict[str, torch.Tensor], torch.Tensor]] = []
    routes: list[int] = []
    while len(parts) < count:
        given, _ = environment.reset(seed=int(random.integers(2**31)))
        side = random.choice([-1.0, 1.0])
        clearance = environment.scene.radius + random.uniform(0.15, 0.3)
        seen: list[Mapping[str, Array]] = []
        done: list[Array] = []
        ended, info = False, {"success": False, "route": 0}
        while not ended:
            way = _towards(environment.place, environment.scene, side, clearance)
            action = np.clip(way + noise * random.standard_normal(2), -1.0, 1.0)
            seen.append(observe(given))
            done.append(action)
            given, _, terminated, truncated, info = environment.step(action)
            ended = terminated or truncated
        if info["success"]:
            rows = {name: _rows([one[name] for one in seen]) for name in seen[0]}
            parts.append((rows, _rows(done)))
            routes.append(int(info["route"]))
    return Episodes.join(parts), routes


def _towards(place: Array, scene: Scene, side: float, clearance: float) -> Array:
    """Full speed to the next of three places: beside the obstacle, behind it, the goal."""
    (center, shift), radius = scene.obstacle, scene.radius
    beside = shift + side * clearance
    if place[0] < center - radius:
        aim = np.array([center - radius / 2, beside])
    elif place[0] < center + radius / 2:
        aim = np.array([center + radius, beside])
    else:
        aim = scene.goal
    way = aim - place
    # The next place takes over, and the goal is reached, well before the distance is zero.
    full: Array = way / np.linalg.norm(way)
    return full


def _rows(values: list[Array]) -> torch.Tensor:
    return torch.from_numpy(np.stack(values)).float()
