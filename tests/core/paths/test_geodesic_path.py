"""Geodesic paths on every manifold, with several points to a sample."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError, IntervalError, ShapeError
from flowatlas.manifolds import SE3, SO3, FlatTorus, Lorentz, Manifold, Sphere
from flowatlas.paths import GeodesicPath
from flowatlas.sampling import integrate
from flowatlas.schedulers import Coefficients, CondOT, Cosine, Exponential, Polynomial, Scheduler
from flowatlas.solvers import RK4
from flowatlas.sources import Uniform, WrappedNormal

BASE: dict[str, tuple[Manifold, Tensor]] = {
    "sphere": (Sphere(), torch.tensor([0.0, 0.6, 0.8])),
    "torus": (FlatTorus(), torch.tensor([1.0, 6.0])),
    "so3": (SO3(), torch.eye(3)),
    "se3": (SE3(), torch.eye(4)),
    "lorentz": (Lorentz(), torch.tensor([1.0, 0.0, 0.0])),
}
CONVEX: list[Scheduler] = [CondOT(), Polynomial(2), Exponential(3.0)]


@pytest.fixture(params=BASE)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(params=CONVEX, ids=repr)
def convex(request: pytest.FixtureRequest) -> Scheduler:
    chosen: Scheduler = request.param
    return chosen


def points(name: str, *lead: int, seed: int = 0) -> Tensor:
    """Points around the base point, two of them less than the injectivity radius apart."""
    manifold, base = BASE[name]
    base = base.double().expand(*lead, *base.shape)
    u = manifold.random_tangent(base, generator=torch.Generator().manual_seed(seed))
    length = manifold.norm(base, u)
    shorter = (1.4 * torch.tanh(length) / length).view(*length.shape, *(1,) * (u.ndim - len(lead)))
    return manifold.expmap(base, shorter * u)


def geodesic_path(
    name: str, scheduler: Scheduler | None = None, prediction: str = "velocity"
) -> GeodesicPath:
    manifold, base = BASE[name]
    source = WrappedNormal(manifold, base, 0.5)
    return GeodesicPath(manifold, source, scheduler, prediction=prediction)


def times(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# The path.


def test_point_divides_the_geodesic(name: str, convex: Scheduler) -> None:
    manifold, _ = BASE[name]
    x_0, x_1, t = points(name, 3, 4), points(name, 3, 4, seed=1), times(0.1, 0.5, 0.9)
    sample = geodesic_path(name, convex).sample(x_0, x_1, t)
    x_t = sample.x_t
    assert isinstance(x_t, Tensor)
    assert manifold.residual(x_t).max() < 1e-12
    whole, kappa = manifold.dist(x_0, x_1), convex(t).alpha.unsqueeze(-1)
    torch.testing.assert_close(manifold.dist(x_0, x_t), kappa * whole, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(manifold.dist(x_t, x_1), (1 - kappa) * whole, rtol=1e-9, atol=1e-9)


def test_velocity_is_the_derivative_in_time(name: str, convex: Scheduler) -> None:
    manifold, _ = BASE[name]
    path = geodesic_path(name, convex)
    x_0, x_1, t = points(name, 3, 2), points(name, 3, 2, seed=1), times(0.1, 0.5, 0.9)
    sample = path.sample(x_0, x_1, t)
    x_t = sample.x_t
    assert isinstance(x_t, Tensor)
    h = 1e-5
    after, before = path.interpolate(x_0, x_1, t + h)[0], path.interpolate(x_0, x_1, t - h)[0]
    slope = (manifold.logmap(x_t, after) - manifold.logmap(x_t, before)) / (2 * h)
    torch.testing.assert_close(sample.dx_t, slope, rtol=1e-6, atol=1e-8)


def test_closed_form_is_the_fallback_through_forward_differentiation(name: str) -> None:
    manifold, _ = BASE[name]
    x_0, x_1, s = points(name, 3, 2), points(name, 3, 2, seed=1), times(0.0, 0.4, 1.0)
    x_s, velocity = manifold.geodesic(x_0, x_1, s.unsqueeze(-1))
    again, derivative = Manifold.geodesic(manifold, x_0, x_1, s.unsqueeze(-1))
    torch.testing.assert_close(x_s, again, rtol=1e-10, atol=1e-10)
    # The fallback differentiates the stored point; tangents may have other coordinates.
    torch.testing.assert_close(manifold.pushforward(x_s, velocity), derivative)


def test_points_of_a_sample_are_independent_of_each_other(name: str) -> None:
    """Batch, points and coordinates equally long: no axis can be taken for another."""
    path = geodesic_path(name)
    n = BASE[name][1].shape[0]
    x_0, x_1 = points(name, n, n), points(name, n, n, seed=1)
    t = torch.linspace(0.1, 0.9, n, dtype=torch.float64)
    whole = path.sample(x_0, x_1, t)
    assert isinstance(whole.x_t, Tensor) and isinstance(whole.dx_t, Tensor)
    for i in range(n):
        for j in range(n):
            one = path.sample(x_0[i : i + 1, j], x_1[i : i + 1, j], t[i : i + 1])
            torch.testing.assert_close(whole.x_t[i, j], one.x_t[0])  # type: ignore[index]
            torch.testing.assert_close(whole.dx_t[i, j], one.dx_t[0])  # type: ignore[index]


@pytest.mark.parametrize("lead", [(2,), (2, 3), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("kind", ["velocity", "target"])
def test_any_number_of_points(name: str, kind: str, lead: tuple[int, ...]) -> None:
    path = geodesic_path(name, prediction=kind)
    x_1 = points(name, *lead)
    x_0 = path.draw(x_1, generator=torch.Generator().manual_seed(0))
    sample = path.sample(x_0, x_1, times(0.2, 0.7))
    prediction = sample.dx_t if kind == "velocity" else sample.x_1
    loss = path.losses(prediction, sample)["x"]  # type: ignore[arg-type]
    assert loss.shape == lead and loss.max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_both_ends_are_finite(name: str, convex: Scheduler, dtype: torch.dtype) -> None:
    x_0, x_1 = points(name, 2, 3).to(dtype), points(name, 2, 3, seed=1).to(dtype)
    for kind in ("velocity", "target"):
        path = geodesic_path(name, convex, kind)
        sample = path.sample(x_0, x_1, torch.tensor([0.0, 1.0], dtype=dtype))
        assert isinstance(sample.x_t, Tensor) and isinstance(sample.dx_t, Tensor)
        assert torch.isfinite(sample.dx_t).all()
        distance = path.manifold.dist(sample.x_t, torch.stack([x_0[0], x_1[1]]))
        assert distance.max() < (1e-3 if dtype == torch.float32 else 1e-7)
        edges = torch.tensor([path.interval.start, path.interval.end], dtype=dtype)
        prediction = sample.dx_t if kind == "velocity" else x_1
        assert torch.isfinite(path.velocity(sample.x_t, edges, prediction)).all()


# Singular pairs.


def test_antipodal_points_move_at_constant_speed() -> None:
    sphere = Sphere()
    generator = torch.Generator().manual_seed(0)
    x_0 = sphere.random_uniform((64, 3), generator=generator, dtype=torch.float64)
    path = GeodesicPath(sphere)
    for t in (0.25, 0.5, 1.0):
        sample = path.sample(x_0, -x_0, torch.full((64,), t, dtype=torch.float64))
        assert isinstance(sample.x_t, Tensor) and isinstance(sample.dx_t, Tensor)
        moved = sphere.dist(x_0, sample.x_t)
        torch.testing.assert_close(moved, torch.full_like(moved, t * math.pi))
        speed = sphere.norm(sample.x_t, sample.dx_t)
        torch.testing.assert_close(speed, torch.full_like(speed, math.pi))


def test_half_turns_move_at_constant_speed() -> None:
    so3 = SO3()
    generator = torch.Generator().manual_seed(0)
    x_0 = so3.random_uniform((64, 3, 3), generator=generator, dtype=torch.float64)
    axis = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    x_1 = so3.expmap(x_0, math.pi * axis / axis.norm(dim=-1, keepdim=True))
    sample = GeodesicPath(so3).sample(x_0, x_1, torch.full((64,), 0.5, dtype=torch.float64))
    assert isinstance(sample.x_t, Tensor) and isinstance(sample.dx_t, Tensor)
    quarter = torch.full((64,), math.pi / 2, dtype=torch.float64)
    torch.testing.assert_close(so3.dist(x_0, sample.x_t), quarter)
    torch.testing.assert_close(so3.dist(sample.x_t, x_1), quarter)


def test_half_a_period_is_crossed_one_way_or_the_other() -> None:
    torus = FlatTorus()
    x_0, x_1 = times(0.0, 1.0).unsqueeze(0), times(math.pi, 1.0 + math.pi).unsqueeze(0)
    sample = GeodesicPath(torus).sample(x_0, x_1, times(0.5))
    assert isinstance(sample.x_t, Tensor)
    torch.testing.assert_close(torus.logmap(x_0, sample.x_t).abs(), times(1, 1)[None] * math.pi / 2)


@pytest.mark.parametrize("kind", ["velocity", "target"])
def test_gradients_are_finite_where_points_coincide(name: str, kind: str) -> None:
    path = geodesic_path(name, prediction=kind)
    x = points(name, 4, 2).requires_grad_()
    sample = path.sample(x, x, times(0.0, 0.3, 0.6, 1.0))
    assert isinstance(sample.x_t, Tensor) and isinstance(sample.dx_t, Tensor)
    prediction = torch.zeros_like(sample.dx_t) if kind == "velocity" else x.detach().clone()
    prediction.requires_grad_()
    loss = path.losses(prediction, sample)["x"].sum()
    gradients = torch.autograd.grad(loss, (x, prediction), allow_unused=True)
    assert loss < 1e-10
    assert all(torch.isfinite(g).all() for g in gradients if g is not None)


# Conversions.


def test_velocity_and_target_determine_each_other(name: str, convex: Scheduler) -> None:
    x_0, x_1, t = points(name, 3, 2), points(name, 3, 2, seed=1), times(0.1, 0.5, 0.9)
    by_velocity = geodesic_path(name, convex)
    by_target = geodesic_path(name, convex, "target")
    sample = by_velocity.sample(x_0, x_1, t)
    x_t, dx_t = sample.x_t, sample.dx_t
    assert isinstance(x_t, Tensor) and isinstance(dx_t, Tensor)
    torch.testing.assert_close(by_target.velocity(x_t, t, x_1), dx_t, rtol=1e-8, atol=1e-8)
    found = by_velocity.convert(dx_t, x_t, t, "target")
    assert by_velocity.manifold.dist(found, x_1).max() < 1e-8
    assert by_velocity.velocity(x_t, t, dx_t) is dx_t
    assert by_target.convert(x_1, x_t, t, "target") is x_1


INTERVALS = [
    (CondOT(), "velocity", "velocity", 0.0, 1.0),
    (CondOT(), "velocity", "target", 0.0, 1.0),
    (CondOT(), "target", "velocity", 0.0, 0.999),
    (CondOT(), "target", "target", 0.0, 1.0),
    (Polynomial(3), "velocity", "target", math.sqrt(1 / 3000), 1.0),
]


@pytest.mark.parametrize(("scheduler", "kind", "to", "start", "end"), INTERVALS, ids=str)
def test_intervals(scheduler: Scheduler, kind: str, to: str, start: float, end: float) -> None:
    path = GeodesicPath(Sphere(), scheduler=scheduler, prediction=kind)
    where = path.conversion_interval(to)
    assert where.start == pytest.approx(start, abs=1e-9)
    assert where.end == pytest.approx(end, abs=1e-9)


def test_outside_its_interval_a_conversion_raises_and_names_it() -> None:
    x = points("sphere", 2)
    with pytest.raises(IntervalError, match=r"\[0, 0\.999\]"):
        geodesic_path("sphere", prediction="target").velocity(x, times(0.5, 1.0), x)
    slow = geodesic_path("sphere", Polynomial(3))
    named = r"\[0\.0182574, 1\]"
    with pytest.raises(IntervalError, match=named):
        slow.convert(x, x, times(0.5, 0.0), "target")
    with pytest.raises(IntervalError, match=named):
        slow.conditional_step(x, times(0.5, 0.0), times(1.0, 1.0), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_last_steps_along_exponential_schedules_arrive(dtype: torch.dtype) -> None:
    """From where sigma is below the rounding of alpha, too, and halfway as the path does."""
    path = GeodesicPath(SO3(), prediction="target").with_schedule(Exponential(10.0))
    x_1, x = (
        SO3().random_uniform((2, 3, 3), generator=torch.Generator().manual_seed(k), dtype=dtype)
        for k in (0, 1)
    )
    for start in (0.0, 0.5, 0.99, 0.9999):
        t, s = torch.full((2,), start, dtype=dtype), torch.ones(2, dtype=dtype)
        end = path.conditional_step(x, t, s, x_1)
        torch.testing.assert_close(end, x_1, atol=1e-5, rtol=0)
        half = path.conditional_step(x, t, (t + s) / 2, x_1)
        left = Exponential(10.0)((t + s).double() / 2).sigma / Exponential(10.0)(t.double()).sigma
        expected = left.to(dtype) * SO3().dist(x, x_1)
        torch.testing.assert_close(SO3().dist(half, x_1), expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("shape", [(), (1,), (3, 1), (2,)], ids=str)
def test_one_time_per_sample(shape: tuple[int, ...]) -> None:
    x = points("sphere", 3)
    t = torch.full(shape, 0.5, dtype=torch.float64)
    with pytest.raises(ShapeError):
        geodesic_path("sphere").sample(x, x, t)
    with pytest.raises(ShapeError):
        geodesic_path("sphere", prediction="target").velocity(x, t, x)


@pytest.mark.parametrize("kind", ["velocity", "target"])
def test_conditional_step_follows_the_geodesic(name: str, convex: Scheduler, kind: str) -> None:
    path = geodesic_path(name, convex, kind)
    x_0, x_1 = points(name, 4, 2), points(name, 4, 2, seed=1)
    t, s = times(0.1, 0.4, 0.8, 0.9), times(0.6, 0.1, 1.0, 1.0)
    now = path.sample(x_0, x_1, t)
    prediction = now.dx_t if kind == "velocity" else x_1
    then, _ = path.interpolate(x_0, x_1, s)
    assert isinstance(now.x_t, Tensor) and isinstance(prediction, Tensor)
    moved = path.conditional_step(now.x_t, t, s, prediction)
    assert path.manifold.dist(moved, then).max() < 1e-8


# Another schedule at inference.


@pytest.mark.parametrize("kind", ["velocity", "target"])
def test_exponential_schedule_at_inference(name: str, convex: Scheduler, kind: str) -> None:
    used = Exponential(10.0)
    trained = geodesic_path(name, convex, kind)
    path = trained.with_schedule(used)
    manifold = path.manifold
    x, x_1, t = points(name, 3, 2), points(name, 3, 2, seed=1), times(0.1, 0.5, 0.9)
    c = used(t)
    towards = manifold.logmap(x, x_1)
    rate = (c.d_alpha / c.sigma).view(-1, 1, *(1,) * (towards.ndim - 2))
    prediction = x_1 if kind == "target" else trained_velocity(towards, convex(t))
    got = path.velocity(x, t, prediction)
    torch.testing.assert_close(got, rate * towards, rtol=1e-8, atol=1e-8)
    one, other = trained.sample(x, x_1, t), path.sample(x, x_1, t)
    assert torch.equal(one.x_t, other.x_t)  # type: ignore[arg-type]
    # A conditional step covers what the new schedule does in the meantime.
    s = times(0.2, 0.6, 1.0)
    moved = path.conditional_step(x, t, s, prediction)
    left = used(s).sigma / c.sigma
    expected = left.unsqueeze(-1) * manifold.dist(x, x_1)
    torch.testing.assert_close(manifold.dist(moved, x_1), expected, rtol=1e-6, atol=1e-6)


def trained_velocity(towards: Tensor, c: Coefficients) -> Tensor:
    rate = c.d_alpha / c.sigma
    return towards * rate.view(-1, 1, *(1,) * (towards.ndim - 2))


def test_sampling_runs_ahead_by_the_exponential_schedule() -> None:
    """A field that knows the endpoint: after time t the way left is sigma_t of the new schedule."""
    so3, used = SO3(), Exponential(10.0)
    x_0, x_1 = points("so3", 5), points("so3", 5, seed=1)
    path = GeodesicPath(so3, prediction="target").with_schedule(used)

    def field(x: Tensor, t: Tensor, condition: object = None) -> Tensor:
        return x_1

    found = integrate(field, path, x_0, times=[0.2], solver=RK4(steps=100))
    left = so3.dist(found.x_t[1], x_1) / so3.dist(x_0, x_1)
    _, sigma = used.at(0.2)

    torch.testing.assert_close(left, torch.full_like(left, sigma), rtol=1e-4, atol=0)
    assert so3.dist(found.x, x_1).max() < 1e-6


# The loss.


@pytest.mark.parametrize("kind", ["velocity", "target"])
def test_loss_is_the_squared_length_of_the_error_by_dimension(name: str, kind: str) -> None:
    manifold, base = BASE[name]
    dimension = {"sphere": 2, "torus": 2, "so3": 3, "se3": 6, "lorentz": 2}[name]
    assert manifold.dimension(base.shape) == dimension
    path = geodesic_path(name, prediction=kind)
    x_0, x_1 = points(name, 3, 2), points(name, 3, 2, seed=1)
    sample = path.sample(x_0, x_1, times(0.1, 0.5, 0.9))
    x_t, dx_t = sample.x_t, sample.dx_t
    assert isinstance(x_t, Tensor) and isinstance(dx_t, Tensor)
    foot = x_t if kind == "velocity" else x_1
    off = 0.3 * manifold.random_tangent(foot, generator=torch.Generator().manual_seed(2))
    prediction = dx_t + off if kind == "velocity" else manifold.expmap(x_1, off)
    expected = manifold.norm(foot, off) ** 2 / dimension
    torch.testing.assert_close(path.losses(prediction, sample)["x"], expected)


def test_autocast_does_not_reach_geometry() -> None:
    x_0, x_1 = points("so3", 3).float(), points("so3", 3, seed=1).float()
    path, t = geodesic_path("so3", prediction="target"), torch.tensor([0.1, 0.5, 0.9])
    plain = path.sample(x_0, x_1, t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = path.sample(x_0, x_1, t)
        loss = path.losses(x_0.bfloat16(), cast)["x"]
        velocity = path.velocity(x_0, t, x_1)
    assert torch.equal(plain.x_t, cast.x_t)  # type: ignore[arg-type]
    assert loss.dtype == torch.float32 and velocity.dtype == torch.float32
    assert torch.equal(velocity, path.velocity(x_0, t, x_1))


# What is refused.


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="convex"):
        GeodesicPath(Sphere(), scheduler=Cosine())
    with pytest.raises(ConfigError, match="noise"):
        GeodesicPath(Sphere(), prediction="noise")
    with pytest.raises(CapabilityError, match="uniform"):
        GeodesicPath(Lorentz())
    assert isinstance(GeodesicPath(Sphere()).source, Uniform)


def test_shapes_are_never_broadcast() -> None:
    x = points("sphere", 4, 2)
    with pytest.raises(ShapeError, match="x_0"):
        geodesic_path("sphere").sample(x[:, :1], x, times(0.1, 0.2, 0.3, 0.4))
