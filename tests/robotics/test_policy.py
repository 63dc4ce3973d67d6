"""Policies: what they answer, what they learn, how they are kept."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from flowatlas.errors import ConfigError, DataError, GeometryError, ShapeError
from flowatlas.solvers import RK4, Euler, Midpoint
from flowatlas_robotics import (
    ChunkPolicy,
    Episodes,
    FlowPolicy,
    RegressionPolicy,
    entropy,
    proportion,
)


def two_answers(count: int, seed: int = 0) -> Episodes:
    """Episodes of one step: the action is 1 or -1 with equal odds, whatever is observed."""
    generator = torch.Generator().manual_seed(seed)
    sign = 2.0 * torch.randint(2, (count, 1), generator=generator) - 1
    seen = torch.randn(count, 3, generator=generator)
    return Episodes({"state": seen}, sign, torch.arange(1, count + 1))


def small(kind: type[ChunkPolicy], **options: object) -> ChunkPolicy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = kind({"state": 3}, 1, horizon=(1, 1, 1), width=64, depth=2, **options)  # type: ignore[arg-type]
    return made


def trained(
    kind: type[ChunkPolicy], episodes: Episodes, steps: int = 300, prediction: str = "velocity"
) -> ChunkPolicy:
    """By plain Adam, without any of the machinery around `fit`."""
    options = {} if prediction == "velocity" else {"prediction": prediction}
    policy = small(kind, **options)
    policy.fit_normalizer(episodes)
    rows = policy.batches(episodes)
    x_1, condition = rows["x_1"], rows["condition"]
    assert isinstance(x_1, torch.Tensor)
    assert isinstance(condition, dict)
    generator = torch.Generator().manual_seed(1)
    objective = policy.objective()
    optimizer = torch.optim.Adam(policy.network.parameters(), 3e-3)
    for _ in range(steps):
        index = torch.randint(len(x_1), (256,), generator=generator)
        part = {name: value[index] for name, value in condition.items()}
        loss = objective(policy.network, x_1[index], condition=part, generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return policy.eval()


@pytest.mark.parametrize(("prediction", "steps"), [("velocity", 300), ("target", 600)])
def test_a_flow_keeps_both_answers_and_a_regression_has_their_mean(
    prediction: str, steps: int
) -> None:
    episodes = two_answers(2000)
    seen = {"state": torch.randn(500, 1, 3, generator=torch.Generator().manual_seed(2))}
    generator = torch.Generator().manual_seed(3)
    answers = trained(FlowPolicy, episodes, steps, prediction).predict_action(
        seen, evaluations=10, generator=generator
    )["action"]
    near = (answers.abs() - 1).abs() < 0.35
    assert near.float().mean() > 0.8
    # 500 fair coins have a share of heads within 0.11 of a half but for once in a million times;
    # the rest of the room is for the network.
    assert abs((answers > 0).float().mean() - 0.5) < 0.2
    mean = trained(RegressionPolicy, episodes).predict_action(seen)["action"]
    assert mean.abs().mean() < 0.3


def test_a_regression_fits_a_function() -> None:
    generator = torch.Generator().manual_seed(0)
    seen = torch.rand(2000, 3, generator=generator) * 2 - 1
    action = seen.sum(1, keepdim=True) * 5 + 20
    episodes = Episodes({"state": seen}, action, torch.arange(1, 2001))
    policy = trained(RegressionPolicy, episodes)
    # At any other time the network would see the answer in x_t.
    assert not policy.objective().time_sampler.sample(64).any()
    answer = policy.predict_action({"state": seen[:200, None]})["action"][:, 0]
    assert (answer - action[:200]).abs().mean() < 0.4


def test_the_executed_part_begins_at_the_newest_observation() -> None:
    policy = FlowPolicy({"state": 2, "goal": 1}, 2, horizon=(3, 12, 4), width=16, depth=1)
    steps = torch.randn(30, 3)
    policy.fit_normalizer(
        Episodes({"state": steps[:, :2], "goal": steps[:, 2:]}, steps[:, :2], torch.tensor([30]))
    )
    seen = {"state": torch.randn(5, 3, 2), "goal": torch.randn(5, 3, 1), "camera": torch.zeros(1)}
    answer = policy.predict_action(seen)
    assert set(answer) == {"action", "action_pred"}
    assert answer["action_pred"].shape == (5, 12, 2)
    assert torch.equal(answer["action"], answer["action_pred"][:, 2:6])


def test_actions_have_the_units_of_the_demonstrations() -> None:
    """The untrained field is zero, so that a chunk is the noise it started from, scaled."""
    policy = small(FlowPolicy)
    action = torch.linspace(100, 300, 50).unsqueeze(1)
    policy.fit_normalizer(Episodes({"state": torch.randn(50, 3)}, action, torch.tensor([50])))
    answer = policy.predict_action(
        {"state": torch.zeros(4000, 1, 3)}, generator=torch.Generator().manual_seed(0)
    )["action"]
    # Standard errors: 100 / sqrt(4000) = 1.6 of the mean, 1.1 of the standard deviation.
    assert abs(answer.mean().item() - 200) < 8
    assert abs(answer.std().item() - 100) < 6


def test_a_predicted_chunk_has_no_noise_left() -> None:
    """The untrained network predicts the middle of the actions, and the last step ends there."""
    policy = small(FlowPolicy, prediction="target")
    action = torch.linspace(100, 300, 50).unsqueeze(1)
    policy.fit_normalizer(Episodes({"state": torch.randn(50, 3)}, action, torch.tensor([50])))
    calls = []
    policy.network.chunks.register_forward_hook(lambda *_: calls.append(1))
    for evaluations in (1, 3):
        answer = policy.predict_action({"state": torch.zeros(9, 1, 3)}, evaluations=evaluations)
        assert (answer["action"] - 200).abs().max() < 1e-3
    assert len(calls) == 1 + 3


def test_a_chunk_does_not_depend_on_its_batch() -> None:
    policy = trained(FlowPolicy, two_answers(200), steps=20)
    seen = torch.randn(4, 1, 3)

    def generators(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    together = policy.predict_action({"state": seen}, generator=generators(0, 1, 2, 3))["action"]
    alone = policy.predict_action({"state": seen[2:3]}, generator=generators(2))["action"]
    assert torch.allclose(together[2:3], alone, atol=1e-6)


@pytest.mark.parametrize("kind", [FlowPolicy, RegressionPolicy])
def test_saved_with_its_scales(kind: type[ChunkPolicy], tmp_path: Path) -> None:
    prediction = kind.predictions[-1]
    policy = trained(kind, two_answers(200), steps=20, prediction=prediction)
    policy.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path)
    assert again.path.prediction == prediction
    seen = {"state": torch.randn(3, 1, 3)}
    first, second = (
        one.predict_action(seen, generator=torch.Generator().manual_seed(0))["action"]
        for one in (policy, again)
    )
    assert torch.equal(first, second)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(DataError, match="safetensors"):
        kind.from_pretrained(tmp_path)


def test_bad_questions() -> None:
    policy = small(FlowPolicy)
    with pytest.raises(ConfigError, match="never fitted"):
        policy.predict_action({"state": torch.zeros(1, 1, 3)})
    policy.fit_normalizer(two_answers(10))
    with pytest.raises(ConfigError, match=r"\['state'\] missing; got \['image'\]"):
        policy.predict_action({"image": torch.zeros(1, 1, 3)})
    with pytest.raises(ShapeError, match=r"observation\['state'\]: got shape \(1, 2, 3\)"):
        policy.predict_action({"state": torch.zeros(1, 2, 3)})
    with pytest.raises(ConfigError, match="evaluations: got 0"):
        policy.predict_action({"state": torch.zeros(1, 1, 3)}, evaluations=0)
    with pytest.raises(ConfigError, match="RegressionPolicy takes 1 to 1"):
        small(RegressionPolicy, evaluations=4)
    with pytest.raises(ConfigError, match="'noise'; FlowPolicy may predict velocity or target"):
        small(FlowPolicy, prediction="noise")
    with pytest.raises(ConfigError, match="RegressionPolicy may predict velocity"):
        small(RegressionPolicy, prediction="target")
    with pytest.raises(ConfigError, match="none of them may be 'action'"):
        FlowPolicy({"action": 3}, 1)
    with pytest.raises(GeometryError, match=r"observation\['state'\]: contains NaN"):
        policy.predict_action({"state": torch.full((1, 1, 3), torch.nan)})
    with pytest.raises(ConfigError, match=r"observation: \['state'\] missing; got \[\]"):
        policy.network(torch.zeros(1, 1, 1), torch.zeros(1))
    with pytest.raises(ConfigError, match=r"\['state'\] missing; got \['camera'\]"):
        policy.fit_normalizer(Episodes({"camera": torch.zeros(2, 3)}, torch.zeros(2, 1), _end(2)))
    chunks = policy.network.chunks
    with pytest.raises(ConfigError, match="condition: got nothing"):
        chunks(torch.zeros(1, 1, 1), torch.zeros(1))
    with pytest.raises(ShapeError, match="x, observation"):
        chunks(torch.zeros(1, 2, 1), torch.zeros(1), {"observation": torch.zeros(1, 3)})


def _end(steps: int) -> torch.Tensor:
    return torch.tensor([steps])


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (7, 10), (50, 50), (49, 50)])
def test_ends_of_the_interval_solve_its_equation(successes: int, trials: int) -> None:
    found = proportion(successes, trials)
    share, z = successes / trials, 1.959963984540054
    for end in (found.low, found.high):
        assert math.isclose(
            (share - end) ** 2, z * z * end * (1 - end) / trials, rel_tol=1e-9, abs_tol=1e-12
        )
    assert found.low <= share <= found.high
    with pytest.raises(ConfigError, match="successes, trials"):
        proportion(3, 2)
    with pytest.raises(ConfigError, match="confidence: got 95"):
        proportion(1, 2, confidence=95)


def test_entropy_of_known_shares() -> None:
    assert entropy([]) == 0
    assert entropy([5, 5, 5]) == 0
    assert math.isclose(entropy([0] * 3 + [1]), 2 * math.log(2) - 0.75 * math.log(3))


def test_any_solver_makes_chunks() -> None:
    policy = trained(FlowPolicy, two_answers(2000), steps=100)
    seen = {"state": torch.zeros(64, 1, 3)}

    def chunks(**how: object) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return policy.predict_action(seen, generator=generator, **how)["action"]  # type: ignore[arg-type]

    assert torch.equal(chunks(evaluations=4), chunks(solver=Euler(4)))
    exact = chunks(solver=RK4(40))
    errors = [(chunks(solver=kind(20)) - exact).abs().mean() for kind in (Euler, Midpoint)]
    assert errors[1] < 0.2 * errors[0]
    with pytest.raises(ConfigError, match="give one of them"):
        chunks(evaluations=4, solver=Euler(4))
    with pytest.raises(ConfigError, match="none to a policy that takes 1 at most"):
        small(RegressionPolicy)._solver(None, Euler(1))
