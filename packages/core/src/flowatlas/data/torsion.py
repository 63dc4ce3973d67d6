"""Backbone torsion angles of proteins, by class of residue: points of the 2-torus.

A stand-in for the Top500 sets of the literature (138208, 13283, 7634 and 6910 residues), made from
733 non-redundant protein chains without a cut on resolution. These are not the same points: methods
can be compared with each other on them, but not with published likelihoods.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowatlas.data.dataset import DataSet
from flowatlas.errors import DataError
from flowatlas.manifolds import FlatTorus

__all__ = ["GENERAL", "GLYCINE", "PREPRO", "PROLINE"]

_SHA256 = "76189d52f9bd7d0bef6c4bb7db6623a00b2c5b6eb7c33adaa96f9bbdc175b7bb"


def _read(path: Path | None, *, kind: str) -> Tensor:
    assert path is not None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            angles = arrays[kind]
    except (KeyError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: has no readable array {kind!r} ({error}). Restore the original file; its "
            f"sha256 is {_SHA256}."
        ) from error
    if angles.ndim != 2 or angles.shape[1] != 2 or not (np.abs(angles) <= 180).all():
        raise DataError(
            f"{path}: array {kind!r} has shape {angles.shape}; expected (n, 2) angles phi and psi "
            "in degrees, from -180 to 180."
        )
    return torch.deg2rad(torch.from_numpy(angles).double()).remainder(2 * torch.pi)


def _torsion(kind: str, count: int, summary: str) -> DataSet:
    return DataSet(
        name=f"torsion/{kind}",
        summary=f"phi, psi of {count} {summary} residues, radians (stand-in for Top500)",
        manifold=FlatTorus,
        read=partial(_read, kind=kind),
        origin="733 PDB chains (octavian-ganea/equidock_public@ac2c754399bf and others)",
        licence="as at the origins; the coordinates are PDB entries",
        file="torsion/pdb_phi_psi.npz",
        sha256=_SHA256,
    )


GENERAL = _torsion("general", 117946, "general")
GLYCINE = _torsion("glycine", 10078, "glycine")
PROLINE = _torsion("proline", 6275, "proline")
PREPRO = _torsion("prepro", 5586, "pre-proline")
