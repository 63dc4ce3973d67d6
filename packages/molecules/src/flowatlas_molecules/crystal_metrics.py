"""How predicted crystals are scored: match rate and RMSE, and a baseline that copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, DataError
from flowatlas_molecules.cif import load_pymatgen, structure_of
from flowatlas_molecules.crystals import Crystal, pad_crystals

__all__ = ["close_share", "copied_structures", "crystal_metrics", "displacements"]

#: In units of the edge of the volume of an atom.
_CLOSE = 0.1
#: Of two atoms, angstrom, and of a cell, cubic angstrom: below them a structure is no structure.
_NEAREST, _VOLUME = 0.5, 0.1


def displacements(
    found: Sequence[Crystal],
    true: Sequence[Crystal],
    *,
    stol: float = 0.5,
    angle_tol: float = 10.0,
    ltol: float = 0.3,
) -> Tensor:
    r"""How far the atoms of each prediction are from where they should be, NaN without a match.

    Root mean square, in units of $(V / n)^{1/3}$, the edge of the volume that an atom has, after
    pymatgen's `StructureMatcher` has reduced, scaled, turned and moved one crystal onto the other.

    Args:
        found: predictions.
        true: what they should be, in the same order.
        stol: largest displacement of an atom, in the same units.
        angle_tol: of cells, degrees.
        ltol: of the lengths of cells, relative.

    Returns:
        `(n,)`, float64. Predictions that are no structure (no cell closes) match nothing.

    Raises:
        ConfigError: lists of different lengths, or of none.
        DataError: pymatgen is not installed.
    """
    if not found or len(found) != len(true):
        raise ConfigError(f"found: got {len(found)} beside {len(true)} true ones; one for each.")
    load_pymatgen()
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher: Any = StructureMatcher(stol=stol, angle_tol=angle_tol, ltol=ltol)
    values = []
    for one, other in zip(found, true, strict=True):
        structure, match = _structure(one), None
        if structure is not None:
            match = matcher.get_rms_dist(structure, structure_of(other))
        values.append(math.nan if match is None else float(match[0]))
    return torch.tensor(values, dtype=torch.float64)


def crystal_metrics(found: Sequence[Crystal], true: Sequence[Crystal]) -> dict[str, float]:
    """Scores of one prediction for each composition.

    Args:
        found: predictions.
        true: the crystals of those compositions, in the same order.

    Returns:
        `match_rate`, the share that `StructureMatcher` matches at the published tolerances (site
        .5, angle 10 degrees, length .3); `rmse`, the mean displacement of those that match (NaN if
        none does); `close`, the share that match with a displacement below .1; `valid`, the share
        with all atoms .5 angstrom apart and a volume; and `volume_error`, the median of the
        relative errors of the volume.

    Raises:
        ConfigError: lists of different lengths, or of none.

    Reference: Crystal Diffusion Variational Autoencoder, Xie et al., 2021, arXiv:2110.06197, for
    validity; Crystal Structure Prediction by Joint Equivariant Diffusion, Jiao et al., 2023,
    arXiv:2309.04475, for match rate and RMSE.

    Example:
        ```python
        from flowatlas_molecules import ideal_perovskites
        from flowatlas_molecules.crystal_metrics import crystal_metrics

        crystals = ideal_perovskites()[:3]
        crystal_metrics(crystals, crystals)["match_rate"]  # 1.0
        ```
    """
    off = displacements(found, true)
    matched = off[~off.isnan()]
    structures = [_structure(one) for one in found]
    volumes = [
        abs(structure.volume / structure_of(other).volume - 1) if structure is not None else 1.0
        for structure, other in zip(structures, true, strict=True)
    ]
    return {
        "match_rate": len(matched) / len(off),
        "close": close_share(off),
        "rmse": matched.mean().item() if len(matched) else math.nan,
        "valid": sum(_is_valid(one) for one in structures) / len(structures),
        "volume_error": torch.tensor(volumes, dtype=torch.float64).median().item(),
    }


def close_share(off: Tensor) -> float:
    """The share of displacements `(n,)` below .1; those without a match are not."""
    return (off < _CLOSE).double().mean().item()


def copied_structures(compositions: Sequence[Tensor], train: Sequence[Crystal]) -> list[Crystal]:
    r"""The structure of the training crystal of the most similar composition, elements exchanged.

    Elements are alike as far as they are near in the periodic table,
    $k(e, e') = \exp(-(\Delta \mathrm{row})^2 - (\Delta \mathrm{group} / 3)^2)$, and compositions by
    the distance of their counts in the space of that kernel. Of the crystals with the nearest
    composition of as many atoms the first is copied, cell and all, and its atoms are exchanged for
    those of the composition by the assignment that changes elements least. A baseline that learns
    nothing: what it reaches is what knowing one's neighbours is worth.

    Args:
        compositions: atomic numbers `(n,)` of each.
        train: crystals to copy.

    Raises:
        ConfigError: no crystal of as many atoms.
    """
    from scipy.optimize import linear_sum_assignment

    kernel = _alike()
    known = pad_crystals(train)
    counts = torch.nn.functional.one_hot(known.elements, len(kernel)).double()
    counts[..., 0] = 0
    sums = counts.sum(1)
    norms = ((sums @ kernel) * sums).sum(1)
    found = []
    for elements in compositions:
        own = torch.bincount(elements, minlength=len(kernel)).double()
        # Up to what is the same for all.
        distance = norms - 2 * (sums @ (kernel @ own))
        distance[known.mask.sum(1) != len(elements)] = torch.inf
        nearest = int(distance.argmin())
        if not bool(distance[nearest].isfinite()):
            raise ConfigError(
                f"train: has no crystal of {len(elements)} atoms to copy. Add one, or leave the "
                "composition out."
            )
        copied = train[nearest]
        cost = -kernel[elements][:, copied.elements]
        site = torch.from_numpy(linear_sum_assignment(cost.numpy())[1])
        found.append(
            Crystal(elements, copied.fractional[site], copied.lattice, f"as {copied.name}")
        )
    return found


def _structure(crystal: Crystal) -> Any:
    """None for what is none."""
    try:
        return structure_of(crystal)
    except DataError:
        return None


def _is_valid(structure: Any) -> bool:
    if structure is None or structure.volume < _VOLUME:
        return False
    apart = torch.from_numpy(structure.distance_matrix.copy())
    apart.fill_diagonal_(torch.inf)
    return bool(apart.min() >= _NEAREST)


def _alike() -> Tensor:
    """The kernel of elements, `(119, 119)`; nothing is like 0."""
    element = load_pymatgen().core.Element
    places = [(0.0, -1e3)] + [
        (float(one.row), one.group / 3) for one in (element.from_Z(z) for z in range(1, 119))
    ]
    where = torch.tensor(places, dtype=torch.float64)
    return torch.exp(-torch.cdist(where, where).square())
