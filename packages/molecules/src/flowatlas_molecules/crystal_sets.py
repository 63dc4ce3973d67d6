"""Real and ideal crystals: the perovskites of the data folder, and cells made of ionic radii."""

from __future__ import annotations

import math
import os
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowatlas.data import DataSet, find
from flowatlas.errors import DataError
from flowatlas_molecules.cif import load_pymatgen
from flowatlas_molecules.crystals import Crystal
from flowatlas_molecules.manifolds.lattice import Lattice

__all__ = [
    "PEROVSKITES_TEST",
    "PEROVSKITES_VAL",
    "ideal_perovskites",
    "load_perovskites",
    "read_crystals",
]

_NAMES = ("num_atoms", "atomic_numbers", "frac_coords", "lengths", "angles", "material_id")
#: Charges of the ions of ideal perovskites: A at the corner, B in the middle, X on the faces.
_A = {"Na": 1, "K": 1, "Rb": 1, "Cs": 1, "Ca": 2, "Sr": 2, "Ba": 2, "Pb": 2, "La": 3}
_B = {"Mg": 2, "Ni": 2, "Zn": 2, "Al": 3, "Ga": 3, "Ti": 4, "Zr": 4, "Sn": 4, "Hf": 4, "Nb": 5}
_X = {"O": -2, "F": -1, "S": -2, "Cl": -1, "Br": -1, "I": -1}
_SITES = ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5))


def read_crystals(path: str | os.PathLike[str]) -> list[Crystal]:
    """The crystals of a file of arrays, one after the other.

    The file has `num_atoms` `(n,)`; `atomic_numbers` and `frac_coords` of all atoms, end to end;
    `lengths` in angstrom and `angles` in degrees, `(n, 3)`; and `material_id` `(n,)`.

    Args:
        path: of an npz file.

    Raises:
        DataError: it is missing, corrupt, or its arrays do not fit each other.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in _NAMES}
    # A zip file that is cut off is any of five kinds of errors.
    except Exception as error:
        raise DataError(
            f"{path}: is no readable set of crystals ({error}). It needs the arrays "
            f"{', '.join(_NAMES)}; restore the original file."
        ) from error
    counts = arrays["num_atoms"].astype(np.int64)
    n, atoms = len(counts), int(counts.sum())
    wanted = ((n,), (atoms,), (atoms, 3), (n, 3), (n, 3), (n,))
    for name, shape in zip(_NAMES, wanted, strict=True):
        if arrays[name].shape != shape:
            raise DataError(
                f"{path}: {name} has shape {arrays[name].shape} beside {n} crystals of {atoms} "
                f"atoms; need {shape}. Restore the original file."
            )
    lattice = _lattices(arrays["lengths"], arrays["angles"])
    elements = torch.from_numpy(arrays["atomic_numbers"].astype(np.int64))
    fractional = torch.from_numpy(arrays["frac_coords"]).double().remainder(1.0)
    pieces = zip(
        elements.split(counts.tolist()), fractional.split(counts.tolist()), lattice, strict=True
    )
    names = arrays["material_id"]
    return [Crystal(*piece, str(name)) for piece, name in zip(pieces, names, strict=True)]


def load_perovskites(
    part: DataSet, *, data_root: str | os.PathLike[str] | None = None
) -> list[Crystal]:
    """The crystals of one of the files of perov-5: five atoms each, ABX3 with mixed anions.

    Args:
        part: `PEROVSKITES_VAL` or `PEROVSKITES_TEST`.
        data_root: directory with data files; FLOWATLAS_DATA, then the cache, if None.

    Raises:
        DataError: the file is missing or not the right one.
    """
    path = find(part, data_root)
    assert path is not None
    return read_crystals(path)


def ideal_perovskites() -> list[Crystal]:
    r"""540 cubic cells ABX3 whose ions touch: no data, but a rule, to try things on.

    $$a = \max\big(2 (r_B + r_X),\; \sqrt 2\, (r_A + r_X)\big)$$

    over nine cations A (twelve neighbours), ten cations B (six) and six anions X, with the ionic
    radii of Shannon that ship with pymatgen. Many of these compounds do not exist.

    Raises:
        DataError: pymatgen is not installed.

    Example:
        ```python
        from flowatlas_molecules import ideal_perovskites

        ideal_perovskites()[0].lattice[0]  # NaMgO3: 4.24 angstrom
        ```
    """
    found = []
    for (a, r_a), (b, r_b), (x, r_x) in product(
        _ions(_A, "XII").items(), _ions(_B, "VI").items(), _ions(_X, "VI").items()
    ):
        length = max(2 * (r_b + r_x), math.sqrt(2) * (r_a + r_x))
        found.append(
            Crystal(
                torch.tensor([a, b, x, x, x]),
                torch.tensor(_SITES, dtype=torch.float64),
                torch.tensor(3 * [length] + 3 * [math.pi / 2], dtype=torch.float64),
                f"{a}-{b}-{x}",
            )
        )
    return found


def _ions(charges: dict[str, int], neighbours: str) -> dict[int, float]:
    """Radius in angstrom by atomic number."""
    ions = [load_pymatgen().core.Species(name, charge) for name, charge in charges.items()]
    return {ion.Z: ion.get_shannon_radius(neighbours) for ion in ions}


def _lattices(lengths: np.ndarray, angles: np.ndarray) -> Tensor:
    both = np.concatenate([lengths, np.deg2rad(angles.astype(np.float64))], 1)
    return torch.from_numpy(both.astype(np.float64))


def _read_lattices(path: Path | None) -> Tensor:
    assert path is not None
    return torch.stack([crystal.lattice for crystal in read_crystals(path)])


def _perovskites(part: str, count: int, sha256: str) -> DataSet:
    return DataSet(
        name=f"crystals/perov-5-{part}",
        summary=f"cells of {count} perovskites, the {part} file of perov-5, angstrom and radians",
        manifold=Lattice,
        read=_read_lattices,
        origin=f"txie-93/cdvae@f857f598d6f6/data/perov_5/{part}.csv",
        licence="MIT",
        file=f"crystals/perov_5_{part}.npz",
        sha256=sha256,
    )


#: The official validation file of perov-5, on which the benchmark trains.
PEROVSKITES_VAL = _perovskites(
    "val", 3787, "e82499dff9c8696d4c1baf4220cbd75467c104b003585327c0d054c969869021"
)
#: The official test file of perov-5.
PEROVSKITES_TEST = _perovskites(
    "test", 3785, "4c28bc0f2cf0a6242205462df439f1e7e52d3c859742fd5d4f1be991009f5d56"
)
