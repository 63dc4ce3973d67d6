"""Rigid motions: conformance, the product metric, validation."""

import math

import pytest
import torch
from torch import Tensor

from flowatlas.errors import GeometryError
from flowatlas.manifolds import SE3, SO3
from flowatlas.testing import ManifoldConformance

MOTIONS = SE3()


class TestSE3(ManifoldConformance):
    manifold, point_shape = MOTIONS, (4, 4)
    base_point = torch.eye(4, dtype=torch.float64)
    wrong_shapes = ((4,), (2, 3, 3), (2, 3, 4), (2, 16))


def motions(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rotation = SO3().random_uniform((count, 3, 3), generator=generator, dtype=torch.float64)
    return rotation, 10 * torch.randn(count, 3, generator=generator, dtype=torch.float64)


def test_it_is_rotations_beside_translations() -> None:
    (r, p), (s, q) = motions(50, 0), motions(50, 1)
    x, y = SE3.join(r, p), SE3.join(s, q)
    square = SO3().squared_dist(r, s) + (p - q).square().sum(-1)
    torch.testing.assert_close(MOTIONS.squared_dist(x, y), square, atol=1e-11, rtol=1e-12)
    t = torch.linspace(0, 1, 50, dtype=torch.float64)
    x_t, velocity = MOTIONS.geodesic(x, y, t)
    r_t, turn = SO3().geodesic(r, s, t)
    expected = SE3.join(r_t, p + t[:, None] * (q - p))
    torch.testing.assert_close(x_t, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(velocity, torch.cat([turn, q - p], -1), atol=1e-12, rtol=0)


def test_it_is_not_the_screw_motion() -> None:
    twist = torch.tensor([0.0, 0.0, math.pi / 2, 1.0, 0.0, 0.0], dtype=torch.float64)
    matrix = torch.zeros(4, 4, dtype=torch.float64)
    matrix[0, 1], matrix[1, 0], matrix[0, 3] = -math.pi / 2, math.pi / 2, 1.0
    screw = torch.matrix_exp(matrix)
    ours = MOTIONS.expmap(torch.eye(4, dtype=torch.float64), twist)
    torch.testing.assert_close(ours[:3, :3], screw[:3, :3], atol=1e-14, rtol=0)
    torch.testing.assert_close(ours[:3, 3], twist[3:], atol=1e-14, rtol=0)
    assert (screw[:3, 3] - ours[:3, 3]).abs().max() > 0.3


def test_join_and_split_are_inverse() -> None:
    r, p = motions(6, 0)
    x = SE3.join(r.view(2, 3, 3, 3), p.view(2, 3, 3))
    assert x.shape == (2, 3, 4, 4)
    rotation, translation = SE3.split(x)
    assert torch.equal(rotation.reshape(6, 3, 3), r) and torch.equal(translation.reshape(6, 3), p)
    assert torch.equal(x[..., 3, :], torch.tensor([0.0, 0, 0, 1]).double().expand(2, 3, 4))


def test_a_large_translation_does_not_hide_a_bad_rotation() -> None:
    r, p = motions(5, 0)
    x = SE3.join(r * 1.001, 1e6 * p)
    with pytest.raises(GeometryError, match=r"x_1\[\.\.\., :3, :3\].*9\.\d\de-04"):
        MOTIONS.check_point(x, "x_1")


def test_the_last_row_is_checked() -> None:
    x = SE3.join(*motions(5, 0))
    x[2, 3, 3] = 2.0
    with pytest.raises(GeometryError, match=r"x_1\[\.\.\., 3, :\].*SE3\.join"):
        MOTIONS.check_point(x, "x_1")
