"""Crystals: cells, batches, CIF files, and the sets of the data folder."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowatlas.data import DataSet, find
from flowatlas.errors import ConfigError, DataError, ShapeError
from flowatlas_molecules import (
    PEROVSKITES_TEST,
    PEROVSKITES_VAL,
    Crystal,
    Lattice,
    ideal_perovskites,
    lattice_matrix,
    load_perovskites,
    pad_crystals,
    read_cif,
    read_crystals,
    reduce_crystal,
    structure_of,
    to_crystals,
    write_cif,
)

core = pytest.importorskip("pymatgen.core")

CUBIC = torch.tensor(3 * [4.0] + 3 * [math.pi / 2], dtype=torch.float64)
SALT = """data_salt
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_chemical_formula_sum 'Na4 Cl4'
loop_
 _symmetry_equiv_pos_as_xyz
 'x, y, z'
 'x, y+1/2, z+1/2'
 'x+1/2, y, z+1/2'
 'x+1/2, y+1/2, z'
loop_
 _atom_site_label
 _atom_site_type_symbol
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
 Na1 Na 0 0 0 1
 Cl1 Cl 0.5 0.5 0.5 1
"""
PARTIAL = (
    SALT.replace("data_salt", "data_alloy").replace("Cl4'", "Cl2'").replace("0.5 1\n", "0.5 .5")
)


def random_crystal(n: int, seed: int = 0) -> Crystal:
    generator = torch.Generator().manual_seed(seed)
    fractional = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    lengths = 3 + 3 * torch.rand(3, generator=generator, dtype=torch.float64)
    angles = torch.deg2rad(70 + 40 * torch.rand(3, generator=generator, dtype=torch.float64))
    elements = torch.randint(1, 95, (n,), generator=generator)
    return Crystal(elements, fractional, torch.cat([lengths, angles]), f"random_{seed}")


def distances(crystal: Crystal) -> torch.Tensor:
    return torch.from_numpy(structure_of(crystal).distance_matrix)


@pytest.mark.parametrize("seed", range(5))
def test_lattice_vectors_have_the_lengths_angles_and_volume_that_pymatgen_gives(seed: int) -> None:
    crystal = random_crystal(4, seed)
    matrix = lattice_matrix(crystal.lattice)
    cell = structure_of(crystal).lattice
    assert matrix.det().item() == pytest.approx(cell.volume, rel=1e-9)
    gram = torch.from_numpy(cell.matrix @ cell.matrix.T)
    assert (matrix @ matrix.mT - gram).abs().max() < 1e-9


def test_angles_without_a_cell_have_no_volume_and_are_no_structure() -> None:
    flat = torch.tensor([4.0, 4.0, 4.0] + 3 * [math.radians(120.05)], dtype=torch.float64)
    assert lattice_matrix(flat).det().item() == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(DataError, match="no cell closes"):
        structure_of(Crystal(torch.tensor([11]), torch.zeros(1, 3), flat))


@pytest.mark.parametrize(("n", "seed"), [(1, 0), (5, 1), (12, 2)])
def test_a_crystal_comes_back_from_its_file(tmp_path: Path, n: int, seed: int) -> None:
    crystal = random_crystal(n, seed)
    (again,) = read_cif(write_cif(tmp_path / "deep" / "one.cif", crystal)).crystals
    assert (again.lattice - crystal.lattice).abs().max() < 1e-6
    # The reader puts elements together.
    off = again.fractional[:, None] - crystal.fractional
    same = ((off - off.round()).abs().amax(-1) < 1e-6).nonzero()
    assert len(same) == len(again) == n
    assert again.elements[same[:, 0]].equal(crystal.elements[same[:, 1]])


def test_symmetry_is_applied(tmp_path: Path) -> None:
    (tmp_path / "salt.cif").write_text(SALT)
    (salt,) = read_cif(tmp_path / "salt.cif").crystals
    assert sorted(salt.elements.tolist()) == 4 * [11] + 4 * [17]
    nearest = distances(salt)[salt.elements == 11][:, salt.elements == 17].min().item()
    assert nearest == pytest.approx(5.64 / 2)


def test_reduced_cells_are_the_same_crystal_within_the_bounds_of_lattices(tmp_path: Path) -> None:
    (tmp_path / "salt.cif").write_text(SALT)
    whole = read_cif(tmp_path / "salt.cif").crystals[0]
    sheared = core.Structure(
        core.Lattice.from_parameters(4, 4, 4, 90, 90, 150), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]
    )
    from flowatlas_molecules import crystal_of

    for crystal in (whole, crystal_of(sheared)):
        reduced = reduce_crystal(crystal)
        Lattice().check_point(reduced.lattice)
        density = len(crystal) / lattice_matrix(crystal.lattice).det()
        again = len(reduced) / lattice_matrix(reduced.lattice).det()
        assert again.item() == pytest.approx(density.item(), rel=1e-6)
    read = read_cif(write_cif(tmp_path / "s.cif", crystal_of(sheared)), reduce=True)
    Lattice().check_point(read.crystals[0].lattice)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no data block"),
        ("HEADER  a protein", "no data block"),
        (SALT[: SALT.index("loop_\n _atom")], "no atom sites"),
        (SALT[: SALT.index("_atom_site_label")], "no readable"),
        (SALT[: SALT.index(" Na1 Na")], "no readable"),
        (SALT[: SALT.index(" Cl1 Cl")], "contradict its formula|cannot be read"),
        (SALT[: SALT.index(" 0.5 0.5 1")], "cannot be read|no readable"),
        (SALT.replace("_cell_length_a 5.64\n", ""), "cannot be read"),
        (SALT.replace("Na1 Na 0 0 0", "Na1 Na zero 0 0"), "cannot be read"),
        (PARTIAL, "occupied in part"),
    ],
)
def test_files_that_are_no_whole_crystal_are_errors(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "bad.cif"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_cif(file)
    assert "bad.cif" in str(caught.value)


def test_bytes_and_missing_files_are_errors(tmp_path: Path) -> None:
    (tmp_path / "bytes.cif").write_bytes(b"data_\xff\xfe")
    with pytest.raises(DataError, match="is no text"):
        read_cif(tmp_path / "bytes.cif")
    with pytest.raises(DataError, match="cannot be read"):
        read_cif(tmp_path / "none.cif")


def test_what_is_skipped_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "three.cif"
    file.write_text(SALT + PARTIAL + "\ndata_empty\n_cell_length_a 3\n")
    found = read_cif(file, skip=True)
    assert [crystal.name for crystal in found.crystals] == ["three_salt"]
    assert dict(found.skipped) == {"with partial occupancies": 1, "without atoms": 1}
    with pytest.raises(DataError, match="alloy"):
        read_cif(file)
    file.write_text(PARTIAL)
    with pytest.raises(DataError, match=r"no crystal is left \(1 with partial"):
        read_cif(file, skip=True)


def test_crystals_that_no_file_can_hold_are_errors(tmp_path: Path) -> None:
    good = random_crystal(2)
    with pytest.raises(ConfigError, match="must end in"):
        write_cif(tmp_path / "x.pdb", good)
    with pytest.raises(DataError, match="not finite"):
        write_cif(tmp_path / "x.cif", Crystal(good.elements, good.fractional / 0, good.lattice))
    with pytest.raises(DataError, match="1 to 118"):
        write_cif(tmp_path / "x.cif", Crystal(good.elements * 0, good.fractional, good.lattice))
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_cif(tmp_path / "file" / "x.cif", good)


def test_without_pymatgen_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "salt.cif").write_text(SALT)
    monkeypatch.setitem(sys.modules, "pymatgen.core", None)
    for ask in (lambda: read_cif(tmp_path / "salt.cif"), ideal_perovskites):
        with pytest.raises(DataError, match=r"flowatlas-molecules\[crystals\]"):
            ask()


def test_shapes_of_crystals_are_checked() -> None:
    good = random_crystal(3)
    with pytest.raises(ShapeError, match="elements"):
        Crystal(good.elements.float(), good.fractional, good.lattice)
    with pytest.raises(ShapeError, match="fractional"):
        Crystal(good.elements, good.fractional[:2], good.lattice)
    with pytest.raises(ShapeError, match="lattice"):
        Crystal(good.elements, good.fractional, good.lattice[:3])


def test_batches_hold_every_crystal_and_give_it_back() -> None:
    crystals = [random_crystal(n, n) for n in (2, 7, 4)]
    batch = pad_crystals(crystals)
    assert batch.mask.sum(1).tolist() == [2, 7, 4]
    assert (batch.elements == 0).equal(~batch.mask)
    again = to_crystals(batch.state, batch.elements, batch.mask)
    for one, other in zip(crystals, again, strict=True):
        assert other.elements.equal(one.elements)
        assert (other.fractional - one.fractional).abs().max() < 1e-6
        assert (other.lattice - one.lattice).abs().max() < 1e-6
    assert pad_crystals(crystals, atoms=9).mask.shape == (3, 9)
    with pytest.raises(ConfigError, match="a crystal has 7"):
        pad_crystals(crystals, atoms=6)
    with pytest.raises(ConfigError, match="got none"):
        pad_crystals([])


def test_atoms_beyond_the_cell_come_back_into_it() -> None:
    """Samples of a flow may have gone around: coordinates of crystals are in [0, 1)."""
    batch = pad_crystals(ideal_perovskites()[:1])
    state = dict(batch.state)
    around = torch.tensor([[[1.0, 0.0, -2.0]]]).expand_as(state["fractional"])
    state["fractional"] = state["fractional"] + 0.25 + around
    (found,) = to_crystals(state, batch.elements, batch.mask)
    expected = (batch.state["fractional"][0] + 0.25).remainder(1.0)
    assert torch.allclose(found.fractional, expected, atol=1e-6)


def test_ions_of_ideal_perovskites_touch_and_do_not_overlap() -> None:
    crystals = ideal_perovskites()
    assert len({tuple(crystal.elements.tolist()) for crystal in crystals}) == len(crystals) == 540
    strontium = next(c for c in crystals if c.elements.tolist() == [38, 22, 8, 8, 8])
    # 3.905 angstrom is the lattice constant of SrTiO3.
    assert strontium.lattice[0].item() == pytest.approx(3.905, abs=0.12)
    apart = distances(strontium)
    side = strontium.lattice[0].item()
    assert apart[1, 2:].tolist() == pytest.approx(3 * [side / 2])
    assert apart[0, 2:].tolist() == pytest.approx(3 * [side / math.sqrt(2)])


def test_files_of_arrays_that_do_not_fit_are_errors(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "num_atoms": np.array([1, 2], dtype=np.int16),
        "atomic_numbers": np.array([1, 2, 3], dtype=np.uint8),
        "frac_coords": np.array([[1.25, -0.25, 0.0]] * 3, dtype=np.float32),
        "lengths": np.full((2, 3), 4.0, dtype=np.float32),
        "angles": np.full((2, 3), 90.0, dtype=np.float32),
        "material_id": np.array(["a", "b"]),
    }
    np.savez(tmp_path / "good.npz", **arrays)
    one, two = read_crystals(tmp_path / "good.npz")
    assert (len(one), len(two), two.name) == (1, 2, "b")
    assert two.fractional[0].tolist() == [0.25, 0.75, 0.0]
    assert (two.lattice - CUBIC).abs().max() < 1e-9
    np.savez(tmp_path / "odd.npz", **arrays | {"num_atoms": np.array([1, 1])})
    with pytest.raises(DataError, match="atomic_numbers has shape"):
        read_crystals(tmp_path / "odd.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:400])
    with pytest.raises(DataError, match="no readable set of crystals"):
        read_crystals(tmp_path / "cut.npz")


@pytest.mark.parametrize(("part", "count"), [(PEROVSKITES_VAL, 3787), (PEROVSKITES_TEST, 3785)])
def test_perovskites_are_all_there(part: DataSet, count: int) -> None:
    try:
        path = find(part)
    except DataError as error:
        pytest.skip(str(error))
    batch = pad_crystals(load_perovskites(part))
    assert batch.mask.shape == (count, 5)
    assert batch.mask.all()
    Lattice().check_point(batch.state["lattice"])
    assert part.checked(part.read(path), "file").shape == (count, 6)
