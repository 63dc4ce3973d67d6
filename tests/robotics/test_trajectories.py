"""Joints: points of a torus, and commands without jumps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowatlas import FlatTorus
from flowatlas.cli.train_points import named_manifold
from flowatlas.errors import ShapeError
from flowatlas_robotics import JointTorus, unwrap


def test_found_by_name() -> None:
    assert type(named_manifold("joint-torus")) is JointTorus
    assert repr(JointTorus()) == "JointTorus()"


def test_joints_turn_the_short_way() -> None:
    x, y = torch.tensor([[3.0, 1.0]]), torch.tensor([[-3.0, -1.0]])
    expected = FlatTorus(2 * math.pi).logmap(x, y)
    assert torch.allclose(JointTorus().logmap(x, y), expected)
    assert torch.allclose(expected, torch.tensor([[2 * math.pi - 6, -2.0]]))


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 4))
def test_agrees_with_numpy(seed: int, steps: int, joints: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    moves = torch.randn(2, steps, joints, generator=generator, dtype=torch.float64)
    wrapped = JointTorus().projx(moves.cumsum(-2))
    expected = np.unwrap(wrapped.numpy(), axis=-2)
    assert np.allclose(unwrap(wrapped).numpy(), expected, rtol=0, atol=1e-9)


def test_a_turn_without_end_is_restored() -> None:
    q = torch.linspace(1.0, 60.0, 200, dtype=torch.float64)[:, None] * torch.tensor([1.0, -1.0])
    wrapped = JointTorus().projx(q)
    assert torch.allclose(unwrap(wrapped) - wrapped[0], q - q[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(5,), (2, 0, 3)])
def test_shapes_without_steps_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="angles: got shape"):
        unwrap(torch.zeros(shape))
