"""The flat torus."""

from flowatlas.manifolds import FlatTorus
from flowatlas.testing import ManifoldConformance


class TestTorus(ManifoldConformance):
    manifold, point_shape = FlatTorus(), (3,)


class TestTorusOfSeveralPeriods(ManifoldConformance):
    manifold, point_shape = FlatTorus(period=(1.0, 2.0, 360.0)), (3,)
