"""Protein backbones: frames, torsions, files, splits and batches."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from flowatlas import SO3
from flowatlas.errors import ConfigError, DataError, GeometryError, ShapeError
from flowatlas_molecules import (
    Backbone,
    atoms_from_frames,
    backbone_torsions,
    chain_from_torsions,
    connected,
    dihedrals,
    frames_from_atoms,
    load_chains,
    pad_chains,
    read_structure,
    split_by_cluster,
    to_chains,
    write_structure,
)

#: A globin of 147 residues, solved by X-rays, that ships with tmtools.
FILE = Path(pytest.importorskip("tmtools").__file__).parent / "data" / "2gtl.pdb"
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def globin() -> Backbone:
    return read_structure(FILE).chains[0]


def random_frames(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rotation = SO3().random_uniform((n, 3, 3), generator=generator, dtype=torch.float64)
    return rotation, 10 * torch.randn(n, 3, generator=generator, dtype=torch.float64)


def angle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    u, v = a - b, c - b
    return torch.rad2deg(torch.atan2(torch.linalg.cross(u, v).norm(dim=-1), (u * v).sum(-1)))


def wrapped(difference: Tensor) -> Tensor:
    return torch.remainder(difference + math.pi, 2 * math.pi) - math.pi


def test_frames_of_ideal_atoms_are_the_frames() -> None:
    rotation, translation = random_frames(50)
    atoms = atoms_from_frames(rotation, translation)
    again, centres = frames_from_atoms(atoms)
    SO3().check_point(again)
    assert (again - rotation).abs().max() < TOLERANCE
    assert (centres - translation).abs().max() < TOLERANCE


def test_ideal_residues_have_the_bonds_and_angles_of_the_textbook() -> None:
    atoms = atoms_from_frames(*random_frames(20))
    n, a, c, o = atoms.unbind(-2)
    for x, y, length in ((n, a, 1.459), (a, c, 1.525), (c, o, 1.231)):
        assert ((x - y).norm(dim=-1) - length).abs().max() < TOLERANCE
    assert (angle(n, a, c) - 111.0).abs().max() < 1e-6
    assert (angle(a, c, o) - 120.1).abs().max() < 1e-6


def test_frames_turn_and_move_with_the_atoms(globin: Backbone) -> None:
    (turn,), (move,) = random_frames(1)
    atoms = globin.atoms.double()
    rotation, translation = frames_from_atoms(atoms)
    turned, moved = frames_from_atoms(atoms @ turn.T + move)
    assert (turned - turn @ rotation).abs().max() < 1e-6
    assert (moved - (translation @ turn.T + move)).abs().max() < 1e-6


def test_frames_of_real_atoms_give_them_back(globin: Backbone) -> None:
    """Within what real bonds differ from ideal ones; O is placed from the next residue."""
    atoms = atoms_from_frames(*frames_from_atoms(globin.atoms))
    error = (atoms - globin.atoms).norm(dim=-1)
    assert error[:, :3].mean() < 0.05
    assert error[:-1, 3].mean() < 0.1
    mirror = globin.atoms * torch.tensor([1.0, 1.0, -1.0])
    assert connected(globin.atoms).all()
    # A mirror image has the same bonds and other frames: O would land elsewhere.
    turned = atoms_from_frames(*frames_from_atoms(mirror))
    assert (turned - mirror).norm(dim=-1)[:-1, 3].mean() < 0.1
    assert (
        backbone_torsions(mirror).angles + backbone_torsions(globin.atoms).angles
    ).abs().max() < 1e-4


def test_oxygen_is_in_the_peptide_plane() -> None:
    """The dihedral (O, C, N, CA) of a trans bond is zero, and psi + 180 that of (N, CA, C, O)."""
    angles = torch.tensor([-60.0, -45.0, 180.0], dtype=torch.float64).deg2rad().expand(8, 3)
    atoms = chain_from_torsions(angles)
    n, a, c, o = atoms.unbind(-2)
    cis = dihedrals(torch.stack([o[:-1], c[:-1], n[1:], a[1:]], -2))
    assert cis.abs().max() < 1e-9
    opposite = dihedrals(torch.stack([n, a, c, o], -2))
    assert wrapped(opposite - math.radians(-45.0) - math.pi)[:-1].abs().max() < 1e-9


def test_residues_are_bound_up_to_1_8_angstrom() -> None:
    atoms = torch.zeros(3, 4, 3)
    atoms[1, 0, 0], atoms[2, 0, 0] = 1.79, 1.81
    assert connected(atoms).tolist() == [True, False]


def test_chain_of_torsions_has_them_and_ideal_geometry() -> None:
    generator = torch.Generator().manual_seed(1)
    angles = math.pi * (2 * torch.rand(3, 30, 3, generator=generator, dtype=torch.float64) - 1)
    atoms = chain_from_torsions(angles)
    found = backbone_torsions(atoms)
    assert found.exists.sum() == 3 * (3 * 29)
    assert wrapped(found.angles - angles)[found.exists].abs().max() < 1e-7
    assert (found.angles[~found.exists] == 0).all()
    n, a, c, _ = atoms.unbind(-2)
    assert ((n[:, 1:] - c[:, :-1]).norm(dim=-1) - 1.329).abs().max() < TOLERANCE
    assert (angle(a[:, :-1], c[:, :-1], n[:, 1:]) - 117.2).abs().max() < 1e-6
    assert a.mean(1).abs().max() < TOLERANCE


def test_trans_peptides_have_the_spacing_of_real_chains() -> None:
    """CA to CA of a planar trans bond is 3.80 angstrom, and the alpha helix rises 1.5 a residue."""
    helix = torch.tensor([-57.8, -47.0, 180.0], dtype=torch.float64).deg2rad().expand(40, 3)
    a = chain_from_torsions(helix)[:, 1]
    assert a.diff(dim=0).norm(dim=-1).sub(3.80).abs().max() < 0.02
    rise = (a[36:].mean(0) - a[:4].mean(0)).norm() / 36
    assert rise.item() == pytest.approx(1.5, abs=0.1)


def test_torsions_of_a_real_helical_protein(globin: Backbone) -> None:
    """Most residues of a globin are alpha helical; its mirror image's are not."""
    found = backbone_torsions(globin.atoms)
    phi, psi, omega = torch.rad2deg(found.angles).unbind(-1)
    helical = ((phi + 63).abs() < 30) & ((psi + 43).abs() < 30)
    assert helical.double().mean() > 0.6
    assert (omega[:-1].abs() > 150).double().mean() > 0.97


def test_gaps_have_no_torsions_across_them(globin: Backbone) -> None:
    atoms = torch.cat([globin.atoms[:50], globin.atoms[60:]])
    assert connected(atoms).logical_not().nonzero().tolist() == [[49]]
    exists = backbone_torsions(atoms).exists
    assert exists[49].tolist() == [True, False, False]
    assert exists[50].tolist() == [False, True, True]


def test_gradients_are_finite_where_frames_coincide() -> None:
    rotation = torch.eye(3).expand(4, 3, 3).clone().requires_grad_()
    translation = torch.zeros(4, 3, requires_grad=True)
    atoms = atoms_from_frames(rotation, translation)
    grads = torch.autograd.grad(atoms.square().sum(), (rotation, translation))
    assert all(torch.isfinite(g).all() for g in (*grads, atoms))


def test_bad_atoms_are_refused() -> None:
    with pytest.raises(GeometryError, match="1 residues are in line or not finite"):
        frames_from_atoms(torch.tensor([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]]))
    with pytest.raises(GeometryError, match="not finite"):
        frames_from_atoms(torch.full((1, 3, 3), math.nan))
    with pytest.raises(ShapeError, match="first three"):
        frames_from_atoms(torch.zeros(5, 2, 3))
    with pytest.raises(ShapeError, match="beside 2 residues"):
        Backbone(torch.zeros(3, 4, 3), "AA")


# Files.


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_files_give_back_what_was_written(globin: Backbone, suffix: str, tmp_path: Path) -> None:
    other = read_structure(FILE).chains[3]
    path = write_structure(tmp_path / "new" / f"two{suffix}", [globin, other])
    again = read_structure(path)
    assert [chain.sequence for chain in again.chains] == [globin.sequence, other.sequence]
    assert [chain.name for chain in again.chains] == ["two_A", "two_B"]
    assert again.chains[0].numbers == globin.numbers
    assert not again.skipped
    for one, two in zip(again.chains, (globin, other), strict=True):
        assert (one.atoms - two.atoms).abs().max() < 6e-4


def test_alternatives_modified_residues_and_numbers(globin: Backbone, tmp_path: Path) -> None:
    """Selenomethionine is M; a residue that is two in part counts once, as the first."""
    lines = write_structure(tmp_path / "a.pdb", globin).read_text().splitlines()
    atoms = [line for line in lines if line.startswith("ATOM")]
    first, second, rest = atoms[:4], atoms[4:8], atoms[8:]
    first = [line[:17] + "MSE" + line[20:] for line in first]
    far = [f"{line[:30]}{float(line[30:38]) + 9:8.3f}{line[38:]}" for line in second]
    second = [f"{line[:16]}ASER{line[20:]}" for line in second]
    second += [f"{line[:16]}BTHR{line[20:]}" for line in far]
    file = tmp_path / "b.pdb"
    file.write_text("\n".join([*first, *second, *rest, "END", ""]))
    chain = read_structure(file).chains[0]
    assert chain.sequence == "MS" + globin.sequence[2:]
    assert torch.allclose(chain.atoms, globin.atoms, atol=1e-3)
    assert globin.numbers is not None
    assert list(chain.numbers or ()) == list(globin.numbers)
    moved = Backbone(globin.atoms, globin.sequence, numbers=range(7, 7 + len(globin)))
    again = read_structure(write_structure(tmp_path / "c.pdb", moved)).chains[0]
    assert list(again.numbers or ()) == list(range(7, 7 + len(globin)))


def test_pdb_and_mmcif_of_one_entry_agree() -> None:
    a, b = read_structure(FILE), read_structure(FILE.with_suffix(".cif"))
    assert [chain.sequence for chain in a.chains] == [chain.sequence for chain in b.chains]
    assert all(torch.equal(x.atoms, y.atoms) for x, y in zip(a.chains, b.chains, strict=True))


def test_missing_atoms_are_counted_or_refused(globin: Backbone, tmp_path: Path) -> None:
    path = write_structure(tmp_path / "whole.pdb", globin)
    lines = path.read_text().splitlines()
    without = [line for line in lines if not (line[12:16].strip() == "O" and line[22:26] == "  10")]
    assert len(without) == len(lines) - 1
    path.write_text("\n".join(without))
    structure = read_structure(path)
    assert structure.skipped == {"residues with missing atoms": 1}
    assert len(structure.chains[0]) == len(globin) - 1
    with pytest.raises(DataError, match=r"whole\.pdb: residue \w+ 10 of chain A has no O"):
        read_structure(path, skip=False)
    with pytest.raises(DataError, match="1 chains of fewer than 200 residues"):
        read_structure(path, min_length=200)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.pdb", None, "cannot be read"),
        ("text.pdb", "not a structure\n", "no ATOM records"),
        ("text.cif", "not a structure\n", "no readable mmCIF file"),
        ("empty.cif", "", "no readable mmCIF file"),
        ("bytes.pdb", b"\xff\xfe\x00", "is no text"),
        ("x.xyz", "", "must end in one of"),
    ],
)
def test_no_structures(
    name: str, content: str | bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises((DataError, ConfigError), match=message) as error:
        read_structure(path)
    assert name in str(error.value)


def test_files_cut_off_are_refused(globin: Backbone, tmp_path: Path) -> None:
    """In mid-line, at the end of a line of an archive's file, and in a loop of mmCIF."""
    text = write_structure(tmp_path / "a.pdb", globin).read_text()
    path = tmp_path / "cut.pdb"
    path.write_text(text[: 81 * 100 + 40])
    with pytest.raises(DataError, match=r"cut\.pdb: .*cut off"):
        read_structure(path)
    whole = FILE.read_text().splitlines()
    path.write_text("\n".join(whole[: len(whole) // 2]))
    with pytest.raises(DataError, match="no END record"):
        read_structure(path)
    cif = write_structure(tmp_path / "a.cif", globin).read_text()
    path = tmp_path / "cut.cif"
    path.write_text(cif[: len(cif) // 2])
    with pytest.raises(DataError, match=r"cut\.cif: is no readable mmCIF"):
        read_structure(path)
    path = tmp_path / "wrong.pdb"
    lines = text.splitlines()
    path.write_text("\n".join([lines[0][:30] + "   x.yz " + lines[0][38:], *lines[1:]]))
    with pytest.raises(DataError, match=r"wrong\.pdb: is no readable pdb"):
        read_structure(path)


def test_structures_that_no_file_holds(globin: Backbone, tmp_path: Path) -> None:
    far = Backbone(globin.atoms + 2000, globin.sequence)
    with pytest.raises(DataError, match="leave the columns of a pdb file"):
        write_structure(tmp_path / "far.pdb", far)
    with pytest.raises(ConfigError, match="1 to 26"):
        write_structure(tmp_path / "none.pdb", [])
    unknown = Backbone(globin.atoms, "X" * len(globin))
    path = write_structure(tmp_path / "unknown.pdb", unknown)
    assert read_structure(path).chains[0].sequence == "G" * len(globin)


# Batches and splits.


def test_padding_keeps_chains_apart(globin: Backbone) -> None:
    short = Backbone(globin.atoms[:40], globin.sequence[:40])
    batch = pad_chains([globin, short], length=150)
    assert batch.lengths.tolist() == [147, 40]
    assert batch.state["translation"][batch.mask.logical_not()].abs().max() == 0
    for i in range(2):
        centre = batch.state["translation"][i][batch.mask[i]].mean(0)
        assert centre.abs().max() < 1e-4
    atoms = atoms_from_frames(batch.state["rotation"], batch.state["translation"])
    again = to_chains(atoms, batch.mask, batch.state["residue"])
    assert [one.sequence for one in again] == [globin.sequence, short.sequence]
    alone = pad_chains([short]).state["translation"][0]
    assert torch.allclose(again[1].atoms[:, 1], alone, atol=1e-4)
    with pytest.raises(ConfigError, match="length: got 100"):
        pad_chains([globin], length=100)
    with pytest.raises(DataError, match="'X' at position 0"):
        pad_chains([Backbone(globin.atoms[:1], "X")])


def test_clusters_stay_on_one_side(globin: Backbone) -> None:
    chains = [Backbone(globin.atoms[:1], "A", str(i)) for i in range(200)]
    clusters = [0] * 60 + [1 + i // 2 for i in range(140)]
    split = split_by_cluster(chains, clusters, seed=3)
    sides = [{clusters[int(c.name)] for c in part} for part in (split.train, split.val, split.test)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert 0 in sides[0]
    assert [len(split.val), len(split.test)] == [20, 30]
    assert sum(map(len, (split.train, split.val, split.test))) == 200
    other = split_by_cluster(chains, clusters, seed=4)
    assert {c.name for c in other.test} != {c.name for c in split.test}
    with pytest.raises(ConfigError, match="one for each"):
        split_by_cluster(chains, clusters[1:])


def test_the_set_of_real_chains() -> None:
    try:
        chains, clusters = load_chains()
    except DataError as error:
        pytest.skip(str(error))
    assert len(chains) == len(clusters) > 200
    assert {len(chain) for chain in chains} <= set(range(40, 129))
    assert all(connected(chain.atoms).all() for chain in chains)
    spacing = torch.cat([chain.atoms[:, 1].diff(dim=0).norm(dim=-1) for chain in chains])
    assert ((spacing - 3.8).abs() < 0.1).double().mean() > 0.97


def test_corrupt_sets_are_named(tmp_path: Path) -> None:
    (tmp_path / "proteins").mkdir()
    (tmp_path / "proteins" / "pdb_chains.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="expected sha256"):
        load_chains(data_root=tmp_path)
