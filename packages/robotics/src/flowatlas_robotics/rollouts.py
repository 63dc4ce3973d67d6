"""Policies at work in an environment, by receding horizon."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from flowatlas.errors import ConfigError
from flowatlas.solvers import Solver
from flowatlas_robotics.policy import ChunkPolicy

__all__ = ["Observe", "Trial", "as_named", "as_state", "rollout"]

Array = NDArray[Any]
#: How an observation of the environment is named for the policy.
Observe = Callable[[Any], Mapping[str, Array]]


@dataclass(frozen=True, slots=True)
class Trial:
    """One episode.

    Attributes:
        best: of each watched entry of `info`, the largest value over the episode.
        observations: by the policy's names, `(steps + 1, ...)`.
        milliseconds: of each chunk on the clock, from observation to actions.
        cpu_milliseconds: of each chunk, what the calling thread computed: time in which another
            program had its core is left out, and so is what further threads computed.
        frames: pictures `(height, width, 3)` of each step, if they were asked for.
    """

    best: Mapping[str, float]
    observations: Mapping[str, Array]
    milliseconds: tuple[float, ...]
    cpu_milliseconds: tuple[float, ...]
    frames: tuple[Array, ...] = ()


def as_state(observation: Array) -> Mapping[str, Array]:
    """An observation that is one array, by the name "state"."""
    return {"state": observation}


def as_named(observation: Mapping[str, Array]) -> Mapping[str, Array]:
    """An observation of a `gymnasium.spaces.Dict`, which has names already."""
    return observation


def rollout(
    policy: ChunkPolicy,
    environment: gymnasium.Env[Any, Any],
    episodes: int,
    *,
    watch: Sequence[str] = ("success",),
    stop: str = "success",
    limit: int,
    seed: int = 0,
    reset_seeds: Sequence[int] | None = None,
    evaluations: int | None = None,
    solver: Solver | None = None,
    observe: Observe = as_state,
    frames: bool = False,
) -> list[Trial]:
    """Episodes one after the other: look, predict a chunk, execute its part, look again.

    Each episode draws its noise from a generator of its own, so that it does not depend on those
    before it. The first observation is repeated where there are fewer than the policy sees.

    Args:
        policy: trained; its mode (train or eval) is left alone.
        environment: of gymnasium's interface.
        episodes: how many.
        watch: entries of `info` to keep the best value of.
        stop: the entry of `info` that ends an episode when it is true; it must be watched.
        limit: longest episode, steps.
        seed: of the policy's noise.
        reset_seeds: for `environment.reset`, one an episode; None goes on with the environment's
            own randomness.
        evaluations: of the network for a chunk, as `predict_action` takes them.
        solver: likewise.
        observe: from an observation to arrays by the policy's names; the whole of it is "state" if
            nothing else is said.
        frames: whether to keep what `environment.render()` shows of each step.

    Raises:
        ConfigError: numbers below 1, another number of seeds, entries that `info` does not have,
            frames of an environment that was not made with `render_mode="rgb_array"`.
    """
    if episodes < 1 or limit < 1:
        raise ConfigError(f"episodes, limit: got {episodes}, {limit}; both must be 1 or more.")
    if stop not in watch:
        raise ConfigError(f"stop: got {stop!r}; it must be among watch, {list(watch)}.")
    if reset_seeds is not None and len(reset_seeds) != episodes:
        raise ConfigError(f"reset_seeds: got {len(reset_seeds)} of them for {episodes} episodes.")
    if frames and environment.render_mode != "rgb_array":
        raise ConfigError(
            f"frames: the environment's render_mode is {environment.render_mode!r}; make it with "
            "render_mode='rgb_array'."
        )
    trials = []
    for number in range(episodes):
        generator = torch.Generator().manual_seed(1_000_003 * seed + number)
        first, _ = environment.reset(seed=None if reset_seeds is None else reset_seeds[number])
        trials.append(
            _episode(
                policy,
                environment,
                first,
                watch,
                stop,
                limit,
                partial(policy.predict_action, evaluations=evaluations, solver=solver),
                observe,
                generator,
                frames,
            )
        )
    return trials


def _episode(
    policy: ChunkPolicy,
    environment: gymnasium.Env[Any, Any],
    first: Any,
    watch: Sequence[str],
    stop: str,
    limit: int,
    answer: Callable[..., dict[str, torch.Tensor]],
    observe: Observe,
    generator: torch.Generator,
    frames: bool,
) -> Trial:
    length = policy.horizon.observation
    observations = [observe(first)]
    history: deque[Mapping[str, Array]] = deque(observations * length, maxlen=length)
    best = dict.fromkeys(watch, -np.inf)
    milliseconds: list[float] = []
    computed: list[float] = []
    pictures: list[Any] = [environment.render()] if frames else []
    device = policy.normalizer.fitted.device
    ended = False
    while not ended:
        begin, spent = time.perf_counter(), time.thread_time()
        batch = {
            name: torch.from_numpy(stacked[None]).float().to(device)
            for name, stacked in _stacked(history).items()
        }
        actions = answer(batch, generator=generator)["action"][0].cpu().numpy()
        milliseconds.append(1000 * (time.perf_counter() - begin))
        computed.append(1000 * (time.thread_time() - spent))
        for action in actions:
            given, _, terminated, truncated, info = environment.step(action)
            seen = observe(given)
            history.append(seen)
            observations.append(seen)
            if frames:
                pictures.append(environment.render())
            for name in watch:
                if name not in info:
                    raise ConfigError(f"watch: info has no {name!r}; it has {sorted(info)}.")
                best[name] = max(best[name], float(info[name]))
            ended = terminated or truncated or best[stop] > 0 or len(observations) > limit
            if ended:
                break
    return Trial(
        best, _stacked(observations), tuple(milliseconds), tuple(computed), tuple(pictures)
    )


def _stacked(steps: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
    steps = list(steps)
    return {name: np.stack([step[name] for step in steps]) for name in steps[0]}
