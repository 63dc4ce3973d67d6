"""Following a field between two times: where it ends, what is recorded, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.errors import (
    CapabilityError,
    ConfigError,
    GeometryError,
    IntervalError,
    ShapeError,
)
from flowatlas.exact import ExactGaussianFlow
from flowatlas.manifolds import SO3, Sphere
from flowatlas.paths import AffinePath, GeodesicPath, ProductPath
from flowatlas.sampling import integrate
from flowatlas.schedulers import (
    CondOT,
    Cosine,
    Exponential,
    LinearVP,
    Scheduler,
    VariancePreserving,
)
from flowatlas.solvers import RK4, Dopri5, Euler, Midpoint

D = torch.float64


def full(t: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=x.dtype)


def still(x: Tensor, t: Tensor, condition: Any = None, **given: Any) -> Tensor:
    return torch.zeros_like(x)


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.0), (0.2, 0.7), (0.7, 0.2)])
def test_follows_the_flow_map(
    start: float, end: float, gaussian: ExactGaussianFlow, generator: torch.Generator
) -> None:
    x = torch.randn(16, 2, generator=generator, dtype=D)
    found = integrate(gaussian, AffinePath(), x, start=start, end=end, solver=RK4(60))
    exact = gaussian.flow_map(x, full(start, x), full(end, x))
    assert (found.x - exact).abs().max() < 1e-5
    assert found.t == (start, end) and found.nfe == 240 and found.accepted == 60
    assert torch.equal(found.x_t[0], x) and torch.equal(found.x_t[1], found.x)


def test_no_time_no_step() -> None:
    x = torch.randn(3, 2)
    found = integrate(still, AffinePath(), x, start=0.4, end=0.4, solver=Euler(5))
    assert (found.t, found.nfe, found.accepted) == ((0.4,), 0, 0)
    assert len(found.x_t) == 1 and torch.equal(found.x, x)


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize("t", [-0.1, 1.7, math.nan])
def test_times_outside_are_refused(name: str, t: float) -> None:
    with pytest.raises(IntervalError, match=f"{name}: got {t}; times run from 0"):
        integrate(still, AffinePath(), torch.zeros(2, 2), solver=Euler(2), **{name: t})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("times", "options"),
    [
        ((0.5, 0.3), {}),
        ((0.3, 0.3), {}),
        ((0.0,), {}),
        ((1.0,), {}),
        ((0.3, 0.6), {"start": 1.0, "end": 0.0}),
        ((0.1,), {"start": 0.2}),
        ((math.nan,), {}),
    ],
)
def test_recorded_times_are_checked(times: tuple[float, ...], options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"times: got .* strictly monotone in that direction"):
        integrate(still, AffinePath(), torch.zeros(2, 2), solver=Euler(2), times=times, **options)


# Intervals: where the velocity of a prediction kind is infinite at an end.


def test_target_prediction_ends_with_the_conditional_step(
    gaussian: ExactGaussianFlow, generator: torch.Generator
) -> None:
    path = AffinePath(prediction="target")
    assert path.interval.end < 1
    x = torch.randn(64, 2, generator=generator, dtype=D)
    found = integrate(gaussian.prediction("target"), path, x, solver=Dopri5(1e-8, 1e-8))
    error = (found.x - gaussian.flow_map(x, full(0.0, x), full(1.0, x))).abs().max()
    # A straight last step of 1e-3 leaves out its curvature, of the order of its square.
    assert error < 1e-5
    # One evaluation more than the solver's own.
    assert found.nfe == 2 + 6 * (found.accepted - 1 + found.rejected)
    assert found.t == (0.0, 1.0)


@pytest.mark.parametrize("kind", ["noise", "score"])
@pytest.mark.parametrize("scheduler", [CondOT(), Cosine()], ids=repr)
def test_noise_prediction_starts_at_its_edge(
    kind: str, scheduler: Scheduler, gaussian: ExactGaussianFlow, generator: torch.Generator
) -> None:
    """The error of starting late is what the docs say, and all the error there is."""
    flow = ExactGaussianFlow(gaussian.target, scheduler)
    path = AffinePath(scheduler, prediction=kind)
    edge = path.interval.start
    assert 0 < edge <= 2e-3
    x = torch.randn(64, 2, generator=generator, dtype=D)
    exact = flow.flow_map(x, full(0.0, x), full(1.0, x))
    solver = Dopri5(1e-9, 1e-9)
    late = (integrate(flow.prediction(kind), path, x, solver=solver).x - exact).abs().max()
    alpha, _ = scheduler.at(edge)
    assert 0.1 * alpha < late < 4 * alpha * gaussian.target.means.abs().max()
    moved = flow.flow_map(x, full(0.0, x), full(edge, x))
    there = integrate(flow.prediction(kind), path, moved, start=edge, solver=solver).x
    assert (there - exact).abs().max() < 1e-6


@pytest.mark.parametrize("scheduler", [LinearVP(), VariancePreserving()], ids=repr)
def test_variance_preserving_schedules_end(
    scheduler: Scheduler, gaussian: ExactGaussianFlow, generator: torch.Generator
) -> None:
    """Their velocity is singular at the data; nothing is NaN and the end is right."""
    flow = ExactGaussianFlow(gaussian.target, scheduler)
    x = torch.randn(64, 2, generator=generator, dtype=D)
    exact = flow.flow_map(x, full(0.0, x), full(1.0, x))
    for kind in ("velocity", "target", "noise", "score"):
        path = AffinePath(scheduler, prediction=kind)
        end = integrate(flow.prediction(kind), path, x, solver=Dopri5(1e-6, 1e-6)).x
        assert (end - exact).abs().max() < 0.03, kind


def test_eulers_last_step_is_the_conditional_one(
    gaussian: ExactGaussianFlow, generator: torch.Generator
) -> None:
    """No evaluation more than steps; on a straight path nothing but Euler's own steps."""
    path = AffinePath(prediction="target")
    field, x = gaussian.prediction("target"), torch.randn(16, 2, generator=generator, dtype=D)
    plain = integrate(gaussian, AffinePath(), x, solver=Euler(5))
    found = integrate(field, path, x, solver=Euler(5))
    assert found.nfe == found.accepted == 5
    assert (found.x - plain.x).abs().max() < 1e-12
    # One step is the mean of the data, wherever the schedule of sampling would lead.
    early = path.with_schedule(Exponential(10.0))
    one = integrate(field, early, x, solver=Euler(1))
    assert one.nfe == 1
    assert (one.x - gaussian.posterior_mean(x, full(0.0, x))).abs().max() < 1e-12
    # States are recorded as ever, where the last step begins too.
    seen = integrate(field, path, x, times=(0.4, 0.8), solver=Euler(5))
    assert seen.nfe == 5 and seen.t == (0.0, 0.4, 0.8, 1.0) and len(seen.x_t) == 4
    assert torch.equal(seen.x, found.x)
    assert (seen.x_t[2] - integrate(field, path, x, end=0.8, solver=Euler(4)).x).abs().max() < 1e-12
    # Steps shorter than the distance of the edge to the end: to the edge, and one more.
    assert integrate(field, path, x, solver=Euler(2000)).nfe == 2001


def test_euler_with_target_prediction_has_order_one(
    gaussian: ExactGaussianFlow, generator: torch.Generator
) -> None:
    path = AffinePath(Cosine(), prediction="target")
    x = torch.randn(16, 2, generator=generator, dtype=D)
    flow = ExactGaussianFlow(gaussian.target, Cosine())
    exact = flow.flow_map(x, full(0.0, x), full(1.0, x))
    field = flow.prediction("target")
    errors = [(integrate(field, path, x, solver=Euler(n)).x - exact).abs().max() for n in (50, 100)]
    assert 1.8 < errors[0] / errors[1] < 2.2


def test_times_near_a_singular_end(gaussian: ExactGaussianFlow) -> None:
    path = AffinePath(prediction="target")
    field, x = gaussian.prediction("target"), torch.zeros(2, 2, dtype=D)
    found = integrate(field, path, x, times=(0.2, 0.6), solver=Euler(8))
    assert found.t == (0.0, 0.2, 0.6, 1.0) and len(found.x_t) == 4
    with pytest.raises(IntervalError, match=r"times: got \[0.9999\].*finite only on \[0, 0.999\]"):
        integrate(field, path, x, times=(0.9999,), solver=Euler(8))
    # Starting beyond the edge leaves the conditional step alone, from where the state is.
    late = integrate(field, path, x, start=0.9995, solver=Euler(8))
    assert late.nfe == 1 and len(late.t) == len(late.x_t) == 2
    assert (late.x - gaussian.posterior_mean(x, full(0.9995, x))).abs().max() < 1e-12
    same = integrate(field, path, x, start=1.0, end=1.0, solver=Euler(8))
    assert same.nfe == 0 and torch.equal(same.x, x)
    with pytest.raises(IntervalError, match=r"start: got 1.0.*Pass start=0.999"):
        integrate(field, path, x, start=1.0, end=0.0, solver=Euler(8))


# States, masks, conditions and predictions that do not fit.


def test_points_off_the_manifold_are_refused() -> None:
    path = GeodesicPath(Sphere())
    x = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.2, 0.0]])
    with pytest.raises(GeometryError, match=r"x: points lie off Sphere\(\).*projx"):
        integrate(still, path, x, solver=Euler(2))
    integrate(still, path, x, solver=Euler(2), validate=False)
    with pytest.raises(GeometryError, match="x: 1 of 2 samples contain NaN"):
        integrate(still, AffinePath(), torch.tensor([[0.0], [math.nan]]), solver=Euler(2))
    with pytest.raises(ShapeError, match=r"x: got dtype torch\.int64.*x\.float"):
        integrate(still, AffinePath(), torch.ones(2, 2, dtype=torch.int64), solver=Euler(2))


def test_shapes_are_refused_even_without_validation() -> None:
    path = GeodesicPath(SO3())
    with pytest.raises(ShapeError, match=r"x: got shape \(4, 3\)"):
        integrate(still, path, torch.zeros(4, 3), solver=Euler(2), validate=False)
    with pytest.raises(ShapeError, match=r"x: got shape \(3, 3\).*batch axis"):
        integrate(still, path, torch.eye(3), solver=Euler(2), validate=False)
    with pytest.raises(ShapeError, match=r"x: got shape \(4,\).*batch axis"):
        integrate(still, AffinePath(), torch.zeros(4), solver=Euler(2))
    with pytest.raises(ShapeError, match="x: got a dict; a lone AffinePath takes a tensor"):
        integrate(still, AffinePath(), {"x": torch.zeros(4, 2)}, solver=Euler(2))


def test_mappings_are_checked() -> None:
    path = ProductPath(a=AffinePath(), b=AffinePath())
    good = {"a": torch.zeros(4, 2), "b": torch.zeros(4, 5)}

    def field(x: dict[str, Tensor], t: Tensor) -> dict[str, Tensor]:
        return {name: torch.zeros_like(value) for name, value in x.items()}

    with pytest.raises(ShapeError, match=r"x: got a Tensor; .* names \['a', 'b'\]"):
        integrate(field, path, torch.zeros(4, 2), solver=Euler(2))
    with pytest.raises(ShapeError, match=r"x: got the names \['a'\]"):
        integrate(field, path, {"a": good["a"]}, solver=Euler(2))
    with pytest.raises(ShapeError, match="x: components must share their batch size"):
        integrate(field, path, {**good, "b": torch.zeros(3, 5)}, solver=Euler(2))
    bad = good["b"].clone()
    bad[2, 1] = math.nan
    with pytest.raises(GeometryError, match=r"x\['b'\]: 1 of 4 samples contain NaN"):
        integrate(field, path, {**good, "b": bad}, solver=Euler(2))
    with pytest.raises(
        ShapeError, match=r"prediction: the model returned \['a'\]; .* \['a', 'b'\]"
    ):
        integrate(lambda x, t: {"a": x["a"]}, path, good, solver=Euler(2))


@pytest.mark.parametrize("shape", [(2, 1), (1, 2), (2,), (2, 2, 1)])
def test_predictions_are_never_broadcast(shape: tuple[int, ...]) -> None:
    for kind in ("velocity", "target"):
        path = AffinePath(prediction=kind)
        with pytest.raises(
            ShapeError, match=rf"prediction: the model returned .* '{kind}'.*\(2, 2\)"
        ):
            integrate(lambda x, t: torch.ones(shape), path, torch.zeros(2, 2), solver=Midpoint(2))


def test_rotations_take_body_velocities() -> None:
    x = torch.eye(3).expand(2, 3, 3)
    with pytest.raises(ShapeError, match=r"'velocity' prediction needs \(2, 3\)"):
        integrate(still, GeodesicPath(SO3()), x, solver=Euler(2))
    # A target is a point.
    path = GeodesicPath(SO3(), prediction="target")
    assert integrate(lambda x, t: x, path, x, solver=Euler(2)).x.shape == (2, 3, 3)


def test_masks_and_conditions_are_checked() -> None:
    x = torch.zeros(4, 5, 2)
    path = AffinePath()
    with pytest.raises(ShapeError, match=r"mask\['x'\]: got shape \(3, 5\)"):
        integrate(still, path, x, mask=torch.ones(3, 5, dtype=torch.bool), solver=Euler(2))
    with pytest.raises(ShapeError, match="it must be bool"):
        integrate(still, path, x, mask=torch.ones(4, 5), solver=Euler(2))
    fixed = (torch.ones(4, 5, dtype=torch.bool), torch.zeros(4, 2))
    with pytest.raises(ShapeError, match=r"fixed\['x'\]: the value has shape"):
        integrate(still, path, x, fixed=fixed, solver=Euler(2))
    with pytest.raises(ShapeError, match=r"condition\['label'\]: got shape \(3,\)"):
        integrate(still, path, x, condition={"label": torch.zeros(3)}, solver=Euler(2))


# Masks, fixed points, precision, gradients.


def test_fixed_points_stay_exactly_clean(generator: torch.Generator) -> None:
    sphere = Sphere()
    path = GeodesicPath(sphere)
    value = sphere.random_uniform((4, 6, 3), generator=generator, dtype=D)
    value = value * (1 + 1e-12)  # rounding, which a projection would remove
    held = torch.arange(6).expand(4, 6) < 3
    seen: list[Tensor] = []

    def field(x: Tensor, t: Tensor, condition: Any = None, fixed: Tensor | None = None) -> Tensor:
        assert fixed is not None and torch.equal(fixed, held)
        seen.append(x[held])
        return sphere.proju(x, torch.ones_like(x))

    x = sphere.random_uniform((4, 6, 3), generator=generator, dtype=D)
    found = integrate(field, path, x, fixed=(held, value), solver=RK4(10), times=(0.5,), start=0.1)
    for state in found.x_t:
        assert torch.equal(state[held], value[held])
    assert all((one - value[held]).abs().max() < 1e-11 for one in seen)
    assert ((found.x - x)[~held].norm(dim=-1) > 1e-3).all()


def test_padding_may_hold_anything(generator: torch.Generator) -> None:
    """Zeros are not on the sphere, and NaN spreads; neither reaches the field."""
    sphere = Sphere()
    path = GeodesicPath(sphere)
    x = sphere.random_uniform((4, 3, 3), generator=generator, dtype=D)
    mask = torch.arange(5).expand(4, 5) < 3

    def field(x: Tensor, t: Tensor, condition: Any = None, mask: Tensor | None = None) -> Tensor:
        weight = torch.ones(x.shape[:2], dtype=D) if mask is None else mask.to(D)
        centre = (weight.unsqueeze(-1) * x).sum(1, keepdim=True)
        return sphere.proju(x, centre.expand_as(x))

    alone = integrate(field, path, x, solver=RK4(10)).x
    for filler in (0.0, math.nan):
        padded = torch.cat([x, torch.full((4, 2, 3), filler, dtype=D)], 1)
        found = integrate(field, path, padded, mask=mask, solver=RK4(10)).x
        assert (found[:, :3] - alone).abs().max() < 1e-14
        assert torch.isfinite(found).all()


@pytest.mark.parametrize(
    ("given", "inside", "tolerance"),
    [(D, D, 1e-6), (torch.float32, torch.float32, 1e-4), (torch.bfloat16, torch.float32, 1e-4)],
)
def test_precision(
    given: torch.dtype,
    inside: torch.dtype,
    tolerance: float,
    gaussian: ExactGaussianFlow,
    generator: torch.Generator,
) -> None:
    """States and times are float32 at least: bfloat16 knows 128 times between 0.5 and 1."""
    x = torch.randn(16, 2, generator=generator, dtype=D).to(given)
    times: set[float] = set()

    def field(x: Tensor, t: Tensor) -> Tensor:
        assert x.dtype == t.dtype == inside
        times.add(t[0].item())
        # A network in low precision.
        return gaussian(x, t).to(given)

    found = integrate(field, AffinePath(), x, solver=RK4(500 if given == torch.bfloat16 else 100))
    assert found.x.dtype == inside
    # Distinct times at knots and in the middle: rounding may tell two stages at one time apart.
    assert len(times) >= (1001 if given == torch.bfloat16 else 201)
    exact = gaussian.flow_map(x.to(inside), full(0.0, x).to(inside), full(1.0, x).to(inside))
    allowed = 0.05 if given == torch.bfloat16 else tolerance
    assert (found.x - exact).abs().max() < allowed


def test_bfloat16_on_the_sphere() -> None:
    x = torch.nn.functional.normalize(torch.randn(8, 3), dim=-1).bfloat16()
    path = GeodesicPath(Sphere())
    found = integrate(still, path, x, solver=Euler(3), validate=False).x
    assert found.dtype == torch.float32 and torch.isfinite(found).all()


def test_backward_is_refused_where_there_is_no_way_back() -> None:
    from flowatlas.paths import DiscretePath

    class Tokens(DiscretePath):
        weight = 1.0
        prediction = "logits"

        def interpolate(self, x_0: Tensor, x_1: Tensor, t: Tensor, noise: Any = None) -> Any:
            return x_0, None

        def point_loss(self, prediction: Tensor, sample: Any) -> Tensor:
            return prediction.sum(-1)

        def jump(self, x: Tensor, t: Tensor, s: Tensor, prediction: Any, **other: Any) -> Tensor:
            return x

    path = ProductPath(place=AffinePath(), token=Tokens())
    x = {"place": torch.zeros(2, 3), "token": torch.zeros(2, dtype=torch.int64)}
    with pytest.raises(CapabilityError, match=r"end: Tokens cannot run backward: discrete"):
        integrate(lambda x, t: x, path, x, start=1.0, end=0.0, solver=Euler(2))
