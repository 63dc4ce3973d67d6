"""The torus of torsion angles."""

from __future__ import annotations

import math

from flowatlas.manifolds import FlatTorus

__all__ = ["Torsions"]


class Torsions(FlatTorus):
    """Torsion angles in radians: the flat torus of period 2 pi, one circle for each rotatable bond.

    Points are `(..., bonds)`. Any number of bonds does; a molecule with fewer than its batch's most
    is padded, and the mask leaves the rest out. `flowatlas_molecules.dihedrals` makes points from
    coordinates.

    Reference: Jing et al., Torsional Diffusion for Molecular Conformer Generation, 2022,
    arXiv:2206.01729, section 3.
    """

    def __init__(self) -> None:
        super().__init__(2 * math.pi)

    def __repr__(self) -> str:
        return "Torsions()"
