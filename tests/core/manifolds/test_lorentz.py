"""Hyperbolic space."""

from flowatlas.manifolds import Lorentz
from flowatlas.testing import ManifoldConformance


class TestLorentz(ManifoldConformance):
    manifold, point_shape = Lorentz(), (4,)
