"""The named sets, as far as their data are here, and how they are split."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from flowatlas.data import dataset, dataset_names, degrees, is_copy, load, split, unit_vectors
from flowatlas.data.registry import builtin_sets
from flowatlas.errors import ConfigError, DataError


def test_every_set_of_the_package_is_declared_under_its_name() -> None:
    for data in builtin_sets():
        assert dataset(data.name) is data
    assert {data.name for data in builtin_sets()} <= set(dataset_names())


def test_unknown_name_suggests_close_ones() -> None:
    with pytest.raises(ConfigError, match="earth/volcano"):
        load("earth/volcanos")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("demo/cities", (6183, 3)),
        ("demo/digits", (1797, 64)),
        ("toy/two_moons", (20000, 2)),
        ("toy/eight_gaussians", (20000, 2)),
        ("toy/checkerboard", (20000, 2)),
        ("so3/toy", (20000, 3, 3)),
        ("hyperbolic/lorentz", (20000, 3)),
        ("hyperbolic/poincare", (20000, 2)),
        ("spd/two", (20000, 2, 2)),
        ("spd/three", (20000, 3, 3)),
    ],
)
def test_sets_without_files_load(name: str, shape: tuple[int, ...]) -> None:
    x = load(name)
    # The list of cities grows from release to release.
    assert x.shape[1:] == shape[1:] and abs(len(x) / shape[0] - 1) < 0.2
    assert x.dtype == torch.float64
    dataset(name).space().check_point(x)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("earth/volcano", 827),
        ("earth/earthquake", 6120),
        ("earth/flood", 4875),
        ("torsion/general", 117946),
        ("torsion/glycine", 10078),
        ("torsion/proline", 6275),
        ("torsion/prepro", 5586),
        ("torsion/rna", 9473),
        ("torsion/sidechain", 46434),
        ("torsion/sidechain-lysine", 34860),
    ],
)
def test_sets_with_files_load(name: str, count: int, data_root: Path) -> None:
    assert len(load(name, data_root=data_root)) == count


def test_fire_runs_wherever_its_file_is_found(data_root: Path) -> None:
    if not (data_root / "earth" / "fire.csv").exists():
        pytest.skip("earth/fire.csv is not in the data root")
    assert load("earth/fire", data_root=data_root).shape == (12809, 3)


def test_degrees_and_unit_vectors_are_inverse() -> None:
    latitude = torch.tensor([0.0, 90.0, -33.9, 51.5], dtype=torch.float64)
    longitude = torch.tensor([90.0, 0.0, 151.2, -0.1], dtype=torch.float64)
    x = unit_vectors(latitude, longitude)
    torch.testing.assert_close(x[0], torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    back = degrees(x)
    torch.testing.assert_close(back[0], latitude)
    torch.testing.assert_close(back[1], longitude)


def test_a_split_is_a_partition_that_its_seed_decides() -> None:
    x = torch.arange(1000.0)[:, None]
    parts = split(x, 3)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [800, 100, 100]
    joined = torch.cat([parts.train, parts.validation, parts.test]).flatten().sort().values
    torch.testing.assert_close(joined, x.flatten())
    assert torch.equal(split(x, 3).test, parts.test)
    assert not torch.equal(split(x, 4).test, parts.test)
    with pytest.raises(DataError, match="cannot be split"):
        split(x[:3], 0)


def test_copies_are_found_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    train = torch.randn(500, 3, generator=generator, dtype=torch.float64)
    fresh = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    # One coordinate in common does not make a copy.
    fresh[:50, 0] = train[:50, 0]
    test = torch.cat([train[100:150], fresh])
    expected = torch.cdist(test, train, compute_mode="donot_use_mm_for_euclid_dist").amin(1) < 1e-9
    assert torch.equal(is_copy(test, train), expected)
    assert int(expected.sum()) == 50


def test_most_volcano_test_points_are_copies(data_root: Path) -> None:
    x = load("earth/volcano", data_root=data_root)
    shares = []
    for seed in range(5):
        parts = split(x, seed)
        shares.append(float(is_copy(parts.test, parts.train).double().mean()))
    assert math.isclose(sum(shares) / 5, 0.83, abs_tol=0.08)


def test_angles_of_sidechains_and_rna_are_in_radians_and_lie_in_their_wells(
    data_root: Path,
) -> None:
    # What is known of them from textbooks: chi1 avoids the eclipsed angles 0, 120 and 240 degrees,
    # and phi of residues other than glycine is negative.
    for name in ("torsion/sidechain", "torsion/sidechain-lysine"):
        x = load(name, data_root=data_root)
        assert x.shape[1] == 6 and (x >= 0).all() and (x < 2 * math.pi).all()
        assert (torch.cos(3 * x[:, 2]) < 0).double().mean() > 0.95
        assert (torch.sin(x[:, 0]) < 0).double().mean() > 0.9
    rna = load("torsion/rna", data_root=data_root)
    assert rna.shape[1] == 7
    # The sugar's angle delta is near 83 degrees (C3'-endo) for most.
    near = (torch.rad2deg(rna[:, 3]) - 83).abs() < 15
    assert near.double().mean() > 0.7
    # No row is a copy of another: the likelihood on distinct points is that on all.
    parts = split(rna, 0)
    assert not bool(is_copy(parts.test, parts.train).any())
