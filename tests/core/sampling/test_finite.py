"""A result that is not finite is an error that says where; batches of none are no error."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.errors import SolverError
from flowatlas.manifolds import Sphere
from flowatlas.paths import AffinePath, GeodesicPath, ProductPath
from flowatlas.sampling import (
    Exact,
    Hutchinson,
    encode,
    integrate,
    interpolate,
    log_prob,
    sample,
    sample_with_log_prob,
)
from flowatlas.solvers import RK4, Dopri5, Euler, Heun, Midpoint, PerSample

PATH = AffinePath()
FIXED = [Euler(8), Midpoint(8), Heun(8), RK4(8)]
SOLVERS = [*FIXED, Dopri5(), Dopri5(control=PerSample())]


def steep(x: Tensor, t: Tensor) -> Tensor:
    """NaN for one sample of four from t = 0.5 on."""
    bad = (t > 0.5) & (torch.arange(len(t)) == 2)
    return torch.where(bad.view(-1, 1), math.nan, torch.ones_like(x))


def growing(x: Tensor, t: Tensor) -> Tensor:
    """Overflows within a few steps."""
    return 1e10 * x


def still(x: Tensor, t: Tensor, condition: Any = None, **given: Any) -> Tensor:
    return torch.zeros_like(x)


CALLS: list[Callable[..., Any]] = [
    lambda field, **rest: sample(field, PATH, shape=(4, 2), **rest),
    lambda field, **rest: sample(field, PATH, x_init=torch.ones(4, 2), **rest),
    lambda field, **rest: encode(field, PATH, torch.ones(4, 2), **rest),
    lambda field, **rest: integrate(field, PATH, torch.ones(4, 2), **rest).x,
    lambda field, **rest: log_prob(field, PATH, torch.ones(4, 2), **rest),
    lambda field, **rest: sample_with_log_prob(field, PATH, torch.ones(4, 2), **rest)[0],
    lambda field, **rest: interpolate(field, PATH, *torch.ones(2, 4, 2), steps=2, **rest)[0],
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("solver", FIXED, ids=repr)
@pytest.mark.parametrize("field", [steep, growing])
def test_what_is_not_finite_is_reported(
    call: Callable[..., Any], solver: Any, field: Callable[..., Tensor]
) -> None:
    with pytest.raises(SolverError, match=r"solver: \w+\(grid=UniformGrid\(8\)\) came to NaN or"):
        call(field, solver=solver)
    assert not call(field, solver=solver, validate=False).isfinite().all()


def test_the_error_says_between_which_times() -> None:
    x = torch.zeros(4, 2)
    with pytest.raises(SolverError, match=r"between t = 0 and t = 1\."):
        integrate(steep, PATH, x, solver=Euler(8))
    with pytest.raises(SolverError, match=r"between t = 0.5 and t = 0.75\."):
        integrate(steep, PATH, x, solver=Euler(8), times=(0.25, 0.5, 0.75))
    with pytest.raises(SolverError, match=r"between t = 1 and t = 0\."):
        encode(steep, PATH, x, solver=Euler(8))


def test_a_component_that_is_not_finite_is_reported() -> None:
    path = ProductPath(place=AffinePath(), aim=GeodesicPath(Sphere()))

    def field(x: dict[str, Tensor], t: Tensor) -> dict[str, Tensor]:
        return {"place": math.nan * x["place"], "aim": 0 * x["aim"]}

    with pytest.raises(SolverError):
        sample(field, path, shape={"place": (4, 2), "aim": (4, 3)}, solver=Euler(2))


def test_large_values_are_finite() -> None:
    """Their sum overflows, they do not."""
    x = torch.full((4, 2), 3e38)
    assert torch.equal(sample(still, PATH, x_init=x, solver=Euler(2), validate=False), x)
    assert torch.equal(integrate(still, PATH, x, solver=Euler(2)).x, x)


def test_padding_and_fixed_points_are_no_concern() -> None:
    """What a network returns where no point moves may be anything."""
    mask = torch.tensor([[True, False]] * 4)
    x = torch.ones(4, 2, 2)
    x[:, 1] = math.nan

    def field(x: Tensor, t: Tensor, condition: Any = None, **given: Any) -> Tensor:
        return torch.stack([torch.ones_like(x[:, 0]), math.nan * x[:, 1]], 1)

    moved = sample(field, PATH, x_init=x, mask=mask, solver=Midpoint(4))
    assert torch.allclose(moved[:, 0], torch.full((4, 2), 2.0))
    held = sample(field, PATH, x_init=x, fixed=(~mask, torch.zeros_like(x)), solver=Midpoint(4))
    assert torch.equal(held[:, 1], torch.zeros(4, 2))


def test_gradients_pass_the_check() -> None:
    weight = torch.tensor(0.5, requires_grad=True)
    x = torch.ones(4, 2)
    moved = sample(
        lambda x, t: weight * x, PATH, x_init=x, solver=RK4(4), enable_grad=True, chunk_size=2
    )
    moved.sum().backward()
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(8 * math.exp(0.5), rel=1e-4)


def test_sampling_compiles_into_one_graph() -> None:
    """The look at the end would break the graph; it is left out there."""

    def moved(x: Tensor) -> Tensor:
        end: Tensor = sample(lambda x, t: -x, PATH, x_init=x, solver=Euler(2), validate=False)
        return end

    def followed(x: Tensor) -> Tensor:
        end: Tensor = integrate(lambda x, t: -x, PATH, x, solver=Euler(2)).x
        return end

    x = torch.ones(4, 2)
    for function in (moved, followed):
        compiled = torch.compile(function, backend="eager")
        assert torch.allclose(compiled(x), x / 4)


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_no_samples(solver: Any) -> None:
    none = torch.zeros(0, 3)
    assert sample(still, PATH, shape=(0, 3), solver=solver).shape == (0, 3)
    assert encode(still, PATH, none, solver=solver).shape == (0, 3)
    found = integrate(still, PATH, none, solver=solver, times=(0.5,))
    assert found.x.shape == (0, 3) and len(found.x_t) == 3
    for divergence in (Exact(), Hutchinson()):
        density = log_prob(still, PATH, none, solver=solver, divergence=divergence)
        assert density.shape == (0,)
    x_1, density = sample_with_log_prob(still, PATH, none, solver=solver)
    assert x_1.shape == (0, 3) and density.shape == (0,)
    sphere = GeodesicPath(Sphere())
    assert sample(still, sphere, shape=(0, 5, 3), solver=solver).shape == (0, 5, 3)
