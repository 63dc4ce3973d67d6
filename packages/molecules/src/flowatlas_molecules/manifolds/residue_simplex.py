"""Probabilities of the twenty amino acids."""

from __future__ import annotations

from torch import Tensor

from flowatlas.manifolds import Simplex
from flowatlas_molecules.residues import LETTERS, letters, tokens

__all__ = ["ResidueSimplex"]


class ResidueSimplex(Simplex):
    """The simplex of residue types with the Fisher-Rao metric: points are `(..., 20)`.

    The columns are the residues of `flowatlas_molecules.LETTERS`.

    Example:
        ```python
        from flowatlas_molecules import ResidueSimplex

        simplex = ResidueSimplex()
        x_1 = simplex.encode("MKV")  # (3, 20)
        simplex.decode(x_1)  # "MKV"
        ```
    """

    def __init__(self) -> None:
        super().__init__(len(LETTERS))

    def encode(self, sequence: str) -> Tensor:
        """The vertices `(n, 20)` of a sequence of one-letter codes.

        Raises:
            DataError: a letter that is none of the twenty.
        """
        return self.one_hot(tokens(sequence))

    def decode(self, x: Tensor) -> str:
        """The most probable residue at each of `(n, 20)`, as one-letter codes."""
        self.check_shape(x)
        return letters(x.argmax(-1))

    def __repr__(self) -> str:
        return "ResidueSimplex()"
