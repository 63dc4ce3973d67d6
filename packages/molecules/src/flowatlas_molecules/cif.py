"""Crystals in CIF files, and as structures of pymatgen."""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowatlas.errors import ConfigError, DataError
from flowatlas_molecules.crystals import Crystal

__all__ = [
    "CifFile",
    "crystal_of",
    "read_cif",
    "reduce_crystal",
    "structure_of",
    "write_cif",
]


@dataclass(frozen=True, slots=True)
class CifFile:
    """What a file holds.

    Attributes:
        crystals: one for each block that is whole, in the order of the file.
        skipped: how many blocks were left out, by reason.
    """

    crystals: tuple[Crystal, ...]
    skipped: Mapping[str, int]


def read_cif(path: str | os.PathLike[str], *, reduce: bool = False, skip: bool = False) -> CifFile:
    """The crystals of a CIF file, one for each data block; needs pymatgen.

    Symmetry is applied: crystals have all atoms of the cell of the file, elements together. Partial
    occupancies, blocks without atoms, and blocks whose atoms contradict their own formula (which is
    how files that are cut off between two lines give themselves away) are errors, or skipped and
    counted.

    Args:
        path: of the file.
        reduce: whether to take the Niggli cell of each, as `Lattice` needs it.
        skip: whether to go on to the next block where one is no such crystal.

    Raises:
        DataError: the file is missing, no CIF, or cut off; a block that is no crystal of whole
            atoms; with `skip`, a file in which nothing is left.

    Example:
        ```python
        from flowatlas_molecules import ideal_perovskites, read_cif, write_cif

        write_cif("crystal.cif", ideal_perovskites()[0])
        read_cif("crystal.cif").crystals[0].lattice  # (6,)
        ```
    """
    path = Path(path)
    skipped: Counter[str] = Counter()
    crystals = []
    for name, block in _blocks(path).items():
        label = path.stem if name in ("", path.stem) else f"{path.stem}_{name}"
        try:
            crystal = _parsed(block, label)
            crystals.append(reduce_crystal(crystal) if reduce else crystal)
        except _UnfitError as unfit:
            if not skip:
                raise DataError(
                    f"{path}: block {name!r} {unfit.detail}. {unfit.fix}, or pass skip=True to go "
                    "on without it."
                ) from unfit
            skipped[unfit.reason] += 1
    if not crystals:
        what = ", ".join(f"{count} {reason}" for reason, count in skipped.items()) or "no blocks"
        raise DataError(f"{path}: no crystal is left ({what}). Check that it is the right file.")
    return CifFile(tuple(crystals), dict(skipped))


def write_cif(path: str | os.PathLike[str], crystal: Crystal) -> Path:
    """Write one crystal, without symmetry (P 1); folders are made.

    Raises:
        ConfigError: another ending than .cif.
        DataError: numbers that are not finite, a cell without volume, an atomic number that is
            none, or a file that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".cif":
        raise ConfigError(f"path: got {str(path)!r}; it must end in .cif.")
    pymatgen_cif = load_pymatgen().io.cif
    text = str(pymatgen_cif.CifWriter(structure_of(crystal), significant_figures=8))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}). Choose another directory."
        ) from error
    return path


def load_pymatgen() -> Any:
    """The package, which takes seconds to import.

    Raises:
        DataError: it is not installed.
    """
    try:
        import pymatgen.core
        import pymatgen.io.cif
    except ImportError as error:
        raise DataError(
            "crystals: CIF files, reduced cells and match rates need pymatgen, which is not "
            "installed. pip install 'flowatlas-molecules[crystals]'."
        ) from error
    return pymatgen


def structure_of(crystal: Crystal) -> Any:
    """The same as a `Structure` of pymatgen.

    Raises:
        DataError: numbers that are not finite, a cell without volume, or an atomic number that is
            none.
    """
    core = load_pymatgen().core
    lattice, fractional = crystal.lattice.double(), crystal.fractional.double()
    lengths, angles = lattice[:3], lattice[3:].rad2deg()
    finite = bool(lattice.isfinite().all()) and bool(fractional.isfinite().all())
    if not finite or not bool((lengths > 0).all()) or not _closes(lattice):
        raise DataError(
            f"crystal: {crystal.name or 'it'} has lengths {_rounded(lengths)} and angles "
            f"{_rounded(angles)} degrees, with which no cell closes, or coordinates that are not "
            "finite. Leave it out, or find out where it comes from."
        )
    numbers = crystal.elements.tolist()
    if not all(1 <= number <= 118 for number in numbers):
        raise DataError(
            f"elements: got {numbers}; atomic numbers are from 1 to 118, and padding is no atom. "
            "Take it off with to_crystals."
        )
    cell = core.Lattice.from_parameters(*lengths.tolist(), *angles.tolist())
    species = [core.Element.from_Z(number) for number in numbers]
    return core.Structure(cell, species, fractional.numpy())


def crystal_of(structure: Any, name: str = "") -> Crystal:
    """The crystal of an ordered `Structure` of pymatgen, float64."""
    cell = structure.lattice
    angles = torch.tensor(cell.angles, dtype=torch.float64).deg2rad()
    return Crystal(
        torch.tensor([site.specie.Z for site in structure], dtype=torch.int64),
        torch.tensor(structure.frac_coords, dtype=torch.float64),
        torch.cat([torch.tensor(cell.lengths, dtype=torch.float64), angles]),
        name,
    )


def reduce_crystal(crystal: Crystal) -> Crystal:
    """The same crystal in its Niggli cell, whose angles are from 60 to 120 degrees.

    Raises:
        DataError: as `structure_of`.
    """
    return crystal_of(structure_of(crystal).get_reduced_structure(), crystal.name)


class _UnfitError(Exception):
    """A block that is no crystal: why, in two words and in a sentence, and what to do."""

    def __init__(self, reason: str, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.fix = reason, detail, fix


def _blocks(path: Path) -> dict[str, Any]:
    """The data blocks of a file by their names."""
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the name.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is no text ({error.reason} at byte {error.start}). Unpack it if it is "
            "compressed, or restore the original file."
        ) from error
    if "data_" not in content:
        raise DataError(f"{path}: has no data block. Check that it is a CIF file.")
    reader = load_pymatgen().io.cif.CifFile
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            blocks: dict[str, Any] = reader.from_str(content).data
    # pymatgen raises several unrelated kinds for files that are cut off or no such files.
    except Exception as error:
        raise _corrupt(path, error) from error
    return blocks


def _parsed(block: Any, label: str) -> Crystal:
    sites = block.data.get("_atom_site_label") or block.data.get("_atom_site_type_symbol")
    if not sites:
        raise _UnfitError("without atoms", "has no atom sites", "Take a file that has")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser = load_pymatgen().io.cif.CifParser(io.StringIO(str(block)))
            structure = parser.parse_structures(primitive=False, on_error="raise")[0]
            contradiction = parser.check(structure) if _formula(block) else None
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise _UnfitError(
            "unreadable",
            f"cannot be read ({reason[-1][:120] if reason else type(error).__name__})",
            "It is corrupt or cut off: restore the original",
        ) from error
    if not structure.is_ordered:
        raise _UnfitError(
            "with partial occupancies",
            "has sites that are occupied in part",
            "Choose an ordered structure",
        )
    if contradiction is not None:
        raise _UnfitError(
            "other than their formula",
            f"has atoms that contradict its formula {_formula(block)!r}",
            "It is corrupt or cut off: restore the original",
        )
    return crystal_of(structure, label)


def _formula(block: Any) -> str | None:
    formula: str | None = block.data.get("_chemical_formula_sum")
    return formula


def _corrupt(path: Path, error: Exception) -> DataError:
    reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return DataError(
        f"{path}: is no readable CIF file ({reason}). It is corrupt or cut off; restore the "
        "original file."
    )


def _closes(lattice: torch.Tensor) -> bool:
    """Whether three vectors of these angles span a volume."""
    x, y, z = lattice[3:].cos().tolist()
    return bool(1 - x * x - y * y - z * z + 2 * x * y * z > 1e-6)


def _rounded(x: torch.Tensor) -> list[float]:
    return [round(value, 3) for value in x.tolist()]
