"""Triangles from a Wavefront OBJ file: its `v` and `f` lines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.errors import DataError

__all__ = ["read_obj"]

Array = NDArray[Any]


def read_obj(path: str | os.PathLike[str]) -> tuple[Array, Array]:
    """Vertices `(V, 3)` and triangles `(F, 3)` of the file.

    Of `v x y z [w]` the first three numbers are taken, of `f a/b/c ...` the vertex numbers, counted
    from 1, or from the end where they are negative. Polygons are cut into the fan of their first
    corner. Every other kind of line is passed over.

    Raises:
        DataError: a file that cannot be read, a line that is no vertex or face, a face that names
            a vertex which is not there, or no faces at all.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="strict")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no text, so no OBJ file. Export the mesh as OBJ.") from error
    vertices: list[list[float]] = []
    triangles: list[list[int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        kind, *cells = line.split("#")[0].split() or [""]
        try:
            if kind == "v":
                vertices.append(_numbers(cells))
            elif kind == "f":
                triangles += _fan(cells, len(vertices))
        except ValueError as error:
            raise DataError(
                f"{path}: line {number} is {line[:60]!r}: {error}. Repair the file or export it "
                "again."
            ) from error
    if not triangles:
        raise DataError(
            f"{path}: {len(vertices)} vertices and no faces; a surface needs `f` lines. Is it "
            "a cloud of points, or another format?"
        )
    faces = np.array(triangles)
    if faces.max() >= len(vertices):
        raise DataError(
            f"{path}: a face names vertex {faces.max() + 1}, and there are {len(vertices)}. The "
            "file was cut off or its parts mixed up; fetch it again."
        )
    return np.array(vertices), faces


def _numbers(cells: Sequence[str]) -> list[float]:
    point = [float(cell) for cell in cells[:3]]
    if len(point) != 3 or not np.isfinite(point).all():
        raise ValueError("a vertex has three finite coordinates")
    return point


def _fan(cells: Sequence[str], known: int) -> list[list[int]]:
    """Triangles of a polygon, numbered from 0."""
    corners = []
    for cell in cells:
        index = int(cell.split("/")[0])
        corners.append(index - 1 if index > 0 else known + index)
        if index == 0 or corners[-1] < 0:
            raise ValueError("vertices are numbered from 1")
    if len(corners) < 3:
        raise ValueError("a face has three corners or more")
    return [[corners[0], corners[i], corners[i + 1]] for i in range(1, len(corners) - 1)]
