"""Gene expression of single cells at several times, in few dimensions.

Sequencing destroys a cell, so that every time has cells of its own: marginals, no trajectories.

Reference: Reconstructing growth and dynamic trajectories from single-cell transcriptomics data, Sha
et al., 2024, Nature Machine Intelligence 6 (TIGON), whose repository is the origin of the files.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowatlas.data.dataset import DataSet
from flowatlas.data.files import find
from flowatlas.errors import DataError
from flowatlas.manifolds import Euclidean

__all__ = ["EMT", "LINEAGE", "snapshots"]


def _arrays(path: Path) -> tuple[Tensor, Tensor]:
    """Cells `(n, dim)` and the number of their time, `(n,)`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, time = arrays["x"], arrays["time_index"]
    except (KeyError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: has no readable arrays 'x' and 'time_index' ({error}). Restore the original "
            "file; its sha256 is in `flowatlas data list`."
        ) from error
    if x.ndim != 2 or time.shape != x.shape[:1]:
        raise DataError(
            f"{path}: arrays of shapes {x.shape} and {time.shape}; expected cells (n, dim) and as "
            "many times (n,). Restore the original file."
        )
    return torch.from_numpy(x).double(), torch.from_numpy(time).long()


def _read(path: Path | None) -> Tensor:
    assert path is not None
    return _arrays(path)[0]


def snapshots(data: DataSet, data_root: str | os.PathLike[str] | None = None) -> tuple[Tensor, ...]:
    """The cells of each time, in the order of times.

    Args:
        data: `EMT` or `LINEAGE`.
        data_root: directory with data files; FLOWATLAS_DATA, then the cache, if None.

    Returns:
        `(n_i, dim)` in float64 for each time.

    Raises:
        DataError: the file is missing or not the right one.
    """
    path = find(data, data_root)
    assert path is not None
    x, time = _arrays(path)
    return tuple(x[time == i] for i in range(int(time.max()) + 1))


def _cells(name: str, file: str, sha256: str, summary: str) -> DataSet:
    return DataSet(
        name=f"single_cell/{name}",
        summary=summary,
        manifold=Euclidean,
        read=_read,
        origin="yutongo/TIGON@1ed92cfcc250",
        licence="MIT",
        file=f"single_cell/{file}.npz",
        sha256=sha256,
    )


EMT = _cells(
    "emt",
    "tigon_emt",
    "02fd9d69da76fec9215d3deef4206487f82c98269817a387e9f25143111e767f",
    "3133 cells in epithelial-mesenchymal transition at 5 times, 3 autoencoder coordinates",
)
LINEAGE = _cells(
    "lineage",
    "tigon_lineage",
    "f70ce12ba9e2b72d28eabe96b1df252e1b6ac96ac03d3df2deed638680f3d3dc",
    "10998 cells of mouse haematopoiesis at 3 times, 2 coordinates",
)
