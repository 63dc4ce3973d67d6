"""Dihedral angles, against chains that were built with known ones."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from flowatlas.errors import ShapeError
from flowatlas_molecules import dihedrals


def chain(phi: float) -> torch.Tensor:
    """Four atoms along z: looking down the bond, the fourth is phi clockwise of the first."""
    first, fourth = [1.0, 0.0, 0.3], [0.7 * math.cos(phi), 0.7 * math.sin(phi), 1.9]
    atoms = [first, [0.0, 0.0, 0.0], [0.0, 0.0, 1.5], fourth]
    return torch.tensor(atoms, dtype=torch.float64)


# Looking along +z, from below, x turns clockwise into y.
@pytest.mark.parametrize("phi", [0.0, 1e-6, 0.4, 1.5, 3.0, math.pi, -0.4, -2.9])
def test_built_angle_is_found(phi: float) -> None:
    assert dihedrals(chain(phi)).item() == pytest.approx(phi, abs=1e-12)


def test_rotations_and_translations_change_nothing_and_mirrors_the_sign() -> None:
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(50, 4, 3, generator=generator, dtype=torch.float64)
    phi = dihedrals(atoms)
    rotation = torch.from_numpy(Rotation.random(rng=1).as_matrix())
    moved = atoms @ rotation.T + torch.tensor([3.0, -1.0, 8.0])
    assert torch.allclose(dihedrals(moved), phi, rtol=0, atol=1e-9)
    assert torch.allclose(dihedrals(-atoms), -phi, rtol=0, atol=1e-12)
    # Read from the other end, a torsion is the same.
    assert torch.allclose(dihedrals(atoms.flip(-2)), phi, rtol=0, atol=1e-12)


def test_turning_the_last_bond_adds_to_the_angle() -> None:
    generator = torch.Generator().manual_seed(1)
    atoms = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    axis = (atoms[2] - atoms[1]) / (atoms[2] - atoms[1]).norm()
    turn = torch.from_numpy(Rotation.from_rotvec(0.7 * axis.numpy()).as_matrix())
    turned = torch.cat([atoms[:3], (turn @ (atoms[3] - atoms[2]) + atoms[2])[None]])
    gained = (dihedrals(turned) - dihedrals(atoms)).item()
    assert math.remainder(gained - 0.7, 2 * math.pi) == pytest.approx(0, abs=1e-12)


def test_gradient() -> None:
    atoms = torch.stack([chain(0.4), chain(-2.0), chain(math.pi / 2)]).requires_grad_()
    assert torch.autograd.gradcheck(dihedrals, (atoms,))


@pytest.mark.parametrize(
    "atoms",
    [
        torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 1, 0]]),
        torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]]),
        torch.tensor([[0.0, 1, 0], [1, 0, 0], [1, 0, 0], [3, 0, 1]]),
        torch.zeros(4, 3),
    ],
    ids=["first in line", "all in line", "no bond", "one point"],
)
def test_undefined_angles_are_zero_with_gradient_zero(atoms: torch.Tensor) -> None:
    atoms = atoms.requires_grad_()
    phi = dihedrals(atoms)
    assert phi.item() == 0
    phi.backward()
    assert atoms.grad is not None and torch.equal(atoms.grad, torch.zeros(4, 3))


def test_a_chain_is_read_in_windows() -> None:
    generator = torch.Generator().manual_seed(2)
    atoms = torch.randn(2, 6, 3, generator=generator)
    windows = atoms.unfold(-2, 4, 1).transpose(-1, -2)
    phi = dihedrals(windows)
    assert phi.shape == (2, 3)
    assert torch.equal(phi[:, 1], dihedrals(atoms[:, 1:5]))
    with pytest.raises(ShapeError, match=r"got shape \(2, 6, 3\).*unfold"):
        dihedrals(atoms)
