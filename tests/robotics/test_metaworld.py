"""Meta-World: experts as demonstrators, seeds that mean what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flowatlas.benchmarks import run
from flowatlas.errors import ConfigError
from flowatlas_robotics import (
    FlowPolicy,
    arena,
    demonstrate_metaworld,
    metaworld_environment,
)

pytest.importorskip("metaworld", reason="needs flowatlas-robotics[metaworld]")


def test_seeds_choose_starts_and_goals() -> None:
    def states(seed: int) -> np.ndarray:
        environment = metaworld_environment("reach-v3", seed=seed)
        return np.stack([environment.reset()[0] for _ in range(3)])

    first = states(0)
    assert np.array_equal(first, states(0))
    assert not np.array_equal(first[0], first[1])
    assert np.abs(first[:, -3:] - states(1)[:, -3:]).max() > 1e-3
    with pytest.raises(ConfigError, match="task: got 'reach-v2'"):
        metaworld_environment("reach-v2", seed=0)


def test_demonstrations_end_past_success_and_differ_by_seed() -> None:
    episodes, failed = demonstrate_metaworld("reach-v3", 2, seed=0)
    again, _ = demonstrate_metaworld("reach-v3", 2, seed=0)
    other, _ = demonstrate_metaworld("reach-v3", 2, seed=1)
    assert failed == 0
    assert torch.equal(episodes.action, again.action)
    assert episodes.observation["state"].shape[1] == 39
    assert episodes.action.abs().max() <= 1
    hand, goal = (episodes.observation["state"][:, part] for part in (slice(0, 3), slice(36, 39)))
    # Success is within 5 cm of the goal; ten more steps with noise stay near.
    last = (hand - goal).norm(dim=1)[episodes.ends - 1]
    assert (last < 0.08).all()
    assert not torch.equal(goal[0], other.observation["state"][0, 36:])
    with pytest.raises(ConfigError, match="count, noise, after"):
        demonstrate_metaworld("reach-v3", 0)


def test_trials_start_where_no_demonstration_did() -> None:
    episodes, _ = demonstrate_metaworld("reach-v3", 2, seed=0)
    policy = FlowPolicy({"state": 39}, 4, width=16, depth=1)
    policy.fit_normalizer(episodes)
    place = replace(arena("metaworld-reach"), limit=1)
    trials = [place.trials(policy, 2, seed=seed) for seed in (0, 1)]
    goals = np.stack([trial.observations["state"][0, 36:] for one in trials for trial in one])
    taught = episodes.observation["state"][:, 36:].unique(dim=0).numpy()
    every = np.concatenate([goals, taught])
    # All six differ: those of trials among each other, between seeds, and from the demonstrations'.
    apart = np.linalg.norm(every[:, None] - every, axis=-1) + np.eye(len(every))
    assert len(every) == 6
    assert apart.min() > 1e-3


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path: Path) -> None:
    from flowatlas_robotics.benchmarks.metaworld import REACH

    tiny = {"steps": 10, "samples": 2, "demonstrations": 3, "width": 16, "depth": 1}
    result = run(REACH, preset="demo", output=tmp_path, settings=tiny)
    assert result.metrics["expert/success"] == 1
    arrays = np.load(tmp_path / str(result.arrays), allow_pickle=False)
    assert len(REACH.figures(arrays, "title")) == 3
