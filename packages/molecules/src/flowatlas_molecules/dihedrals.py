"""Dihedral angles of four atoms, as IUPAC signs them."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.errors import ShapeError

__all__ = ["dihedrals"]


def dihedrals(atoms: Tensor) -> Tensor:
    r"""Dihedral angles $\phi$ of quadruples of atoms, in radians, in (-pi, pi].

    $\phi = \mathrm{atan2}\big(|b_2|\, b_1 \cdot (b_2 \times b_3),\;
    (b_1 \times b_2) \cdot (b_2 \times b_3)\big)$ with $b_i = a_{i+1} - a_i$.

    Zero is cis, pi trans; positive where, looking along the bond from the second atom to the third,
    the fourth is clockwise of the first. Where three atoms are in line the angle is undefined, and
    0 is returned with gradient zero.

    Args:
        atoms: `(..., 4, 3)`, any unit of length.

    Returns:
        `(...)`.

    Raises:
        ShapeError: the last axes are not (4, 3).

    Reference: IUPAC, Basic terminology of stereochemistry, 1996, "torsion angle"; the formula by
    Blondel and Karplus, J. Comput. Chem. 17 (1996) 1132.
    """
    if atoms.shape[-2:] != (4, 3):
        raise ShapeError(
            f"atoms: got shape {tuple(atoms.shape)}; allowed is (..., 4, 3), four atoms in space "
            "for each angle. For a chain (..., n, 3), pass "
            "chain.unfold(-2, 4, 1).transpose(-1, -2)."
        )
    b_1, b_2, b_3 = atoms.diff(dim=-2).unbind(-2)
    normal = torch.linalg.cross(b_2, b_3)
    cosine = (torch.linalg.cross(b_1, b_2) * normal).sum(-1)
    sine = (b_1 * normal).sum(-1) * _length(b_2)
    defined = (sine != 0) | (cosine != 0)
    # The gradient of atan2 at (0, 0) is NaN: choose its input, not its output.
    return torch.atan2(torch.where(defined, sine, 0.0), torch.where(defined, cosine, 1.0))


def _length(b: Tensor) -> Tensor:
    square = b.square().sum(-1)
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)
