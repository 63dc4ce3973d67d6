"""Rigid motions."""

import torch

from flowatlas.manifolds import SE3
from flowatlas.testing import ManifoldConformance


class TestSE3(ManifoldConformance):
    manifold, point_shape = SE3(), (4, 4)
    base_point = torch.eye(4, dtype=torch.float64)
    wrong_shapes = ((4,), (2, 3, 3), (2, 3, 4), (2, 16))
