"""Windows of episodes, and the scales that go with them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas_robotics import Episodes, Horizon, Normalizer, windows


def numbered(*lengths: int) -> Episodes:
    """Episodes whose action is 100 times the episode plus the step; the observation is minus it."""
    parts = []
    for i, length in enumerate(lengths):
        action = 100.0 * i + torch.arange(float(length)).unsqueeze(1)
        parts.append(({"state": -action}, action))
    return Episodes.join(parts)


def by_hand(length: int, horizon: Horizon) -> list[tuple[list[int], list[int]]]:
    """Windows of one episode, by padding it at both ends as long as needed and sliding over it."""
    before = [0] * (horizon.observation - 1)
    padded = before + list(range(length)) + [length - 1] * horizon.prediction
    found = []
    for start in range(max(1, length - horizon.execution + 1)):
        chunk = padded[start : start + horizon.prediction]
        found.append((chunk[: horizon.observation], chunk))
    return found


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(0, 8),
)
def test_windows_are_those_of_a_padded_episode(
    lengths: list[int], seen: int, executed: int, spare: int
) -> None:
    horizon = Horizon(seen, seen - 1 + executed + spare, executed)
    expected_seen, expected_done = [], []
    for i, length in enumerate(lengths):
        for observation, chunk in by_hand(length, horizon):
            expected_seen.append([-(100.0 * i + step) for step in observation])
            expected_done.append([100.0 * i + step for step in chunk])
    cut = windows(numbered(*lengths), horizon)
    assert cut.action.squeeze(-1).tolist() == expected_done
    assert cut.observation["state"].squeeze(-1).tolist() == expected_seen


def test_as_many_windows_as_diffusion_policy_has() -> None:
    """Its sampler pads 1 before and 7 after: 1 + L + 7 - 16 + 1 windows at horizons 2, 16, 8."""
    assert len(windows(numbered(161), Horizon(2, 16, 8)).action) == 154


def test_every_step_is_executed_in_some_window() -> None:
    horizon = Horizon(2, 16, 8)
    cut = windows(numbered(50, 33), horizon)
    executed = set(cut.action[:, horizon.executed].flatten().tolist())
    assert executed == {float(i) for i in range(50)} | {100.0 + i for i in range(33)}


def test_horizons_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="execution: got 16 after 2"):
        Horizon(2, 16, 16)
    with pytest.raises(ConfigError, match="prediction: got 0"):
        Horizon(1, 0, 1)


def test_episodes_split_and_join() -> None:
    whole = numbered(5, 7, 3)
    assert whole.lengths.tolist() == [5, 7, 3]
    first, second = whole.split(1)
    assert first.lengths.tolist() == [5]
    assert second.lengths.tolist() == [7, 3]
    assert torch.equal(torch.cat([first.action, second.action]), whole.action)
    with pytest.raises(ConfigError, match="count: got 3"):
        whole.split(3)


@pytest.mark.parametrize(
    ("observation", "action", "ends", "error", "message"),
    [
        (torch.zeros(4, 1), torch.zeros(5, 1), [5], ShapeError, "state: got shape"),
        (torch.zeros(5, 1), torch.zeros(5, 1), [3], ShapeError, "ends: got"),
        (torch.zeros(5, 1), torch.zeros(5, 1), [3, 3, 5], ShapeError, "ends: got"),
        (torch.full((5, 1), torch.nan), torch.zeros(5, 1), [5], GeometryError, "state: .* NaN"),
        (torch.zeros(5, 4, 3, 1), torch.zeros(5, 1), [5], ShapeError, "state: got shape"),
        (torch.zeros(5, 4, 3), torch.zeros(5, 1, 1), [5], ShapeError, "action: got shape"),
    ],
)
def test_bad_episodes(
    observation: Tensor, action: Tensor, ends: list[int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Episodes({"state": observation}, action, torch.tensor(ends))


def test_limits_fill_the_box_and_standard_has_unit_spread() -> None:
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * 7 + 40
    limits, standard = Normalizer({"a": 3}), Normalizer({"a": 3}, "standard")
    limits.fit({"a": x})
    standard.fit({"a": x})
    z = limits.normalize("a", x)
    assert torch.allclose(z.amin(0), -torch.ones(3), atol=1e-5)
    assert torch.allclose(z.amax(0), torch.ones(3), atol=1e-5)
    z = standard.normalize("a", x)
    assert torch.allclose(z.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(z.std(0, correction=0), torch.ones(3), atol=1e-5)
    for normalizer in (limits, standard):
        back = normalizer.denormalize("a", normalizer.normalize("a", x))
        assert torch.allclose(back, x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["limits", "standard"])
def test_constant_dimensions_stay_at_zero_and_keep_their_unit(kind: str) -> None:
    sensor = 0.1 + 1e-5 * torch.sin(torch.arange(101.0))
    x = torch.stack([torch.linspace(0, 1, 101), torch.full((101,), 0.1), sensor], 1)
    normalizer = Normalizer({"a": 3}, kind)
    normalizer.fit({"a": x})
    z = normalizer.normalize("a", x)
    assert (z[:, 1] == 0).all()
    assert z[:, 2].abs().max() < 3e-5
    nudged = normalizer.normalize("a", torch.tensor([0.5, 0.1 + 1e-3, 0.1 + 1e-3]))
    assert torch.allclose(nudged[1:], torch.full((2,), 1e-3), rtol=0, atol=2e-5)


def test_a_constant_is_its_own_center_in_double_precision() -> None:
    """The mean of three times 0.1 is not 0.1."""
    x = torch.full((3, 1), 0.1, dtype=torch.float64)
    assert x.mean() != 0.1
    normalizer = Normalizer({"a": 1}, "standard").double()
    normalizer.fit({"a": x})
    assert (normalizer.normalize("a", x) == 0).all()


@pytest.mark.parametrize("kind", ["limits", "standard"])
def test_a_cloud_has_one_center_and_one_scale(kind: str) -> None:
    """All points of all steps as one set, whose shape is kept."""
    generator = torch.Generator().manual_seed(0)
    sides, middle = torch.tensor([4.0, 1.0, 0.25]), torch.tensor([7.0, -3.0, 0.0])
    cloud = torch.randn(30, 11, 3, generator=generator) * sides + middle
    normalizer = Normalizer({"points": 3, "state": 2}, kind, clouds=("points",))
    state = torch.stack([torch.arange(30.0), torch.arange(30.0) / 100], 1)
    normalizer.fit({"points": cloud, "state": state})
    z = normalizer.normalize("points", cloud)
    # Distances among points are all divided by the same number.
    ratio = torch.cdist(z[0], z[0]) / torch.cdist(cloud[0], cloud[0])
    off = ~torch.eye(11, dtype=torch.bool)
    assert torch.allclose(ratio[off], ratio[0, 1].expand(110), rtol=1e-4)
    if kind == "limits":
        assert torch.isclose(z.abs().max(), torch.tensor(1.0), atol=1e-5)
        flat = z.flatten(0, 1)
        assert torch.allclose(flat.amax(0), -flat.amin(0), atol=1e-5)
    else:
        assert torch.allclose(z.mean((0, 1)), torch.zeros(3), atol=1e-5)
        assert torch.isclose(z.square().mean(), torch.tensor(1.0), atol=1e-5)
    # Points may come in any number and order; states are scaled dimension by dimension as before.
    fewer = normalizer.normalize("points", cloud[:, [5, 2]])
    assert torch.equal(fewer, z[:, [5, 2]])
    spread = normalizer.normalize("state", state).std(0)
    assert torch.allclose(spread[0], spread[1], rtol=1e-4)


def test_normalizer_errors() -> None:
    with pytest.raises(ConfigError, match=r"sizes, clouds: got \['a.b'\]"):
        Normalizer({"a.b": 1})
    with pytest.raises(ConfigError, match=r"and \['b'\]; names must be"):
        Normalizer({"a": 1}, clouds=("b",))
    with pytest.raises(ConfigError, match="kind: got 'robust'"):
        Normalizer({"a": 1}, "robust")
    normalizer = Normalizer({"a": 2})
    with pytest.raises(ConfigError, match="never fitted"):
        normalizer.normalize("a", torch.zeros(2))
    with pytest.raises(ConfigError, match="exactly the names"):
        normalizer.fit({"b": torch.zeros(3, 2)})
    with pytest.raises(GeometryError, match="NaN"):
        normalizer.fit({"a": torch.full((3, 2), torch.nan)})
    with pytest.raises(ShapeError, match="without rows"):
        normalizer.fit({"a": torch.zeros(0, 2)})
    assert not normalizer.fitted
    normalizer.fit({"a": torch.zeros(3, 2)})
    with pytest.raises(ConfigError, match="no 'b'"):
        normalizer.denormalize("b", torch.zeros(2))
    with pytest.raises(ShapeError, match="a: got shape"):
        normalizer.normalize("a", torch.zeros(3))
