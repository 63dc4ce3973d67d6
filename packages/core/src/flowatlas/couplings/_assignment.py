"""Optimal assignment by network simplex.

It was chosen by measurement against the shortest augmenting paths of scipy. Time of the second over
that of the first, for normal points against data at batch 1024: 5 for clusters in 2 dimensions, 1.8
for clusters in 3072, 2 for images in 64 to 4096; at batch 4096 in 2 dimensions above 10. It is
below one, 0.5 to 0.9, only between two clouds of normal points in many dimensions.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["optimal_assignment"]

#: POT stops at 1e5 by default with a warning alone; a plan for 4096 points is not optimal by then.
MAX_ITERATIONS = 10_000_000


def optimal_assignment(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """The permutation that minimises the sum of `cost[j, index[j]]`.

    Args:
        cost: `(n, n)`, finite.

    Returns:
        `index`, `(n,)`.
    """
    index = _network_simplex(cost)
    if index is not None:
        return index
    from scipy.optimize import linear_sum_assignment

    return np.asarray(linear_sum_assignment(cost)[1], dtype=np.int64)


def _network_simplex(cost: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """A vertex of the assignment polytope, or None where the iterations did not suffice."""
    # Masses of one rather than 1 / n: sums of ones are exact, so that plans are permutations.
    ones = np.ones(len(cost))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan, log = _pot().emd(ones, ones, cost, numItermax=MAX_ITERATIONS, log=True)
    index: NDArray[np.int64] = plan.argmax(1).astype(np.int64)
    if log["warning"] is not None or len(np.unique(index)) < len(index):
        return None
    return index


def _pot() -> Any:
    if "ot" in sys.modules:
        return sys.modules["ot"]
    with _without_unused_backends():
        import ot
    return ot


@contextmanager
def _without_unused_backends() -> Iterator[None]:
    """Keep POT from importing array libraries that the program has not imported itself."""
    names = {"jax": "JAX", "cupy": "CUPY", "tensorflow": "TENSORFLOW"}
    switches = [f"POT_BACKEND_DISABLE_{b}" for m, b in names.items() if m not in sys.modules]
    switches = [name for name in switches if name not in os.environ]
    os.environ.update(dict.fromkeys(switches, "1"))
    try:
        yield
    finally:
        for name in switches:
            del os.environ[name]
