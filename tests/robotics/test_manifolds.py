"""Poses over time, and poses of parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowatlas import SE3, SO3
from flowatlas.errors import ShapeError
from flowatlas.testing import ManifoldConformance
from flowatlas_robotics import PartPoses, PoseTrajectory


class TestPoseTrajectory(ManifoldConformance):
    manifold, point_shape = PoseTrajectory(), (4, 4)


class TestPartPoses(ManifoldConformance):
    manifold, point_shape = PartPoses(), (4, 4)


def poses(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rotation = SO3().random_uniform((*shape, 3, 3), generator=generator, dtype=torch.float64)
    return SE3.join(rotation, torch.randn(*shape, 3, generator=generator, dtype=torch.float64))


def test_relative_poses_are_products_of_matrices() -> None:
    base, x = poses(5, 1), poses(5, 7, seed=1)
    space = PoseTrajectory()
    seen = space.relative(base, x)
    assert torch.allclose(seen, torch.linalg.inv(base) @ x, atol=1e-12)
    assert torch.allclose(space.absolute(base, seen), x, atol=1e-12)
    space.check_point(seen)


def test_relative_poses_forget_where_the_table_stands() -> None:
    base, x, table = poses(5, 1), poses(5, 7, seed=1), poses(5, 1, seed=2)
    space = PoseTrajectory()
    moved = space.relative(table @ base, table @ x)
    assert torch.allclose(moved, space.relative(base, x), atol=1e-12)


def test_assembled_points_are_those_of_homogeneous_coordinates() -> None:
    x = poses(2, 3)
    points = torch.randn(2, 3, 10, 3, dtype=torch.float64)
    lifted = torch.cat([points, torch.ones_like(points[..., :1])], -1)
    expected = torch.einsum("bkij,bknj->bkni", x, lifted)[..., :3]
    assert torch.allclose(PartPoses().assemble(x, points), expected)
    with pytest.raises(ShapeError, match="as many parts"):
        PartPoses().assemble(x, points[:, :2])


def test_centred_parts_keep_their_places_to_each_other() -> None:
    x, mask = poses(2, 4), torch.tensor([[True] * 4, [True, True, False, False]])
    made = PartPoses().centred(x, mask)
    _, before = SE3.split(x)
    rotation, after = SE3.split(made)
    assert torch.equal(rotation, SE3.split(x)[0])
    assert torch.allclose(after.diff(dim=1), before.diff(dim=1))
    assert torch.allclose(after[0].mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(after[1, :2].mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-12)
    poisoned = x.clone()
    poisoned[1, 2:, :3, 3] = torch.nan
    assert torch.equal(PartPoses().centred(poisoned, mask)[1, :2], made[1, :2])
