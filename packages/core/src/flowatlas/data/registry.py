"""Named sets: those that ship with FlowAtlas and those of plugins."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from flowatlas import plugins
from flowatlas.data.dataset import DataSet
from flowatlas.data.files import find, verify
from flowatlas.errors import DataError, GeometryError, ShapeError

__all__ = ["builtin_sets", "dataset", "dataset_names", "load", "verify_file"]


def builtin_sets() -> tuple[DataSet, ...]:
    """The sets of this package."""
    from flowatlas.data import earth, meshes, packaged, rotations, torsion, toy

    return (
        *(earth.VOLCANO, earth.EARTHQUAKE, earth.FLOOD, earth.FIRE),
        *(torsion.GENERAL, torsion.GLYCINE, torsion.PROLINE, torsion.PREPRO),
        *(meshes.BUNNY, meshes.SPOT, meshes.MAZE3, meshes.MAZE4),
        *(packaged.CITIES, packaged.DIGITS),
        *(toy.TWO_MOONS, toy.EIGHT_GAUSSIANS, toy.CHECKERBOARD),
        rotations.ROTATIONS,
    )


def dataset_names() -> list[str]:
    """Names of every set that an installed package declares."""
    return plugins.names(plugins.DATASETS)


def dataset(name: str) -> DataSet:
    """The declaration of a named set.

    Raises:
        ConfigError: the name is unknown; the message has close ones.
        PluginError: the package that declares it cannot be imported.
    """
    return plugins.load(plugins.DATASETS, name, DataSet)


def load(name: str, *, data_root: str | os.PathLike[str] | None = None) -> Tensor:
    """Points of a named set, checked.

    Args:
        name: such as `earth/volcano`; `flowatlas data list` shows them all.
        data_root: directory with data files; FLOWATLAS_DATA, then the cache, if None.

    Returns:
        `(n, *point_shape)` in float64.

    Raises:
        ConfigError: the name is unknown.
        DataError: the file is missing or not the right one, or its content is no set of points.

    Example:
        ```python
        x = load("demo/cities")
        ```
    """
    data = dataset(name)
    path = find(data, data_root)
    x = data.read(path)
    manifold = data.manifold()
    try:
        manifold.check_point(x, name)
    except (GeometryError, ShapeError) as error:
        raise DataError(f"{path or data.origin}: {error}") from error
    return x.to(torch.float64)


def verify_file(name: str, *, data_root: str | os.PathLike[str] | None = None) -> Path | None:
    """Find and verify the file of a set and read it through; None if it needs no file."""
    data = dataset(name)
    path = find(data, data_root)
    if path is not None:
        verify(data, path)
    load(name, data_root=data_root)
    return path
