"""Pictures of episodes: what they show, and the files they are kept in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from flowatlas.errors import ConfigError, DataError, ShapeError
from flowatlas_robotics import Episodes, FlowPolicy, TwoRoutes, arena, rollout, save_gif


def blue(picture: np.ndarray) -> np.ndarray:
    """Mean place of the point's own colour, metres."""
    row, column = (picture == (30, 90, 170)).all(-1).nonzero()
    across, up = np.linspace(-0.15, 2.15, 276), np.linspace(0.77, -0.77, 184)
    return np.array([across[column].mean(), up[row].mean()])


def test_the_picture_shows_where_the_point_is() -> None:
    environment = TwoRoutes(render_mode="rgb_array")
    seen, _ = environment.reset(seed=3)
    for _ in range(6):
        seen, *_ = environment.step(np.array([1.0, 0.6]))
        # Half a pixel is 4 mm.
        assert np.abs(blue(environment.render()) - seen[:2]).max() < 0.005
    # 6 steps of 3 cm to the side, where the picture has its top.
    assert blue(environment.render())[1] > 0.05
    shift = seen[2]
    grey = (environment.render() == 170).all(-1)
    assert np.isclose(np.linspace(0.77, -0.77, 184)[grey.nonzero()[0]].mean(), shift, atol=0.005)
    with pytest.raises(ConfigError, match="render_mode: got None"):
        TwoRoutes().render()
    with pytest.raises(ConfigError, match="render_mode: got 'human'"):
        TwoRoutes("human")


def test_a_trial_keeps_a_frame_for_each_step() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = FlowPolicy({"state": 3}, 2, width=16, depth=1)
        policy.fit_normalizer(Episodes({"state": torch.randn(9, 3)}, torch.rand(9, 2), _ends(9)))
    trial = rollout(policy, TwoRoutes("rgb_array"), 1, limit=12, reset_seeds=[0], frames=True)[0]
    assert len(trial.frames) == len(trial.observations["state"]) == 13
    for frame, seen in zip(trial.frames, trial.observations["state"], strict=True):
        assert np.abs(blue(frame) - seen[:2]).max() < 0.005
    assert rollout(policy, TwoRoutes(), 1, limit=3, reset_seeds=[0])[0].frames == ()
    with pytest.raises(ConfigError, match="render_mode is None"):
        rollout(policy, TwoRoutes(), 1, limit=3, frames=True)


def _ends(steps: int) -> torch.Tensor:
    return torch.tensor([steps])


def test_an_animation_can_be_read_again(tmp_path: Path) -> None:
    frames = [np.full((20, 30, 3), shade, np.uint8) for shade in (0, 100, 250)]
    frames[1][:5] = 200
    with Image.open(save_gif(frames, tmp_path / "it.gif", rate=10)) as read:
        assert (read.n_frames, read.size) == (3, (30, 20))  # type: ignore[attr-defined]
        times = []
        for i, frame in enumerate(frames):
            read.seek(i)
            times.append(read.info["duration"])
            # A palette keeps shades of grey but for rounding.
            assert np.abs(np.asarray(read.convert("RGB"), float) - frame).max() < 4
    assert times == [100, 100, 1000]


def test_bad_animations(tmp_path: Path) -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ConfigError, match=r"rate, path: got 0, it.gif"):
        save_gif([frame], tmp_path / "it.gif", rate=0)
    with pytest.raises(ConfigError, match=r"it.mp4"):
        save_gif([frame], tmp_path / "it.mp4")
    for wrong in ([], [frame, frame[:2]], [frame.astype(float)], [frame[..., 0]]):
        with pytest.raises(ShapeError, match="frames: got"):
            save_gif(wrong, tmp_path / "it.gif")
    with pytest.raises(DataError, match="cannot be written"):
        save_gif([frame], tmp_path / "none" / "it.gif")


@pytest.mark.parametrize("name", ["avoidance", "avoidance-points", "pusht", "metaworld-reach"])
def test_every_arena_can_be_filmed(name: str) -> None:
    pytest.importorskip({"pusht": "gym_pusht", "metaworld-reach": "metaworld"}.get(name, "PIL"))
    place = arena(name)
    environment = place.make(place.held_out, True)
    seen, _ = environment.reset(seed=0)
    first: Any = environment.render()
    limits: Any = environment.action_space
    for _ in range(6):
        environment.step(limits.high)
    later: Any = environment.render()
    environment.close()
    assert first.dtype == np.uint8
    assert first.shape == later.shape == (*first.shape[:2], 3)
    assert 20 < np.any(first != later, -1).sum() < first.shape[0] * first.shape[1] / 2
    actions = torch.from_numpy(environment.action_space.sample()[None]).float()
    rows = {
        key: torch.from_numpy(value[None]).float() for key, value in place.observe(seen).items()
    }
    clouds = {key: value.shape[2] for key, value in rows.items() if value.ndim == 3}
    size = rows["state"].shape[1]
    policy = FlowPolicy({"state": size}, actions.shape[1], width=16, depth=1, clouds=clouds)
    policy.fit_normalizer(Episodes(rows, actions, _ends(1)))
    plain = place.trials(policy, 2, seed=1)
    filmed = place.trials(policy, 2, seed=1, frames=True)
    for one, other in zip(plain, filmed, strict=True):
        # Nothing but the pictures depends on whether there are any.
        for key, values in one.observations.items():
            assert np.array_equal(values, other.observations[key])
        assert len(other.frames) == len(other.observations["state"])
    first, second = (trial.observations["state"][0] for trial in plain)
    assert not np.array_equal(first, second)
    assert set(plain[0].best) == set(place.watch)


def test_an_unknown_arena_is_named() -> None:
    with pytest.raises(ConfigError, match=r"arena: got 'pushed'.*pusht"):
        arena("pushed")
