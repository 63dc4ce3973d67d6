"""The torus of torsion angles."""

from __future__ import annotations

import math

import torch

from flowatlas import FlatTorus
from flowatlas.cli.saved_flow import named_manifold
from flowatlas_molecules import Torsions, dihedrals


def test_found_by_name() -> None:
    assert type(named_manifold("torsions")) is Torsions


def test_period_is_a_full_turn() -> None:
    x, y = torch.tensor([[3.0, 1.0]]), torch.tensor([[-3.0, -1.0]])
    u = Torsions().logmap(x, y)
    assert torch.allclose(u, torch.tensor([[2 * math.pi - 6, -2.0]]))
    assert torch.allclose(u, FlatTorus(2 * math.pi).logmap(x, y))
    assert repr(Torsions()) == "Torsions()"


def test_dihedrals_are_points_after_projection() -> None:
    generator = torch.Generator().manual_seed(0)
    angles = dihedrals(torch.randn(20, 5, 4, 3, generator=generator))
    x = Torsions().projx(angles)
    Torsions().check_point(x)
    assert torch.allclose(torch.polar(torch.ones(()), x), torch.polar(torch.ones(()), angles))
