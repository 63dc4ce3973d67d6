"""Clouds of points in files that viewers open."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowatlas.errors import DataError, ShapeError

__all__ = ["read_points", "write_points"]

_HEADER = (
    "ply\nformat ascii 1.0\nelement vertex {count}\n"
    "property float x\nproperty float y\nproperty float z\nend_header\n"
)


def write_points(points: Tensor, path: str | os.PathLike[str]) -> Path:
    """Write one cloud as text, as PLY or as lines of three numbers; folders are made.

    Args:
        points: `(n, 3)`.
        path: ending in `.ply` or `.xyz`.

    Returns:
        The path.

    Raises:
        ShapeError: points that are none.
        DataError: another ending, or the file cannot be written.

    Example:
        ```python
        from flowatlas_robotics.clouds import write_points

        write_points(torch.randn(100, 3), "cloud.ply")
        ```
    """
    path = Path(path)
    if points.ndim != 2 or points.shape[1] != 3 or not bool(points.isfinite().all()):
        raise ShapeError(f"points: got shape {tuple(points.shape)}; need finite (n, 3).")
    if path.suffix.lower() not in (".ply", ".xyz"):
        raise DataError(f"{path}: must end in .ply or .xyz. Rename it.")
    lines = "".join(f"{x:.7g} {y:.7g} {z:.7g}\n" for x, y, z in points.double().tolist())
    header = _HEADER.format(count=len(points)) if path.suffix.lower() == ".ply" else ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(header + lines, encoding="ascii")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}). Check the folder."
        ) from error
    return path


def read_points(path: str | os.PathLike[str]) -> Tensor:
    """The points of a PLY file of text, of lines of three numbers, or the vertices of an OBJ file.

    Further numbers on a line (colours, normals) are passed over, as are faces.

    Returns:
        `(n, 3)`, float32.

    Raises:
        DataError: a file that cannot be read, is truncated, or holds no points.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no text. Export the points as PLY of text, or XYZ.") from error
    ending = path.suffix.lower()
    if ending == ".ply":
        lines = _ply_vertices(path, lines)
    elif ending == ".obj":
        lines = [line[1:] for line in lines if line.split()[:1] == ["v"]]
    elif ending != ".xyz":
        raise DataError(f"{path}: must end in .ply, .xyz or .obj. Export the points as one.")
    rows = [line.split()[:3] for line in lines if line.strip()]
    try:
        points = np.array([[float(cell) for cell in row] for row in rows])
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise ValueError("every line needs three finite numbers")
    except ValueError as error:
        raise DataError(
            f"{path}: {error}. It holds no points, was cut off, or is of another format: export it "
            "again."
        ) from error
    return torch.from_numpy(points).float()


def _ply_vertices(path: Path, lines: list[str]) -> list[str]:
    """The lines of the vertices, which must come first and begin with x, y, z."""
    header = lines[: lines.index("end_header")] if "end_header" in lines else []
    words = [line.split() for line in header]
    counts = [row[2] for row in words if row[:2] == ["element", "vertex"] and len(row) == 3]
    elements = [row[1] for row in words if row[:1] == ["element"] and len(row) > 1]
    names = [row[-1] for row in words if row[:1] == ["property"]][:3]
    plain = ["format", "ascii", "1.0"] in words and elements[:1] == ["vertex"]
    if not plain or names != ["x", "y", "z"] or not counts or not counts[0].isdigit():
        raise DataError(
            f"{path}: no PLY file of text whose first element is a vertex with x, y, z. Export it "
            "again as PLY, ascii."
        )
    found = lines[len(header) + 1 :][: int(counts[0])]
    if len(found) < int(counts[0]):
        raise DataError(
            f"{path}: {counts[0]} vertices in its header and {len(found)} in the file, which was "
            "cut off. Export it again."
        )
    return found
