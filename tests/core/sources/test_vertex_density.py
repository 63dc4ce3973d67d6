"""Laws that are linear on faces: integral, draws, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.manifolds import Mesh, Sphere
from flowatlas.sources import VertexDensity

MESH = Mesh.icosphere(1)
VALUES = MESH.spectrum(3).functions[:, 2].clamp(min=0)
LAW = VertexDensity(MESH, VALUES)


def test_the_density_integrates_to_one() -> None:
    """The rule of edge middles is exact for functions that are linear on faces."""
    corner = MESH.vertices[MESH.faces]
    middle = 0.5 * corner + 0.5 * corner.roll(1, 1)
    # Pulled a little into the face, so that no other face is closer.
    middle = middle + 1e-6 * (corner.mean(1, keepdim=True) - middle)
    density = LAW.log_prob(middle.reshape(-1, 3)).exp().view(-1, 3)
    area = MESH.tables(corner).areas
    assert float((area * density.mean(1)).sum()) == pytest.approx(1, abs=1e-5)


def test_draws_have_the_density() -> None:
    r"""Shares of faces, and moments within them, in closed form; five standard errors.

    The integral of $\lambda^a \lambda^b \lambda^c$ over a face is 2 A a! b! c! / (a + b + c + 2)!.
    """
    n = 40_000
    x = LAW.sample((n, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.isfinite(LAW.log_prob(x)).all()
    corner = VALUES[MESH.faces]
    area = MESH.tables(corner).areas
    mass = area * corner.mean(1)
    expected = mass / mass.sum()
    face, place = MESH.locate(x)
    count = torch.bincount(face, minlength=len(expected)).double()
    assert (count[expected == 0] == 0).all()
    used = expected > 1e-4
    z = (count[used] - n * expected[used]) / (n * expected[used]).sqrt()
    assert z.abs().max() < 5
    for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)):
        exact = 0.0
        for c in range(3):
            powers = [[a, b, c].count(i) for i in range(3)]
            moment = 2 * math.prod(math.factorial(p) for p in powers) / math.factorial(5)
            exact += float((area * corner[:, c]).sum() / mass.sum()) * moment
        drawn = place[:, a] * place[:, b]
        assert abs(float(drawn.mean()) - exact) < 5 * float(drawn.std()) / n**0.5


def test_within_one_face_the_draws_lean_towards_the_larger_value() -> None:
    """A triangle with values 0, 0, 1: the coordinate of the last corner is Beta(2, 2)."""
    mesh = Mesh([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[0, 1, 2]])
    law = VertexDensity(mesh, torch.tensor([0.0, 0.0, 1.0]))
    x = law.sample((20_000, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = x[:, 1]
    grid = torch.linspace(0.1, 0.9, 9).double()
    empirical = (y[:, None] <= grid).double().mean(0)
    assert (empirical - grid**2 * (3 - 2 * grid)).abs().max() < 1.95 / 20_000**0.5
    share = x[:, 0] / (1 - y)
    assert (share[:, None] <= grid).double().mean(0).sub(grid).abs().max() < 1.95 / 20_000**0.5
    assert float(law.log_prob(torch.tensor([[0.25, 0.5, 0.0]]))) == pytest.approx(math.log(3.0))


def test_draws_do_not_depend_on_the_batch() -> None:
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    together = LAW.sample((2, 3), generator=seeds)
    alone = LAW.sample((1, 3), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(together[1:], alone)
    assert together.dtype == torch.float32


def test_what_is_no_density_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"need \(42,\)"):
        VertexDensity(MESH, VALUES[:-1])
    for wrong in (VALUES - 1, 0 * VALUES, VALUES / 0):
        with pytest.raises(GeometryError, match="values"):
            VertexDensity(MESH, wrong)
    with pytest.raises(ConfigError, match="mesh"):
        VertexDensity(Sphere(), VALUES)  # type: ignore[arg-type]
