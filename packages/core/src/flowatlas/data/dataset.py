"""What a named data set declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from flowatlas.errors import ConfigError

if TYPE_CHECKING:
    from flowatlas.manifolds import Manifold
    from flowatlas.sources import Source

__all__ = ["DataSet"]


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A set of points on a manifold, and where it comes from.

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
        manifold: makes the manifold on which the points lie.
        read: points `(n, *point_shape)` in float64, from the file (None if there is no file).
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
    manifold: Callable[[], Manifold]
    read: Callable[[Path | None], Tensor]
    origin: str
    licence: str
    file: str | None = None
    sha256: str | None = None
    url: str | None = None
    canonical: Callable[[bytes], bytes] | None = None
    law: Callable[[], Source] | None = None

    def __post_init__(self) -> None:
        if (self.file is None) != (self.sha256 is None):
            raise ConfigError(f"{self.name}: a set has both a file and its sha256, or neither.")
        if self.url is not None and self.file is None:
            raise ConfigError(f"{self.name}: a url needs a file to be stored as.")
