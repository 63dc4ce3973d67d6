"""Push-T: its geometry against the simulator's, its demonstrations, its mirror."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowatlas.benchmarks import run
from flowatlas.benchmarks.contract import Task
from flowatlas.data.dataset import DataSet
from flowatlas.data.files import where
from flowatlas.errors import DataError, ShapeError
from flowatlas.solvers import Euler
from flowatlas_robotics import (
    PUSHT,
    Episodes,
    PolicySystem,
    load_pusht,
    mirrored_pusht,
    pusht_coverage,
    pusht_environment,
    pusht_state,
)
from flowatlas_robotics.benchmarks.pusht import PUSH_T, coverage_scores
from flowatlas_robotics.pusht import GOAL
from flowatlas_robotics.rollouts import Trial

pytest.importorskip("gym_pusht", reason="needs flowatlas-robotics[pusht]")


@pytest.fixture(scope="module")
def episodes() -> Episodes:
    if where(PUSHT) is None:
        pytest.skip("robotics/pusht_lowdim.npz is not here")
    return load_pusht()


def poses(count: int, seed: int = 0) -> np.ndarray:
    """Fingers and blocks anywhere about the mark."""
    random = np.random.default_rng(seed)
    around = random.normal([*GOAL], [20, 20, 0.5], (count, 3))
    return np.concatenate([random.uniform(0, 512, (count, 2)), around], 1)


def test_corners_and_coverage_are_the_simulators() -> None:
    environment = pusht_environment()
    random = np.random.default_rng(0)
    covered = []
    for seed in range(20):
        state, _ = environment.reset(seed=seed)
        inner = environment.unwrapped
        assert np.allclose(state[:16], inner.get_keypoints(inner._block_shapes).ravel())  # type: ignore[attr-defined]
        assert np.allclose(state[16:], inner.agent.position)  # type: ignore[attr-defined]
        for _ in range(5):
            state, _, _, _, info = environment.step(random.uniform(100, 400, 2))
            assert math.isclose(pusht_coverage(state), info["coverage"], abs_tol=1e-9)
            covered.append(info["coverage"])
    # Where no start overlaps the mark, the comparison is of zeros.
    assert np.sum(np.array(covered) > 0.05) > 10


def test_coverage_of_known_places() -> None:
    at = np.array([[0, 0, *GOAL], [0, 0, GOAL[0] + 300, GOAL[1], GOAL[2]]])
    assert np.allclose(pusht_coverage(pusht_state(at)), [1, 0])
    # The stem, 90 by 30 of an area of 120 by 30 more, slides out by 10 of its width.
    along = 10 * np.array([math.cos(GOAL[2]), math.sin(GOAL[2])])
    moved = np.array([0, 0, GOAL[0] + along[0], GOAL[1] + along[1], GOAL[2]])
    area = 120 * 30 + 90 * 30
    assert math.isclose(
        pusht_coverage(pusht_state(moved)), 1 - (10 * 30 + 10 * 90) / area, rel_tol=1e-9
    )
    with pytest.raises(ShapeError, match=r"poses: got shape \(3,\)"):
        pusht_state(np.zeros(3))


def test_the_mirror_keeps_shape_and_coverage() -> None:
    state = torch.from_numpy(pusht_state(poses(50)))
    action = torch.rand(50, 2, dtype=torch.float64) * 512
    both = mirrored_pusht(Episodes({"state": state}, action, torch.tensor([20, 50])))
    assert both.ends.tolist() == [20, 50, 70, 100]
    seen = both.observation["state"][50:].numpy()
    # A block seen in the mirror is the block again, at some pose: the bar tells which.
    bar = seen[:, 2:4] - seen[:, 0:2]
    angle = np.arctan2(bar[:, 1], bar[:, 0])
    middle = (seen[:, 0:2] + seen[:, 2:4]) / 2
    again = pusht_state(np.concatenate([seen[:, 16:], middle, angle[:, None]], 1))
    assert np.allclose(again, seen, atol=1e-9)
    assert np.allclose(pusht_coverage(seen), pusht_coverage(state.numpy()), atol=1e-9)
    assert torch.allclose(both.action[50:], 512 - action.flip(1))


def test_the_simulator_obeys_the_mirror() -> None:
    environment = pusht_environment()
    start = np.array([200.0, 330.0, 220.0, 300.0, 0.4])
    mirrored = np.array([512 - 330.0, 512 - 200.0, 512 - 300.0, 512 - 220.0, math.pi / 2 - 0.4])
    ends = []
    for pose, flip in ((start, False), (mirrored, True)):
        environment.reset(seed=0)
        inner = environment.unwrapped
        inner.agent.position = tuple(pose[:2])  # type: ignore[attr-defined]
        inner.block.angle = pose[4]  # type: ignore[attr-defined]
        inner.block.position = tuple(pose[2:4])  # type: ignore[attr-defined]
        for step in range(15):
            aim = np.array([200.0 + 4 * step, 330.0 - 6 * step])
            state, *_ = environment.step(512 - aim[::-1] if flip else aim)
        ends.append(state)
    one = Episodes({"state": torch.from_numpy(ends[0][None])}, torch.zeros(1, 2), torch.tensor([1]))
    seen = mirrored_pusht(one).observation["state"][1].numpy()
    assert np.abs(ends[0][:16] - pusht_state(start)[:16]).max() > 20
    # Contacts are solved by iteration, in an order that a mirror does not keep.
    assert np.abs(seen - ends[1]).max() < 2


def test_demonstrations_push_the_block_onto_its_mark(episodes: Episodes) -> None:
    assert len(episodes) == 206
    assert len(episodes.action) == 25650
    state = episodes.observation["state"].numpy()
    covered = np.split(pusht_coverage(state), episodes.ends[:-1].numpy())
    assert np.mean([one[-1] for one in covered]) > 0.8
    assert np.mean([one[0] for one in covered]) < 0.3
    # Actions are where the finger shall go, so the finger is about there one step later.
    inside = torch.ones(len(state), dtype=torch.bool)
    inside[episodes.ends - 1] = False
    later = np.roll(state[:, 16:], -1, 0)
    lag = np.linalg.norm(later - episodes.action.numpy(), axis=1)[inside.numpy()]
    still = np.linalg.norm(state[:, 16:] - episodes.action.numpy(), axis=1)[inside.numpy()]
    assert np.mean(lag) < 0.7 * np.mean(still)


def test_a_file_that_is_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(**arrays: Any) -> None:
        np.savez(tmp_path / "it.npz", **arrays)
        data.read(tmp_path / "it.npz")

    data: DataSet = PUSHT
    with pytest.raises(DataError, match=r"it.npz: has no readable arrays 'state', 'action'"):
        opened(state=np.zeros((3, 5)))
    with pytest.raises(DataError, match=r"poses \(3, 5\), actions \(4, 2\)"):
        opened(state=np.zeros((3, 5)), action=np.zeros((4, 2)), episode_ends=np.array([4]))
    (tmp_path / "robotics").mkdir()
    (tmp_path / "robotics" / "pusht_lowdim.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="not the file of robotics/pusht"):
        load_pusht(tmp_path)


def test_scores_of_known_trials() -> None:
    def trial(coverage: float) -> Trial:
        best = {"coverage": coverage, "is_success": float(coverage > 0.95)}
        return Trial(best, {"state": np.zeros((1, 18))}, (1.0,), (1.0,))

    scores = coverage_scores([trial(0.475), trial(0.97)])
    assert math.isclose(scores["score"], 0.75)
    assert math.isclose(scores["coverage"], (0.475 + 0.97) / 2)
    assert scores["success"] == 0.5


def test_the_benchmark_learns_in_the_mirror_too(episodes: Episodes, tmp_path: Path) -> None:
    preset = replace(PUSH_T.preset("cpu"), demonstrations=20)
    task = Task(method=PUSH_T.method(None), preset=preset, seed=0, directory=tmp_path)
    train, validation = PUSH_T.demonstrations(task)
    assert (len(train), len(validation)) == (36, 2)
    kept, _ = episodes.split(20)
    assert torch.equal(train.action[: len(train.action) // 2], kept.split(18)[0].action)
    assert torch.equal(validation.action, kept.split(18)[1].action)


def test_quality_is_the_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = {"coverage": 0.475, "is_success": 0.0}
    trial = Trial(best, {"state": np.zeros((1, 18))}, (1.0,), (1.0,))
    monkeypatch.setattr(PolicySystem, "draw", lambda *_, **__: [trial])
    task = Task(method=PUSH_T.method(None), preset=PUSH_T.preset("cpu"), seed=0, directory=tmp_path)
    system = PolicySystem.__new__(PolicySystem)
    assert math.isclose(PUSH_T.judge(task)(system, Euler(1)), 0.5)
    assert PUSH_T.couplings == {"independent": "target"}


def test_the_benchmark_runs(episodes: Episodes, tmp_path: Path) -> None:
    tiny = {"steps": 5, "samples": 1, "demonstrations": 4, "width": 16, "depth": 1}
    result = run(PUSH_T, preset="cpu", output=tmp_path, settings=tiny)
    assert result.nfe == PUSH_T.method(None).evaluations == 4
    scores = {name: value for name, value in result.metrics.items() if value is not None}
    assert 0 <= scores["coverage"] <= scores["score"] <= 1
    assert 0.5 < scores["demonstrations/coverage"] < 1
    arrays = np.load(tmp_path / str(result.arrays), allow_pickle=False)
    assert len(PUSH_T.figures(arrays, "title")) == 3
