"""Policies that see clouds of points: what may and what may not change their answers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from flowatlas.errors import ConfigError, DataError, GeometryError, ShapeError
from flowatlas_robotics import (
    ChunkMLP,
    ChunkPolicy,
    CloudEncoder,
    Episodes,
    FlowPolicy,
    ObservationEncoder,
    RegressionPolicy,
    SeeingMLP,
    StateEncoder,
)


def clouds(steps: int, points: int = 12, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, points, 3, generator=generator) * 0.3 + 2


def demonstrations(steps: int = 40) -> Episodes:
    """The action is where the middle of the cloud is, and the cloud is of another place each step.

    The state tells nothing.
    """
    generator = torch.Generator().manual_seed(1)
    middle = torch.rand(steps, 1, 3, generator=generator) * 4 - 2
    points = middle + 0.05 * clouds(steps)
    state = torch.randn(steps, 2, generator=generator)
    return Episodes({"state": state, "points": points}, middle[:, 0], torch.arange(1, steps + 1))


def policy(kind: type[ChunkPolicy] = FlowPolicy, steps: int = 1) -> ChunkPolicy:
    """Of random weights, so that everything that is seen has a say."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = kind(
            {"state": 2},
            3,
            clouds={"points": 3},
            cloud_width=16,
            horizon=(steps, steps, 1),
            width=32,
            depth=2,
        )
        for parameter in made.network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    made.fit_normalizer(demonstrations())
    return made.eval()


def answer(made: ChunkPolicy, points: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    seen = {"state": state, "points": points}
    generator = torch.Generator().manual_seed(5)
    return made.predict_action(seen, generator=generator)["action_pred"]


def test_neither_order_nor_repetition_of_points_matters_but_their_places_do() -> None:
    made, state = policy(steps=2), torch.zeros(4, 2, 2)
    points = clouds(8).view(4, 2, 12, 3)
    given = answer(made, points, state)
    shuffled = points[:, :, torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    assert torch.allclose(answer(made, shuffled, state), given, atol=1e-6)
    assert torch.allclose(answer(made, torch.cat([points, points[:, :, :5]], 2), state), given)
    for changed in (
        points + 0.5,
        points[..., [1, 0, 2]],
        points.flip(1),
        torch.cat([points[:, :, :11], points[:, :, 11:] + 3], 2),
    ):
        assert (answer(made, changed, state) - given).abs().amax((1, 2)).min() > 1e-4
    assert (answer(made, points, state + 1) - given).abs().amax((1, 2)).min() > 1e-4


@pytest.mark.parametrize("points", [1, 5, 300])
def test_any_number_of_points_is_seen(points: int) -> None:
    assert answer(policy(), clouds(2, points)[:, None], torch.zeros(2, 1, 2)).shape == (2, 1, 3)


def test_a_chunk_does_not_depend_on_its_batch() -> None:
    made, points = policy(), clouds(3)[:, None]
    state = torch.randn(3, 1, 2, generator=torch.Generator().manual_seed(0))

    def chunk(rows: list[int]) -> torch.Tensor:
        seen = {"state": state[rows], "points": points[rows]}
        generators = [torch.Generator().manual_seed(row) for row in rows]
        return made.predict_action(seen, generator=generators)["action"]

    assert torch.allclose(chunk([0, 1, 2])[1:2], chunk([1]), atol=1e-6)


def test_a_chunk_looks_once() -> None:
    made, calls = policy(), []
    made.network.encoder.register_forward_hook(lambda *_: calls.append("look"))
    made.network.chunks.register_forward_hook(lambda *_: calls.append("step"))
    made.predict_action(
        {"state": torch.zeros(1, 1, 2), "points": clouds(1)[:, None]}, evaluations=3
    )
    assert calls == ["look", "step", "step", "step"]


def test_what_is_sampled_is_what_was_trained() -> None:
    """A chunk of one Euler step from noise x_0 is x_0 + v(x_0, 0, o), with v as in training."""
    made = policy()
    seen = {"state": torch.ones(3, 1, 2), "points": clouds(3)[:, None]}
    x_0 = torch.randn(3, 1, 3, generator=torch.Generator().manual_seed(5))
    v = made.network(x_0, torch.zeros(3), made.encode(seen))
    expected = made.normalizer.denormalize("action", x_0 + v)
    generator = torch.Generator().manual_seed(5)
    found = made.predict_action(seen, evaluations=1, generator=generator)["action_pred"]
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_network_sees_scaled_observations() -> None:
    episodes, made = demonstrations(), policy()
    condition = made.batches(episodes)["condition"]
    assert isinstance(condition, dict)
    shapes = {name: tuple(value.shape) for name, value in condition.items()}
    assert shapes == {"state": (40, 1, 2), "points": (40, 1, 12, 3)}
    for value in condition.values():
        assert torch.isclose(value.abs().max(), torch.tensor(1.0), atol=1e-5)
    # Half the largest range of the cloud is the unit of all its axes.
    points = episodes.observation["points"].flatten(0, 1)
    unit = (points.amax(0) - points.amin(0)).max() / 2
    seen = condition["points"][:, 0]
    moved = (seen[3, 0] - seen[3, 1]) * unit
    assert torch.allclose(moved, episodes.observation["points"][3].diff(dim=0)[0].neg(), atol=1e-5)


def test_the_encoder_is_trained_with_the_rest() -> None:
    made, episodes = policy(), demonstrations()
    rows = made.batches(episodes)
    x_1, condition = rows["x_1"], rows["condition"]
    assert isinstance(x_1, torch.Tensor)
    assert isinstance(condition, dict)
    made.objective()(made.network, x_1, condition=condition).loss.backward()
    grads = [parameter.grad for parameter in made.network.encoder.parameters()]
    assert len(grads) == 6
    assert all(grad is not None and grad.abs().max() > 0 for grad in grads)


def test_it_learns_what_only_the_points_tell() -> None:
    episodes = demonstrations(1500)

    def error(names: dict[str, int]) -> float:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = RegressionPolicy(
                {"state": 2}, 3, clouds=names, cloud_width=32, horizon=(1, 1, 1), width=64, depth=2
            )
        made.fit_normalizer(episodes)
        rows = made.batches(episodes)
        x_1, condition = rows["x_1"], rows["condition"]
        assert isinstance(x_1, torch.Tensor)
        assert isinstance(condition, dict)
        generator = torch.Generator().manual_seed(1)
        optimizer = torch.optim.Adam(made.network.parameters(), 3e-3)
        for _ in range(150):
            i = torch.randint(1000, (64,), generator=generator)
            part = {name: value[i] for name, value in condition.items()}
            loss = made.objective()(made.network, x_1[i], condition=part).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        held = {name: value[1000:, None] for name, value in episodes.observation.items()}
        found = made.predict_action(held)["action"][:, 0]
        return float((found - episodes.action[1000:]).square().mean().sqrt())

    # Places are uniform on [-2, 2], so that the best blind guess is off by 4 / sqrt(12).
    assert error({"points": 3}) < 0.25
    assert error({}) > 0.9 * 4 / math.sqrt(12)


@pytest.mark.parametrize("kind", [FlowPolicy, RegressionPolicy])
def test_saved_with_its_encoder(kind: type[ChunkPolicy], tmp_path: Path) -> None:
    made = policy(kind)
    made.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path)
    assert again.clouds == {"points": 3}
    points, state = clouds(3)[:, None], torch.ones(3, 1, 2)
    assert torch.equal(answer(again, points, state), answer(made, points, state))
    config = json.loads((tmp_path / "config.json").read_text())
    config["cloud_width"] = 8
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="encoder"):
        kind.from_pretrained(tmp_path)


def test_bad_clouds() -> None:
    made = policy()
    state, points = torch.zeros(2, 1, 2), clouds(2)[:, None]
    with pytest.raises(ConfigError, match=r"\['points'\] missing; got \['state'\]"):
        made.predict_action({"state": state})
    for wrong in (
        points[:, 0],
        points[..., :2],
        points[:, :, :0],
        points[:1],
        torch.cat([points, points], 1),
    ):
        with pytest.raises(ShapeError, match=r"observation\['points'\]: got shape .*, points, 3"):
            answer(made, wrong, state)
    for value in (math.nan, math.inf):
        hurt = points.clone()
        hurt[1, 0, 3, 2] = value
        with pytest.raises(GeometryError, match=r"\['points'\]: contains NaN or infinity"):
            answer(made, hurt, state)
    with pytest.raises(ConfigError, match="none of them may be 'action'"):
        FlowPolicy({"state": 2}, 1, clouds={"action": 3})
    with pytest.raises(ConfigError, match=r"each name be of one kind"):
        FlowPolicy({"state": 2}, 1, clouds={"state": 3})
    with pytest.raises(ConfigError, match="at least one name"):
        FlowPolicy({}, 1)
    only = FlowPolicy({}, 1, clouds={"points": 2}, horizon=(1, 1, 1), width=16, depth=1)
    assert only.network.encoder.features == 64


def test_encoders() -> None:
    assert StateEncoder(3)(torch.ones(2, 3)).shape == (2, 3)
    encoder = CloudEncoder(2, width=8, depth=3)
    # The output is affine in the largest features, so the points that are not largest get no
    # gradient.
    points = torch.randn(1, 50, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    encoder(points).sum().backward()
    assert points.grad is not None
    assert 1 <= (points.grad.abs().sum(-1) > 0).sum() <= 8
    with pytest.raises(ConfigError, match="depth: got 0"):
        CloudEncoder(2, depth=0)
    with pytest.raises(ConfigError, match="steps, states, clouds: got 0"):
        ObservationEncoder(0, {"state": 1})
    seeing = ObservationEncoder(2, {"state": 1}, {"points": 2}, width=4)
    with pytest.raises(ShapeError, match="10 features are made and 9 seen"):
        SeeingMLP(seeing, ChunkMLP(4, 1, observation=9, width=8, depth=1))
    with pytest.raises(ConfigError, match=r"\['points'\] missing"):
        seeing({"state": torch.zeros(1, 2, 1)})
