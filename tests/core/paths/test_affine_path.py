"""Affine paths: the point, its derivative, and the four prediction kinds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowatlas._autodiff import jvp
from flowatlas.errors import CapabilityError, ConfigError, IntervalError, ShapeError
from flowatlas.exact import ExactMixtureFlow, GaussianMixture
from flowatlas.manifolds import Sphere
from flowatlas.paths import AffinePath, PathSample
from flowatlas.schedulers import (
    CondOT,
    Cosine,
    LinearVP,
    Polynomial,
    Scheduler,
    VariancePreserving,
)
from flowatlas.sources import Gaussian, Uniform

KINDS = AffinePath.kinds
# A source with a mean and a deviation, so that a formula that forgets either is caught.
STD, MEAN = 1.5, 0.4


def affine(scheduler: Scheduler, kind: str) -> AffinePath:
    return AffinePath(scheduler, source=Gaussian(STD, mean=MEAN), prediction=kind)


def exact_flow(mixture: GaussianMixture, scheduler: Scheduler) -> ExactMixtureFlow:
    return ExactMixtureFlow(mixture, scheduler, source_std=STD, source_mean=MEAN)


def ends(generator: torch.Generator, *shape: int) -> tuple[Tensor, Tensor]:
    x_0 = torch.randn(shape, generator=generator, dtype=torch.float64)
    return x_0, torch.randn(shape, generator=generator, dtype=torch.float64)


def conditional(kind: str, sample: PathSample, scheduler: Scheduler) -> Tensor:
    """What a network would predict if the data were the one point x_1 of the sample."""
    x_0, x_1, dx_t = sample.x_0, sample.x_1, sample.dx_t
    assert isinstance(x_0, Tensor) and isinstance(x_1, Tensor) and isinstance(dx_t, Tensor)
    if kind == "score":
        # x_t given x_1 is a Gaussian of mean alpha x_1 + sigma m and deviation sigma s.
        c = scheduler(sample.t.unsqueeze(-1))
        x_t = sample.x_t
        assert isinstance(x_t, Tensor)
        middle = c.alpha * x_1 + c.sigma * MEAN
        return -(x_t - middle) / (c.sigma * STD) ** 2
    return {"velocity": dx_t, "target": x_1, "noise": x_0}[kind]


# The path.


def test_point_is_the_combination_of_its_ends(
    scheduler: Scheduler, generator: torch.Generator
) -> None:
    x_0, x_1 = ends(generator, 4, 3)
    for t in (0.0, 0.3, 0.9):
        alpha, sigma = scheduler.at(t)
        sample = AffinePath(scheduler).sample(x_0, x_1, torch.full((4,), t, dtype=torch.float64))
        torch.testing.assert_close(sample.x_t, alpha * x_1 + sigma * x_0, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 3), (5, 4, 3), (5, 3, 4, 4)], ids=str)
def test_velocity_is_the_derivative_of_the_point(
    scheduler: Scheduler, shape: tuple[int, ...], generator: torch.Generator
) -> None:
    x_0, x_1 = ends(generator, *shape)
    t = torch.linspace(0.01, 0.95, 5, dtype=torch.float64)
    path = AffinePath(scheduler)
    _, slope = jvp(lambda r: path.interpolate(x_0, x_1, r)[0], (t,), (torch.ones_like(t),))
    sample = path.sample(x_0, x_1, t)
    torch.testing.assert_close(sample.dx_t, slope, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_both_ends_are_finite(
    scheduler: Scheduler, kind: str, dtype: torch.dtype, generator: torch.Generator
) -> None:
    path = affine(scheduler, kind)
    x_0, x_1 = (x.to(dtype) for x in ends(generator, 2, 3))
    for t in (0.0, path.t_max):
        sample = path.sample(x_0, x_1, torch.full((2,), t, dtype=dtype))
        assert isinstance(sample.x_t, Tensor) and isinstance(sample.dx_t, Tensor)
        assert torch.isfinite(sample.x_t).all() and torch.isfinite(sample.dx_t).all()
        prediction = torch.zeros_like(x_1).requires_grad_()
        loss = path.losses(prediction, sample)["x"].mean()
        (gradient,) = torch.autograd.grad(loss, prediction)
        assert torch.isfinite(loss) and torch.isfinite(gradient).all()
    for t in (path.interval.start, path.interval.end):
        velocity = path.velocity(x_1, torch.full((2,), t, dtype=dtype), x_0)
        assert torch.isfinite(velocity).all()


def test_ends_are_source_and_data(scheduler: Scheduler, generator: torch.Generator) -> None:
    x_0, x_1 = ends(generator, 2, 3)
    path = AffinePath(scheduler)
    x_t, _ = path.interpolate(x_0, x_1, torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(x_t, x_1, rtol=0, atol=1e-12)
    x_t, _ = path.interpolate(x_0, x_1, torch.zeros(2, dtype=torch.float64))
    trace = 0.0066 if isinstance(scheduler, VariancePreserving) else 0.0
    torch.testing.assert_close(x_t, x_0, rtol=0, atol=3 * trace + 1e-12)


# Conversions.


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_conversions_agree_with_the_exact_field(
    scheduler: Scheduler, kind: str, to: str, mixture: GaussianMixture, generator: torch.Generator
) -> None:
    path, flow = affine(scheduler, kind), exact_flow(mixture, scheduler)
    where = path.conversion_interval(to)
    t = torch.linspace(where.start, where.end, 41, dtype=torch.float64)[1:-1]
    x_1 = mixture.sample(len(t), generator)
    x = path.sample(path.draw(x_1, generator=generator), x_1, t).x_t
    assert isinstance(x, Tensor)
    got = path.convert(flow.prediction(kind)(x, t), x, t, to)
    # A conversion multiplies rounding by up to 1e3 twice: 1e6 * 1e-16.
    torch.testing.assert_close(got, flow.prediction(to)(x, t), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_conversions_there_and_back(
    scheduler: Scheduler, kind: str, to: str, generator: torch.Generator
) -> None:
    there, back = affine(scheduler, kind), affine(scheduler, to)
    where = there.conversion_interval(to) & back.conversion_interval(kind)
    t = torch.linspace(where.start, where.end, 9, dtype=torch.float64)[1:-1]
    prediction, x = ends(generator, 7, 3)
    converted = there.convert(prediction, x, t, to)
    torch.testing.assert_close(
        back.convert(converted, x, t, kind), prediction, rtol=1e-8, atol=1e-8
    )


COSINE_EDGE = 2 / math.pi * math.atan(2e3 / math.pi)
INTERVALS = [
    (CondOT(), "velocity", "velocity", 0.0, 1.0),
    (CondOT(), "velocity", "target", 0.0, 1.0),
    (CondOT(), "velocity", "noise", 0.0, 1.0),
    (CondOT(), "velocity", "score", 0.0, 0.999),
    (CondOT(), "target", "target", 0.0, 1.0),
    (CondOT(), "target", "velocity", 0.0, 0.999),
    (CondOT(), "target", "noise", 0.0, 0.999),
    (CondOT(), "noise", "velocity", 0.001, 1.0),
    (CondOT(), "noise", "target", 0.001, 1.0),
    (CondOT(), "noise", "noise", 0.0, 1.0),
    (CondOT(), "score", "velocity", 0.001, 1.0),
    (CondOT(), "score", "noise", 0.0, 1.0),
    (Cosine(), "target", "velocity", 0.0, COSINE_EDGE),
    (Polynomial(3), "velocity", "target", math.sqrt(1 / 3000), 1.0),
    (Polynomial(3), "noise", "velocity", 0.003, 1.0),
    (LinearVP(), "velocity", "velocity", 0.0, math.sqrt(1 - 1e-4)),
    # t / (1 - t^2) = 1000.
    (LinearVP(), "target", "velocity", 0.0, (math.sqrt(1 + 4e6) - 1) / 2e3),
    # d_alpha / alpha is beta / 2, at most 10: noise prediction is usable from the start.
    (VariancePreserving(), "noise", "velocity", 0.0, VariancePreserving().t_max),
]


@pytest.mark.parametrize(("scheduler", "kind", "to", "start", "end"), INTERVALS, ids=str)
def test_intervals_are_where_the_factor_reaches_a_thousand(
    scheduler: Scheduler, kind: str, to: str, start: float, end: float
) -> None:
    where = affine(scheduler, kind).conversion_interval(to)
    assert where.start == pytest.approx(start, abs=1e-9)
    assert where.end == pytest.approx(end, abs=1e-9)


@pytest.mark.parametrize(
    ("scheduler", "kind", "to", "bad"),
    [
        (CondOT(), "target", "velocity", 1.0),
        (CondOT(), "velocity", "score", 1.0),
        (CondOT(), "noise", "target", 0.0),
        (CondOT(), "score", "velocity", 0.0),
        (LinearVP(), "target", "velocity", 1.0),
        (Polynomial(3), "velocity", "target", 0.0),
    ],
    ids=str,
)
def test_outside_its_interval_a_conversion_raises_and_names_it(
    scheduler: Scheduler, kind: str, to: str, bad: float
) -> None:
    path = affine(scheduler, kind)
    where = path.conversion_interval(to)
    x = torch.zeros(2, 3)
    named = rf"\[{where.start:g}, {where.end:g}\]".replace(".", r"\.")
    with pytest.raises(IntervalError, match=named):
        path.convert(x, x, torch.tensor([0.5, bad]), to)


def test_velocity_takes_the_dtype_of_the_state() -> None:
    x = torch.randn(4, 3)
    t = torch.full((4,), 0.5)
    for kind in ("velocity", "target"):
        velocity = AffinePath(prediction=kind).velocity(x, t, torch.ones(4, 3).bfloat16())
        assert velocity.dtype == torch.float32


# The conditional step.


@pytest.mark.parametrize("kind", KINDS)
def test_conditional_step_follows_the_conditional_path(
    scheduler: Scheduler, kind: str, generator: torch.Generator
) -> None:
    path = affine(scheduler, kind)
    x_0, x_1 = ends(generator, 6, 3)
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.7, 0.9], dtype=torch.float64)
    s = torch.tensor([0.5, 0.2, 1.0, 0.9, 1.0, 1.0], dtype=torch.float64)
    now = path.sample(x_0, x_1, t)
    assert isinstance(now.x_t, Tensor)
    then, _ = path.interpolate(x_0, x_1, s)
    moved = path.conditional_step(now.x_t, t, s, conditional(kind, now, scheduler))
    torch.testing.assert_close(moved, then, rtol=1e-9, atol=1e-9)


# The loss.


@pytest.mark.parametrize("kind", KINDS)
def test_loss_vanishes_at_the_conditional_prediction(
    scheduler: Scheduler, kind: str, generator: torch.Generator
) -> None:
    path = affine(scheduler, kind)
    x_0, x_1 = ends(generator, 4, 3)
    sample = path.sample(x_0, x_1, torch.linspace(0.1, 0.9, 4, dtype=torch.float64))
    exact = conditional(kind, sample, scheduler)
    torch.testing.assert_close(
        path.losses(exact, sample)["x"], torch.zeros(4, dtype=torch.float64), atol=1e-18, rtol=0
    )
    # Off by a vector: its mean square over the coordinates.
    off = torch.tensor([1.0, 2.0, 3.0])
    expected = torch.full((4,), 14 / 3, dtype=torch.float64)
    torch.testing.assert_close(path.losses(exact + off, sample)["x"], expected)


@pytest.mark.parametrize(("point_ndim", "shape"), [(0, (2, 3, 4, 5)), (1, (2, 3, 4)), (3, (2,))])
def test_loss_has_one_value_per_point(point_ndim: int, shape: tuple[int, ...]) -> None:
    path = AffinePath(point_ndim=point_ndim)
    x_0, x_1 = torch.zeros(2, 3, 4, 5), torch.ones(2, 3, 4, 5)
    sample = path.sample(x_0, x_1, torch.full((2,), 0.5))
    loss = path.losses(torch.zeros_like(x_1), sample)["x"]
    torch.testing.assert_close(loss, torch.ones(shape))


def test_time_weight_and_loss_function() -> None:
    t = torch.tensor([0.25, 0.5, 1.0])
    x_0, x_1 = torch.zeros(3, 2, 4), torch.full((3, 2, 4), 2.0)
    weighted = AffinePath(time_weight=lambda r: r**2, loss=lambda e: (e + 1).sqrt() - 1)
    loss = weighted.losses(torch.zeros(3, 2, 4), weighted.sample(x_0, x_1, t))["x"]
    # The mean square is 4, its pseudo-Huber sqrt(5) - 1.
    torch.testing.assert_close(loss, (t**2).unsqueeze(-1).expand(3, 2) * (math.sqrt(5) - 1))


# What is refused.


@pytest.mark.parametrize("t", [1.7, -0.1, math.nan])
def test_times_outside_the_unit_interval_are_refused(t: float) -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(IntervalError, match=r"\[0, 1\]"):
        AffinePath().sample(x, x, torch.tensor([0.5, t]))


def test_schedules_that_diverge_are_trained_up_to_their_end() -> None:
    x = torch.zeros(1, 3)
    for scheduler in (LinearVP(), VariancePreserving()):
        path = AffinePath(scheduler)
        assert path.t_max == scheduler.t_max
        with pytest.raises(IntervalError):
            path.sample(x, x, torch.ones(1))


@pytest.mark.parametrize(
    ("x_0", "x_1", "t"),
    [
        ((4, 1), (4, 3), (4,)),
        ((3,), (4, 3), (4,)),
        ((4, 3), (4, 3), (4, 1)),
        ((4, 3), (4, 3), (1,)),
        ((4, 3), (4, 3), ()),
        ((4,), (4,), (4,)),
    ],
    ids=str,
)
def test_shapes_are_never_broadcast(
    x_0: tuple[int, ...], x_1: tuple[int, ...], t: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError):
        AffinePath().sample(torch.zeros(x_0), torch.zeros(x_1), torch.zeros(t))


@pytest.mark.parametrize("shape", [(), (1,), (4, 1), (3,)], ids=str)
@pytest.mark.parametrize("kind", ["target", "noise"])
def test_conversions_take_one_time_per_sample(kind: str, shape: tuple[int, ...]) -> None:
    x = torch.zeros(4, 4)
    with pytest.raises(ShapeError):
        AffinePath(prediction=kind).velocity(x, torch.full(shape, 0.5), x)


def test_prediction_of_another_shape_is_refused() -> None:
    path = AffinePath()
    sample = path.sample(torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(4))
    with pytest.raises(ShapeError, match=r"\(4, 1\)"):
        path.losses(torch.zeros(4, 1), sample)


def test_states_that_are_no_tensors_of_numbers_are_refused() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(ShapeError, match="ProductPath"):
        AffinePath().sample({"x": x}, x, torch.zeros(2))  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="int64"):
        AffinePath().draw(torch.zeros(2, 3, dtype=torch.int64))


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="prediction"):
        AffinePath(prediction="epsilon")
    for weight in (-1.0, math.nan):
        with pytest.raises(ConfigError, match="weight"):
            AffinePath(weight=weight)


@pytest.mark.parametrize("kind", ["noise", "score"])
def test_noise_and_score_need_a_gaussian_source(kind: str) -> None:
    with pytest.raises(CapabilityError, match="Gaussian"):
        AffinePath(source=Uniform(Sphere()), prediction=kind)
    assert not AffinePath(source=Uniform(Sphere())).gaussian
    assert AffinePath().gaussian


@pytest.mark.parametrize("batch", [None, 5])
def test_draw_follows_the_data(batch: int | None, generator: torch.Generator) -> None:
    like = torch.zeros(3, 2, 4, dtype=torch.float64)
    x_0 = AffinePath(source=Gaussian(2.0)).draw(like, batch=batch, generator=generator)
    assert x_0.shape == (batch or 3, 2, 4) and x_0.dtype == torch.float64


def test_a_time_that_is_a_number_is_refused(generator: torch.Generator) -> None:
    x_0, x_1 = ends(generator, 4, 3)
    with pytest.raises(ShapeError, match=r"t: got float.*torch.full"):
        AffinePath().sample(x_0, x_1, 0.5)  # type: ignore[arg-type]
