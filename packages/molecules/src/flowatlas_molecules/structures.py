"""Protein backbones in PDB and mmCIF files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, DataError, ShapeError
from flowatlas_molecules.residues import LETTERS, NAMES

__all__ = ["ATOMS", "Backbone", "Structure", "read_structure", "write_structure"]

#: The atoms of a backbone, in the order of arrays.
ATOMS = ("N", "CA", "C", "O")
_FORMATS = (".pdb", ".ent", ".cif", ".mmcif")
#: Residues that differ from one of the twenty in the side chain alone.
_MODIFIED = {"MSE": "MET", "SEC": "CYS", "SEP": "SER", "TPO": "THR", "PTR": "TYR", "HYP": "PRO"}


@dataclass(frozen=True, slots=True, eq=False)
class Backbone:
    """One chain.

    Attributes:
        atoms: N, CA, C and O `(n, 4, 3)`, angstrom.
        sequence: n one-letter codes; X for what is none of the twenty amino acids.
        name: of the chain: file or entry, and chain.
        numbers: of the residues, as in the file; 1 to n if None.
    """

    atoms: Tensor
    sequence: str
    name: str = ""
    numbers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        n = len(self.sequence)
        if self.atoms.shape != (n, 4, 3):
            raise ShapeError(
                f"atoms: got shape {tuple(self.atoms.shape)} beside {n} residues; need ({n}, 4, "
                "3): N, CA, C and O."
            )
        if self.numbers is not None and len(self.numbers) != n:
            raise ShapeError(f"numbers: got {len(self.numbers)} for {n} residues.")

    def __len__(self) -> int:
        return len(self.sequence)


@dataclass(frozen=True, slots=True)
class Structure:
    """What a file holds.

    Attributes:
        chains: those with residues left, in the order of the file.
        skipped: how many residues or chains were left out, by reason.
    """

    chains: tuple[Backbone, ...]
    skipped: Mapping[str, int]


def read_structure(
    path: str | os.PathLike[str], *, min_length: int = 1, skip: bool = True
) -> Structure:
    """The protein chains of the first model of a PDB or mmCIF file.

    Of alternative positions the first is taken. Waters, ligands and nucleic acids are not counted
    as skipped; residues of proteins with missing atoms are.

    Args:
        path: ending in .pdb, .ent, .cif or .mmcif.
        min_length: chains with fewer residues are skipped.
        skip: whether to skip residues that miss one of the four atoms; an error if not.

    Raises:
        DataError: the file is missing, corrupt, cut off, or has no protein chain; with `skip` off,
            a residue without all four atoms.
        ConfigError: another ending.

    Example:
        ```python
        from pathlib import Path
        import tmtools
        from flowatlas_molecules import read_structure

        structure = read_structure(Path(tmtools.__file__).parent / "data" / "2gtl.pdb")
        structure.chains[0].atoms.shape  # (147, 4, 3)
        structure.skipped  # {}
        ```
    """
    path = Path(path)
    _check_format(path)
    array = _read(path)
    from biotite.structure import chain_iter, filter_amino_acids, residue_iter

    skipped: Counter[str] = Counter()
    chains = []
    for chain in chain_iter(array[filter_amino_acids(array)]):
        atoms, sequence, numbers = [], [], []
        for residue in residue_iter(chain):
            found = [residue.coord[residue.atom_name == name] for name in ATOMS]
            missing = [name for name, one in zip(ATOMS, found, strict=True) if len(one) == 0]
            if missing:
                if not skip:
                    raise DataError(
                        f"{path}: residue {residue.res_name[0]} {residue.res_id[0]} of chain "
                        f"{residue.chain_id[0]} has no {', '.join(missing)}. Use skip=True to "
                        "leave such residues out and have them counted."
                    )
                skipped["residues with missing atoms"] += 1
                continue
            atoms.append(np.stack([one[0] for one in found]))
            sequence.append(_letter(residue.res_name[0]))
            numbers.append(int(residue.res_id[0]))
        if len(atoms) < max(1, min_length):
            skipped[f"chains of fewer than {max(1, min_length)} residues"] += 1
            continue
        coordinates = torch.from_numpy(np.stack(atoms)).float()
        if not bool(torch.isfinite(coordinates).all()):
            raise DataError(
                f"{path}: coordinates of chain {chain.chain_id[0]} are not finite. Restore the "
                "original file."
            )
        name = f"{path.stem}_{chain.chain_id[0]}"
        chains.append(Backbone(coordinates, "".join(sequence), name, numbers))
    if not chains:
        what = ", ".join(f"{count} {reason}" for reason, count in skipped.items()) or "none found"
        raise DataError(
            f"{path}: no protein chain of {max(1, min_length)} residues or more ({what}). Check "
            "that it is a protein with N, CA, C and O."
        )
    return Structure(tuple(chains), dict(skipped))


def write_structure(path: str | os.PathLike[str], chains: Backbone | Sequence[Backbone]) -> Path:
    """Write chains to a PDB or mmCIF file, named A, B, C, ...; X becomes glycine.

    Args:
        path: ending in .pdb, .ent, .cif or .mmcif; folders are made.
        chains: one or several.

    Raises:
        ConfigError: another ending, or more chains or residues than a PDB file can name.
        DataError: coordinates that are not finite, or too large for the columns of a PDB file; a
            file that cannot be written.
    """
    path = Path(path)
    kind = _check_format(path)
    several = [chains] if isinstance(chains, Backbone) else list(chains)
    if not several or len(several) > 26:
        raise ConfigError(f"chains: got {len(several)}; a file takes 1 to 26. Write several files.")
    for chain in several:
        limit = 999.0 if kind == "pdb" else float("inf")
        if not bool((chain.atoms.abs() < limit).all()):
            raise DataError(
                f"chains: coordinates of {chain.name or 'a chain'} are not finite or leave the "
                f"columns of a {kind} file. Centre them, or find out why they are so large."
            )
    array = _array(several)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, kind, array)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}). Choose another directory."
        ) from error
    return path


def _check_format(path: Path) -> str:
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"path: got {str(path)!r}; it must end in one of {', '.join(_FORMATS)}.")
    return "pdb" if path.suffix.lower() in (".pdb", ".ent") else "mmCIF"


def _letter(name: str) -> str:
    name = _MODIFIED.get(name, name)
    return LETTERS[NAMES.index(name)] if name in NAMES else "X"


def _read(path: Path) -> Any:
    """All atoms of the first model."""
    from biotite.structure.io import pdb, pdbx

    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the name.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is no text ({error.reason} at byte {error.start}). Unpack it if it is "
            "compressed, or restore the original file."
        ) from error
    try:
        if _check_format(path) == "pdb":
            _check_whole(path, content)
            return pdb.get_structure(pdb.PDBFile.read(path), model=1, altloc="first")
        return pdbx.get_structure(pdbx.CIFFile.read(path), model=1, altloc="first")
    except DataError:
        raise
    # biotite raises a dozen unrelated kinds for files that are cut off or no such files.
    except Exception as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: is no readable {_check_format(path)} file ({reason}). It is corrupt or cut "
            "off; restore the original file."
        ) from error


def _check_whole(path: Path, content: str) -> None:
    """Raise for a PDB file that ends in mid-line, or before the end that its header promises."""
    lines = content.splitlines()
    atoms = [line for line in lines if line.startswith(("ATOM  ", "HETATM"))]
    if not atoms:
        raise DataError(f"{path}: has no ATOM records. Check that it is a PDB file.")
    short = next((line for line in atoms if len(line) < 54), None)
    if short is not None:
        raise DataError(
            f"{path}: the record {short[:30]!r} ends before its coordinates do. The file is cut "
            "off; restore the original."
        )
    ends = any(line.startswith("END") for line in lines[-5:])
    if lines[0].startswith("HEADER") and not ends:
        raise DataError(
            f"{path}: has a HEADER and no END record. The file is cut off; restore the original."
        )


def _array(chains: Sequence[Backbone]) -> Any:
    from biotite.structure import AtomArray

    array = AtomArray(4 * sum(len(chain) for chain in chains))
    atoms = [chain.atoms.detach().cpu().float().flatten(0, 1) for chain in chains]
    array.coord = torch.cat(atoms).numpy()
    names = [NAMES[LETTERS.index(c)] if c in LETTERS else "GLY" for b in chains for c in b.sequence]
    array.res_name = np.repeat(np.array(names), 4)
    array.chain_id = np.repeat(
        np.array([chr(ord("A") + k) for k, chain in enumerate(chains) for _ in range(len(chain))]),
        4,
    )
    numbers = [i for b in chains for i in (b.numbers or range(1, len(b) + 1))]
    array.res_id = np.repeat(np.array(numbers), 4)
    array.atom_name = np.tile(np.array(ATOMS), len(numbers))
    array.element = np.tile(np.array(["N", "C", "C", "O"]), len(numbers))
    return array


def _write(path: Path, kind: str, array: Any) -> None:
    from biotite.structure.io import pdb, pdbx

    if kind == "pdb":
        file = pdb.PDBFile()
        pdb.set_structure(file, array)
        file.lines.append("END")
        file.write(path)
        return
    cif = pdbx.CIFFile()
    pdbx.set_structure(cif, array, data_block=path.stem.replace(" ", "_"))
    cif.write(path)
