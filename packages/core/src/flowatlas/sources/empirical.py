"""A set of stored points as a source."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators, rand, randint
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.sources.base import Source

__all__ = ["Empirical"]


class Empirical(Source):
    """Rows of a stored tensor, drawn with replacement. It has no density.

    For translation between two data sets, and for sources that only a simulator can sample.

    Args:
        points: `(n, *row_shape)`. A row is a point or a whole event: samples of shape
            `(batch, ..., *row_shape)` draw one row for each of the leading axes.
        weights: `(n,)`, zero or more, not all zero: probabilities up to a factor. Equal if None.

    Raises:
        ShapeError: no rows, or weights that do not fit them.
        ConfigError: weights that are negative, not finite, or all zero.

    Example:
        ```python
        source = Empirical(torch.randn(500, 3))
        x_0 = source.sample((64, 3), generator=torch.Generator().manual_seed(0))
        ```
    """

    def __init__(self, points: Tensor, *, weights: Tensor | None = None) -> None:
        if points.ndim == 0 or points.shape[0] == 0:
            raise ShapeError(
                f"points: got shape {tuple(points.shape)}; need at least one row, (n, *row_shape)."
            )
        self.points = points
        self._levels: Tensor | None = None
        if weights is not None:
            if weights.shape != points.shape[:1]:
                raise ShapeError(
                    f"weights: got shape {tuple(weights.shape)}; need ({points.shape[0]},), one "
                    "for each row of points."
                )
            weights = weights.to(torch.float64)
            total = weights.sum()
            if not bool((weights >= 0).all() and (total > 0) and torch.isfinite(total)):
                raise ConfigError(
                    "weights: they must be finite, zero or more, and not all zero; got values in "
                    f"[{weights.min().item():g}, {weights.max().item():g}]."
                )
            self._levels = weights.cumsum(0) / total

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        shape = tuple(shape)
        row_shape = tuple(self.points.shape[1:])
        lead = shape[: len(shape) - len(row_shape)]
        if not lead or lead + row_shape != shape:
            raise ShapeError(
                f"shape: got {shape}; the stored rows have shape {row_shape}, so samples have "
                f"shape (batch, ..., *{row_shape})."
            )
        x = self.points[self._rows(lead, generator)]
        return x.to(dtype=dtype or torch.get_default_dtype(), device=device)

    def _rows(self, lead: tuple[int, ...], generator: Generators) -> Tensor:
        home = self.points.device
        if self._levels is None:
            return randint(self.points.shape[0], lead, generator=generator, device=home)
        u = rand(lead, generator=generator, dtype=torch.float64, device=home)
        # On the right of equal levels, so that rows of weight zero are never drawn.
        index = torch.searchsorted(self._levels, u, right=True)
        last = int((self._levels < 1).sum())
        return index.clamp(max=last)

    def __repr__(self) -> str:
        n, *row = self.points.shape
        kind = "" if self._levels is None else ", weighted"
        return f"Empirical({n} rows of shape {tuple(row)}{kind})"
