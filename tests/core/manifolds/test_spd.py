"""Positive definite matrices: conformance of three metrics, closed forms, volumes by integrals."""

import torch

from flowatlas.manifolds import SPD, LogCholeskySPD, LogEuclideanSPD
from flowatlas.testing import ManifoldConformance

WRONG = ((3,), (2, 4), (2, 9), (2, 4, 4), (2, 3, 2))


class TestSPD(ManifoldConformance):
    manifold, point_shape = SPD(3), (3, 3)
    base_point = torch.eye(3)
    max_length = 1.5
    wrong_shapes = WRONG
    density_std = 0.5


class TestLogEuclidean(ManifoldConformance):
    manifold, point_shape = LogEuclideanSPD(3), (3, 3)
    base_point = torch.eye(3)
    max_length = 1.5
    wrong_shapes = WRONG
    # Differences of flat coordinates are as accurate as those, however close the points.
    float32_log = (1e-4, 1e-5)
    float32_point = 5e-6


class TestLogCholesky(ManifoldConformance):
    manifold, point_shape = LogCholeskySPD(3), (3, 3)
    base_point = torch.eye(3)
    max_length = 1.5
    wrong_shapes = WRONG
    float32_log = (1e-4, 5e-6)
