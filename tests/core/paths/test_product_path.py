"""Products of paths: mappings in and out, each component with its own settings."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, IntervalError, ShapeError
from flowatlas.manifolds import SO3, ProductManifold, Sphere
from flowatlas.paths import AffinePath, GeodesicPath, ProductPath
from flowatlas.schedulers import CondOT, Cosine, Exponential, LinearVP
from flowatlas.sources import Gaussian


def three_paths(two_tokens: ModuleType) -> ProductPath:
    return ProductPath(
        rotation=GeodesicPath(SO3(), prediction="target", weight=2.0),
        translation=AffinePath(Cosine(), source=Gaussian(10.0), prediction="noise"),
        token=two_tokens.TwoTokenMaskPath(weight=0.5),
    )


def data(batch: int = 4, n: int = 5) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    return {
        "rotation": SO3().random_uniform((batch, n, 3, 3), generator=g),
        "translation": torch.randn(batch, n, 3, generator=g),
        "token": torch.randint(2, (batch, n), generator=g),
    }


T = torch.tensor([0.1, 0.4, 0.6, 0.9])


def test_sample_is_that_of_each_component(two_tokens: ModuleType) -> None:
    path, x_1 = three_paths(two_tokens), data()
    x_0 = path.draw(x_1, generator=torch.Generator().manual_seed(1))
    noise = path.draw_noise(x_1, generator=torch.Generator().manual_seed(2))
    assert set(noise) == {"token"} and noise["token"].shape == (4, 5)
    sample = path.sample(x_0, x_1, T, noise=noise)
    x_t: Any = sample.x_t
    dx_t: Any = sample.dx_t
    assert set(x_t) == set(x_1) and set(dx_t) == {"rotation", "translation"}
    for name, component in path.continuous.items():
        alone = component.sample(x_0[name], x_1[name], T)
        assert torch.equal(x_t[name], alone.x_t)  # type: ignore[arg-type]
        assert torch.equal(dx_t[name], alone.dx_t)  # type: ignore[arg-type]
    shown = x_t["token"] != two_tokens.MASK
    assert torch.equal(shown, noise["token"] < T[:, None])
    assert torch.equal(x_t["token"][shown], x_1["token"][shown])


def test_losses_are_those_of_each_component(two_tokens: ModuleType) -> None:
    path, x_1 = three_paths(two_tokens), data()
    sample = path.sample(path.draw(x_1), x_1, T)
    x_0: Any = sample.x_0
    logits = torch.tensor([0.0, 1.0]).expand(4, 5, 2)
    exact = {"rotation": x_1["rotation"], "translation": x_0["translation"], "token": logits}
    losses = path.losses(exact, sample)
    assert list(losses) == list(path.components)
    assert losses["rotation"].max() < 1e-10 and losses["translation"].max() == 0
    x_t: Any = sample.x_t
    hidden = x_t["token"] == two_tokens.MASK
    # Minus the log of the sigmoid of plus or minus one.
    one = torch.where(x_1["token"] == 1, 0.3132617, 1.3132617)
    torch.testing.assert_close(losses["token"], torch.where(hidden, one, 0.0))
    off = {**exact, "translation": x_0["translation"] + 1.0}
    torch.testing.assert_close(path.losses(off, sample)["translation"], torch.ones(4, 5))


def test_velocity_and_manifold_are_of_the_continuous_part(two_tokens: ModuleType) -> None:
    path, x_1 = three_paths(two_tokens), data()
    assert isinstance(path.manifold, ProductManifold)
    assert set(path.manifold.factors) == {"rotation", "translation"}
    sample = path.sample(path.draw(x_1), x_1, T)
    x_t: Any = sample.x_t
    dx_t: Any = sample.dx_t
    x_0: Any = sample.x_0
    prediction = {**x_1, "translation": x_0["translation"], "token": torch.zeros(4, 5, 2)}
    velocity = path.velocity(x_t, T, prediction)
    assert set(velocity) == {"rotation", "translation"}
    for name, value in velocity.items():
        torch.testing.assert_close(value, dx_t[name], rtol=1e-3, atol=1e-3)


def test_intervals_intersect(two_tokens: ModuleType) -> None:
    path = three_paths(two_tokens)
    rotation, translation = path.continuous["rotation"], path.continuous["translation"]
    assert path.interval.end == rotation.interval.end < translation.interval.end
    assert path.interval.start == translation.interval.start > rotation.interval.start
    late = ProductPath(a=AffinePath(LinearVP()), b=AffinePath())
    assert late.t_max == LinearVP().t_max
    x = {"a": torch.zeros(2, 3), "b": torch.zeros(2, 3)}
    with pytest.raises(IntervalError):
        late.sample(x, x, torch.ones(2))


def test_schedule_of_one_component_at_inference(two_tokens: ModuleType) -> None:
    path = ProductPath(
        rotation=GeodesicPath(SO3(), prediction="target"),
        translation=AffinePath(prediction="target"),
    )
    changed = path.with_schedule(rotation=Exponential(10.0))
    x_1 = {name: value for name, value in data().items() if name != "token"}
    x_t: Any = path.sample(path.draw(x_1), x_1, T).x_t
    before, after = path.velocity(x_t, T, x_1), changed.velocity(x_t, T, x_1)
    c, d = CondOT()(T), Exponential(10.0)(T)
    ratio = (d.d_alpha / d.sigma) / (c.d_alpha / c.sigma)
    torch.testing.assert_close(after["rotation"], before["rotation"] * ratio[:, None, None])
    assert torch.equal(after["translation"], before["translation"])
    assert path.continuous["rotation"].inference_scheduler is None
    assert changed.components["rotation"] is changed.continuous["rotation"]
    g = torch.Generator
    x_0 = path.draw(x_1, generator=g().manual_seed(3))
    one, other = path.sample(x_0, x_1, T), changed.sample(x_0, x_1, T)
    for name in x_1:
        assert torch.equal(one.x_t[name], other.x_t[name])  # type: ignore[index]
    with pytest.raises(ConfigError, match="torsion"):
        path.with_schedule(torsion=Exponential(10.0))
    with pytest.raises(ConfigError, match="token"):
        three_paths(two_tokens).with_schedule(token=Exponential(10.0))


def test_draws_follow_the_data_and_not_the_batch(two_tokens: ModuleType) -> None:
    path, x_1 = three_paths(two_tokens), data()

    def generators(rows: slice) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in range(4)[rows]]

    whole = path.draw(x_1, generator=generators(slice(None)))
    part = path.draw({k: v[2:] for k, v in x_1.items()}, generator=generators(slice(2, None)))
    for name, value in whole.items():
        assert value.shape == x_1[name].shape and value.dtype == x_1[name].dtype
        assert torch.equal(value[2:], part[name])
    assert path.draw(x_1, batch=7)["rotation"].shape == (7, 5, 3, 3)
    assert path.draw_noise(x_1, batch=7)["token"].shape == (7, 5)


@pytest.mark.parametrize("what", ["x_0", "x_1", "prediction", "like"])
def test_names_must_be_exactly_those_of_the_path(two_tokens: ModuleType, what: str) -> None:
    path, x_1 = three_paths(two_tokens), data()
    x_0 = path.draw(x_1)
    sample = path.sample(x_0, x_1, T)
    short = {"rotation": x_1["rotation"], "translation": x_1["translation"]}
    calls: dict[str, Any] = {
        "x_0": lambda s: path.sample(s, x_1, T),
        "x_1": lambda s: path.sample(x_0, s, T),
        "prediction": lambda s: path.losses(s, sample),
        "like": path.draw,
    }
    for state, match in (
        (short, r"missing: \['token'\]; not in the path: \[\]"),
        ({**x_1, "torsion": x_1["token"]}, r"missing: \[\]; not in the path: \['torsion'\]"),
        (x_1["rotation"], "mapping"),
    ):
        with pytest.raises(ShapeError, match=match) as raised:
            calls[what](state)
        assert str(raised.value).startswith(what)


def test_shapes_and_times_are_checked(two_tokens: ModuleType) -> None:
    path, x_1 = three_paths(two_tokens), data()
    x_0 = path.draw(x_1)
    with pytest.raises(ShapeError):
        path.sample({**x_0, "token": x_0["token"][:2]}, x_1, T)
    longer = {**x_1, "token": torch.zeros(6, 5, dtype=torch.int64)}
    with pytest.raises(ShapeError):
        path.sample({**x_0, "token": longer["token"]}, longer, T)
    with pytest.raises(IntervalError):
        path.sample(x_0, x_1, T + 1)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        ProductPath()
    with pytest.raises(ConfigError, match="must be a Path"):
        ProductPath(x=Sphere())  # type: ignore[arg-type]
