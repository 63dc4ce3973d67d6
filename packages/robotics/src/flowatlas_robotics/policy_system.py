"""A trained policy and where it acts, which writes films of its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from flowatlas.errors import ConfigError, DataError
from flowatlas.solvers import Solver
from flowatlas.system import System
from flowatlas_robotics.arenas import arena
from flowatlas_robotics.films import save_gif
from flowatlas_robotics.policy import FlowPolicy
from flowatlas_robotics.rollouts import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PolicySystem"]

_POLICY = "policy"
#: Trials in a picture.
_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class PolicySystem(System[list[Trial]]):
    """A flow policy and the arena that it was taught for; its samples are trials there.

    Attributes:
        policy: trained, in evaluation mode.
        arena: by name.

    Raises:
        ConfigError: an unknown arena.

    Example:
        ```python
        from flowatlas_robotics import FlowPolicy, PolicySystem, demonstrate_routes

        policy = FlowPolicy({"state": 3}, action=2, width=32, depth=2)  # not trained here
        policy.fit_normalizer(demonstrate_routes(2)[0])
        system = PolicySystem(policy=policy, arena="avoidance")
        films = system.write("films", count=1, steps=1)
        system.save("passing")
        ```
    """

    name = "policy"
    default_output = "films"
    default_count = 5

    policy: FlowPolicy
    arena: str

    def __post_init__(self) -> None:
        arena(self.arena)

    @property
    def default_solver(self) -> tuple[str, int]:
        return "euler", self.policy.evaluations

    def draw(
        self, count: int, *, seed: int = 0, solver: Solver | None = None, frames: bool = True
    ) -> list[Trial]:
        """Trials from starts that no demonstration had.

        Args:
            count: how many.
            seed: of starts and of the policy's noise.
            solver: of chunks; `default_solver` if None.
            frames: whether to keep pictures of each step, as `export` needs them.
        """
        chosen = self.solver() if solver is None else solver
        place = arena(self.arena)
        return place.trials(self.policy, count, seed=seed, solver=chosen, frames=frames)

    def export(self, samples: list[Trial], output: Path) -> tuple[Path, ...]:
        """A film of each trial: `000.gif`, `001.gif`, ...

        Raises:
            ConfigError: trials without frames.
            DataError: a file cannot be written.
        """
        films = _films(samples)
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{output}: cannot be made ({error.strerror}).") from error
        rate = arena(self.arena).rate
        return tuple(
            save_gif(film, output / f"{i:03d}.gif", rate=rate) for i, film in enumerate(films)
        )

    def figure(self, samples: list[Trial], title: str) -> Figure:
        """Frames of the first trials, a row for each."""
        from flowatlas_robotics.plots import film_strips

        return film_strips(_films(samples)[:_SHOWN], title=title)

    def save_parts(self, directory: Path) -> dict[str, Any]:
        self.policy.save_pretrained(directory / _POLICY)
        return {"arena": self.arena}

    @classmethod
    def load_parts(cls, directory: Path, stored: Mapping[str, Any]) -> PolicySystem:
        policy = FlowPolicy.from_pretrained(directory / _POLICY)
        return cls(policy=policy.eval().requires_grad_(False), arena=stored["arena"])


def _films(samples: list[Trial]) -> list[tuple[NDArray[Any], ...]]:
    if any(not trial.frames for trial in samples):
        raise ConfigError("samples: got trials without frames. Draw them with frames=True.")
    return [trial.frames for trial in samples]
