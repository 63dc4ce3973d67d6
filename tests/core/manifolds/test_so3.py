"""Rotations."""

from flowatlas.manifolds import SO3
from flowatlas.testing import ManifoldConformance


class TestSO3(ManifoldConformance):
    manifold, point_shape = SO3(), (3, 3)
    max_length = 4.0
    wrong_shapes = ((3,), (2, 4), (2, 9), (2, 4, 4), (2, 3, 2))
