"""The sphere."""

from flowatlas.manifolds import Sphere
from flowatlas.testing import ManifoldConformance


class TestCircle(ManifoldConformance):
    manifold, point_shape = Sphere(), (2,)


class TestSphere(ManifoldConformance):
    manifold, point_shape = Sphere(), (3,)


class TestSphereInTenDimensions(ManifoldConformance):
    manifold, point_shape = Sphere(), (10,)
