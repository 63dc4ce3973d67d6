"""The objective around the loss: masks, fixed points, weights, conditions, draws, validation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowatlas.couplings import Coupling, MinibatchOT, Paired, Pairing
from flowatlas.errors import CapabilityError, ConfigError, GeometryError, ShapeError
from flowatlas.manifolds import SO3, Euclidean, Manifold, Sphere
from flowatlas.objectives import FlowMatching, LossOutput
from flowatlas.paths import AffinePath, GeodesicPath, PathSample, ProductPath, StatePath
from flowatlas.schedulers import LinearVP
from flowatlas.time_samplers import Shifted, UniformTime

N = 5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def zero(x: Any, t: Tensor, condition: Any = None, /, **masks: Any) -> Any:
    """The field that is zero everywhere (identity rotations have tangent zero)."""
    if isinstance(x, Tensor):
        return torch.zeros_like(x)
    return {k: v.new_zeros(*v.shape[:2], 3) if v.ndim == 4 else v * 0 for k, v in x.items()}


class Linear(nn.Module):
    """One matrix for every point, so that gradients show which points had a part."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(size) * 0.5)
        self.seen: dict[str, Any] = {}

    def forward(self, x: Tensor, t: Tensor, condition: Any = None, **given: Any) -> Tensor:
        self.seen = {"x": x, "t": t, "condition": condition, **given}
        return x.flatten(-2)[..., :3] @ self.matrix if x.ndim == 4 else x @ self.matrix


PLACES: dict[str, tuple[StatePath, Manifold, tuple[int, ...]]] = {
    "flat": (AffinePath(), Euclidean(), (3,)),
    "endpoint": (AffinePath(prediction="target"), Euclidean(), (3,)),
    "sphere": (GeodesicPath(Sphere()), Sphere(), (3,)),
    "rotation": (GeodesicPath(SO3()), SO3(), (3, 3)),
}


def some_data(name: str, batch: int = 4) -> Tensor:
    shape = (batch, N, *PLACES[name][2])
    if name in ("flat", "endpoint"):
        return torch.randn(shape, generator=seeded())
    return PLACES[name][1].random_uniform(shape, generator=seeded())


# What comes out.


def test_output_adds_up() -> None:
    x_1 = torch.randn(6, N, 3, generator=seeded())
    path = AffinePath(time_weight=lambda t: 1 + t)
    output = FlowMatching(path)(zero, x_1, generator=seeded(1))
    assert isinstance(output, LossOutput)
    assert output.loss.shape == () and output.per_sample.shape == (6,) and output.t.shape == (6,)
    torch.testing.assert_close(output.loss, output.per_sample.mean())
    torch.testing.assert_close(output.components["x"], output.loss)
    # By hand, from the same draws.
    draws = FlowMatching(path).draw(x_1, generator=seeded(1))
    assert torch.equal(draws.t, output.t)
    by_hand = (1 + draws.t) * (x_1 - draws.x_0).square().mean((1, 2))  # type: ignore[operator]
    torch.testing.assert_close(output.per_sample, by_hand)


def test_components_are_weighted_and_reported_bare() -> None:
    x_1 = {
        "a": torch.randn(4, N, 3, generator=seeded()),
        "b": torch.randn(4, 2, generator=seeded()),
    }
    path = ProductPath(a=AffinePath(weight=2.0), b=AffinePath(prediction="noise", weight=0.25))
    draws = FlowMatching(path).draw(x_1, generator=seeded(1))
    output = FlowMatching(path)(zero, x_1, draws=draws)
    x_0: Any = draws.x_0
    a = (x_1["a"] - x_0["a"]).square().mean()
    b = x_0["b"].square().mean()
    torch.testing.assert_close(output.components, {"a": a, "b": b})
    torch.testing.assert_close(output.loss, 2.0 * a + 0.25 * b)
    assert not output.per_sample.requires_grad and not output.components["a"].requires_grad


def test_weights_of_samples() -> None:
    x_1 = torch.randn(4, 3, generator=seeded())
    objective, weight = FlowMatching(AffinePath()), torch.tensor([0.0, 1.0, 2.0, 0.5])
    plain = objective(zero, x_1, generator=seeded(1))
    weighted = objective(zero, x_1, generator=seeded(1), weight=weight)
    torch.testing.assert_close(weighted.per_sample, weight * plain.per_sample)
    for bad in (weight[:, None], weight[:2]):
        with pytest.raises(ShapeError, match="weight"):
            objective(zero, x_1, weight=bad)


def test_regularizers_see_sample_and_prediction() -> None:
    def speed(sample: PathSample, prediction: Any) -> Tensor:
        assert isinstance(sample.dx_t, Tensor) and sample.dx_t.shape == prediction.shape
        return 10 * sample.t

    x_1 = torch.randn(4, 3, generator=seeded())
    plain = FlowMatching(AffinePath())(zero, x_1, generator=seeded(1))
    more = FlowMatching(AffinePath(), regularizers=[speed])(zero, x_1, generator=seeded(1))
    torch.testing.assert_close(more.per_sample, plain.per_sample + 10 * plain.t)


def test_regularizers_see_which_points_exist() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    seen: list[Any] = []

    def count(sample: PathSample, prediction: Any) -> Tensor:
        seen.append(sample.exists)
        return 0 * sample.t

    objective = FlowMatching(AffinePath(), regularizers=[count])
    objective(zero, torch.zeros(2, 3, 2))
    objective(lambda x, t, c, mask: 0 * x, torch.zeros(2, 3, 2), mask=mask)
    assert seen[0] is None
    assert torch.equal(seen[1]["x"], mask)


# Masks.


@pytest.mark.parametrize("filler", [0.0, math.nan, 1e6])
@pytest.mark.parametrize("name", PLACES)
def test_padding_has_no_part_in_loss_or_gradient(name: str, filler: float) -> None:
    """A padded sample has the loss and the gradient of the sample without its padding."""
    path, _, _ = PLACES[name]
    objective, x_1 = FlowMatching(path), some_data(name)
    draws = objective.draw(x_1, generator=seeded(1))
    lengths = [5, 3, 1, 4]
    mask = torch.arange(N) < torch.tensor(lengths)[:, None]
    padded = torch.where(mask.view(4, N, *(1,) * (x_1.ndim - 2)), x_1, filler)

    together = Linear()
    output = objective(together, padded, draws=draws, mask=mask)
    output.loss.backward()
    assert torch.equal(together.seen["mask"], mask)
    assert torch.isfinite(together.seen["x"]).all()

    alone = Linear()
    for i, n in enumerate(lengths):
        one = objective(
            alone,
            x_1[i : i + 1, :n],
            x_0=draws.x_0[i : i + 1, :n],  # type: ignore[index]
            t=draws.t[i : i + 1],
        )
        torch.testing.assert_close(output.per_sample[i], one.loss.detach())
        (one.loss / 4).backward()
    torch.testing.assert_close(together.matrix.grad, alone.matrix.grad)


@pytest.mark.parametrize("name", PLACES)
def test_padding_of_given_sources_is_replaced_too(name: str) -> None:
    path, manifold, _ = PLACES[name]
    x_1 = some_data(name)
    mask = torch.arange(N) < torch.tensor([5, 3, 1, 4])[:, None]
    hole = ~mask.view(4, N, *(1,) * (x_1.ndim - 2))
    x_0 = path.draw(x_1, generator=seeded(1)).masked_fill(hole, math.nan)
    model = Linear()
    t = torch.full((4,), 0.5)
    output = FlowMatching(path)(model, x_1.masked_fill(hole, math.nan), x_0=x_0, t=t, mask=mask)
    output.loss.backward()
    manifold.check_point(model.seen["x"])
    assert model.matrix.grad is not None and torch.isfinite(model.matrix.grad).all()


def test_one_mask_serves_all_components_or_each_has_its_own() -> None:
    x_1 = {"a": torch.randn(2, N, 3, generator=seeded()), "b": torch.randn(2, N, 2)}
    path = ProductPath(a=AffinePath(), b=AffinePath())
    objective = FlowMatching(path)
    mask = torch.arange(N) < torch.tensor([3, 5])[:, None]
    draws = objective.draw(x_1, generator=seeded(1))
    x_0: Any = draws.x_0
    error = {k: (x_1[k] - x_0[k]).square().mean(-1) for k in x_1}
    whole = {k: e.mean() for k, e in error.items()}
    part = {k: ((e * mask).sum(1) / mask.sum(1)).mean() for k, e in error.items()}
    both = objective(zero, x_1, draws=draws, mask=mask)
    torch.testing.assert_close(both.components, part)
    first = objective(zero, x_1, draws=draws, mask={"a": mask})
    torch.testing.assert_close(first.components, {"a": part["a"], "b": whole["b"]})


def test_samples_without_points_have_no_loss() -> None:
    x_1 = torch.randn(2, N, 3, generator=seeded())
    mask = torch.tensor([[False] * N, [True] * N])
    output = FlowMatching(AffinePath())(zero, x_1, mask=mask)
    assert output.per_sample[0] == 0 and output.per_sample[1] > 0
    states = torch.randn(3, 3, generator=seeded())
    output = FlowMatching(AffinePath())(zero, states, mask=torch.tensor([True, False, True]))
    assert (output.per_sample > 0).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "mask", [torch.ones(4, N), torch.ones(4, N, 3).bool(), torch.ones(4).bool()]
)
def test_masks_of_another_dtype_or_shape_are_refused(mask: Tensor) -> None:
    with pytest.raises(ShapeError, match="mask"):
        FlowMatching(AffinePath())(zero, torch.zeros(4, N, 3), mask=mask)


def test_masks_of_unknown_components_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"mask: no component \['b'\]"):
        FlowMatching(AffinePath())(zero, torch.zeros(4, N, 3), mask={"b": torch.ones(4, N).bool()})


# Fixed points.


@pytest.mark.parametrize("name", PLACES)
def test_fixed_points_enter_clean_and_have_no_loss(name: str) -> None:
    path, _, _ = PLACES[name]
    objective, x_1 = FlowMatching(path), some_data(name)
    value = some_data(name).flip(0)
    held = torch.rand(4, N, generator=seeded(2)) < 0.4
    draws = objective.draw(x_1, generator=seeded(1))
    free, model = Linear(), Linear()
    plain = objective(free, x_1, draws=draws)
    output = objective(model, x_1, draws=draws, fixed=(held, value))
    assert torch.equal(model.seen["fixed"], held)
    assert torch.equal(model.seen["x"][held], value[held])
    assert torch.equal(model.seen["x"][~held], free.seen["x"][~held])
    # The loss is the mean over the others, which is what a mask alone would give.
    rest = objective(Linear(), x_1, draws=draws, mask=~held)
    torch.testing.assert_close(output.per_sample, rest.per_sample)
    assert not torch.allclose(output.per_sample, plain.per_sample)


def test_fixed_components_by_name_and_with_a_mask() -> None:
    x_1 = {"a": torch.randn(2, N, 3, generator=seeded()), "b": torch.randn(2, N, 2)}
    objective = FlowMatching(ProductPath(a=AffinePath(), b=AffinePath()))
    held = torch.zeros(2, N, dtype=torch.bool)
    held[:, 0] = True
    mask = torch.arange(N) < torch.tensor([3, 5])[:, None]
    seen: list[Any] = []

    def model(x: Any, t: Tensor, condition: Any = None, *, mask: Any, fixed: Any) -> Any:
        seen.append(fixed)
        return zero(x, t)

    draws = objective.draw(x_1, generator=seeded(1))
    output = objective(model, x_1, draws=draws, mask=mask, fixed={"b": (held, x_1["b"])})
    assert list(seen[0]) == ["b"] and torch.equal(seen[0]["b"], held)
    x_0: Any = draws.x_0
    error = (x_1["b"] - x_0["b"]).square().mean(-1)
    keep = mask & ~held
    torch.testing.assert_close(output.components["b"], ((error * keep).sum(1) / keep.sum(1)).mean())


def test_what_is_fixed_is_checked() -> None:
    x_1, held = torch.zeros(4, N, 3), torch.zeros(4, N, dtype=torch.bool)
    objective = FlowMatching(AffinePath())
    with pytest.raises(ShapeError, match="value has shape"):
        objective(zero, x_1, fixed=(held, x_1[:, :1]))
    with pytest.raises(ShapeError, match=r"fixed\['x'\] mask"):
        objective(zero, x_1, fixed=(held[:, :2], x_1))
    with pytest.raises(ShapeError, match="bool"):
        objective(zero, x_1, fixed=(held.float(), x_1))
    broken = x_1.clone()
    broken[0, 0] = math.nan
    objective(zero, x_1, fixed=(held, broken))
    held[0, 0] = True
    with pytest.raises(GeometryError, match="NaN"):
        objective(zero, x_1, fixed=(held, broken))


# Conditions.


class Conditional(nn.Module):
    """Remembers its condition; the null is -1."""

    def forward(self, x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        self.condition = condition
        return x * 0

    def null_condition(self, condition: Any) -> Any:
        return {name: torch.full_like(value, -1) for name, value in condition.items()}


def test_conditions_are_dropped_whole_samples_at_a_time() -> None:
    n, p = 4000, 0.3
    x_1 = torch.zeros(n, 2)
    condition = {"label": torch.arange(n), "image": torch.ones(n, 2, 2)}
    model, objective = Conditional(), FlowMatching(AffinePath())
    objective(model, x_1, condition=condition, condition_dropout=p, generator=seeded())
    dropped = model.condition["label"] == -1
    assert torch.equal((model.condition["image"] == -1).flatten(1).all(1), dropped)
    assert torch.equal((model.condition["image"] == 1).flatten(1).all(1), ~dropped)
    assert torch.equal(model.condition["label"][~dropped], torch.arange(n)[~dropped])
    share = dropped.float().mean().item()
    assert share == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))
    assert (condition["label"] >= 0).all()
    for probability, all_or_none in ((0.0, 0), (1.0, n)):
        objective(model, x_1, condition=condition, condition_dropout=probability)
        assert int((model.condition["label"] == -1).sum()) == all_or_none


def test_null_conditions_are_found_behind_a_wrapper_and_missed_elsewhere() -> None:
    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, *inputs: Any) -> Any:
            return self.module(*inputs)

    x_1, condition = torch.zeros(4, 2), {"label": torch.arange(4)}
    objective, inner = FlowMatching(AffinePath()), Conditional()
    objective(Wrapper(inner), x_1, condition=condition, condition_dropout=1.0)
    assert (inner.condition["label"] == -1).all()
    with pytest.raises(CapabilityError, match="null_condition"):
        objective(zero, x_1, condition=condition, condition_dropout=0.1)


@pytest.mark.parametrize("label", [torch.arange(3), torch.tensor(1)])
def test_conditions_have_one_row_per_sample(label: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"condition\['label'\]"):
        FlowMatching(AffinePath())(zero, torch.zeros(4, 2), condition={"label": label})


# Draws.


@pytest.mark.parametrize("name", PLACES)
def test_per_sample_generators_make_losses_independent_of_the_batch(name: str) -> None:
    objective, x_1 = FlowMatching(PLACES[name][0]), some_data(name)

    def run(rows: slice) -> LossOutput:
        generators = [seeded(seed) for seed in range(4)[rows]]
        return objective(Linear(), x_1[rows], generator=generators)

    whole, part = run(slice(None)), run(slice(1, 3))
    assert torch.equal(whole.t[1:3], part.t)
    torch.testing.assert_close(whole.per_sample[1:3], part.per_sample)
    assert len(whole.per_sample.unique()) == 4


def test_draws_can_be_repeated_and_split() -> None:
    x_1 = {"a": torch.randn(4, 3, generator=seeded()), "b": torch.randn(4, 2, generator=seeded())}
    objective = FlowMatching(ProductPath(a=AffinePath(), b=AffinePath()))
    draws = objective.draw(x_1, batch=8, generator=seeded(1))
    assert draws.t.shape == (8,) and draws.u.shape == (8,)
    odd = draws.rows(slice(1, None, 2))
    output = objective(zero, x_1, draws=odd)
    assert torch.equal(output.t, draws.t[1::2])
    again = objective(zero, x_1, draws=draws.rows(torch.tensor([1, 3, 5, 7])))
    assert torch.equal(output.per_sample, again.per_sample)


def test_given_sources_and_times_are_used() -> None:
    x_1, x_0 = torch.ones(3, 2), torch.full((3, 2), 3.0)
    t = torch.tensor([0.0, 0.5, 1.0])
    model = Linear(2)
    output = FlowMatching(AffinePath())(model, x_1, x_0=x_0, t=t)
    torch.testing.assert_close(model.seen["x"], (3 - 2 * t)[:, None].expand(3, 2))
    assert torch.equal(output.t, t)


def test_times_follow_the_sampler_and_end_where_the_schedule_does() -> None:
    x_1 = torch.zeros(2000, 2)
    plain = FlowMatching(AffinePath()).draw(x_1, generator=seeded()).t
    shifted = FlowMatching(AffinePath(), time_sampler=Shifted(UniformTime(), 3.0))
    assert not torch.equal(shifted.draw(x_1, generator=seeded()).t, plain)
    late = FlowMatching(AffinePath(LinearVP()))
    draws = late.draw(x_1, generator=seeded())
    draws.t[:5] = 1.0
    output = late(zero, x_1, draws=draws)
    assert output.t.max() <= LinearVP.t_max and torch.isfinite(output.loss)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_data_is_raised_to_float32(dtype: torch.dtype) -> None:
    """A bfloat16 t would have some 700 distinct values in 4096 draws."""
    x_1 = Sphere().random_uniform((4096, 3), generator=seeded()).to(dtype)
    model = Linear()
    output = FlowMatching(GeodesicPath(Sphere()))(model, x_1, generator=seeded())
    assert model.seen["x"].dtype == model.seen["t"].dtype == torch.float32
    assert len(output.t.unique()) > 4000


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sources_are_drawn_in_float32_beside_half_precision_data(dtype: torch.dtype) -> None:
    """In bfloat16, 4096 normal draws have about 700 distinct values."""
    x_1, model = torch.zeros(4096, 1, dtype=dtype), Linear(1)
    objective = FlowMatching(AffinePath())
    objective(model, x_1, t=torch.zeros(4096), generator=seeded())
    assert len(model.seen["x"].unique()) > 4000
    draws = objective.draw(x_1, generator=seeded())
    assert isinstance(draws.x_0, Tensor) and draws.x_0.dtype == torch.float32


def test_double_precision_is_kept() -> None:
    model = Linear().double()
    output = FlowMatching(AffinePath())(model, torch.zeros(4, 3, dtype=torch.float64))
    assert model.seen["t"].dtype == output.loss.dtype == torch.float64


# Couplings.


def test_coupling_reorders_the_source_alone() -> None:
    class Reversed(Pairing):
        def pair(self, x_0: Any, x_1: Any, *, generator: Any = None) -> Tensor:
            return torch.arange(len(x_1) - 1, -1, -1)

    x_1, x_0 = torch.randn(4, 3, generator=seeded()), torch.randn(4, 3, generator=seeded(1))
    objective = FlowMatching(AffinePath(), coupling=Reversed())
    model, condition = Linear(), {"label": torch.arange(4)}
    objective(model, x_1, x_0=x_0, t=torch.full((4,), 0.5), condition=condition)
    torch.testing.assert_close(model.seen["x"], 0.5 * (x_1 + x_0.flip(0)))
    assert torch.equal(model.seen["condition"]["label"], torch.arange(4))


def test_optimal_transport_shortens_the_pairs() -> None:
    sphere = Sphere()
    x_1 = sphere.random_uniform((64, 3), generator=seeded())
    path = GeodesicPath(sphere)
    alone = FlowMatching(path)(zero, x_1, generator=seeded(1))
    coupled = FlowMatching(path, coupling=MinibatchOT(sphere))(zero, x_1, generator=seeded(1))
    # The loss of the zero field is the mean squared distance, by dimension.
    assert coupled.loss < 0.5 * alone.loss


@pytest.mark.parametrize("coupling", [MinibatchOT(Euclidean()), Paired()], ids=repr)
@pytest.mark.parametrize("kind", ["noise", "score"])
def test_noise_and_score_refuse_couplings(kind: str, coupling: Coupling) -> None:
    for path in (AffinePath(prediction=kind), ProductPath(a=AffinePath(prediction=kind))):
        with pytest.raises(CapabilityError, match=kind):
            FlowMatching(path, coupling=coupling)
    for allowed in ("velocity", "target"):
        FlowMatching(AffinePath(prediction=allowed), coupling=coupling)


def test_pairs_must_be_given() -> None:
    objective = FlowMatching(AffinePath(), coupling=Paired())
    with pytest.raises(ConfigError, match="x_0"):
        objective(zero, torch.zeros(4, 3))
    objective(zero, torch.zeros(4, 3), x_0=torch.ones(4, 3))


# Validation.


def test_values_are_looked_at_on_request() -> None:
    sphere = FlowMatching(GeodesicPath(Sphere()))
    good = Sphere().random_uniform((4, 3), generator=seeded())
    broken, off = good.clone(), good.clone()
    broken[1, 2] = math.nan
    off[2] *= 1.1
    sphere(zero, good, validate=True)
    with pytest.raises(GeometryError, match="x_1: 1 of 4 samples contain NaN"):
        sphere(zero, broken, validate=True)
    with pytest.raises(GeometryError, match=r"x_1: points lie off Sphere\(\)"):
        sphere(zero, off, validate=True)
    with pytest.raises(GeometryError, match="x_0"):
        sphere(zero, good, x_0=off, validate=True)
    product = FlowMatching(ProductPath(a=GeodesicPath(Sphere()), b=AffinePath()))
    with pytest.raises(GeometryError, match=r"x_1\['a'\]"):
        product(zero, {"a": off, "b": good}, validate=True)
    # Padding may hold anything.
    sphere(zero, broken, mask=torch.tensor([True, False, True, True]), validate=True)


def test_shapes_are_always_checked() -> None:
    rotation = FlowMatching(GeodesicPath(SO3()))
    with pytest.raises(ShapeError, match=r"\(\.\.\., 3, 3\)"):
        rotation(zero, torch.zeros(4, 3), x_0=torch.zeros(4, 3), validate=True)
    flat = FlowMatching(AffinePath())
    x = torch.zeros(4, 3)
    for x_0 in (torch.zeros(4, 1), torch.zeros(3, 3), torch.zeros(1, 3)):
        with pytest.raises(ShapeError, match="x_0"):
            flat(zero, x, x_0=x_0)
    with pytest.raises(ShapeError, match="x_0"):
        FlowMatching(AffinePath(), coupling=MinibatchOT(Euclidean()))(zero, x, x_0=x[:, :1])
    for t in (torch.zeros(4, 1), torch.zeros(3), torch.tensor(0.5)):
        with pytest.raises(ShapeError, match="t"):
            flat(zero, x, t=t)
    with pytest.raises(ShapeError, match="lone AffinePath"):
        flat(zero, {"x": x})
    product = FlowMatching(ProductPath(a=AffinePath(), b=AffinePath()))
    for state in ({"a": x}, {"a": x, "c": x}, {"a": x, "b": torch.zeros(3, 3)}, x):
        with pytest.raises(ShapeError):
            product(zero, state)
        with pytest.raises(ShapeError):
            product(zero, state, validate=True)


def test_times_given_by_hand_are_checked() -> None:
    with pytest.raises(ValueError, match="finite only on"):
        FlowMatching(AffinePath())(zero, torch.zeros(2, 3), t=torch.tensor([0.5, 1.7]))


def test_network_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match="prediction"):
        FlowMatching(AffinePath())(lambda x, t: x[:, :1], torch.zeros(4, 3))
