"""What a named data set declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, DataError, GeometryError, ShapeError

if TYPE_CHECKING:
    from flowatlas.manifolds import Manifold
    from flowatlas.sources import Source

__all__ = ["DataSet"]


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A set of points on a manifold, or of tokens, and where it comes from.

    ```python
    MINE = DataSet(
        name="mine/stars",
        summary="star positions, unit vectors",
        manifold=Sphere,
        read=lambda path: torch.from_numpy(np.load(path)),
        origin="https://example.org/stars.npy",
        licence="CC BY 4.0",
        file="mine/stars.npy",
        sha256="...",
    )
    ```

    Attributes:
        name: `group/set`.
        summary: one line: what a row is, and its units.
        manifold: makes the manifold on which the points lie; None for tokens.
        vocab: number of tokens, for sets of those; None for points.
        read: points `(n, *point_shape)` in float64, or tokens `(n, length)` in int64, from the file
            (None if there is no file).
        origin: `repository@commit/path`, package, or rule that made it.
        licence: as stated at the origin.
        file: where the file lies below a data root; None for sets that need no file.
        sha256: of that file.
        url: where the file, or one with the same rows, is published.
        canonical: turns the bytes of a file into those that `sha256` is of, for formats that
            publishers write in more than one way; the bytes themselves if None.
        law: makes the distribution the points were drawn from, where it is known.
    """

    name: str
    summary: str
    manifold: Callable[[], Manifold] | None = None
    vocab: int | None = None
    read: Callable[[Path | None], Tensor]
    origin: str
    licence: str
    file: str | None = None
    sha256: str | None = None
    url: str | None = None
    canonical: Callable[[bytes], bytes] | None = None
    law: Callable[[], Source] | None = None

    def __post_init__(self) -> None:
        if (self.manifold is None) == (self.vocab is None):
            raise ConfigError(f"{self.name}: a set has either a manifold or a vocab.")
        if (self.file is None) != (self.sha256 is None):
            raise ConfigError(f"{self.name}: a set has both a file and its sha256, or neither.")
        if self.url is not None and self.file is None:
            raise ConfigError(f"{self.name}: a url needs a file to be stored as.")

    def space(self) -> Manifold:
        """The manifold on which the points lie.

        Raises:
            ConfigError: a set of tokens, which are on none.
        """
        if self.manifold is None:
            raise ConfigError(
                f"{self.name}: it holds tokens, which are points of no manifold. Use a MixturePath "
                f"over {self.vocab} tokens; docs/concepts/discrete.md shows how."
            )
        return self.manifold()

    def checked(self, x: Tensor, where: str) -> Tensor:
        """Points in float64, or tokens in int64.

        Raises:
            DataError: values that are off the manifold, or outside of the vocabulary.
        """
        if self.vocab is None:
            try:
                self.space().check_point(x, self.name)
            except (GeometryError, ShapeError) as error:
                raise DataError(f"{where}: {error}") from error
            return x.to(torch.float64)
        low, high = (int(bound) for bound in torch.aminmax(x))
        if low < 0 or high >= self.vocab:
            raise DataError(
                f"{where}: {self.name} has tokens from {low} to {high}; they must be from 0 to "
                f"{self.vocab - 1}. Correct the file or what reads it."
            )
        return x.long()
