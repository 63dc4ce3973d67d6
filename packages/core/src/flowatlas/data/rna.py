"""Backbone torsion angles of RNA nucleotides: points of the 7-torus."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import Tensor

from flowatlas.data.dataset import DataSet
from flowatlas.errors import DataError
from flowatlas.manifolds import FlatTorus

__all__ = ["RNA"]

_SHA256 = "45aecd3f1289bd22efbaf760fe9e9fb32570e0a4f8d431ea2d00f04515065a9f"
_ANGLES = 7


def _read(path: Path | None) -> Tensor:
    assert path is not None
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row[2:] for row in csv.reader(file, delimiter="\t")]
        angles = torch.tensor([[float(a) for a in row] for row in rows], dtype=torch.float64)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: is no table of source, base and {_ANGLES} angles ({error}). Restore the "
            f"original file; its sha256 is {_SHA256}."
        ) from error
    if angles.ndim != 2 or angles.shape[1] != _ANGLES or not bool((angles.abs() <= 180).all()):
        raise DataError(
            f"{path}: has angles of shape {tuple(angles.shape)}; expected (n, {_ANGLES}) in "
            "degrees, from -180 to 180."
        )
    return torch.deg2rad(angles).remainder(2 * torch.pi)


RNA = DataSet(
    name="torsion/rna",
    summary="seven torsion angles of 9473 RNA nucleotides from 113 structures, radians",
    manifold=FlatTorus,
    read=_read,
    origin="haolsun/Riemannian_MeanFlow@45d96bcd09a2/rmf/data/rna (the published set has 9478)",
    licence="none stated; the coordinates are PDB entries",
    file="torsion/rna_aggregated_angles.tsv",
    sha256=_SHA256,
)
