"""Butcher's order conditions, tree by tree."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations_with_replacement

import numpy as np
import pytest

from flowatlas.solvers import DORMAND_PRINCE, RK4, Heun, Midpoint, Tableau
from flowatlas.solvers.dopri5 import ERROR

#: A rooted tree is the tuple of the subtrees at its root.
Tree = tuple["Tree", ...]

EMBEDDED = tuple(b - e for b, e in zip(DORMAND_PRINCE.b, ERROR, strict=True))


def size(tree: Tree) -> int:
    return 1 + sum(map(size, tree))


def trees(order: int) -> Iterator[Tree]:
    """All rooted trees of `order` vertices."""
    smaller = [tree for n in range(1, order) for tree in trees(n)]
    for count in range(order):
        for children in combinations_with_replacement(smaller, count):
            if size(children) == order:
                yield children


def density(tree: Tree) -> int:
    return size(tree) * math.prod(map(density, tree))


def residuals(tableau: Tableau, weights: tuple[float, ...], order: int) -> list[float]:
    """b . phi(tree) - 1 / gamma(tree) for all trees of that order."""
    stages = len(weights)
    a = np.array([[*row, *(0.0,) * (stages - len(row))] for row in tableau.a])

    def phi(tree: Tree) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        value = np.ones(stages)
        for child in tree:
            value = value * (a @ phi(child))
        return value

    return [abs(float(np.dot(weights, phi(tree))) - 1 / density(tree)) for tree in trees(order)]


def test_trees_are_counted() -> None:
    # https://oeis.org/A000081
    assert [len(list(trees(n))) for n in range(1, 7)] == [1, 1, 2, 4, 9, 20]


@pytest.mark.parametrize(
    ("tableau", "weights", "order"),
    [
        pytest.param(Midpoint.tableau, Midpoint.tableau.b, 2, id="Midpoint"),
        pytest.param(Heun.tableau, Heun.tableau.b, 2, id="Heun"),
        pytest.param(RK4.tableau, RK4.tableau.b, 4, id="RK4"),
        pytest.param(DORMAND_PRINCE, DORMAND_PRINCE.b, 5, id="Dopri5"),
        pytest.param(DORMAND_PRINCE, EMBEDDED, 4, id="Dopri5, embedded"),
    ],
)
def test_order_conditions(tableau: Tableau, weights: tuple[float, ...], order: int) -> None:
    for row, c in zip(tableau.a, tableau.c, strict=True):
        assert sum(row) == pytest.approx(c, abs=1e-15)
    for lower in range(1, order + 1):
        assert max(residuals(tableau, weights, lower)) < 1e-15
    # And no further, so that the conditions can fail.
    assert max(residuals(tableau, weights, order + 1)) > 1e-4


def test_first_same_as_last() -> None:
    assert DORMAND_PRINCE.a[-1] == DORMAND_PRINCE.b[:-1] and DORMAND_PRINCE.b[-1] == 0
    assert DORMAND_PRINCE.c[-1] == 1
    assert sum(ERROR) == pytest.approx(0, abs=1e-15)
