"""The task of two routes past an obstacle that is seen as points, and its benchmark."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from flowatlas.benchmarks import run
from flowatlas.benchmarks.contract import Task
from flowatlas.errors import ConfigError
from flowatlas_robotics import (
    FlowPolicy,
    PointRoutes,
    PolicySystem,
    RegressionPolicy,
    arena,
    demonstrate_point_routes,
)
from flowatlas_robotics.benchmarks.avoidance_points import AVOIDANCE_POINTS
from flowatlas_robotics.benchmarks.policies import PolicyBenchmark
from flowatlas_robotics.benchmarks.settings import PolicyMethod, PolicyPreset
from flowatlas_robotics.benchmarks.training import untrained


def test_keeps_gymnasiums_contract() -> None:
    with pytest.warns(UserWarning, match="infinity"):
        check_env(PointRoutes(), skip_render_check=True)
    with pytest.raises(ConfigError, match="points: got 1"):
        PointRoutes(points=1)


def test_points_lie_on_the_outline_in_all_directions() -> None:
    environment = PointRoutes(points=2000)
    first, _ = environment.reset(seed=0)
    second, *_ = environment.step(np.zeros(2))
    scene = environment.scene
    for name, center, radius, count in (
        ("obstacle", scene.obstacle, scene.radius, 2000),
        ("goal", scene.goal, 0.1, 1000),
    ):
        offset = second[name] - center
        assert len(offset) == count
        distance = np.hypot(*offset.T) - radius
        # Errors of 5 mm along each axis: mean and deviation within five standard errors.
        assert abs(distance.mean()) < 5 * 0.005 / math.sqrt(count) + 0.005**2 / radius
        assert abs(distance.std() - 0.005) < 5 * 0.005 / math.sqrt(2 * count)
        angle = np.arctan2(*offset.T)
        for k in (1, 2, 3):
            # Sums of unit vectors in directions by chance: 5 standard errors.
            assert abs(np.exp(1j * k * angle).mean()) < 5 / math.sqrt(count)
        # Each look has points of its own, in no order.
        assert not np.isclose(first[name], second[name]).all(1).any()
        assert abs(np.corrcoef(angle[1:], angle[:-1])[0, 1]) < 5 / math.sqrt(count)


def test_scenes_fill_their_ranges_and_follow_the_seed() -> None:
    environment = PointRoutes()
    scenes = []
    for seed in range(400):
        seen, info = environment.reset(seed=seed)
        assert not info["success"]
        assert not info["collision"]
        assert np.array_equal(seen["state"], environment.scene.start)
        scene = environment.scene
        assert scene.goal[0] == 2
        scenes.append([*scene.obstacle, scene.radius, seen["state"][1], scene.goal[1]])
    found = np.array(scenes)
    low = np.array([0.8, -0.4, 0.2, -0.1, -0.6])
    high = np.array([1.2, 0.4, 0.35, 0.1, 0.6])
    assert ((found >= low) & (found <= high)).all()
    # Uniform: four standard errors of mean and variance over the squared width.
    scaled = (found - low) / (high - low)
    assert np.abs(scaled.mean(0) - 1 / 2).max() < 4 * math.sqrt(1 / 12 / 400)
    assert np.abs(scaled.var(0) - 1 / 12).max() < 4 * math.sqrt(1 / 180 / 400)
    assert np.abs(np.corrcoef(scaled.T) - np.eye(5)).max() < 4 / math.sqrt(400)
    again, _ = environment.reset(seed=399)
    assert np.array_equal(again["goal"], seen["goal"])


def test_demonstrators_take_both_routes_around_what_is_seen() -> None:
    episodes, routes = demonstrate_point_routes(200, seed=1)
    # Three standard deviations of 200 fair coins.
    assert abs(routes.count(1) - 100) < 3 * math.sqrt(200) / 2
    state, points = episodes.observation["state"], episodes.observation["obstacle"]
    assert points.shape == (len(state), 16, 2)
    gaps, sides, radii = [], [], []
    for end, length in zip(episodes.ends.tolist(), episodes.lengths.tolist(), strict=True):
        cloud = points[end - length : end].flatten(0, 1)
        center = cloud.mean(0)
        radius = (cloud - center).norm(dim=1).mean()
        path = state[end - length : end] - center
        gaps.append(float((path.norm(dim=1) - radius).min()))
        radii.append(float(radius))
        sides.append(1 if path[path[:, 0].abs().argmin(), 1] > 0 else 2)
    # Places are known from some thousand points to 2 cm, and nobody walks through.
    assert min(gaps) > -0.02
    assert np.mean(gaps) > 0.08
    # Large obstacles have corners that are cut a little (-0.2); a clearance that were blind to the
    # radius would have -0.7.
    assert np.corrcoef(gaps, radii)[0, 1] > -0.45
    assert sides == routes
    # Where the obstacle is to the side does not tell which route was taken.
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), episodes.ends[:-1]])
    aside = points[starts].mean(1)[:, 1].numpy()
    assert abs(np.corrcoef(aside, np.array(routes) == 1)[0, 1]) < 3.5 / math.sqrt(200)


def test_a_policy_is_shown_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = small()
    shown: list[Any] = []
    encode = policy.encode

    def watched(seen: Any) -> Any:
        shown.append(seen)
        return encode(seen)

    monkeypatch.setattr(policy, "encode", watched)
    trial = arena("avoidance-points").trials(policy, 1, seed=3)[0]
    assert set(trial.observations) == {"state", "obstacle", "goal"}
    chunks = len(trial.milliseconds)
    assert chunks == len(shown) == len(trial.cpu_milliseconds) > 1
    for number, seen in enumerate(shown):
        for name, rows in trial.observations.items():
            # The last two steps before each look, the first of them twice at the beginning.
            expected = rows[[max(0, 8 * number - 1), 8 * number]]
            assert np.allclose(seen[name][0].numpy(), expected, atol=1e-6)


def test_pictures_show_the_points() -> None:
    environment = PointRoutes("rgb_array")
    environment.reset(seed=2)
    picture = environment.render()
    dark = (picture == (60, 60, 60)).all(-1).nonzero()
    up = np.linspace(1.2, -1.2, len(picture))[dark[0]]
    across = np.linspace(-0.15, 2.15, 276)[dark[1]]
    scene, places = environment.scene, np.stack([across, up], 1)
    obstacle, goal = (np.hypot(*(places - one).T) for one in (scene.obstacle, scene.goal))
    # Dots of 2 cm on the outlines, each seen to half a pixel and 5 mm.
    near = [np.abs(obstacle - scene.radius) < 0.05, np.abs(goal - 0.1) < 0.05]
    assert (near[0] ^ near[1]).all()
    assert min(one.sum() for one in near) > 24


def small() -> FlowPolicy:
    """Untrained, of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = FlowPolicy(
            {"state": 2}, 2, clouds={"obstacle": 2, "goal": 2}, cloud_width=8, width=16, depth=1
        )
        for parameter in policy.network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    policy.fit_normalizer(demonstrate_point_routes(2)[0])
    return policy.eval().requires_grad_(False)


def test_the_system_keeps_its_eyes(tmp_path: Path) -> None:
    made = PolicySystem(policy=small(), arena="avoidance-points")
    again = PolicySystem.load(made.save(tmp_path / "made"))
    drawn, other = (one.draw(1, seed=1, frames=False)[0] for one in (made, again))
    for name, rows in drawn.observations.items():
        assert np.array_equal(rows, other.observations[name])


def task(tmp_path: Path, **settings: Any) -> Task[PolicyMethod, PolicyPreset]:
    tiny = replace(AVOIDANCE_POINTS.preset("demo"), width=16, depth=1, cloud_width=8, **settings)
    return Task(method=AVOIDANCE_POINTS.method(None), preset=tiny, seed=0, directory=tmp_path)


def test_rivals_are_of_the_same_size_and_the_blind_one_is_blind(tmp_path: Path) -> None:
    episodes, _ = demonstrate_point_routes(2)
    rivals = AVOIDANCE_POINTS.rivals
    assert set(rivals) < set(AVOIDANCE_POINTS.baselines)
    blind, plain = (
        untrained(rivals[name].kind, episodes, task(tmp_path), without=rivals[name].without)
        for name in ("blind", "regression")
    )
    assert (blind.sizes, blind.clouds) == ({"state": 2}, {})
    assert (plain.sizes, plain.clouds) == ({"state": 2}, {"obstacle": 2, "goal": 2})
    assert isinstance(blind, FlowPolicy)
    assert isinstance(plain, RegressionPolicy)
    assert plain.network.encoder.features == 2 * (2 + 8 + 8)
    assert (
        blind.network.chunks.trunk.blocks.__len__() == plain.network.chunks.trunk.blocks.__len__()
    )


def test_the_benchmark_runs_and_is_taken_up_again(tmp_path: Path) -> None:
    tiny = {
        "steps": 20,
        "samples": 3,
        "demonstrations": 6,
        "width": 16,
        "depth": 1,
        "cloud_width": 8,
    }
    result = run(AVOIDANCE_POINTS, preset="demo", output=tmp_path, settings=tiny)
    assert {"success", "blind/success", "regression/success", "blind/chunk_cpu_ms"} <= set(
        result.metrics
    )
    arrays = np.load(tmp_path / str(result.arrays), allow_pickle=False)
    figures = AVOIDANCE_POINTS.figures(arrays, "title")
    assert len(figures) == 3
    panels = [axes.get_title() for axes in next(iter(figures.values())).axes]
    assert panels == ["demonstrations", "flow", "flow without points", "least squares"]
    # The disc of one radius at the origin is what demonstrations keep away from.
    assert np.nanmin(np.hypot(*np.moveaxis(arrays["demonstrations"], -1, 0))) > 0.95
    longer = run(AVOIDANCE_POINTS, preset="demo", output=tmp_path / "b", settings=tiny, resume=True)
    same = ("success", "collision", "blind/success", "regression/collision")
    assert [longer.metrics[key] for key in same] == [result.metrics[key] for key in same]


def test_quality_is_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `flowatlas bench compare` asks: the judge obeys the solver, and counts trials."""
    asked: dict[str, Any] = {}

    def measures(trials: Any) -> dict[str, float]:
        asked["trials"] = trials
        return {"success": 0.25}

    def draw(self: PolicySystem, count: int, **how: Any) -> list[Any]:
        asked.update(how)
        return [None] * count

    monkeypatch.setattr(AVOIDANCE_POINTS, "measures", measures)
    monkeypatch.setattr(PolicySystem, "draw", draw)
    judge = AVOIDANCE_POINTS.judge(task(tmp_path, samples=7))
    solver = object()
    system = PolicySystem(policy=small(), arena="avoidance-points")
    assert judge(system, solver) == 0.25  # type: ignore[arg-type]
    assert len(asked["trials"]) == 7
    assert asked["solver"] is solver
    assert not asked["frames"]
    assert isinstance(AVOIDANCE_POINTS, PolicyBenchmark)
    assert AVOIDANCE_POINTS.couplings == {"independent": "flow"}
    assert AVOIDANCE_POINTS.measure
