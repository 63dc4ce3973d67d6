"""Triangles in space: read from files, and points on them."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowatlas.data import read_obj
from flowatlas.errors import DataError, ShapeError

__all__ = ["Surface", "read_surface"]

#: A binary STL file: a header, the number of triangles, and for each a normal, three corners and
#: two bytes.
_HEADER = 80
_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


@dataclass(frozen=True, slots=True)
class Surface:
    """Triangles that points can be drawn from; they need not be joined to one surface.

    Attributes:
        corners: of the triangles, `(n, 3, 3)`: triangle, corner, coordinate.

    Raises:
        ShapeError: no triangles, or without any area.

    Example:
        ```python
        from flowatlas_robotics.clouds import random_surface

        points = random_surface(seed=0).sample(256)
        ```
    """

    corners: Tensor

    def __post_init__(self) -> None:
        x = self.corners
        if x.ndim != 3 or tuple(x.shape[1:]) != (3, 3) or not bool(x.isfinite().all()):
            raise ShapeError(f"corners: got shape {tuple(x.shape)}; need finite (triangles, 3, 3).")
        if not float(self.areas.sum()) > 0:
            raise ShapeError("corners: the triangles have no area. Check the file's faces.")

    @property
    def areas(self) -> Tensor:
        """Of the triangles, `(n,)`."""
        a, b, c = self.corners.double().unbind(1)
        area: Tensor = torch.linalg.cross(b - a, c - a).norm(dim=-1) / 2
        return area

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Points that are uniform on the surface, `(count, 3)`."""
        which = torch.multinomial(self.areas, count, replacement=True, generator=generator)
        u = torch.rand(count, 2, generator=generator, dtype=self.corners.dtype)
        # Beyond the diagonal of the square of u lies the other half of a parallelogram.
        u = torch.where(u.sum(1, keepdim=True) > 1, 1 - u, u)
        a, b, c = self.corners[which].unbind(1)
        return a + u[:, :1] * (b - a) + u[:, 1:] * (c - a)

    def normalised(self) -> Surface:
        """Moved and scaled to mean zero and root mean square radius one, by area."""
        weight = (self.areas / self.areas.sum()).to(self.corners.dtype).unsqueeze(-1)
        x = self.corners - (weight * self.corners.mean(1)).sum(0)
        # The mean of |x|^2 over a triangle, from its corners and its centroid.
        square = (x.square().sum(-1).sum(1) + 9 * x.mean(1).square().sum(-1)) / 12
        return Surface(x / (weight.squeeze(-1) * square).sum().sqrt())


def read_surface(path: str | os.PathLike[str]) -> Surface:
    """The triangles of a Wavefront OBJ or a binary STL file.

    Raises:
        DataError: a file that cannot be read, is truncated, or is of another format.
    """
    path = Path(path)
    if path.suffix.lower() == ".obj":
        vertices, faces = read_obj(path)
        corners = torch.from_numpy(vertices[faces]).float()
    elif path.suffix.lower() == ".stl":
        corners = _stl(path)
    else:
        raise DataError(f"{path}: must end in .obj or .stl. Export the mesh as one of them.")
    try:
        return Surface(corners)
    except ShapeError as error:
        raise DataError(f"{path}: {error}") from error


def _stl(path: Path) -> Tensor:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    body = len(content) - _HEADER - 4
    count = struct.unpack_from("<I", content, _HEADER)[0] if body >= 0 else -1
    if count < 1 or body != count * _TRIANGLE.itemsize:
        said = "no header" if count < 0 else f"{count} triangles in its header"
        raise DataError(
            f"{path}: {len(content)} bytes and {said}, which is no whole binary STL file. It was "
            "cut off, or is one of text: export it again, as binary."
        )
    triangles = np.frombuffer(content, _TRIANGLE, count, _HEADER + 4)
    return torch.from_numpy(triangles["corners"].copy()).float()
