"""Training, validation and test points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import DataError

__all__ = ["Split", "is_copy", "split"]


@dataclass(frozen=True, slots=True)
class Split:
    """A partition of a set. Choices are made on `validation`; `test` is for the final number.

    Attributes:
        train: `(n, *point_shape)`.
        validation: `(m, *point_shape)`.
        test: `(k, *point_shape)`.
    """

    train: Tensor
    validation: Tensor
    test: Tensor


def split(x: Tensor, seed: int, *, fractions: tuple[float, float] = (0.8, 0.1)) -> Split:
    """Split at random: 80 % training, 10 % validation and the rest test by default.

    Args:
        x: `(n, ...)`.
        seed: of the permutation, drawn on the CPU, so that it is the same everywhere.
        fractions: of training and validation.

    Raises:
        DataError: too few points for three parts.
    """
    n = x.shape[0]
    first, second = round(fractions[0] * n), round((fractions[0] + fractions[1]) * n)
    if not 0 < first < second < n:
        raise DataError(
            f"x: {n} points cannot be split by fractions {fractions}; all three parts need points."
        )
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(x.device)
    return Split(x[order[:first]], x[order[first:second]], x[order[second:]])


def is_copy(x: Tensor, of: Tensor, *, tolerance: float = 1e-9) -> Tensor:
    """Which rows of `x` are also rows of `of`, up to `tolerance` in the largest coordinate.

    Catalogues of events repeat places: a likelihood on a test set with copies of training points
    grows without bound as a model concentrates on them.

    Returns:
        `(n,)` of bool.
    """
    flat, other = x.flatten(1), of.flatten(1)
    # Sorting by one coordinate leaves a short window to compare each row with.
    order = other[:, 0].argsort()
    key = other[order, 0].contiguous()
    low = torch.searchsorted(key, (flat[:, 0] - tolerance).contiguous())
    high = torch.searchsorted(key, (flat[:, 0] + tolerance).contiguous(), right=True)
    found = torch.zeros(flat.shape[0], dtype=torch.bool, device=x.device)
    for i in range(flat.shape[0]):
        window = other[order[low[i] : high[i]]]
        found[i] = (
            bool(((window - flat[i]).abs().amax(1) <= tolerance).any()) if len(window) else False
        )
    return found
