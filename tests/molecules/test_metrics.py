"""Metrics of backbones, on chains for which they are known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from flowatlas import SO3
from flowatlas.errors import ConfigError, ShapeError
from flowatlas_molecules import Backbone, chain_from_torsions, read_structure
from flowatlas_molecules.metrics import (
    backbone_metrics,
    composition_distance,
    handedness,
    radius_of_gyration,
    secondary_structure,
    superposed_rmsd,
    tm_score,
)

FILE = Path(pytest.importorskip("tmtools").__file__).parent / "data" / "2gtl.pdb"
MIRROR = torch.tensor([1.0, 1.0, -1.0])


@pytest.fixture(scope="module")
def real() -> list[Backbone]:
    return list(read_structure(FILE).chains[:4])


def ideal(phi: float, psi: float, n: int = 30) -> Backbone:
    angles = torch.tensor([phi, psi, 180.0]).deg2rad().expand(n, 3)
    return Backbone(chain_from_torsions(angles), "A" * n)


def test_rmsd_is_zero_for_a_moved_copy_and_not_for_a_mirror_image(real: list[Backbone]) -> None:
    x = real[0].atoms[:, 1].double()
    generator = torch.Generator().manual_seed(0)
    turns = SO3().random_uniform((200, 3, 3), generator=generator, dtype=torch.float64)
    moved = x @ turns.mT + 5 * torch.randn(200, 1, 3, generator=generator, dtype=torch.float64)
    assert superposed_rmsd(x.expand_as(moved), moved).max() < 1e-9
    # Without the sign the mirror image would be a perfect match.
    assert superposed_rmsd((x * MIRROR).expand_as(moved), moved).min() > 5


def test_rmsd_is_the_least_of_all_rotations() -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    best = superposed_rmsd(x, y)
    centred = [z - z.mean(0) for z in (x, y)]
    turns = SO3().random_uniform((200_000, 3, 3), generator=generator, dtype=torch.float64)
    tried = (centred[0] @ turns.mT - centred[1]).square().sum(-1).mean(-1).sqrt().min()
    # The best of so many is within a few degrees of the best of all.
    assert best <= tried < best + 0.01
    with pytest.raises(ShapeError, match=r"both are \(\.\.\., n, 3\)"):
        superposed_rmsd(x, y[:5])


def test_radius_of_gyration_of_a_rod() -> None:
    """n points a unit apart on a line: sqrt((n^2 - 1) / 12)."""
    rod = torch.zeros(9, 3, dtype=torch.float64)
    rod[:, 1] = torch.arange(9)
    assert radius_of_gyration(rod).item() == pytest.approx(math.sqrt(80 / 12))


def test_helices_and_strands_are_what_they_are_called(real: list[Backbone]) -> None:
    assert secondary_structure(ideal(-57.8, -47.0)) == pytest.approx((1.0, 0.0), abs=0.15)
    assert secondary_structure(ideal(-120.0, 130.0)) == pytest.approx((0.0, 1.0), abs=0.15)
    helix, strand = secondary_structure(real[0])
    assert helix > 0.5
    assert strand < 0.1
    assert secondary_structure(ideal(-60, -45, 4)) == (0.0, 0.0)


def test_handedness_tells_a_mirror_image(real: list[Backbone]) -> None:
    mirrored = [Backbone(one.atoms * MIRROR, one.sequence) for one in real]
    assert handedness(real) > 0.95
    assert handedness(mirrored) == pytest.approx(1 - handedness(real))
    assert math.isnan(handedness([ideal(-120.0, 130.0)]))


def test_tm_score_of_the_same_of_a_kin_and_of_a_mirror_image(real: list[Backbone]) -> None:
    first = real[0]
    moved = Backbone(first.atoms + 7, first.sequence)
    assert tm_score(first, moved) == pytest.approx(1.0, abs=1e-6)
    assert 0.5 < tm_score(first, real[1]) < 0.98
    assert tm_score(first, ideal(-120.0, 130.0, 147)) < 0.4


def test_tm_score_is_the_mean_of_both_norms(real: list[Backbone]) -> None:
    """A piece fits into its chain: 1 by its own length, its share of it by the other's."""
    whole = real[0]
    piece = Backbone(whole.atoms[:60], whole.sequence[:60])
    expected = (1 + 60 / len(whole)) / 2
    assert tm_score(piece, whole) == pytest.approx(expected, abs=1e-3)
    assert tm_score(whole, piece) == pytest.approx(expected, abs=1e-3)


def test_composition_is_compared_by_total_variation() -> None:
    def chains(*sequences: str) -> list[Backbone]:
        return [Backbone(torch.zeros(len(one), 4, 3), one) for one in sequences]

    assert composition_distance(chains("AAG", "G"), chains("GA")) == 0.0
    assert composition_distance(chains("AAAG"), chains("AGGG")) == pytest.approx(0.5)
    assert composition_distance(chains("AA"), chains("VL")) == pytest.approx(1.0)
    assert composition_distance(chains("AX"), chains("A")) == 0.0
    assert math.isnan(composition_distance(chains("XX"), chains("A")))


def line(*places: float) -> Backbone:
    """CA along a line; C and N where their bond is right."""
    ca = torch.zeros(len(places), 3)
    ca[:, 0] = torch.tensor(places)
    atoms = ca.unsqueeze(1).repeat(1, 4, 1)
    atoms[1:, 0] = atoms[:-1, 2] + torch.tensor([0.0, 1.329, 0.0])
    return Backbone(atoms, "A" * len(places))


def test_clashes_spacing_and_size_of_points_on_a_line() -> None:
    """Five CA: neighbours never clash, others nearer than 3.6 angstrom do; all by hand."""
    # Second neighbours at 3.5, 3.7, 3.5; third ones further than 3.6.
    found = backbone_metrics([line(0.0, 1.7, 3.5, 5.4, 7.0)], pairs=0)
    assert found["clashes"] == pytest.approx(100 * 2 / 5)
    assert found["peptide_bond"] == pytest.approx(0.0, abs=1e-6)
    assert found["ca_spacing"] == pytest.approx(1.75)
    # .19 and .21 from 3.8.
    found = backbone_metrics([line(0.0, 3.99, 8.0, 11.61, 15.2)], pairs=0)
    assert found["ca_valid"] == pytest.approx(0.5)
    assert found["clashes"] == 0
    places = torch.tensor([0.0, 3.8, 7.6, 11.4, 15.2])
    expected = float(places.std(correction=0)) / (2.2 * 5**0.38)
    found = backbone_metrics([line(*places.tolist())], pairs=0)
    assert found["compactness"] == pytest.approx(expected, rel=1e-5)


def test_metrics_of_real_chains_are_those_of_proteins(real: list[Backbone]) -> None:
    found = backbone_metrics(real, pairs=3)
    assert found["ca_valid"] > 0.97
    assert found["ca_spacing"] == pytest.approx(3.8, abs=0.05)
    assert found["peptide_bond"] < 0.03
    assert found["clashes"] < 0.2
    assert 0.9 < found["compactness"] < 1.1
    assert found["handedness"] > 0.95
    assert 0.0 < found["tm_diversity"] < 0.5


def test_metrics_tell_what_is_wrong_with_a_chain(real: list[Backbone]) -> None:
    """Each flaw moves the number that is about it."""
    shrunk = backbone_metrics([Backbone(0.8 * c.atoms, c.sequence) for c in real], pairs=0)
    assert shrunk["ca_valid"] < 0.05
    assert shrunk["clashes"] > 1
    assert shrunk["compactness"] == pytest.approx(0.8, abs=0.1)
    assert math.isnan(shrunk["tm_diversity"])
    stretched = backbone_metrics([ideal(-120.0, 130.0, 100)])
    assert stretched["ca_valid"] == 1.0
    assert stretched["compactness"] > 4
    assert stretched["clashes"] == 0
    with pytest.raises(ConfigError, match="nothing can be measured"):
        backbone_metrics([])
