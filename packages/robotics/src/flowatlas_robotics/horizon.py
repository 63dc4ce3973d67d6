"""Episodes of demonstrations, and the windows that a policy learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError, ShapeError

__all__ = ["Episodes", "Horizon", "Windows", "windows"]


@dataclass(frozen=True, slots=True)
class Horizon:
    """How much a policy sees, how far it looks ahead, and how much of that is done.

    With T_o observations, a chunk of T_p actions begins at the oldest observation; the actions from
    the newest observation on, T_a of them, are executed before the next look.

    Attributes:
        observation: T_o, steps.
        prediction: T_p, steps.
        execution: T_a, steps.

    Raises:
        ConfigError: a length below 1, or T_o - 1 + T_a above T_p.

    Reference: Diffusion Policy: Visuomotor Policy Learning via Action Diffusion, Chi et al., 2023,
    arXiv:2303.04137, section II.

    Example:
        ```python
        from flowatlas_robotics import Horizon

        assert Horizon(2, 16, 8).executed == slice(1, 9)
        ```
    """

    observation: int = 2
    prediction: int = 16
    execution: int = 8

    def __post_init__(self) -> None:
        for name in ("observation", "prediction", "execution"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name}: got {value!r}; it counts steps, so 1 or more.")
        if self.observation - 1 + self.execution > self.prediction:
            raise ConfigError(
                f"execution: got {self.execution} after {self.observation} observations, of a "
                f"chunk of {self.prediction}; at most "
                f"{self.prediction - self.observation + 1} of it lie in the future. Predict more "
                "or execute less."
            )

    @property
    def executed(self) -> slice:
        """The part of a chunk that is executed."""
        return slice(self.observation - 1, self.observation - 1 + self.execution)


@dataclass(frozen=True, slots=True)
class Episodes:
    """Demonstrations one after the other.

    Attributes:
        observation: by name, `(steps, size)`, or `(steps, points, axes)` for clouds of points.
        action: `(steps, size)`; row i is what was done after observation i.
        ends: `(episodes,)`, integers: one past the last step of each.

    Raises:
        ShapeError: parts of different lengths, or ends that do not rise to the number of steps.
        GeometryError: NaN or infinity.
    """

    observation: Mapping[str, Tensor]
    action: Tensor
    ends: Tensor

    def __post_init__(self) -> None:
        steps = len(self.action)
        most = {**dict.fromkeys(self.observation, 3), "action": 2}
        for name, value in [*self.observation.items(), ("action", self.action)]:
            if not 2 <= value.ndim <= most[name] or len(value) != steps:
                raise ShapeError(
                    f"{name}: got shape {tuple(value.shape)}; it must be ({steps}, size), a row "
                    f"for each action; observed clouds are ({steps}, points, axes)."
                )
            if not torch.isfinite(value).all():
                raise GeometryError(
                    f"{name}: demonstrations contain NaN or infinity. Leave those episodes out."
                )
        ends = self.ends
        rises = ends.ndim == 1 and len(ends) > 0 and bool((self.lengths > 0).all())
        if not rises or int(ends[-1]) != steps:
            raise ShapeError(
                f"ends: got {ends.tolist()[:5]}...; they must rise to the number of steps, {steps}."
            )

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def lengths(self) -> Tensor:
        """Steps of each, `(episodes,)`."""
        return self.ends.diff(prepend=self.ends.new_zeros(1))

    @classmethod
    def join(cls, parts: Sequence[tuple[Mapping[str, Tensor], Tensor]]) -> Episodes:
        """Episodes from one pair of observations and actions each."""
        if not parts:
            raise ShapeError("parts: got no episode; at least one is needed.")
        names = parts[0][0]
        return cls(
            {name: torch.cat([seen[name] for seen, _ in parts]) for name in names},
            torch.cat([action for _, action in parts]),
            torch.tensor([len(action) for _, action in parts]).cumsum(0),
        )

    def split(self, count: int) -> tuple[Episodes, Episodes]:
        """The first `count` episodes, and the others.

        Raises:
            ConfigError: one of the two would be empty.
        """
        if not 0 < count < len(self):
            raise ConfigError(f"count: got {count}; it must be from 1 to {len(self) - 1}.")
        at = int(self.ends[count - 1])
        head = {name: value[:at] for name, value in self.observation.items()}
        tail = {name: value[at:] for name, value in self.observation.items()}
        return (
            Episodes(head, self.action[:at], self.ends[:count]),
            Episodes(tail, self.action[at:], self.ends[count:] - at),
        )


@dataclass(frozen=True, slots=True)
class Windows:
    """What was seen, and the chunk of actions that went with it.

    Attributes:
        observation: by name, `(windows, T_o, size)`, or `(windows, T_o, points, axes)`.
        action: `(windows, T_p, size)`.
    """

    observation: Mapping[str, Tensor]
    action: Tensor


def windows(episodes: Episodes, horizon: Horizon) -> Windows:
    """All windows of the episodes, none of which crosses from one into the next.

    The first has the first observation as its newest one, the last has the last action as the last
    that is executed; outside an episode its first or last row is repeated.

    Args:
        episodes: demonstrations.
        horizon: lengths of the windows.

    Example:
        ```python
        from flowatlas_robotics import Episodes, Horizon, windows

        steps = torch.arange(20.0).unsqueeze(1)
        episodes = Episodes({"state": steps}, steps, torch.tensor([20]))
        cut = windows(episodes, Horizon(2, 16, 8))
        assert cut.observation["state"][0].flatten().tolist() == [0, 0]
        assert cut.action[-1, 7:9].flatten().tolist() == [18, 19]
        ```
    """
    before = horizon.observation - 1
    seen, done = torch.arange(horizon.observation), torch.arange(horizon.prediction)
    rows_seen, rows_done = [], []
    begin = 0
    for end in episodes.ends.tolist():
        last = max(-before, end - begin - before - horizon.execution)
        start = torch.arange(-before, last + 1).unsqueeze(1)
        rows_seen.append((begin + start + seen).clamp(begin, end - 1))
        rows_done.append((begin + start + done).clamp(begin, end - 1))
        begin = end
    index = torch.cat(rows_seen)
    return Windows(
        {name: value[index] for name, value in episodes.observation.items()},
        episodes.action[torch.cat(rows_done)],
    )
