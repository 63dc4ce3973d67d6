"""Backbone atoms as rigid frames, and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowatlas.errors import GeometryError, ShapeError

__all__ = ["IDEAL_N_CA_C", "atoms_from_frames", "connected", "frames_from_atoms"]

#: Bond lengths in angstrom and angles in radians of a peptide unit (Engh and Huber, from memory).
N_CA, CA_C, C_O, C_N = 1.459, 1.525, 1.231, 1.329
N_CA_C, CA_C_O, CA_C_N, C_N_CA = (math.radians(a) for a in (111.0, 120.1, 117.2, 121.7))

#: N, CA and C of every residue in its own frame, angstrom.
IDEAL_N_CA_C = (
    (N_CA * math.cos(N_CA_C), N_CA * math.sin(N_CA_C), 0.0),
    (0.0, 0.0, 0.0),
    (CA_C, 0.0, 0.0),
)
#: psi where the next residue does not tell, as in a helix.
_LAST_PSI = math.radians(-47.0)
#: Longest distance from C to the next N, angstrom, that still is a bond.
_BOND = 1.8


def frames_from_atoms(atoms: Tensor) -> tuple[Tensor, Tensor]:
    r"""Rotation and translation of residues from their N, CA and C.

    The origin is CA; the first axis points from CA to C, and N lies in the plane of the first two,
    on the positive side of the second:

    $$e_1 = \overline{c - a}, \quad e_2 = \overline{n - a - (e_1 \cdot (n - a))\, e_1}, \quad
      e_3 = e_1 \times e_2, \qquad R = (e_1, e_2, e_3).$$

    Args:
        atoms: `(..., k, 3)` with k of 3 or more: N, CA, C first.

    Returns:
        Rotations `(..., 3, 3)` and translations `(..., 3)`, in the unit of the atoms.

    Raises:
        ShapeError: fewer than three atoms.
        GeometryError: atoms that are not finite, or in line, so that there is no frame.

    Reference: Highly accurate protein structure prediction with AlphaFold, Jumper et al., Nature
    596 (2021), supplement, algorithm 21.

    Example:
        ```python
        from flowatlas_molecules import atoms_from_frames, frames_from_atoms

        rotation, translation = SO3().random_uniform((60, 3, 3)), 10 * torch.randn(60, 3)
        atoms = atoms_from_frames(rotation, translation)  # (60, 4, 3)
        again, centres = frames_from_atoms(atoms)
        ```
    """
    if atoms.ndim < 2 or atoms.shape[-1] != 3 or atoms.shape[-2] < 3:
        raise ShapeError(
            f"atoms: got shape {tuple(atoms.shape)}; residues are (..., k, 3) with N, CA and C as "
            "the first three of k atoms."
        )
    n, a, c = atoms[..., 0, :], atoms[..., 1, :], atoms[..., 2, :]
    first, side = c - a, n - a
    e_1 = first / torch.linalg.vector_norm(first, dim=-1, keepdim=True)
    side = side - (e_1 * side).sum(-1, keepdim=True) * e_1
    height = torch.linalg.vector_norm(side, dim=-1, keepdim=True)
    # NaN fails this comparison too.
    if not bool((height > 1e-3).all()):
        bad = int((~(height > 1e-3)).sum())
        raise GeometryError(
            f"atoms: N, CA and C of {bad} residues are in line or not finite, so they make no "
            "frame. Leave residues with missing atoms out: read_structure does."
        )
    e_2 = side / height
    return torch.stack([e_1, e_2, torch.linalg.cross(e_1, e_2)], -1), a


def atoms_from_frames(
    rotation: Tensor, translation: Tensor, *, bonded: Tensor | None = None
) -> Tensor:
    """N, CA, C and O of residues with ideal bond lengths and angles.

    O lies in the plane of CA, C and the next N, opposite to it. Where there is no next residue it
    is placed as in a helix.

    Args:
        rotation: `(..., n, 3, 3)`.
        translation: `(..., n, 3)`, angstrom.
        bonded: `(..., n - 1)`, whether each residue is followed by its neighbour; where C and N are
            within 1.8 angstrom if None. Samples of a flow, whose bonds need not close, are best
            told.

    Returns:
        `(..., n, 4, 3)`, angstrom; finite, with finite gradients, wherever the frames are.

    Raises:
        ShapeError: shapes that do not fit each other.
    """
    if rotation.shape[-2:] != (3, 3) or translation.shape != rotation.shape[:-1]:
        raise ShapeError(
            f"rotation, translation: got shapes {tuple(rotation.shape)} and "
            f"{tuple(translation.shape)}; need (..., n, 3, 3) and (..., n, 3)."
        )
    ideal = rotation.new_tensor(IDEAL_N_CA_C)
    atoms = torch.einsum("...ij,kj->...ki", rotation, ideal) + translation.unsqueeze(-2)
    bonded = connected(atoms) if bonded is None else bonded
    if bonded.shape != (*translation.shape[:-2], max(translation.shape[-2] - 1, 0)):
        raise ShapeError(
            f"bonded: got shape {tuple(bonded.shape)}; need one entry for each residue and its "
            f"neighbour, {(*translation.shape[:-2], translation.shape[-2] - 1)}."
        )
    axis = rotation[..., 0]
    default = rotation.new_tensor([0.0, math.cos(_LAST_PSI), math.sin(_LAST_PSI)])
    default = torch.einsum("...ij,j->...i", rotation, default)
    ahead = atoms[..., 1:, 0, :] - atoms[..., :-1, 2, :]
    ahead = ahead - (ahead * axis[..., :-1, :]).sum(-1, keepdim=True) * axis[..., :-1, :]
    size = ahead.square().sum(-1, keepdim=True)
    usable = bonded.unsqueeze(-1) & (size > 1e-6)
    ahead = torch.where(usable, ahead / torch.where(usable, size, 1.0).sqrt(), default[..., :-1, :])
    ahead = torch.cat([ahead, default[..., -1:, :]], -2)
    oxygen = -math.cos(CA_C_O) * axis - math.sin(CA_C_O) * ahead
    return torch.cat([atoms, (atoms[..., 2, :] + C_O * oxygen).unsqueeze(-2)], -2)


def connected(atoms: Tensor) -> Tensor:
    """Whether each residue is bound to the next one: C within 1.8 angstrom of its N.

    Args:
        atoms: `(..., n, k, 3)` with N, CA, C first, angstrom.

    Returns:
        `(..., n - 1)`.
    """
    gap = atoms[..., 1:, 0, :] - atoms[..., :-1, 2, :]
    return gap.square().sum(-1) < _BOND**2
