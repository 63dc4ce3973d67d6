"""What a benchmark of points is about: where they live, how they are split, what is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.data import dataset, load
from flowatlas.data.splits import Split, is_copy, split
from flowatlas.manifolds import Manifold
from flowatlas.sources import Source

__all__ = ["Problem", "drawn_problem", "named_problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Points of a manifold, split, and what is known about their law.

    Attributes:
        manifold: of the points.
        split: training, validation and test points in float64.
        distinct: `(k,)`: which test points are no copies of training points; None if all are.
        law: the distribution the points were drawn from, where it is known.
        decode: from points to what they stand for, such as images; None if they are what they are.
    """

    manifold: Manifold
    split: Split
    distinct: Tensor | None = None
    law: Source | None = None
    decode: Callable[[Tensor], Tensor] | None = None

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one point."""
        return tuple(self.split.train.shape[1:])


def named_problem(name: str, seed: int, data_root: object = None, *, copies: bool) -> Problem:
    """A named data set, split 80/10/10 by `seed`.

    Args:
        name: of the set.
        seed: of the split.
        data_root: where files are looked for.
        copies: whether to look for test points that are copies of training points.
    """
    parts = split(load(name, data_root=data_root), seed)  # type: ignore[arg-type]
    distinct = ~is_copy(parts.test, parts.train) if copies else None
    return Problem(dataset(name).space(), parts, distinct)


def drawn_problem(manifold: Manifold, law: Source, shape: tuple[int, ...], seed: int) -> Problem:
    """Points drawn from a known law: 50000 for training, 4000 for validation, 10000 for the test.

    Args:
        manifold: of the points.
        law: to draw from.
        shape: of one point.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    x = law.sample((64_000, *shape), generator=generator, dtype=torch.float64)
    return Problem(manifold, Split(x[:50_000], x[50_000:54_000], x[54_000:]), None, law)
