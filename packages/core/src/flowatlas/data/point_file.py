"""Points in files of the user's: .npy, .npz and .csv."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowatlas.data.earth import unit_vectors
from flowatlas.errors import ConfigError, DataError
from flowatlas.manifolds import FlatTorus, Manifold, Sphere
from flowatlas.networks._files import write_bytes

__all__ = ["is_file_name", "read_points", "write_points"]

FORMATS = (".npy", ".npz", ".csv")


def is_file_name(data: str) -> bool:
    """Whether `--data` means a file rather than a named data set, which has no suffix."""
    return bool(Path(data).suffix) or Path(data).exists()


def read_points(
    path: Path, manifold: Manifold, *, key: str | None = None, degrees: bool = False
) -> Tensor:
    """Points of a manifold, checked, in float64.

    Points that are off the manifold by the rounding of single precision are projected.

    Args:
        path: an array of shape `(n, *point_shape)`; in a .csv, one row of numbers a point, after an
            optional row of names.
        manifold: where the points live.
        key: which array of an .npz; not needed if it has but one.
        degrees: for spheres, two columns of latitude and longitude; for tori, angles.

    Raises:
        DataError: a file that is missing, of another format, or holds no such points.
        ConfigError: degrees where there are no angles.
    """
    values = _read_array(path, key)
    if values.ndim == 1:
        values = values[:, None]
    x = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
    if degrees:
        x = _from_degrees(x, manifold, path)
    elif isinstance(manifold, FlatTorus):
        x = manifold.projx(x)
    try:
        manifold.check_point(x, str(path))
    except ValueError as error:
        if _is_rounded(x, manifold):
            return manifold.projx(x)
        hint = ""
        if isinstance(manifold, Sphere) and x.ndim == 2 and x.shape[1] == 2:
            hint = " For latitude and longitude pass --degrees."
        raise DataError(f"{error}{hint}") from error
    return x


def _is_rounded(x: Tensor, manifold: Manifold) -> bool:
    """Whether `x` are points to single precision: files hold float32, or a few digits."""
    try:
        manifold.check_point(x.float())
    except ValueError:
        return False
    return True


def _from_degrees(x: Tensor, manifold: Manifold, path: Path) -> Tensor:
    if isinstance(manifold, Sphere):
        if x.ndim != 2 or x.shape[1] != 2 or bool((x[:, 0].abs() > 90).any()):
            raise DataError(
                f"{path}: got shape {tuple(x.shape)}; with --degrees on the sphere it must be two "
                "columns, latitude (-90 to 90) and longitude."
            )
        return unit_vectors(x[:, 0], x[:, 1])
    if isinstance(manifold, FlatTorus) and manifold.period == 2 * math.pi:
        return manifold.projx(torch.deg2rad(x))
    raise ConfigError(f"degrees: {manifold!r} has no angles; leave the option out.")


def _read_array(path: Path, key: str | None) -> NDArray[Any]:
    if path.suffix not in FORMATS:
        raise DataError(f"{path}: unknown format {path.suffix!r}; use one of {', '.join(FORMATS)}.")
    if not path.is_file():
        raise DataError(f"{path}: not found. Check the path, or see flowatlas data list.")
    try:
        if path.suffix == ".csv":
            return _read_csv(path)
        loaded = np.load(path, allow_pickle=False)
        if path.suffix == ".npy":
            return np.asarray(loaded)
        with loaded:
            if key is None and len(loaded.files) == 1:
                key = loaded.files[0]
            if key is None or key not in loaded.files:
                raise DataError(
                    f"{path}: has the arrays {', '.join(loaded.files)}; name one with --key."
                )
            return np.asarray(loaded[key])
    except DataError:
        raise
    except Exception as error:
        # numpy raises ValueError, OSError, EOFError and zipfile errors for damaged files.
        raise DataError(
            f"{path}: cannot be read as {path.suffix} ({error}). Write it again, without pickled "
            "objects."
        ) from error


def _read_csv(path: Path) -> NDArray[Any]:
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path}: is empty.")
    start = 0 if _numbers(lines[0]) is not None else 1
    rows: list[list[float]] = []
    for number, line in enumerate(lines[start:], start + 1):
        row = _numbers(line)
        if row is None or (rows and len(row) != len(rows[0])):
            wanted = f"{len(rows[0])} numbers" if rows else "a row of numbers"
            raise DataError(f"{path}, row {number}: {line[:60]!r} is not {wanted}.")
        rows.append(row)
    return np.array(rows)


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(cell) for cell in line.split(",")]
    except ValueError:
        return None


def write_points(path: Path, x: Tensor, *, name: str = "x") -> Path:
    """Write points `(n, *point_shape)`, atomically; a .csv has them flattened, a row each.

    Raises:
        DataError: an unknown format, or the file cannot be written.
    """
    values = x.detach().cpu().numpy()
    if path.suffix not in FORMATS:
        raise DataError(f"{path}: unknown format {path.suffix!r}; use one of {', '.join(FORMATS)}.")
    content = io.BytesIO()
    if path.suffix == ".npy":
        np.save(content, values, allow_pickle=False)
    elif path.suffix == ".npz":
        arrays: dict[str, Any] = {name: values}
        np.savez_compressed(content, **arrays)
    else:
        flat = values.reshape(len(values), -1)
        head = ",".join(f"{name}{i}" for i in range(flat.shape[1])) if flat.shape[1] > 1 else name
        np.savetxt(content, flat, delimiter=",", header=head, comments="", fmt="%.9g")
    write_bytes(path, content.getvalue())
    return path
