"""A named set of images: what the core knows of it, and its labels."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from flowatlas.data import DataSet
from flowatlas.data.files import find
from flowatlas.manifolds import Euclidean
from flowatlas_image.data.labelled import ImageParts
from flowatlas_image.scaling import from_pixels

__all__ = ["ImageSet"]


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images with labels, and where they come from.

    `points` is the same set as the core's commands know it: found, verified and listed like any
    other, its points the training images in [-1, 1].

    Attributes:
        name: `image/set`.
        summary: one line.
        read: both parts from the file (None if there is no file).
        origin: where the file is from.
        licence: as stated there.
        file: where it lies below a data root; None for sets that need no file.
        sha256: of that file.
        url: where it is published.
    """

    name: str
    summary: str
    read: Callable[[Path | None], ImageParts]
    origin: str
    licence: str
    file: str | None = None
    sha256: str | None = None
    url: str | None = None

    @property
    def points(self) -> DataSet:
        """The declaration for the entry-point group `flowatlas.datasets`."""

        def read(path: Path | None) -> Tensor:
            return from_pixels(self.read(path).train.pixels)

        return DataSet(
            name=self.name,
            summary=self.summary,
            manifold=_images,
            read=read,
            origin=self.origin,
            licence=self.licence,
            file=self.file,
            sha256=self.sha256,
            url=self.url,
        )

    def load(self, data_root: str | os.PathLike[str] | None = None) -> ImageParts:
        """Both parts, from the verified file.

        Args:
            data_root: directory with data files; FLOWATLAS_DATA, then the cache, if None.

        Raises:
            DataError: the file is missing, not the right one, or corrupt.
        """
        return self.read(find(self.points, data_root))


def _images() -> Euclidean:
    return Euclidean(point_ndim=3)
