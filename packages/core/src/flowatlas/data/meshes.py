"""The meshes of Riemannian flow matching: a bunny, a cow and two mazes.

Reference: Flow Matching on General Geometries, Chen and Lipman, 2023, arXiv:2302.03660.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from flowatlas.data.dataset import DataSet
from flowatlas.data.files import find
from flowatlas.manifolds import Euclidean, Mesh
from flowatlas.manifolds._obj import read_obj

__all__ = ["BUNNY", "MAZE3", "MAZE4", "SPOT", "load_mesh"]

_ORIGIN = "rtqichen/rtqichen.github.io@ab70913be6ba/manifold_data/data.zip"


def load_mesh(data: DataSet, data_root: str | Path | None = None) -> Mesh:
    """The mesh of a set, its centroid at the origin and its root mean square radius one.

    Raises:
        DataError: the file is missing, or not the right one.
    """
    path = find(data, data_root)
    assert path is not None
    return Mesh.from_file(path, normalise=True)


def _read(path: Path | None) -> Tensor:
    assert path is not None
    return torch.from_numpy(read_obj(path)[0])


def _mesh(name: str, file: str, sha256: str, summary: str) -> DataSet:
    return DataSet(
        name=f"mesh/{name}",
        summary=f"vertices of {summary}; coordinates as in the file",
        manifold=Euclidean,
        read=_read,
        origin=_ORIGIN,
        licence="none stated",
        file=f"meshes/{file}.obj",
        sha256=sha256,
    )


BUNNY = _mesh(
    "bunny",
    "bunny_simp",
    "4de73019859d1f959de20977f8a06242c8ede461138c9ea004c7a8ceb59ae26e",
    "the Stanford bunny, closed, 5000 faces",
)
SPOT = _mesh(
    "spot",
    "spot_simp",
    "0738b5e8608fed74e5e8c7aa8dd0af97b4b74f9f6cbf7aac84cd7e40b2e44a75",
    "Spot, a cow, 5856 faces",
)
MAZE3 = _mesh(
    "maze3",
    "maze_3x3",
    "5e3be4e0771336f5f46609dfe2ffaceeebbfd28f81d6c0631ae7aadd4c4ea381",
    "a flat maze of 3 x 3 cells, 1408 faces",
)
MAZE4 = _mesh(
    "maze4",
    "maze_4x4",
    "7501cc5b73ed181dd148a3310b5128ea689687f1cb2f82989975725452a4186f",
    "a flat maze of 4 x 4 cells, 2528 faces",
)
