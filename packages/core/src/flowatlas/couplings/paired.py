"""Pairs that the data set brings along."""

from __future__ import annotations

from flowatlas._random import Generators
from flowatlas.couplings.base import Pairing
from flowatlas.state import State

__all__ = ["Paired"]


class Paired(Pairing):
    """`x_0` is given with `x_1`, row by row, and stays there.

    For translation between matched sets, and for rectification, where x_1 is the end of the flow
    that starts at x_0. Objectives then require `x_0=`, and refuse score and noise prediction, since
    the two are not independent.
    """

    def pair(self, x_0: State, x_1: State, *, generator: Generators = None) -> None:
        return None

    def __repr__(self) -> str:
        return "Paired()"
