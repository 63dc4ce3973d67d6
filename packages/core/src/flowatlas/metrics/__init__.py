"""Riemannian metrics on flat space, such as those that data define."""

from flowatlas.metrics.base import DiagonalMetric as DiagonalMetric
from flowatlas.metrics.base import FlatMetric as FlatMetric
from flowatlas.metrics.base import RiemannianMetric as RiemannianMetric
from flowatlas.metrics.land import LandMetric as LandMetric
from flowatlas.metrics.rbf import RbfMetric as RbfMetric
