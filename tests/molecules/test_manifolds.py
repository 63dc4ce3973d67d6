"""Manifolds of molecules: the contract, and what is theirs alone."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from flowatlas import SE3, FlatTorus
from flowatlas.errors import ConfigError, DataError, GeometryError, ShapeError
from flowatlas.testing import ManifoldConformance
from flowatlas_molecules import (
    LETTERS,
    BackboneFrames,
    FractionalCoordinates,
    Lattice,
    LatticePrior,
    ResidueSimplex,
    Torsions,
    dihedrals,
    letters,
    tokens,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestBackboneFrames(ManifoldConformance):
    manifold, point_shape = BackboneFrames(), (3, 4, 4)
    embedded = False
    # Translations are some ten angstrom, in which float32 has steps of 1e-6.
    float32_log = (1e-4, 2e-5)
    wrong_shapes = ((4, 4), (2, 3, 3))


class TestBackboneFramesWithGaps(ManifoldConformance):
    manifold, point_shape = BackboneFrames([True, False, True, True]), (4, 4, 4)
    embedded = False
    float32_log = (1e-4, 2e-5)
    wrong_shapes = ((4, 4), (2, 3, 4, 4))


class TestFractionalCoordinates(ManifoldConformance):
    manifold, point_shape = FractionalCoordinates(), (4, 3)
    everywhere = True
    wrong_shapes = ((3,), (4, 2))


class TestLattice(ManifoldConformance):
    manifold, point_shape = Lattice(), (6,)
    base_point = torch.tensor([4.0, 5.0, 6.0, 1.5, 1.6, 1.4], dtype=torch.float64)
    float32_log = (1e-4, 2e-6)
    float32_point = 3e-6
    wrong_shapes = ((), (5,))


class TestResidueSimplex(ManifoldConformance):
    """Points around the centre, so that no geodesic that is tried meets the boundary."""

    manifold, point_shape = ResidueSimplex(), (20,)
    wrong_shapes = ((), (19,))
    max_length = 0.1

    def random_point(
        self, generator: torch.Generator, batch: tuple[int, ...], dtype: torch.dtype
    ) -> Tensor:
        centre = torch.full((*batch, 20), 0.05, dtype=dtype)
        u = self.manifold.random_tangent(centre, generator=generator)
        share = torch.rand((*batch, 1), generator=generator, dtype=dtype)
        return self.manifold.expmap(centre, 0.1 * share * u / u.norm(dim=-1, keepdim=True))


def frames(n: int, seed: int = 0) -> Tensor:
    r = torch.linalg.qr(torch.randn(n, 3, 3, generator=seeded(seed), dtype=torch.float64))[0]
    r = r * torch.linalg.det(r)[:, None, None]
    p = 10 * torch.randn(n, 3, generator=seeded(seed + 1), dtype=torch.float64)
    return BackboneFrames().projx(SE3.join(r, p))


def test_frames_of_gaps_count_for_nothing() -> None:
    """A chain with a gap is at the distance of the chain without it."""
    x, y = frames(4), frames(4, 5)
    mask = [True, True, False, True]
    gapped = BackboneFrames(mask)
    full = BackboneFrames()
    there = [i for i, one in enumerate(mask) if one]
    expected = full.dist(full.projx(x[there]), full.projx(y[there]))
    assert torch.allclose(gapped.dist(gapped.projx(x), gapped.projx(y)), expected)
    assert gapped.dimension((4, 4, 4)) == full.dimension((3, 4, 4)) == 15


def test_distances_of_frames_are_radians_and_tenths_of_angstrom() -> None:
    """One residue that turns by .3, two that part by 2 angstrom each: by Pythagoras."""
    x = BackboneFrames().projx(SE3.join(torch.eye(3).expand(2, 3, 3), torch.zeros(2, 3)))
    u = torch.tensor([[0.3, 0, 0, 0, 2.0, 0], [0, 0, 0, 0, -2.0, 0]])
    y = BackboneFrames().expmap(x, u)
    assert BackboneFrames().dist(x, y).item() == pytest.approx(math.sqrt(0.09 + 2 * 0.04), 1e-5)


def test_frames_off_centre_are_refused_with_the_distance() -> None:
    x = frames(3)
    x[:, :3, 3] += 2.0
    with pytest.raises(GeometryError, match=r"x_1: got a chain whose centre is 2"):
        BackboneFrames().check_point(x, "x_1")
    with pytest.raises(GeometryError, match="where the mask has no residue"):
        BackboneFrames([True, False, True]).check_point(gap_filled(), "x_1")
    with pytest.raises(ConfigError, match="no residue that exists"):
        BackboneFrames([False])


def gap_filled() -> Tensor:
    x = BackboneFrames([True, False, True]).projx(frames(3))
    x[1, :3, 3] = 1.0
    return x


def test_fractional_logarithm_is_the_shortest_of_all_windings() -> None:
    """Against every winding number within two of the wrapped differences."""
    n = 4
    x = torch.rand(200, n, 3, generator=seeded(), dtype=torch.float64)
    y = torch.rand(200, n, 3, generator=seeded(1), dtype=torch.float64)
    u = FractionalCoordinates().logmap(x, y)
    turns = torch.tensor(list(itertools.product(range(-2, 3), repeat=n)), dtype=x.dtype)
    d = (y - x).unsqueeze(1) + turns[:, :, None]
    d = d - d.mean(-2, keepdim=True)
    shortest = d.square().sum(-2).amin(1).sum(-1)
    assert torch.allclose(u.square().sum((-2, -1)), shortest)
    naive = FlatTorus(1.0).logmap(x, y)
    naive = naive - naive.mean(-2, keepdim=True)
    longer = naive.square().sum((-2, -1)) > shortest + 1e-9
    # Taking the mean of wrapped differences off would not do: here it is longer for most pairs.
    assert longer.double().mean() > 0.5


def test_crystals_are_the_same_wherever_they_are() -> None:
    crystal = FractionalCoordinates()
    x = torch.rand(50, 5, 3, generator=seeded(), dtype=torch.float64)
    y = torch.rand(50, 5, 3, generator=seeded(1), dtype=torch.float64)
    shift = torch.rand(50, 1, 3, generator=seeded(2), dtype=torch.float64)
    u = crystal.logmap(x, y)
    assert torch.allclose(crystal.logmap(x + shift, y - 2 * shift), u, atol=1e-12)
    assert crystal.dist(x, x + shift).max() < 1e-12
    order = torch.randperm(5, generator=seeded(3))
    assert torch.allclose(crystal.logmap(x[:, order], y[:, order]), u[:, order], atol=1e-12)


def test_volume_of_fractional_coordinates() -> None:
    """The share of uniform points near one of them is the volume of a ball over that of all.

    Two atoms: a flat torus of three circles. Five standard errors (error probability 6e-7).
    """
    crystal = FractionalCoordinates()
    x = crystal.random_uniform((40_000, 2, 3), generator=seeded(), dtype=torch.float64)
    radius = 0.3
    near = (crystal.dist(x, x[:1].expand_as(x)) < radius).double().mean().item()
    density = crystal.uniform_log_prob(x[0]).exp().item()
    expected = density * 4 / 3 * math.pi * radius**3
    error = math.sqrt(expected * (1 - expected) / len(x))
    assert abs(near - expected) < 5 * error
    # Without the factor of sqrt(N) for each axis the share would be another.
    assert abs(near - expected / 2**1.5) > 5 * error


def test_prior_of_lattices_integrates_to_one_and_has_its_moments() -> None:
    """Importance weights of a normal law in the chart: their mean is one."""
    prior = LatticePrior((1.2, 1.5, 1.0), (0.2, 0.1, 0.3))
    z = torch.randn(40_000, 6, generator=seeded(), dtype=torch.float64)
    std = torch.tensor([0.25, 0.13, 0.4, 2.5, 2.5, 2.5], dtype=torch.float64)
    mean = torch.tensor([1.2, 1.5, 1.0, 0, 0, 0], dtype=torch.float64)
    log_q = (-0.5 * z.square() - std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)
    weight = (prior.log_prob(Lattice().from_chart(mean + std * z)) - log_q).exp()
    error = weight.std().item() / math.sqrt(len(z))
    assert error < 0.02
    assert abs(weight.mean().item() - 1) < 5 * error
    x = prior.sample((20_000, 6), generator=seeded(1), dtype=torch.float64)
    Lattice().check_point(x)
    again = LatticePrior.fitted(x)
    assert again.log_mean == pytest.approx(prior.log_mean, abs=5 * 0.3 / math.sqrt(20_000))
    assert again.log_std == pytest.approx(prior.log_std, rel=0.03)
    spread = math.radians(60.2) / math.sqrt(12)
    assert x[:, 3:].std(0).tolist() == pytest.approx([spread] * 3, rel=0.02)


def test_prior_of_lattices_draws_samples_by_themselves() -> None:
    prior = LatticePrior((1.0,) * 3, (0.1,) * 3)
    each = prior.sample((3, 6), generator=[seeded(k) for k in range(3)])
    assert torch.equal(each[1:2], prior.sample((1, 6), generator=[seeded(1)]))


def test_bad_lattices_are_refused() -> None:
    flat = torch.tensor([4.0, 4.0, 4.0, math.pi / 6, math.pi / 2, math.pi / 2])
    with pytest.raises(GeometryError, match=r"cell: .* 30\.0 to 90\.0 degrees"):
        Lattice().check_point(flat, "cell")
    with pytest.raises(ConfigError, match="three lengths"):
        LatticePrior((1.0,), (1.0,))
    with pytest.raises(ConfigError, match="positive and finite"):
        LatticePrior((1.0,) * 3, (1.0, 0.0, 1.0))
    with pytest.raises(ShapeError, match="n of at least 2"):
        LatticePrior.fitted(flat)


def test_residues() -> None:
    assert letters(tokens(LETTERS)) == LETTERS
    assert ResidueSimplex().decode(ResidueSimplex().encode("MKV")) == "MKV"
    with pytest.raises(DataError, match="'X' at position 2"):
        tokens("MKX")
    with pytest.raises(DataError, match="ids from 0 to 20"):
        letters(torch.tensor([0, 20]))


def test_period_is_a_full_turn() -> None:
    x, y = torch.tensor([[3.0, 1.0]]), torch.tensor([[-3.0, -1.0]])
    u = Torsions().logmap(x, y)
    assert torch.allclose(u, torch.tensor([[2 * math.pi - 6, -2.0]]))
    assert repr(Torsions()) == "Torsions()"


def test_dihedrals_are_points_after_projection() -> None:
    angles = dihedrals(torch.randn(20, 5, 4, 3, generator=seeded()))
    x = Torsions().projx(angles)
    Torsions().check_point(x)
    assert torch.allclose(torch.polar(torch.ones(()), x), torch.polar(torch.ones(()), angles))
