"""Agreement with flow-matching, to rounding, wherever it is right."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.manifolds import FlatTorus, Manifold, Sphere
from flowatlas.paths import AffinePath, GeodesicPath
from flowatlas.schedulers import (
    CondOT,
    Cosine,
    LinearVP,
    Polynomial,
    Scheduler,
    VariancePreserving,
)

reason = "flow-matching is not installed"
peer_path = pytest.importorskip("flow_matching.path", reason=reason)
peer_schedulers = pytest.importorskip("flow_matching.path.scheduler", reason=reason)
peer_manifolds = pytest.importorskip("flow_matching.utils.manifolds", reason=reason)

PAIRS: dict[str, tuple[Scheduler, Any]] = {
    "straight": (CondOT(), peer_schedulers.CondOTScheduler()),
    "polynomial": (Polynomial(3), peer_schedulers.PolynomialConvexScheduler(3)),
    "cosine": (Cosine(), peer_schedulers.CosineScheduler()),
    "linear-vp": (LinearVP(), peer_schedulers.LinearVPScheduler()),
    "vp": (VariancePreserving(), peer_schedulers.VPScheduler()),
}
T = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)


@pytest.fixture(params=PAIRS)
def schedules(request: pytest.FixtureRequest) -> tuple[Scheduler, Any]:
    return PAIRS[request.param]


def ends(*shape: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x[0], x[1]


def test_schedules(schedules: tuple[Scheduler, Any]) -> None:
    ours, theirs = schedules[0](T), schedules[1](T)
    for name in ("alpha", "sigma", "d_alpha", "d_sigma"):
        torch.testing.assert_close(
            getattr(ours, name), getattr(theirs, f"{name}_t"), rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize("shape", [(25, 3), (25, 2, 4, 4)], ids=str)
def test_affine_path(schedules: tuple[Scheduler, Any], shape: tuple[int, ...]) -> None:
    x_0, x_1 = ends(*shape)
    ours = AffinePath(schedules[0]).sample(x_0, x_1, T)
    theirs = peer_path.AffineProbPath(schedules[1]).sample(x_0=x_0, x_1=x_1, t=T)
    torch.testing.assert_close(ours.x_t, theirs.x_t, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.dx_t, theirs.dx_t, rtol=1e-10, atol=1e-12)


THEIR_NAMES = {"velocity": "velocity", "target": "target", "noise": "epsilon"}


@pytest.mark.parametrize(
    ("kind", "to"), [(a, b) for a in THEIR_NAMES for b in THEIR_NAMES if a != b]
)
def test_conversions(schedules: tuple[Scheduler, Any], kind: str, to: str) -> None:
    prediction, x = ends(25, 3)
    got = AffinePath(schedules[0], prediction=kind).convert(prediction, x, T, to)
    convert = getattr(
        peer_path.AffineProbPath(schedules[1]), f"{THEIR_NAMES[kind]}_to_{THEIR_NAMES[to]}"
    )
    # The peer wants t with one column here, and without in its path.
    expected = convert(prediction, x_t=x, t=T.unsqueeze(-1))
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["straight", "polynomial"])
@pytest.mark.parametrize("space", ["sphere", "torus"])
def test_geodesic_path(space: str, name: str) -> None:
    ours: Manifold = Sphere() if space == "sphere" else FlatTorus()
    theirs = peer_manifolds.Sphere() if space == "sphere" else peer_manifolds.FlatTorus()
    generator = torch.Generator().manual_seed(0)
    x_0 = ours.random_uniform((25, 3), generator=generator, dtype=torch.float64)
    x_1 = ours.random_uniform((25, 3), generator=generator, dtype=torch.float64)
    got = GeodesicPath(ours, scheduler=PAIRS[name][0]).sample(x_0, x_1, T)
    expected = peer_path.GeodesicProbPath(PAIRS[name][1], theirs).sample(x_0=x_0, x_1=x_1, t=T)
    assert isinstance(got.x_t, Tensor)
    # Points of a torus may differ by a period where one is at zero.
    assert ours.dist(got.x_t, expected.x_t).max() < 1e-7
    torch.testing.assert_close(got.dx_t, expected.dx_t, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("space", ["sphere", "torus"])
def test_maps(space: str) -> None:
    ours: Manifold = Sphere() if space == "sphere" else FlatTorus()
    theirs = peer_manifolds.Sphere() if space == "sphere" else peer_manifolds.FlatTorus()
    generator = torch.Generator().manual_seed(1)
    x = ours.random_uniform((50, 4), generator=generator, dtype=torch.float64)
    y = ours.random_uniform((50, 4), generator=generator, dtype=torch.float64)
    u = ours.proju(x, torch.randn(50, 4, generator=generator, dtype=torch.float64))
    torch.testing.assert_close(ours.logmap(x, y), theirs.logmap(x, y), rtol=1e-6, atol=1e-7)
    assert ours.dist(ours.expmap(x, u), theirs.expmap(x, u)).max() < 1e-7
    torch.testing.assert_close(ours.projx(3 * x), theirs.projx(3 * x))


def test_change_of_schedule_for_one_point() -> None:
    """For data of one point their transformed velocity is ours after `with_schedule`.

    Their transformation asks the network at another time and place; ours reads its prediction as
    an endpoint. Where that is right at all times, both give the new schedule's exact velocity.
    """
    transform = pytest.importorskip("flow_matching.path.scheduler.schedule_transform")
    x_1 = torch.tensor([[1.0, -2.0]], dtype=torch.float64).expand(25, 2)
    x, _ = ends(25, 2)

    def model(x: Tensor, t: Tensor) -> Tensor:
        return (x_1 - x) / (1 - t)

    # Their wrapper broadcasts t by itself: one column again.
    column = T.unsqueeze(-1)
    theirs = transform.ScheduleTransformedModel(
        model,
        original_scheduler=peer_schedulers.CondOTScheduler(),
        new_scheduler=peer_schedulers.PolynomialConvexScheduler(2),
    )(x=x, t=column)
    path = AffinePath().with_schedule(Polynomial(2))
    torch.testing.assert_close(path.velocity(x, T, model(x, column)), theirs, rtol=1e-8, atol=1e-9)
