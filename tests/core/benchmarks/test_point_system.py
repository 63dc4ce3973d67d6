"""A saved flow of points comes back on the same manifold, arguments and all."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flowatlas.benchmarks import benchmark, benchmark_names
from flowatlas.benchmarks.point_method import METHODS
from flowatlas.benchmarks.point_system import PointSystem, check_manifold
from flowatlas.benchmarks.points import PointBenchmark
from flowatlas.data import dataset
from flowatlas.data.point_file import read_points, write_points
from flowatlas.errors import ConfigError, DataError
from flowatlas.manifolds import SE3, SO3, Euclidean, FlatTorus, Lorentz, Manifold, Sphere
from flowatlas.networks import MLP, Periodic
from flowatlas.solvers import Euler
from flowatlas.sources import WrappedNormal


def flow_on(manifold: Manifold) -> PointSystem:
    """An untrained flow of pairs of coordinates."""
    method = METHODS["geodesic"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MLP((2,), manifold=manifold, width=8, depth=1, features=Periodic(period=3.0))
    return PointSystem(
        field=network,
        path=method.build_path(manifold, None),
        method=method,
        manifold=manifold,
        event_shape=(2,),
        mean=torch.zeros(2),
        scale=torch.ones(2),
        about={},
    )


@pytest.mark.parametrize("period", [3.0, (1.0, 3.0)])
def test_the_period_of_a_torus_comes_back(tmp_path: Path, period: float | tuple[float]) -> None:
    flow = flow_on(FlatTorus(period))
    again = PointSystem.load(flow.save(tmp_path))
    assert isinstance(again.manifold, FlatTorus) and isinstance(again.path.manifold, FlatTorus)
    assert again.manifold.period == again.path.manifold.period == period

    x = again.draw(200, seed=3, solver=Euler(2))
    assert torch.equal(flow.draw(200, seed=3, solver=Euler(2)), x)
    assert x[:, 1].max() < 3.0
    assert not torch.equal(again.draw(200, seed=4, solver=Euler(2)), x)


@pytest.mark.parametrize(
    "manifold",
    [Euclidean(), Euclidean(point_ndim=2), Sphere(), FlatTorus(), SO3(), SE3(), Lorentz()],
    ids=repr,
)
def test_every_manifold_has_a_description(manifold: Manifold) -> None:
    described = json.loads(json.dumps(check_manifold(manifold)))
    assert described["name"] == type(manifold).__name__
    assert described["args"] is not None


@pytest.mark.parametrize(
    "name",
    [name for name in benchmark_names() if type(benchmark(name)) is PointBenchmark],
)
def test_every_manifold_of_a_benchmark_has_a_description(name: str) -> None:
    if name == "hyperbolic/poincare":
        pytest.importorskip("geoopt")
    described = json.loads(json.dumps(check_manifold(dataset(name).space())))
    assert described["args"] is not None


def test_units_and_a_wrapped_source_come_back(tmp_path: Path) -> None:
    method, manifold = METHODS["geodesic-wrapped"], Lorentz()
    centre = torch.tensor([2.0, math.sqrt(3.0), 0.0], dtype=torch.float64)
    source = WrappedNormal(manifold, centre, 0.25)
    flow = replace(
        flow_on(FlatTorus(3.0)),
        field=MLP((3,), manifold=manifold, width=8, depth=1),
        path=method.build_path(manifold, source),
        method=method,
        manifold=manifold,
        event_shape=(3,),
    )
    again = PointSystem.load(flow.save(tmp_path)).path.source
    assert isinstance(again, WrappedNormal)
    assert torch.equal(again.centre, centre) and again.spread == 0.25
    (tmp_path / "source.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"source.npz: the fitted source cannot be read"):
        PointSystem.load(tmp_path)

    flat = METHODS["condot"]
    system = PointSystem(
        field=MLP((2,), width=8, depth=1),
        path=flat.build_path(Euclidean()),
        method=flat,
        manifold=Euclidean(),
        event_shape=(2,),
        mean=torch.tensor([5.0, -1.0], dtype=torch.float64),
        scale=torch.tensor([2.0, 0.5], dtype=torch.float64),
        about={},
    )
    # A new network is zero: samples are the source's, in units of the data.
    x = PointSystem.load(system.save(tmp_path / "flat")).draw(4000, seed=1)
    noise = torch.randn(4000, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(x, noise.double() * system.scale + system.mean)


class Unnamed(Sphere):
    """Declared by no distribution."""


class Forgetful(FlatTorus):
    """A namesake of nothing, whose argument cannot be read from it."""

    def __init__(self, length: float) -> None:
        super().__init__(length)


@pytest.mark.parametrize("manifold", [Unnamed(), Forgetful(2.0)], ids=repr)
def test_what_cannot_come_back_is_not_saved(manifold: Manifold, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"manifold: .* cannot be saved, .* 'flowatlas.manifolds'"
    ):
        flow_on(manifold).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_description_of_no_manifold_is_refused(tmp_path: Path) -> None:
    flow_on(FlatTorus(3.0)).save(tmp_path)
    file = tmp_path / "system.json"
    stored = json.loads(file.read_text())
    for wrong in ("torus", None, {"name": "Periodic", "args": {}}):
        contents = {**stored["contents"], "manifold": wrong}
        file.write_text(json.dumps({**stored, "contents": contents}))
        with pytest.raises(DataError, match=r"system.json: is corrupt \(.*describes none"):
            PointSystem.load(tmp_path)


def test_degrees_are_for_circles_of_two_pi(tmp_path: Path) -> None:
    file = write_points(tmp_path / "angles.npy", torch.tensor([[90.0, 180.0]]))
    x = read_points(file, FlatTorus(), degrees=True)
    assert torch.allclose(x, torch.tensor([[math.pi / 2, math.pi]], dtype=torch.float64))
    with pytest.raises(ConfigError, match=r"degrees: FlatTorus\(3.0\) has no angles"):
        read_points(file, FlatTorus(3.0), degrees=True)
