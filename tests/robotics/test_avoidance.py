"""The task with two right answers, and policies at work in it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from flowatlas.benchmarks import run
from flowatlas.errors import ConfigError
from flowatlas_robotics import (
    Episodes,
    FlowPolicy,
    PolicySystem,
    Trial,
    TwoRoutes,
    demonstrate_routes,
    entropy,
    rollout,
)
from flowatlas_robotics.benchmarks.avoidance import AVOIDANCE, route_scores
from flowatlas_robotics.benchmarks.policies import _milliseconds
from flowatlas_robotics.rollouts import as_state
from flowatlas_robotics.routes import RouteEnvironment, Scene, demonstrate


def untrained(action: float = 0.0) -> FlowPolicy:
    """A policy whose chunks are (1, action) everywhere, but for noise of 1e-4."""
    policy = FlowPolicy({"state": 3}, 2, width=16, depth=1)
    policy.fit_normalizer(
        Episodes({"state": torch.randn(9, 3)}, torch.zeros(9, 2), torch.tensor([9]))
    )
    policy.normalizer.get_buffer("center_action").copy_(torch.tensor([1.0, action]))
    policy.normalizer.get_buffer("scale_action").fill_(1e-4)
    return policy


def test_keeps_gymnasiums_contract() -> None:
    with pytest.warns(UserWarning, match="infinity"):
        check_env(TwoRoutes(), skip_render_check=True)


def test_straight_on_collides_and_around_succeeds() -> None:
    environment = TwoRoutes()
    environment.reset(seed=0)
    info: dict[str, object] = {}
    steps = 0
    ended = False
    while not ended:
        _, _, ended, _, info = environment.step(np.array([1.0, 0.0]))
        steps += 1
    assert info["collision"]
    assert not info["success"]
    # 5 cm a step, and the obstacle begins about 0.7 m away.
    assert 13 <= steps <= 17


def test_speed_is_limited_and_actions_are_checked() -> None:
    environment = TwoRoutes()
    before, _ = environment.reset(seed=1)
    after, *_ = environment.step(np.array([10.0, -10.0]))
    assert np.allclose(after[:2] - before[:2], [0.05, -0.05])
    for wrong in (np.zeros(3), np.array([np.nan, 0.0])):
        with pytest.raises(ConfigError, match="two finite numbers"):
            environment.step(wrong)


def test_a_walk_has_one_route_and_an_end() -> None:
    environment = TwoRoutes()
    environment.reset(seed=2)
    environment.place = np.array([0.99, environment.scene.obstacle[1] + 0.4])
    *_, info = environment.step(np.array([1.0, 0.0]))
    assert info["route"] == 1
    # Behind the obstacle, and then below its middle.
    for _ in range(10):
        *_, info = environment.step(np.array([1.0, 0.0]))
    for _ in range(16):
        *_, info = environment.step(np.array([0.0, -1.0]))
    assert environment.place[1] < environment.scene.obstacle[1]
    assert info["route"] == 1
    environment.reset(seed=2)
    ends = [environment.step(np.zeros(2))[3] for _ in range(100)]
    assert ends == [False] * 99 + [True]


def test_demonstrators_toss_a_fair_coin_and_never_collide() -> None:
    episodes, routes = demonstrate_routes(400, seed=3)
    # Three standard deviations of 400 fair coins.
    assert abs(routes.count(1) - 200) < 3 * math.sqrt(400) / 2
    assert entropy(routes) > 0.98 * math.log(2)
    state = episodes.observation["state"]
    distance = torch.hypot(state[:, 0] - 1, state[:, 1] - state[:, 2])
    assert distance.min() > 0.3
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), episodes.ends[:-1]])
    # The side must not follow from what is seen at the start.
    offset = (state[starts, 1] - state[starts, 2]).numpy()
    above = np.array(routes) == 1
    assert abs(np.corrcoef(offset, above)[0, 1]) < 3 / math.sqrt(400)


def test_demonstrations_are_steps_of_the_environment() -> None:
    episodes, _ = demonstrate_routes(3, seed=5)
    state = episodes.observation["state"]
    inside = torch.ones(len(state), dtype=torch.bool)
    inside[episodes.ends - 1] = False
    moves = (state.roll(-1, 0) - state)[:, :2]
    assert torch.allclose(moves[inside], 0.05 * episodes.action[inside], atol=1e-6)
    with pytest.raises(ConfigError, match="count, noise"):
        demonstrate_routes(3, noise=2.0)


def test_a_rollout_executes_what_was_predicted() -> None:
    trials = rollout(
        untrained(),
        TwoRoutes(),
        2,
        watch=("success", "collision", "route"),
        limit=100,
        reset_seeds=[0, 1],
    )
    for trial in trials:
        assert trial.best["collision"] == 1
        assert trial.best["success"] == 0
        moves = np.diff(trial.observations["state"][:, :2], axis=0)
        assert np.allclose(moves, [0.05, 0.0], atol=1e-4)
        # Eight actions are executed before each new look.
        assert len(trial.milliseconds) == math.ceil(len(moves) / 8)
    scores = route_scores(trials)
    assert (scores["success"], scores["collision"], scores["entropy"]) == (0.0, 1.0, 0.0)


def test_an_episode_does_not_depend_on_those_before_it() -> None:
    policy = untrained(0.5)
    policy.normalizer.get_buffer("scale_action").fill_(0.3)
    both = rollout(policy, TwoRoutes(), 2, limit=20, reset_seeds=[7, 8], seed=4)
    again = rollout(policy, TwoRoutes(), 2, limit=20, reset_seeds=[9, 8], seed=4)
    first, second, other, same = (trial.observations["state"] for trial in (*both, *again))
    assert np.array_equal(second, same)
    assert not np.array_equal(first[1:], other[1:])
    # Noise differs between episodes of one start, and between seeds.
    twice = rollout(policy, TwoRoutes(), 2, limit=20, reset_seeds=[8, 8], seed=4)
    anew = rollout(policy, TwoRoutes(), 2, limit=20, reset_seeds=[7, 8], seed=5)
    assert np.array_equal(twice[1].observations["state"], second)
    assert not np.array_equal(twice[0].observations["state"], second)
    assert not np.array_equal(anew[1].observations["state"], second)


class _Hill(gymnasium.Env[Any, Any]):
    """Coverage rises for five steps and falls again; success comes at step 11, if ever."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))

    def __init__(self, succeeds: bool) -> None:
        self.succeeds, self.steps = succeeds, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return np.zeros(3), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        success = self.succeeds and self.steps >= 11
        info = {"success": success, "coverage": 1 - abs(self.steps - 5) / 10}
        return np.full(3, float(self.steps)), 0.0, False, False, info


def test_the_best_counts_and_success_or_the_limit_ends() -> None:
    watch = ("success", "coverage")
    late = rollout(untrained(), _Hill(False), 1, watch=watch, limit=13)[0]
    assert late.best == {"success": 0.0, "coverage": 1.0}
    assert late.observations["state"][:, 0].tolist() == list(range(14))
    done = rollout(untrained(), _Hill(True), 1, watch=watch, limit=13)[0]
    # In the middle of a chunk.
    assert done.observations["state"][:, 0].tolist() == list(range(12))


class _Slow(FlowPolicy):
    """Computes for 8 ms and waits for 60 before each answer."""

    def predict_action(self, *args: object, **options: object) -> dict[str, torch.Tensor]:
        begin = time.thread_time()
        while time.thread_time() - begin < 0.008:
            pass
        time.sleep(0.06)
        return super().predict_action(*args, **options)  # type: ignore[arg-type]


def test_computing_and_waiting_are_told_apart() -> None:
    """A core that another program has is waited for, as here by sleep."""
    policy = _Slow({"state": 3}, 2, width=16, depth=1)
    policy.fit_normalizer(
        Episodes({"state": torch.randn(9, 3)}, torch.zeros(9, 2), torch.tensor([9]))
    )
    trial = rollout(policy, TwoRoutes(), 1, limit=40, reset_seeds=[0])[0]
    assert len(trial.milliseconds) == len(trial.cpu_milliseconds) >= 5
    for clock, computed in zip(trial.milliseconds, trial.cpu_milliseconds, strict=True):
        assert clock >= computed + 55
        assert computed >= 8
    # The policy itself takes about a millisecond; the rest of the room is for slow machines.
    assert min(trial.cpu_milliseconds) < 40


def test_times_are_of_the_fastest_tenth_and_of_the_middle() -> None:
    seen = {"state": np.zeros((1, 3))}
    one = Trial({}, seen, tuple(range(10, 31)), tuple(range(21)))
    assert _milliseconds([one]) == {"chunk_cpu_ms": 2.0, "chunk_ms": 20.0}
    # Chunks count, and not trials.
    other = Trial({}, seen, (100.0,) * 22, (100.0,) * 22)
    assert _milliseconds([one, other])["chunk_ms"] == 100.0


class _OftenTooFar(RouteEnvironment):
    """Every other goal is further away than the longest walk."""

    half_width = 1.0
    scenes = 0

    def draw_scene(self) -> Scene:
        self.scenes += 1
        far = np.array([2.0 + 7 * (self.scenes % 2), 0.0])
        return Scene(np.zeros(2), np.array([1.0, 0.0]), 0.3, far)

    def look(self) -> Any:
        return self.place

    def marks(self) -> tuple[()]:
        return ()


def test_walks_that_fail_are_left_out() -> None:
    environment = _OftenTooFar()
    episodes, routes = demonstrate(environment, 6, seed=0, noise=0.1, observe=as_state)
    assert environment.scenes == 12
    assert len(episodes) == len(routes) == 6
    last = episodes.ends - 1
    ends = episodes.observation["state"][last] + 0.05 * episodes.action[last]
    assert ((ends - torch.tensor([2.0, 0.0])).norm(dim=1) < 0.1 + 1e-6).all()


def test_bad_rollouts() -> None:
    policy = untrained()
    with pytest.raises(ConfigError, match="reset_seeds: got 1"):
        rollout(policy, TwoRoutes(), 2, limit=5, reset_seeds=[0])
    with pytest.raises(ConfigError, match="stop: got 'done'"):
        rollout(policy, TwoRoutes(), 1, limit=5, stop="done")
    with pytest.raises(ConfigError, match="info has no 'coverage'"):
        rollout(policy, TwoRoutes(), 1, limit=5, watch=("success", "coverage"))
    with pytest.raises(ConfigError, match="episodes, limit"):
        rollout(policy, TwoRoutes(), 0, limit=5)


def test_the_benchmark_runs_and_is_taken_up_again(tmp_path: Path) -> None:
    tiny = {"steps": 20, "samples": 4, "demonstrations": 6, "width": 32, "depth": 2}
    result = run(AVOIDANCE, preset="demo", output=tmp_path, settings=tiny)
    assert {"success", "regression/success", "success_1", "success_10"} <= set(result.metrics)
    assert result.metrics["demonstrations/collision"] == 0
    systems = list(tmp_path.rglob("system.json"))
    assert len(systems) == 1
    assert PolicySystem.load(systems[0].parent).arena == "avoidance"
    arrays = np.load(tmp_path / str(result.arrays), allow_pickle=False)
    assert len(AVOIDANCE.figures(arrays, "title")) == 3
    longer = run(AVOIDANCE, preset="demo", output=tmp_path / "b", settings=tiny, resume=True)
    same = ("success", "collision", "entropy")
    assert [longer.metrics[key] for key in same] == [result.metrics[key] for key in same]
