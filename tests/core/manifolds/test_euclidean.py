"""Flat space."""

from flowatlas.manifolds import Euclidean
from flowatlas.testing import ManifoldConformance


class TestScalars(ManifoldConformance):
    manifold, point_shape, everywhere = Euclidean(point_ndim=0), (), True


class TestVectors(ManifoldConformance):
    manifold, point_shape, everywhere = Euclidean(), (3,), True


class TestMatrices(ManifoldConformance):
    manifold, point_shape, everywhere = Euclidean(point_ndim=2), (2, 3), True
