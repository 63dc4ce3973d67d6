"""Samples: their law, their independence of batch and chunk, their gradients, and the way back."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import flowatlas.sampling._chunks as chunks
from flowatlas.errors import ConfigError, GeometryError, IntervalError, ShapeError
from flowatlas.exact import ExactGaussianFlow, ExactMixtureFlow
from flowatlas.manifolds import Sphere
from flowatlas.paths import AffinePath, GeodesicPath, ProductPath
from flowatlas.sampling import encode, interpolate, sample
from flowatlas.solvers import RK4, Dopri5, Euler, Midpoint, PerSample
from flowatlas.sources import Gaussian

D = torch.float64


def generators(count: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + i) for i in range(count)]


def test_moments(gaussian: ExactGaussianFlow, generator: torch.Generator) -> None:
    n = 20_000
    x = sample(
        gaussian, AffinePath(), shape=(n, 2), dtype=D, solver=Midpoint(20), generator=generator
    )
    # Six standard errors: 2e-9 each.
    assert gaussian.target.covariances is not None
    covariance = gaussian.target.covariances[0]
    error = (x.mean(0) - gaussian.target.means[0]) / (covariance.diagonal() / n).sqrt()
    assert error.abs().max() < 6
    spread = (covariance.diagonal().outer(covariance.diagonal()) + covariance**2) / n
    assert ((x.T.cov() - covariance) / spread.sqrt()).abs().max() < 6


@pytest.mark.parametrize("solver", [Midpoint(8), Dopri5(1e-5, 1e-5, control=PerSample())], ids=repr)
def test_results_do_not_depend_on_the_batch_or_the_chunk(
    solver: Any, mixture: ExactMixtureFlow
) -> None:
    def drawn(count: int, first: int = 0, **options: Any) -> Tensor:
        x: Tensor = sample(
            mixture,
            AffinePath(),
            shape=(count, 2),
            dtype=D,
            solver=solver,
            generator=generators(count, first),
            **options,
        )
        return x

    whole = drawn(12)
    for size in (1, 5, 12, 100):
        assert (drawn(12, chunk_size=size) - whole).abs().max() < 1e-12
    assert (drawn(3, first=7) - whole[7:10]).abs().max() < 1e-12


def test_one_generator_is_drawn_from_before_chunking(mixture: ExactMixtureFlow) -> None:
    def drawn(**options: Any) -> Tensor:
        g = torch.Generator().manual_seed(3)
        x: Tensor = sample(
            mixture, AffinePath(), shape=(12, 2), solver=Euler(4), generator=g, **options
        )
        return x

    assert torch.allclose(drawn(), drawn(chunk_size=5), atol=1e-6)
    assert torch.equal(drawn(), drawn())


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def field(x: Tensor, t: Tensor) -> Tensor:
        seen.append(len(x))
        return torch.zeros_like(x)

    sample(field, AffinePath(), shape=(10, 6), solver=Euler(1), chunk_size=4)
    assert seen == [4, 4, 2]
    seen.clear()
    monkeypatch.setattr(chunks, "BUDGET", 6 * 3)
    sample(field, AffinePath(), shape=(10, 6), solver=Euler(1))
    assert seen == [3, 3, 3, 1]
    with pytest.raises(ConfigError, match="chunk_size: got 0"):
        sample(field, AffinePath(), shape=(10, 6), solver=Euler(1), chunk_size=0)


def test_conditions_masks_and_fixed_points_are_chunked_along(generator: torch.Generator) -> None:
    x = torch.randn(7, 4, 2, generator=generator, dtype=D)
    condition = {"shift": torch.randn(7, 2, generator=generator, dtype=D)}
    mask = torch.rand(7, 4, generator=generator) < 0.7
    fixed = (torch.rand(7, 4, generator=generator) < 0.3, torch.randn(7, 4, 2, dtype=D))

    def field(
        x: Tensor, t: Tensor, condition: Any, mask: Tensor | None = None, fixed: Any = None
    ) -> Tensor:
        assert mask is not None and len(mask) == len(fixed) == len(x)
        inside = (mask.unsqueeze(-1) * x).sum(1, keepdim=True)
        velocity: Tensor = torch.sin(x + inside) + condition["shift"].unsqueeze(1)
        return velocity

    def moved(**options: Any) -> Tensor:
        end: Tensor = sample(
            field,
            AffinePath(),
            x_init=x,
            condition=condition,
            mask=mask,
            fixed=fixed,
            solver=RK4(5),
            **options,
        )
        return end

    whole, parts = moved(), moved(chunk_size=3)
    exists = mask | fixed[0]
    assert (whole - parts)[exists].abs().max() < 1e-14
    assert torch.equal(whole[fixed[0]], fixed[1][fixed[0]])


def test_chunking_hides_no_misfit() -> None:
    def field(x: Tensor, t: Tensor, condition: Any = None, mask: Any = None) -> Tensor:
        return torch.zeros_like(x)

    x = torch.zeros(4, 3, 2)
    options: dict[str, Any] = {"solver": Euler(1), "chunk_size": 2}
    with pytest.raises(ShapeError, match=r"condition\['label'\]: got shape \(6,\)"):
        sample(field, AffinePath(), x_init=x, condition={"label": torch.zeros(6)}, **options)
    with pytest.raises(ShapeError, match=r"mask: got shape \(6, 3\)"):
        sample(field, AffinePath(), x_init=x, mask=torch.ones(6, 3, dtype=torch.bool), **options)


def test_mapping_states_are_drawn_and_chunked() -> None:
    path = ProductPath(place=AffinePath(source=Gaussian(3.0)), aim=GeodesicPath(Sphere()))

    def field(x: dict[str, Tensor], t: Tensor) -> dict[str, Tensor]:
        return {
            "place": -x["place"] + x["aim"],
            "aim": Sphere().proju(x["aim"], torch.tanh(x["place"])),
        }

    def drawn(**options: Any) -> dict[str, Tensor]:
        shape = {"place": (6, 3), "aim": (6, 3)}
        x: dict[str, Tensor] = sample(
            field, path, shape=shape, dtype=D, solver=RK4(5), generator=generators(6), **options
        )
        return x

    whole, parts = drawn(), drawn(chunk_size=4)
    for name in ("place", "aim"):
        assert (whole[name] - parts[name]).abs().max() < 1e-14
    assert (whole["aim"].norm(dim=-1) - 1).abs().max() < 1e-14
    # Another source, for one component.
    far = drawn(source={"place": Gaussian(3.0, mean=100.0)})
    assert (far["place"] - whole["place"]).min() > 20
    with pytest.raises(ConfigError, match=r"source: no component \['other'\]"):
        drawn(source={"other": Gaussian()})


def test_arguments_that_contradict() -> None:
    def still(x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)

    path, x, solver = AffinePath(), torch.zeros(2, 3), Euler(1)
    with pytest.raises(ConfigError, match="shape, x_init: give exactly one"):
        sample(still, path, solver=solver)
    with pytest.raises(ConfigError, match="shape, x_init: give exactly one"):
        sample(still, path, shape=(2, 3), x_init=x, solver=solver)
    with pytest.raises(ConfigError, match=r"start: got 0.5 without x_init"):
        sample(still, path, shape=(2, 3), start=0.5, solver=solver)
    with pytest.raises(ConfigError, match=r"source, dtype, device: .* x_init was given"):
        sample(still, path, x_init=x, source=Gaussian(2.0), solver=solver)
    with pytest.raises(ShapeError, match=r"shape: got components \['x'\]; the path has \['a'\]"):
        sample(still, ProductPath(a=AffinePath()), shape=(2, 3), solver=solver)
    with pytest.raises(ShapeError, match="generator: got 3 generators for a batch of 2"):
        sample(still, path, shape=(2, 3), solver=solver, generator=generators(3))
    with pytest.raises(GeometryError, match="x_init: 1 of 2 samples contain NaN"):
        sample(still, path, x_init=torch.tensor([[0.0], [math.nan]]), solver=solver)
    with pytest.raises(GeometryError, match="x_1: points lie off"):
        encode(still, GeodesicPath(Sphere()), 2 * torch.eye(3), solver=solver)
    with pytest.raises(IntervalError, match=r"end: got 1.5"):
        sample(still, path, shape=(2, 3), end=1.5, solver=solver)


def test_images() -> None:
    """States with any event axes, such as (batch, channels, height, width)."""

    def field(x: Tensor, t: Tensor) -> Tensor:
        return 2 * t.view(-1, 1, 1, 1) * torch.ones_like(x)

    start = torch.randn(2, 3, 4, 4, dtype=D)
    end = sample(field, AffinePath(), x_init=start, solver=Midpoint(4))
    assert torch.allclose(end, start + 1)


# Gradients.


@pytest.mark.parametrize("solver", [RK4(3), Dopri5(1e-3, 1e-3, control=PerSample())], ids=repr)
def test_gradients_flow_when_asked_for(solver: Any, generator: torch.Generator) -> None:
    sphere = Sphere()
    weight = torch.randn(3, 3, generator=generator, dtype=D, requires_grad=True)
    x = sphere.random_uniform((3, 3), generator=generator, dtype=D).requires_grad_()
    shift = torch.randn(3, 3, generator=generator, dtype=D, requires_grad=True)

    def end(weight: Tensor, x: Tensor, shift: Tensor, enable_grad: bool = True) -> Tensor:
        def field(x: Tensor, t: Tensor, condition: Any) -> Tensor:
            return sphere.proju(x, torch.tanh(x @ weight) * t.view(-1, 1) + condition["shift"])

        moved: Tensor = sample(
            field,
            GeodesicPath(sphere),
            x_init=sphere.projx(x),
            condition={"shift": shift},
            solver=solver,
            enable_grad=enable_grad,
            chunk_size=2,
        )
        return moved

    # gradcheck compares with central differences of the sample.
    assert torch.autograd.gradcheck(end, (weight, x, shift), atol=1e-5)
    assert not end(weight, x, shift, enable_grad=False).requires_grad
    with torch.no_grad():
        assert not end(weight, x, shift).requires_grad


# The way back.


@pytest.mark.parametrize("solver", [RK4(40), Dopri5(1e-8, 1e-8)], ids=repr)
def test_encoding_undoes_sampling(
    solver: Any, mixture: ExactMixtureFlow, generator: torch.Generator
) -> None:
    x_0 = torch.randn(32, 2, generator=generator, dtype=D)
    x_1 = sample(mixture, AffinePath(), x_init=x_0, solver=solver)
    code = encode(mixture, AffinePath(), x_1, solver=solver, chunk_size=10)
    assert (code - x_0).abs().max() < 1e-3
    assert (x_1 - x_0).abs().mean() > 0.5


def test_encoding_from_the_edge(gaussian: ExactGaussianFlow, generator: torch.Generator) -> None:
    path, field = AffinePath(prediction="target"), gaussian.prediction("target")
    x = torch.randn(16, 2, generator=generator, dtype=D)
    solver = Dopri5(1e-8, 1e-8)
    with pytest.raises(IntervalError, match=r"start: got 1.0.*Pass start=0.999"):
        encode(field, path, x, solver=solver)
    edge = path.interval.end
    code = encode(field, path, x, start=edge, solver=solver)
    t = torch.full((16,), edge, dtype=D)
    assert (code - gaussian.flow_map(x, t, 0 * t)).abs().max() < 1e-6


def test_interpolation(gaussian: ExactGaussianFlow, generator: torch.Generator) -> None:
    x, y = torch.randn(2, 8, 2, generator=generator, dtype=D).unbind()
    path = AffinePath()
    states = interpolate(gaussian, path, x, y, steps=5, solver=RK4(30))
    assert len(states) == 5
    assert (states[0] - x).abs().max() < 1e-4 and (states[-1] - y).abs().max() < 1e-4
    # The codes go straight but for their length, which is interpolated.
    zero, one = torch.zeros(8, dtype=D), torch.ones(8, dtype=D)
    a, b = gaussian.flow_map(x, one, zero), gaussian.flow_map(y, one, zero)
    half = (a + b) / (a + b).norm(dim=-1, keepdim=True)
    half = half * 0.5 * (a.norm(dim=-1) + b.norm(dim=-1)).unsqueeze(-1)
    assert (states[2] - gaussian.flow_map(half, zero, one)).abs().max() < 1e-4
    with pytest.raises(ConfigError, match="steps: got 1"):
        interpolate(gaussian, path, x, y, steps=1, solver=RK4(3))
    with pytest.raises(ShapeError, match="y: got shapes"):
        interpolate(gaussian, path, x, y[:3], steps=3, solver=RK4(3))


def test_interpolation_on_a_sphere_is_geodesic(generator: torch.Generator) -> None:
    sphere = Sphere()
    x, y = sphere.random_uniform((2, 6, 3), generator=generator, dtype=D).unbind()

    def turning(x: Tensor, t: Tensor) -> Tensor:
        axis = torch.tensor([1.0, 2.0, -0.5], dtype=D)
        velocity: Tensor = torch.linalg.cross(axis.expand_as(x), x)
        return velocity

    # A rotation takes geodesics to geodesics, so the flow cancels.
    states = interpolate(turning, GeodesicPath(sphere), x, y, steps=3, solver=RK4(30))
    middle = (x + y) / (x + y).norm(dim=-1, keepdim=True)
    assert (states[1] - middle).abs().max() < 1e-5
