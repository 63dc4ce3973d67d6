"""No coupling at all."""

from __future__ import annotations

from flowatlas._random import Generators
from flowatlas.couplings.base import Pairing
from flowatlas.state import State

__all__ = ["Independent"]


class Independent(Pairing):
    """Source and data as they come, drawn independently of each other."""

    independent = True

    def pair(self, x_0: State, x_1: State, *, generator: Generators = None) -> None:
        return None

    def __repr__(self) -> str:
        return "Independent()"
