"""Adaptive steps: the tolerance is met, nothing is evaluated twice, and failures are explained."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.exact import ExactGaussianFlow, ExactMixtureFlow, GaussianMixture
from flowatlas.manifolds import SO3, Sphere
from flowatlas.paths import AffinePath, GeodesicPath
from flowatlas.sampling import integrate
from flowatlas.schedulers import Cosine
from flowatlas.solvers import Control, Dopri5, PerSample, Shared
from flowatlas.solvers.dopri5 import StepSizeError

D = torch.float64
COVARIANCE = torch.tensor([[[0.5, 0.3], [0.3, 0.3]]], dtype=D)
GAUSSIAN = ExactGaussianFlow(
    GaussianMixture(torch.ones(1), torch.tensor([[1.0, -2.0]]), COVARIANCE), Cosine()
)
PATH = AffinePath(Cosine())
MIXTURE = ExactMixtureFlow(
    GaussianMixture(torch.ones(3), torch.tensor([[2.0, 0.0], [-1.0, 2.0], [-1.0, -2.0]]), stds=0.2)
)
CONTROLS = [Shared(), PerSample()]


def full(t: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=x.dtype)


@pytest.mark.parametrize("control", CONTROLS, ids=repr)
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.0), (0.3, 0.8), (0.9, 0.2)])
def test_error_follows_the_tolerance(
    control: Control, start: float, end: float, generator: torch.Generator
) -> None:
    x = torch.randn(64, 2, generator=generator, dtype=D)
    x = GAUSSIAN.flow_map(x, full(0.0, x), full(start, x))
    exact = GAUSSIAN.flow_map(x, full(start, x), full(end, x))
    errors, costs = [], []
    for tolerance in (1e-4, 1e-6, 1e-8):
        solver = Dopri5(tolerance, tolerance, control=control)
        found = integrate(GAUSSIAN, PATH, x, start=start, end=end, solver=solver)
        error = (found.x - exact).square().mean().sqrt().item()
        # Some steps' errors of tolerance |x|, |x| up to 4, stretched up to 3.5 times backward.
        assert error < 50 * tolerance
        errors.append(error)
        costs.append(found.nfe)
    # And it is not met by wasting steps: two orders of tolerance cost 100^(1/5) = 2.5 at most.
    assert errors[0] > 100 * errors[2]
    assert costs[2] < 1.3 * 2.5 * costs[1]


def test_per_sample_does_not_depend_on_the_batch(generator: torch.Generator) -> None:
    x = torch.randn(32, 2, generator=generator, dtype=D)

    def solved(rows: Tensor, control: Control) -> Tensor:
        solver = Dopri5(1e-4, 1e-4, control=control)
        end: Tensor = integrate(MIXTURE, AffinePath(), rows, solver=solver).x
        return end

    whole = solved(x, PerSample())
    alone = torch.cat([solved(row, PerSample()) for row in x.split(1)])
    assert (whole - alone).abs().max() < 1e-12
    # A shared step would differ by about the tolerance.
    assert (
        solved(x, Shared()) - torch.cat([solved(row, Shared()) for row in x.split(1)])
    ).abs().max() > 1e-6


def late_bump(x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
    """Nearly still, then violent around t = 0.7: steps have grown by then."""
    return x.sin() + 40 * torch.exp(-0.5 * ((t.view(-1, 1) - 0.7) / 0.02).square())


@pytest.mark.parametrize("control", CONTROLS, ids=repr)
def test_evaluations_are_counted_and_stages_reused(
    control: Control, generator: torch.Generator
) -> None:
    x = torch.randn(8, 2, generator=generator, dtype=D)
    calls: list[tuple[float, Tensor]] = []

    def counted(x: Tensor, t: Tensor) -> Tensor:
        calls.append((t[0].item(), x))
        return late_bump(x, t)

    found = integrate(counted, AffinePath(), x, solver=Dopri5(1e-6, 1e-6, control=control))
    assert found.rejected > 0
    assert found.nfe == len(calls) == 1 + 6 * (found.accepted + found.rejected)
    assert calls[-1][0] == 1.0  # the last stage is at the end, and is the result
    assert torch.equal(calls[-1][1], found.x)
    assert torch.equal(calls[0][1], x)


def test_a_field_at_rest_takes_one_step() -> None:
    found = integrate(lambda x, t: 0 * x, AffinePath(), torch.ones(4, 2), solver=Dopri5())
    assert (found.nfe, found.accepted, found.rejected) == (7, 1, 0)
    assert torch.equal(found.x, torch.ones(4, 2))


@pytest.mark.parametrize("control", CONTROLS, ids=repr)
def test_requested_times_are_met(control: Control, generator: torch.Generator) -> None:
    x = torch.randn(8, 2, generator=generator, dtype=D)
    solver = Dopri5(1e-8, 1e-8, control=control)
    times = (0.9, 0.31, 0.3)
    found = integrate(GAUSSIAN, PATH, x, start=1.0, end=0.2, times=times, solver=solver)
    assert found.t == (1.0, *times, 0.2)
    for t, x_t in zip(found.t, found.x_t, strict=True):
        exact = GAUSSIAN.flow_map(x, full(1.0, x), full(t, x))
        assert (x_t - exact).abs().max() < 1e-6
    # A time just before another does not shorten the steps after it.
    direct = integrate(GAUSSIAN, PATH, x, start=1.0, end=0.2, solver=solver)
    assert found.accepted <= direct.accepted + 2 * len(times)


@pytest.mark.parametrize("control", CONTROLS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_nan_is_reported(control: Control, dtype: torch.dtype) -> None:
    x = torch.zeros(4, 2, dtype=dtype)

    def everywhere(x: Tensor, t: Tensor) -> Tensor:
        return x * math.nan

    def later(x: Tensor, t: Tensor) -> Tensor:
        """One sample of four, from t = 0.5 on."""
        bad = (t > 0.5) & (torch.arange(len(t)) == 2)
        return torch.where(bad.view(-1, 1), math.nan, torch.ones_like(x))

    with pytest.raises(StepSizeError, match=r"t = 0 no step is small enough.*NaN.*weights"):
        integrate(everywhere, AffinePath(), x, solver=Dopri5(control=control))
    with pytest.raises(StepSizeError, match=r"t = 0\.[45]\d* no step is small enough"):
        integrate(later, AffinePath(), x, solver=Dopri5(control=control))


def test_stiff_field_runs_out_of_steps() -> None:
    def stiff(x: Tensor, t: Tensor) -> Tensor:
        return -1e5 * (x - torch.cos(t).view(-1, 1))

    x = torch.ones(2, 1, dtype=D)
    with pytest.raises(StepSizeError, match=r"100 steps did not reach t = 1; stopped at t = 0\."):
        integrate(stiff, AffinePath(), x, solver=Dopri5(max_steps=100))
    with pytest.raises(StepSizeError, match=r"max_steps, or use a fixed-step solver"):
        integrate(
            lambda x, t: -stiff(x, t),
            AffinePath(),
            x,
            start=1.0,
            end=0.0,
            solver=Dopri5(max_steps=100),
        )


def test_tolerance_below_the_dtype_is_reported() -> None:
    x = torch.ones(2, 1)
    with pytest.raises(StepSizeError, match="below what the dtype resolves"):
        integrate(lambda x, t: torch.sin(50 * x), AffinePath(), x, solver=Dopri5(1e-14, 1e-14))


@pytest.mark.parametrize(
    "settings", [{"rtol": -1.0}, {"rtol": 0.0, "atol": 0.0}, {"rtol": math.nan}, {"max_steps": 0}]
)
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="max_steps" if "max_steps" in settings else "rtol, atol"):
        Dopri5(**settings)


@pytest.mark.parametrize("control", CONTROLS, ids=repr)
def test_on_manifolds(control: Control, generator: torch.Generator) -> None:
    solver = Dopri5(1e-8, 1e-8, control=control)
    sphere, rotations = Sphere(), SO3()
    axis = torch.tensor([0.3, -1.0, 2.0], dtype=D)
    x = sphere.random_uniform((8, 3), generator=generator, dtype=D)
    turn = torch.linalg.matrix_exp(torch.linalg.cross(axis.expand(3, 3), torch.eye(3, dtype=D)).mT)
    path = GeodesicPath(sphere)
    end = integrate(lambda x, t: torch.linalg.cross(axis.expand_as(x), x), path, x, solver=solver).x
    assert (end - x @ turn.mT).abs().max() < 1e-7

    r = rotations.random_uniform((8, 3, 3), generator=generator, dtype=D)
    # The body-frame velocity of a rotation about an axis fixed in space.
    found = integrate(lambda r, t: r.mT @ axis, GeodesicPath(rotations), r, solver=solver)
    assert (found.x - turn @ r).abs().max() < 1e-7
    assert found.accepted < 30


def test_padding_does_not_relax_the_tolerance(generator: torch.Generator) -> None:
    """Points at rest would dilute the mean error; they are not counted."""
    x = torch.randn(4, 2, 2, generator=generator, dtype=D)
    padded = torch.cat([x, torch.zeros(4, 30, 2, dtype=D)], 1)
    mask = torch.arange(32).expand(4, 32) < 2
    solver = Dopri5(1e-4, 1e-4, control=PerSample())

    def field(x: Tensor, t: Tensor, condition: Any = None, mask: Tensor | None = None) -> Tensor:
        return MIXTURE(x, t)

    short = integrate(field, AffinePath(), x, solver=solver)
    long = integrate(field, AffinePath(), padded, mask=mask, solver=solver)
    assert long.nfe == short.nfe
    assert (long.x[:, :2] - short.x).abs().max() < 1e-12


@pytest.mark.parametrize("control", [Shared(), PerSample()], ids=repr)
@pytest.mark.parametrize("backward", [False, True])
def test_steps_are_at_most_max_step(control: Control, backward: bool) -> None:
    """In either direction: stages never ask further ahead, and ten steps of a tenth suffice."""
    ends = (1.0, 0.0) if backward else (0.0, 1.0)

    def run(max_step: float | None) -> Any:
        return integrate(
            lambda x, t: torch.ones_like(x),
            AffinePath(),
            torch.zeros(3, 2),
            start=ends[0],
            end=ends[1],
            solver=Dopri5(1e-3, 1e-3, control=control, max_step=max_step),
        )

    free, bounded = run(None), run(0.1)
    assert free.accepted < 4
    assert 10 <= bounded.accepted <= 12 and bounded.rejected == 0
    torch.testing.assert_close(bounded.x, free.x)


@pytest.mark.parametrize("max_step", [0.0, -1.0, float("inf"), float("nan")])
def test_a_longest_step_is_a_length(max_step: float) -> None:
    with pytest.raises(ConfigError, match="max_step: got"):
        Dopri5(max_step=max_step)
