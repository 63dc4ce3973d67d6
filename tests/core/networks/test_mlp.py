from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds import SO3, SPD, Euclidean, FlatTorus, Manifold, Sphere
from flowatlas.networks import (
    MLP,
    Classes,
    Features,
    FourierTimeEmbedding,
    MultiScale,
    Periodic,
    Vector,
)


def randomised(model: MLP) -> MLP:
    """Networks start at zero; here every weight is drawn."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def points(manifold: Manifold | None, event: tuple[int, ...], batch: int = 6) -> Tensor:
    x = torch.randn(batch, *event)
    if isinstance(manifold, SO3):
        rotations: Tensor = torch.linalg.matrix_exp(x - x.mT)
        return rotations
    return x if manifold is None else manifold.projx(x)


CASES = [
    (None, (2,), None, (2,)),
    (None, (4, 3), None, (4, 3)),
    (Euclidean(), (3,), None, (3,)),
    (Euclidean(point_ndim=0), (2, 4), None, (2, 4)),
    (Sphere(), (3,), MultiScale(3), (3,)),
    (Sphere(), (5, 4), None, (5, 4)),
    (FlatTorus(), (2,), Periodic(harmonics=2), (2,)),
    (SO3(), (3, 3), None, (3,)),
    (SO3(), (7, 3, 3), MultiScale(9, count=4), (7, 3)),
]


@pytest.mark.parametrize(("manifold", "event", "features", "tangent"), CASES)
def test_velocity_is_a_tangent(
    manifold: Manifold | None,
    event: tuple[int, ...],
    features: Features | None,
    tangent: tuple[int, ...],
) -> None:
    model = randomised(MLP(event, manifold=manifold, width=32, depth=2, features=features))
    x, t = points(manifold, event), torch.rand(6)
    v = model(x, t)
    assert v.shape == (6, *tangent)
    assert v.abs().max() > 1e-3
    if manifold is not None:
        torch.testing.assert_close(manifold.proju(x, v), v, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("manifold", "event", "features", "tangent"), CASES)
def test_target_is_a_point(
    manifold: Manifold | None,
    event: tuple[int, ...],
    features: Features | None,
    tangent: tuple[int, ...],
) -> None:
    model = MLP(event, manifold=manifold, width=32, depth=2, features=features, output="target")
    x = points(manifold, event)
    y = randomised(model)(x, torch.rand(6))
    assert y.shape == x.shape
    assert (y - x).abs().max() > 1e-3
    if manifold is not None:
        manifold.check_point(y)


def test_starts_at_zero() -> None:
    model = MLP((3,), manifold=Sphere(), width=16, depth=3)
    assert model(points(Sphere(), (3,)), torch.rand(6)).abs().max() == 0


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_every_weight_has_a_say(depth: int) -> None:
    condition: dict[str, Classes | Vector] = {"label": Classes(3), "size": Vector(2)}
    model = randomised(MLP((2,), width=16, depth=depth, condition=condition))
    given = {"label": torch.tensor([0, 1, 2, 3]), "size": torch.randn(4, 2)}
    given["size"][1] = torch.nan
    model(torch.randn(4, 2), torch.rand(4), given).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_depends_on_state_time_and_condition() -> None:
    model = randomised(MLP((2,), width=16, depth=2, condition={"label": Classes(3)}))
    x, t, label = torch.randn(4, 2), torch.rand(4) * 0.5, torch.zeros(4, dtype=torch.long)
    out = model(x, t, {"label": label})
    assert (model(x + 0.5, t, {"label": label}) - out).abs().min() > 1e-5
    assert (model(x, t + 0.5, {"label": label}) - out).abs().min() > 1e-5
    assert (model(x, t, {"label": label + 1}) - out).abs().min() > 1e-5


def test_samples_do_not_see_each_other() -> None:
    model = randomised(MLP((5, 3), manifold=Sphere(), width=16, depth=2))
    x, t = points(Sphere(), (5, 3)), torch.rand(6)
    torch.testing.assert_close(model(x[2:4], t[2:4]), model(x, t)[2:4])


def test_null_condition_is_what_no_condition_is() -> None:
    kinds: dict[str, Classes | Vector] = {"label": Classes(3), "size": Vector(2)}
    model = randomised(MLP((2,), width=16, depth=2, condition=kinds))
    x, t = torch.randn(4, 2), torch.rand(4)
    condition = {"label": torch.tensor([0, 1, 2, 0]), "size": torch.randn(4, 2)}
    null = model.null_condition(condition)
    assert {k: (v.shape, v.dtype) for k, v in null.items()} == {
        k: (v.shape, v.dtype) for k, v in condition.items()
    }
    assert torch.equal(null["label"], torch.full((4,), 3))
    torch.testing.assert_close(model(x, t, null), model(x, t))
    assert (model(x, t, null) - model(x, t, condition)).abs().min() > 1e-5
    # Sample by sample, as condition dropout mixes them.
    drop = torch.tensor([True, False, False, True])
    mixed = {
        "label": torch.where(drop, null["label"], condition["label"]),
        "size": torch.where(drop[:, None], null["size"], condition["size"]),
    }
    out = model(x, t, mixed)
    assert torch.isfinite(out).all()
    torch.testing.assert_close(out[drop], model(x, t)[drop])
    torch.testing.assert_close(out[~drop], model(x, t, condition)[~drop])


def test_absent_points_have_no_effect() -> None:
    model = randomised(MLP((4, 3), manifold=Sphere(), width=16, depth=2))
    x, t = points(Sphere(), (4, 3)), torch.rand(6)
    mask = torch.ones(6, 4, dtype=torch.bool)
    mask[:, 2:] = False
    hidden = x.clone()
    hidden[:, 2:] = torch.nan
    out = model(hidden, t, mask=mask)
    torch.testing.assert_close(out, model(x, t, mask=mask))
    assert (out[:, 2:] == 0).all()
    out.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("output", ["velocity", "target"])
def test_gradients_are_finite_beside_nan_padding(output: str) -> None:
    model = randomised(MLP((4, 3), manifold=Sphere(), width=16, depth=2, output=output))
    x = points(Sphere(), (4, 3))
    x[:, 3] = torch.nan
    mask = torch.tensor([True, True, True, False]).expand(6, 4)
    out = model(x, torch.rand(6), mask=mask)
    torch.where(mask[..., None], out, 0.0).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_sees_which_points_are_given() -> None:
    model = randomised(MLP((4, 3), width=16, depth=2, fixed=True))
    x, t = torch.randn(6, 4, 3), torch.rand(6)
    fixed = torch.zeros(6, 4, dtype=torch.bool)
    torch.testing.assert_close(model(x, t, fixed=fixed), model(x, t))
    fixed[:, 1] = True
    assert (model(x, t, fixed=fixed) - model(x, t)).abs().max() > 1e-4
    with pytest.raises(ConfigError, match="fixed=True"):
        MLP((4, 3), width=16)(x, t, fixed=fixed)


@pytest.mark.parametrize("manifold", [None, Sphere()])
def test_forward_derivatives_and_vmap(manifold: Manifold | None) -> None:
    model = randomised(MLP((3,), manifold=manifold, width=16, depth=3, features=MultiScale(3)))
    model = model.double()
    x = points(manifold, (3,)).double()
    u, t = torch.randn_like(x), torch.rand(6, dtype=torch.float64)
    derivative = torch.func.jvp(lambda y: model(y, t), (x,), (u,))[1]
    step = 1e-6
    numeric = (model(x + step * u, t) - model(x - step * u, t)) / (2 * step)
    torch.testing.assert_close(derivative, numeric, atol=1e-6, rtol=1e-5)
    one_by_one = torch.func.vmap(lambda y, s: model(y[None], s[None])[0])(x, t)
    torch.testing.assert_close(one_by_one, model(x, t))


def test_compiles_without_graph_breaks() -> None:
    # The eager backend traces as inductor does, and needs no C compiler.
    model = randomised(MLP((3,), manifold=Sphere(), width=16, depth=2, condition={"c": Classes(2)}))
    x, t, c = points(Sphere(), (3,)), torch.rand(6), {"c": torch.zeros(6, dtype=torch.long)}
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, t, c), model(x, t, c))


def test_dtype_of_the_state_is_kept() -> None:
    model = randomised(MLP((3,), manifold=Sphere(), width=16, depth=2))
    x = points(Sphere(), (3,))
    assert model(x.double(), torch.rand(6)).dtype == torch.float64
    assert model.bfloat16()(x, torch.rand(6)).dtype == torch.float32


def test_geometry_and_features_stay_precise_under_autocast() -> None:
    model = randomised(MLP((3,), manifold=Sphere(), width=16, depth=2, features=MultiScale(3)))
    x, t = points(Sphere(), (3,)), torch.rand(6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        v = model(x, t)
    assert v.dtype == torch.float32
    assert (v * x).sum(-1).abs().max() < 1e-6
    # In bfloat16 the phases x / 0.03 would be off by a tenth of a radian.
    torch.testing.assert_close(v, model(x, t), atol=0.02 * v.abs().max().item(), rtol=0.05)


def test_wrong_inputs_are_named() -> None:
    model = MLP((3,), manifold=Sphere(), width=16, condition={"label": Classes(2)})
    x, t = points(Sphere(), (3,)), torch.rand(6)
    with pytest.raises(ShapeError, match=r"x: got shape \(6, 2\)"):
        model(torch.randn(6, 2), t)
    with pytest.raises(ShapeError, match=r"t: got shape \(\)"):
        model(x, torch.tensor(0.5))
    with pytest.raises(ShapeError, match="mask"):
        model(x, t, mask=torch.ones(6, 3, dtype=torch.bool))
    with pytest.raises(ConfigError, match="other"):
        model(x, t, {"other": t})
    with pytest.raises(ShapeError, match="label"):
        model(x, t, {"label": torch.zeros(6, 1, dtype=torch.long)})


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="output"):
        MLP((3,), output="speed")
    with pytest.raises(ConfigError, match="width, depth"):
        MLP((3,), depth=0)
    with pytest.raises(ShapeError, match="event_shape"):
        MLP((), manifold=Sphere())
    with pytest.raises(ShapeError, match="event_shape"):
        MLP((4, 4), manifold=SO3())
    with pytest.raises(ConfigError, match="label"):
        MLP((3,), condition={"label": 3})  # type: ignore[dict-item]


def test_other_time_embeddings() -> None:
    model = MLP((2,), width=16, time_embedding=FourierTimeEmbedding(8, max_frequency=2.0))
    assert model(torch.randn(4, 2), torch.rand(4)).shape == (4, 2)


def test_matrices_of_any_size_are_moved_at_speeds_of_one_size() -> None:
    """Numbers are coordinates in an orthonormal frame: the speed is their length, at any point."""
    manifold = SPD(2)
    network = MLP((2, 2), manifold=manifold, width=8, depth=1)
    assert network.trunk.outputs.out_features == 3
    with torch.no_grad():
        network.trunk.outputs.bias.copy_(torch.tensor([3.0, 0.0, 4.0]))
    t = torch.full((1,), 0.5)
    for scale in (1e-4, 1.0, 1e4):
        x = scale * torch.tensor([[[2.0, 0.3], [0.3, 1.0]]])
        u = network(x, t)
        assert torch.allclose(u, u.mT)
        torch.testing.assert_close(manifold.norm(x, u), torch.tensor([5.0]))
    ends = MLP((2, 2), manifold=manifold, width=8, depth=1, output="target")
    with torch.no_grad():
        ends.trunk.outputs.bias.copy_(torch.tensor([3.0, 0.0, 4.0]))
    torch.testing.assert_close(manifold.dist(x, ends(x, t)), torch.tensor([5.0]), rtol=1e-3, atol=0)
