"""Named sets: those that ship with FlowAtlas and those of plugins."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from flowatlas import plugins
from flowatlas.data.dataset import DataSet
from flowatlas.data.files import find, verify

__all__ = ["builtin_sets", "dataset", "dataset_names", "load", "verify_file"]


def builtin_sets() -> tuple[DataSet, ...]:
    """The sets of this package."""
    from flowatlas.data import (
        earth,
        hyperbolic,
        lidar,
        meshes,
        packaged,
        rna,
        rotations,
        sidechains,
        single_cell,
        spd,
        text,
        torsion,
        toy,
    )

    return (
        *(earth.VOLCANO, earth.EARTHQUAKE, earth.FLOOD, earth.FIRE),
        *(torsion.GENERAL, torsion.GLYCINE, torsion.PROLINE, torsion.PREPRO),
        *(rna.RNA, sidechains.ARGININE, sidechains.LYSINE),
        *(meshes.BUNNY, meshes.SPOT, meshes.MAZE3, meshes.MAZE4),
        *(packaged.CITIES, packaged.DIGITS),
        *(toy.TWO_MOONS, toy.EIGHT_GAUSSIANS, toy.CHECKERBOARD),
        rotations.ROTATIONS,
        text.TOPICS,
        *(hyperbolic.LORENTZ, hyperbolic.POINCARE, spd.TWO, spd.THREE),
        *(single_cell.EMT, single_cell.LINEAGE, lidar.RAINIER),
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
    """Points or tokens of a named set, checked.

    Args:
        name: such as `earth/volcano`; `flowatlas data list` shows them all.
        data_root: directory with data files; FLOWATLAS_DATA, then the cache, if None.

    Returns:
        Points `(n, *point_shape)` in float64, or tokens `(n, length)` in int64.

    Raises:
        ConfigError: the name is unknown.
        DataError: the file is missing or not the right one, or its content is no set of points or
            tokens.

    Example:
        ```python
        x = load("demo/cities")
        ```
    """
    data = dataset(name)
    path = find(data, data_root)
    return data.checked(data.read(path), str(path or data.origin))


def verify_file(name: str, *, data_root: str | os.PathLike[str] | None = None) -> Path | None:
    """Find and verify the file of a set and read it through; None if it needs no file."""
    data = dataset(name)
    path = find(data, data_root)
    if path is not None:
        verify(data, path)
    load(name, data_root=data_root)
    return path
