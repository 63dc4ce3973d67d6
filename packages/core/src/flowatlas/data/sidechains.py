"""Backbone and side-chain torsion angles of long side chains: points of the 6-torus."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowatlas.data.dataset import DataSet
from flowatlas.errors import DataError
from flowatlas.manifolds import FlatTorus

__all__ = ["ARGININE", "LYSINE"]

_SHA256 = "c9a8fe8f10d80cfa1d9a33330a01233530f2546aeb5a55a21a14890f284b7f54"
_ANGLES = 6


def _read(path: Path | None, *, arrays: tuple[str, ...]) -> Tensor:
    assert path is not None
    try:
        with np.load(path, allow_pickle=False) as found:
            angles = np.concatenate([found[name] for name in arrays])
    except (KeyError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: has no readable arrays {', '.join(arrays)} ({error}). Restore the original "
            f"file; its sha256 is {_SHA256}."
        ) from error
    if angles.ndim != 2 or angles.shape[1] != _ANGLES or not (np.abs(angles) <= 360).all():
        raise DataError(
            f"{path}: arrays {', '.join(arrays)} have shape {angles.shape}; expected (n, {_ANGLES})"
            " angles phi, psi and chi1 to chi4 in degrees."
        )
    return torch.deg2rad(torch.from_numpy(angles).double()).remainder(2 * torch.pi)


def _sidechain(name: str, arrays: tuple[str, ...], count: int, residue: str) -> DataSet:
    return DataSet(
        name=name,
        summary=f"phi, psi, chi1 to chi4 of {count} {residue} residues, radians (Top8000)",
        manifold=FlatTorus,
        read=partial(_read, arrays=arrays),
        origin="rlabduke/reference_data@cbe300663a2b (Top8000)",
        licence="CC BY 4.0",
        file="torsion/top8000_phi_psi_chi.npz",
        sha256=_SHA256,
    )


# Arginine is stored in three parts, by the well of chi1.
ARGININE = _sidechain("torsion/sidechain", ("arg_1m", "arg_1t", "arg_1p"), 46434, "arginine")
LYSINE = _sidechain("torsion/sidechain-lysine", ("lys",), 34860, "lysine")
