from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds import SO3, Sphere
from flowatlas.networks import Classes, MultiScale, ProductMLP


def randomised(model: ProductMLP) -> ProductMLP:
    """Networks start at zero; here every weight is drawn."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def build(**changes: Any) -> ProductMLP:
    settings = {
        "manifolds": {"rotation": SO3()},
        "vocab": {"residue": 5},
        "features": {"translation": MultiScale(3, count=4)},
        "outputs": {"rotation": "target"},
        "width": 32,
        "depth": 2,
    }
    shapes = {"rotation": (4, 3, 3), "translation": (4, 3), "residue": (4,)}
    return randomised(ProductMLP(shapes, **{**settings, **changes}))


def state(batch: int = 3) -> dict[str, Tensor]:
    a = torch.randn(batch, 4, 3, 3)
    return {
        "rotation": torch.linalg.matrix_exp(a - a.mT),
        "translation": torch.randn(batch, 4, 3),
        "residue": torch.randint(6, (batch, 4)),
    }


def test_shapes_and_geometry() -> None:
    out = build()(state(), torch.rand(3))
    assert {k: tuple(v.shape) for k, v in out.items()} == {
        "rotation": (3, 4, 3, 3),
        "translation": (3, 4, 3),
        "residue": (3, 4, 5),
    }
    SO3().check_point(out["rotation"])
    out = build(outputs=None)(state(), torch.rand(3))
    assert out["rotation"].shape == (3, 4, 3)


@pytest.mark.parametrize("name", ["rotation", "translation", "residue"])
def test_every_component_sees_every_other(name: str) -> None:
    model, x, t = build(), state(), torch.rand(3)
    changed = {**x, name: x[name].roll(1, 1) if name != "residue" else (x[name] + 1) % 6}
    before, after = model(x, t), model(changed, t)
    assert all((before[k] - after[k]).abs().max() > 1e-4 for k in before)


def test_one_mask_is_for_all_components() -> None:
    model, x, t = build(), state(), torch.rand(3)
    mask = torch.tensor([True, True, True, False]).expand(3, 4)
    other = {k: v.clone() for k, v in x.items()}
    other["translation"][:, 3] = torch.nan
    other["rotation"][:, 3] = torch.nan
    other["residue"][:, 3] = 0
    a, b = model(x, t, mask=mask), model(other, t, mask=mask)
    for name in a:
        torch.testing.assert_close(a[name][:, :3], b[name][:, :3])
    sum(v[:, :3].square().sum() for v in b.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_fixed_marks_and_conditions() -> None:
    model = build(fixed=True, condition={"fold": Classes(3)})
    x, t = state(), torch.rand(3)
    given = {"residue": torch.ones(3, 4, dtype=torch.bool)}
    plain = model(x, t)
    assert (model(x, t, fixed=given)["translation"] - plain["translation"]).abs().max() > 1e-4
    fold = {"fold": torch.tensor([0, 1, 2])}
    torch.testing.assert_close(model(x, t, model.null_condition(fold)), plain)


def test_the_order_of_names_does_not_matter() -> None:
    shapes = {"a": (2,), "b": (3,)}
    first = randomised(ProductMLP(shapes, width=8, depth=1, manifolds={"b": Sphere()}))
    second = ProductMLP(dict(reversed(shapes.items())), width=8, depth=1, manifolds={"b": Sphere()})
    second.load_state_dict(first.state_dict())
    x, t = {"b": torch.randn(4, 3), "a": torch.randn(4, 2)}, torch.rand(4)
    torch.testing.assert_close(first(x, t), second(x, t))


def test_wrong_settings_and_inputs_are_named() -> None:
    with pytest.raises(ConfigError, match=r"manifolds: no component \['other'\]"):
        ProductMLP({"a": (2,)}, manifolds={"other": Sphere()})
    with pytest.raises(ConfigError, match="vocab"):
        ProductMLP({"a": (3,)}, manifolds={"a": Sphere()}, vocab={"a": 3})
    with pytest.raises(ConfigError, match="event_shapes"):
        ProductMLP({})
    with pytest.raises(ShapeError, match="components"):
        build()({"rotation": state()["rotation"]}, torch.rand(3))
    with pytest.raises(ShapeError, match=r"x\['translation'\]"):
        build()({**state(), "translation": torch.randn(3, 5, 3)}, torch.rand(3))
