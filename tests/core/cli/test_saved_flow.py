"""A saved flow comes back on the same manifold, arguments and all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from flowatlas.benchmarks.point_method import METHODS
from flowatlas.cli.point_file import read_points, write_points
from flowatlas.cli.saved_flow import SavedFlow, check_manifold
from flowatlas.errors import ConfigError, DataError
from flowatlas.manifolds import SE3, SO3, Euclidean, FlatTorus, Lorentz, Manifold, Sphere
from flowatlas.networks import MLP, Periodic
from flowatlas.sampling import sample
from flowatlas.solvers import Euler


def flow_on(manifold: Manifold) -> SavedFlow:
    """An untrained flow of pairs of coordinates."""
    method = METHODS["geodesic"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MLP((2,), manifold=manifold, width=8, depth=1, features=Periodic(period=3.0))
    return SavedFlow(
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
    again = SavedFlow.load(flow.save(tmp_path))
    assert isinstance(again.manifold, FlatTorus) and isinstance(again.path.manifold, FlatTorus)
    assert again.manifold.period == again.path.manifold.period == period

    def drawn(flow: SavedFlow) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        x: torch.Tensor = sample(
            flow.field, flow.path, shape=(200, 2), solver=Euler(2), generator=generator
        )
        return x

    assert torch.equal(drawn(flow), drawn(again))
    assert drawn(again)[:, 1].max() < 3.0


@pytest.mark.parametrize(
    "manifold",
    [Euclidean(), Euclidean(point_ndim=2), Sphere(), FlatTorus(), SO3(), SE3(), Lorentz()],
    ids=repr,
)
def test_every_manifold_has_a_description(manifold: Manifold) -> None:
    described = json.loads(json.dumps(check_manifold(manifold)))
    assert described["name"] == type(manifold).__name__
    assert described["args"] is not None


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
    file = tmp_path / "flow.json"
    stored = json.loads(file.read_text())
    for wrong in ("torus", None, {"name": "Periodic", "args": {}}):
        file.write_text(json.dumps({**stored, "manifold": wrong}))
        with pytest.raises(DataError, match=r"flow.json: is corrupt \(.*describes none"):
            SavedFlow.load(tmp_path)


def test_degrees_are_for_circles_of_two_pi(tmp_path: Path) -> None:
    file = write_points(tmp_path / "angles.npy", torch.tensor([[90.0, 180.0]]))
    x = read_points(file, FlatTorus(), degrees=True)
    assert torch.allclose(x, torch.tensor([[math.pi / 2, math.pi]], dtype=torch.float64))
    with pytest.raises(ConfigError, match=r"degrees: FlatTorus\(3.0\) has no angles"):
        read_points(file, FlatTorus(3.0), degrees=True)
