"""Flat space: conformance, and what counts as one point."""

import pytest
import torch

from flowatlas.manifolds import Euclidean
from flowatlas.testing import ManifoldConformance


class TestScalars(ManifoldConformance):
    manifold, point_shape, everywhere = Euclidean(point_ndim=0), (), True


class TestVectors(ManifoldConformance):
    manifold, point_shape, everywhere = Euclidean(), (3,), True


class TestMatrices(ManifoldConformance):
    manifold, point_shape, everywhere = Euclidean(point_ndim=2), (2, 3), True


def test_distances_are_those_of_points_of_the_declared_axes() -> None:
    x, y = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    difference = y - x
    for ndim, expected in enumerate(
        [difference.abs(), difference.norm(dim=-1), difference.flatten(1).norm(dim=-1)]
    ):
        torch.testing.assert_close(Euclidean(ndim).dist(x, y), expected)


def test_pairwise_distances_do_not_depend_on_what_a_point_is() -> None:
    x, y = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    expected = (x.unsqueeze(1) - y.unsqueeze(0)).square().sum((-2, -1))
    for ndim in (0, 1, 2):
        torch.testing.assert_close(Euclidean(ndim).pairwise_squared_dist(x, y), expected)


def test_pairwise_distances_far_from_the_origin_keep_their_digits() -> None:
    x, y = 1000 + torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(0))
    expected = (x.unsqueeze(1) - y).square().sum(-1)
    # torch.cdist(x, y).square() is off by 0.8 here.
    found = Euclidean().pairwise_squared_dist(x, y)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


def test_the_number_of_axes_is_checked() -> None:
    with pytest.raises(ValueError, match="point_ndim: got -1"):
        Euclidean(-1)
