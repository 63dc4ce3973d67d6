"""The torsion angles of a backbone, and the chain that they make."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import ShapeError
from flowatlas_molecules.dihedrals import dihedrals
from flowatlas_molecules.frames import (
    C_N,
    C_N_CA,
    CA_C,
    CA_C_N,
    N_CA,
    N_CA_C,
    atoms_from_frames,
    connected,
    frames_from_atoms,
)

__all__ = ["BackboneTorsions", "backbone_torsions", "chain_from_torsions"]


@dataclass(frozen=True, slots=True)
class BackboneTorsions:
    """Torsions of the residues of chains.

    Attributes:
        angles: phi, psi and omega `(..., n, 3)`, radians in (-pi, pi]; zero where not defined.
            Omega is that of the bond to the next residue.
        exists: `(..., n, 3)`: whether the residue has the neighbour that the angle needs.
    """

    angles: Tensor
    exists: Tensor


def backbone_torsions(atoms: Tensor) -> BackboneTorsions:
    r"""$\phi_i = (C_{i-1}, N_i, A_i, C_i)$, $\psi_i = (N_i, A_i, C_i, N_{i+1})$, and
    $\omega_i = (A_i, C_i, N_{i+1}, A_{i+1})$.

    Args:
        atoms: `(..., n, k, 3)` with N, CA, C first, angstrom; gaps are where C and the next N are
            further apart than a bond.

    Raises:
        ShapeError: fewer than three atoms a residue.

    Reference: IUPAC-IUB Commission on Biochemical Nomenclature, 1970, rules 3 and 4 (from memory).
    """
    if atoms.ndim < 3 or atoms.shape[-1] != 3 or atoms.shape[-2] < 3:
        raise ShapeError(
            f"atoms: got shape {tuple(atoms.shape)}; chains are (..., n, k, 3) with N, CA and C as "
            "the first three of k atoms."
        )
    n, a, c = atoms[..., 0, :], atoms[..., 1, :], atoms[..., 2, :]
    here, there = slice(None, -1), slice(1, None)
    phi = dihedrals(
        torch.stack([x[..., s, :] for x, s in _of((c, n, a, c), (here, *3 * [there]))], -2)
    )
    psi = dihedrals(
        torch.stack([x[..., s, :] for x, s in _of((n, a, c, n), (*3 * [here], there))], -2)
    )
    omega = dihedrals(
        torch.stack([x[..., s, :] for x, s in _of((a, c, n, a), (here, here, there, there))], -2)
    )
    bonded = connected(atoms)
    none = torch.zeros_like(phi[..., :1]) if phi.shape[-1] else atoms[..., :1, 0, 0] * 0
    no = torch.zeros_like(none, dtype=torch.bool)
    angles = torch.stack(
        [torch.cat([none, phi], -1), torch.cat([psi, none], -1), torch.cat([omega, none], -1)], -1
    )
    ahead = torch.cat([bonded, no], -1)
    exists = torch.stack([torch.cat([no, bonded], -1), ahead, ahead], -1)
    return BackboneTorsions(torch.where(exists, angles, 0.0), exists)


def _of(atoms: tuple[Tensor, ...], slices: tuple[slice, ...]) -> zip[tuple[Tensor, slice]]:
    return zip(atoms, slices, strict=True)


def chain_from_torsions(angles: Tensor) -> Tensor:
    """Atoms of the chain of ideal bond lengths and angles with given torsions.

    Args:
        angles: phi, psi, omega `(..., n, 3)`, radians. The first phi and the last psi and omega
            have nothing to turn.

    Returns:
        N, CA, C and O `(..., n, 4, 3)`, angstrom, centred on the mean of CA.

    Raises:
        ShapeError: not three angles a residue.

    Example:
        ```python
        from flowatlas_molecules import chain_from_torsions

        helix = torch.tensor([-57.0, -47.0, 180.0]).deg2rad().expand(20, 3)
        atoms = chain_from_torsions(helix)  # (20, 4, 3)
        ```
    """
    if angles.ndim < 2 or angles.shape[-1] != 3 or angles.shape[-2] == 0:
        raise ShapeError(
            f"angles: got shape {tuple(angles.shape)}; chains are (..., n, 3): phi, psi, omega."
        )
    phi, psi, omega = angles.unbind(-1)
    lead = angles.shape[:-2]
    start = angles.new_tensor(
        [[N_CA * math.cos(N_CA_C), N_CA * math.sin(N_CA_C), 0.0], [0.0] * 3, [CA_C, 0.0, 0.0]]
    )
    chain = list(start.expand(*lead, 3, 3).unbind(-2))
    for i in range(angles.shape[-2] - 1):
        for length, bend, turn in (
            (C_N, CA_C_N, psi[..., i]),
            (N_CA, C_N_CA, omega[..., i]),
            (CA_C, N_CA_C, phi[..., i + 1]),
        ):
            chain.append(_next(chain[-3], chain[-2], chain[-1], length, bend, turn))
    atoms = torch.stack(chain, -2).unflatten(-2, (-1, 3))
    atoms = atoms - atoms[..., 1, :].mean(-2)[..., None, None, :]
    rotation, translation = frames_from_atoms(atoms)
    return atoms_from_frames(rotation, translation)


def _next(a: Tensor, b: Tensor, c: Tensor, length: float, bend: float, turn: Tensor) -> Tensor:
    """The atom bound to c with the angle b-c-d and the dihedral a-b-c-d."""
    along = c - b
    along = along / torch.linalg.vector_norm(along, dim=-1, keepdim=True)
    normal = torch.linalg.cross(b - a, along)
    normal = normal / torch.linalg.vector_norm(normal, dim=-1, keepdim=True)
    across = torch.linalg.cross(normal, along)
    turn = turn.unsqueeze(-1)
    side = turn.cos() * across + turn.sin() * normal
    step: Tensor = length * (-math.cos(bend) * along + math.sin(bend) * side)
    return c + step
