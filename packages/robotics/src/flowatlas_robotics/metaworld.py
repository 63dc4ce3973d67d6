"""Meta-World's tabletop tasks, and their scripted experts as demonstrators."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from flowatlas.errors import ConfigError, DataError
from flowatlas_robotics.horizon import Episodes

__all__ = ["METAWORLD_TASKS", "demonstrate_metaworld", "metaworld_environment"]

Array = NDArray[Any]
#: The experts of these reach their goals from every start; steps that each needs at most.
METAWORLD_TASKS = ("reach-v3", "push-v3", "pick-place-v3", "drawer-open-v3")
#: Longest demonstration, steps.
_LIMIT = 200


def metaworld_environment(task: str, *, seed: int) -> gymnasium.Env[Any, Any]:
    """A Meta-World environment with fifty starts and goals, one of which each reset draws.

    `seed` chooses them, and in what order they come; `reset(seed=...)` does neither.

    Args:
        task: one of `METAWORLD_TASKS`.
        seed: of the fifty.

    Raises:
        ConfigError: another task.
        DataError: metaworld is not installed.
    """
    if task not in METAWORLD_TASKS:
        raise ConfigError(f"task: got {task!r}; allowed are {', '.join(METAWORLD_TASKS)}.")
    try:
        import metaworld  # noqa: F401  registers the environments
    except ImportError as error:
        raise DataError(
            "metaworld: it is not installed. pip install 'flowatlas-robotics[metaworld]'."
        ) from error
    with warnings.catch_warnings():
        # Its observations lie outside the space that it declares, and gymnasium says so each time.
        warnings.simplefilter("ignore")
        return gymnasium.make("Meta-World/MT1", env_name=task, seed=seed, disable_env_checker=True)


def demonstrate_metaworld(
    task: str, count: int, *, seed: int = 0, noise: float = 0.1, after: int = 10
) -> tuple[Episodes, int]:
    """Demonstrations of a scripted expert with noise on its actions.

    The expert sees where its noise has led, so that the demonstrations show how to recover. Each
    goes on for a few steps past success; failed ones are left out.

    Args:
        task: one of `METAWORLD_TASKS`.
        count: how many successful episodes.
        seed: of starts, goals and noise.
        noise: standard deviation on each action, which lies in [-1, 1].
        after: steps past success.

    Returns:
        Episodes with the observation "state" of 39 numbers, and how many episodes failed.

    Raises:
        ConfigError: another task, numbers out of range, or an expert that fails too often.
        DataError: metaworld is not installed.
    """
    if count < 1 or not 0 <= noise <= 1 or after < 0:
        raise ConfigError(
            f"count, noise, after: got {count}, {noise}, {after}; count must be 1 or more, noise "
            "in [0, 1], after 0 or more."
        )
    environment = metaworld_environment(task, seed=seed)
    expert, random = _expert(task), np.random.default_rng(seed)
    parts: list[tuple[dict[str, torch.Tensor], torch.Tensor]] = []
    failed = 0
    while len(parts) < count:
        seen, done, success = _demonstration(environment, expert, random, noise, after)
        if success:
            parts.append(({"state": _rows(seen)}, _rows(done)))
        else:
            failed += 1
        if failed > 10 + count:
            raise ConfigError(
                f"noise: at {noise} the expert of {task} failed {failed} times and succeeded "
                f"{len(parts)} times. Use less noise."
            )
    environment.close()
    return Episodes.join(parts), failed


def _demonstration(
    environment: gymnasium.Env[Any, Any],
    expert: Any,
    random: np.random.Generator,
    noise: float,
    after: int,
) -> tuple[list[Array], list[Array], bool]:
    state, _ = environment.reset()
    seen, done = [], []
    succeeded_at: int | None = None
    for step in range(_LIMIT):
        action = expert.get_action(state) + noise * random.standard_normal(4)
        action = np.clip(action, -1.0, 1.0).astype(np.float32)
        seen.append(state)
        done.append(action)
        state, _, _, truncated, info = environment.step(action)
        if succeeded_at is None and info["success"] > 0:
            succeeded_at = step
        if truncated or (succeeded_at is not None and step - succeeded_at >= after):
            break
    return seen, done, succeeded_at is not None


def _expert(task: str) -> Any:
    from metaworld import policies

    experts: dict[str, Callable[[], Any]] = {
        "reach-v3": policies.SawyerReachV3Policy,
        "push-v3": policies.SawyerPushV3Policy,
        "pick-place-v3": policies.SawyerPickPlaceV3Policy,
        "drawer-open-v3": policies.SawyerDrawerOpenV3Policy,
    }
    return experts[task]()


def _rows(values: list[Array]) -> torch.Tensor:
    return torch.from_numpy(np.stack(values)).float()
