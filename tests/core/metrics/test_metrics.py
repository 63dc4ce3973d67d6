"""Metrics of data against loops over their formulae, and what they say of data and void."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.metrics import DiagonalMetric, FlatMetric, LandMetric, RbfMetric
from flowatlas.metrics._kmeans import kmeans


def points(n: int, dim: int, seed: int = 0) -> Tensor:
    """Far from the origin, where differences of squares would lose digits."""
    g = torch.Generator().manual_seed(seed)
    return 30 + torch.randn(n, dim, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("dim", [1, 3])
def test_land_is_the_sum_over_points(dim: int) -> None:
    data, x = points(7, dim), points(4, dim, 1)
    sigma, epsilon = 0.8, 0.01
    found = LandMetric(data, sigma=sigma, epsilon=epsilon).diagonal(x)
    for b in range(4):
        near = [
            math.exp(-sum(float(data[i, a] - x[b, a]) ** 2 for a in range(dim)) / (2 * sigma**2))
            for i in range(7)
        ]
        for a in range(dim):
            h = sum(float(data[i, a] - x[b, a]) ** 2 * near[i] for i in range(7))
            assert float(found[b, a]) == pytest.approx(1 / (h + epsilon), rel=1e-9)


def test_rbf_is_the_sum_over_centres() -> None:
    centres, x, u = points(5, 2), points(4, 2, 1), points(4, 2, 2)
    rates, weights = torch.rand(2, 5, dtype=torch.float64, generator=torch.Generator())
    rates = rates + 0.1
    found = RbfMetric(centres, rates, weights, epsilon=0.02).squared_norm(x, u)
    for b in range(4):
        h = 0.0
        for k in range(5):
            square = sum(float(x[b, a] - centres[k, a]) ** 2 for a in range(2))
            h += float(weights[k]) * math.exp(-0.5 * float(rates[k]) * square)
        expected = sum(float(u[b, a]) ** 2 for a in range(2)) / (h + 0.02)
        assert float(found[b]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda data: LandMetric(data, sigma=0.7),
        lambda data: RbfMetric.fit(data, centres=6, generator=torch.Generator().manual_seed(0)),
    ],
)
def test_float32_is_float64_rounded_and_any_axes_do(make: Callable[[Tensor], LandMetric]) -> None:
    data, x, u = points(50, 2), points(6, 2, 1), points(6, 2, 2)
    whole = make(data).squared_norm(x, u)
    single = make(data).squared_norm(x.float(), u.float())
    assert single.dtype == torch.float32
    # Coordinates of 30 have four digits of their distances left.
    torch.testing.assert_close(single.double(), whole, rtol=2e-3, atol=0)
    boxed = make(data).squared_norm(x.view(2, 3, 2), u.view(2, 3, 2))
    torch.testing.assert_close(boxed, whole.view(2, 3))


def test_gradients_are_those_of_finite_differences() -> None:
    data, u = points(30, 2), points(3, 2, 2)
    x = points(3, 2, 1).requires_grad_()
    land = LandMetric(data, sigma=0.9, epsilon=0.1)
    rbf = RbfMetric.fit(data, centres=5, epsilon=0.1, generator=torch.Generator().manual_seed(0))
    for metric in (land, rbf):
        assert torch.autograd.gradcheck(lambda y, m=metric: m.squared_norm(y, u), (x,))


def test_values_and_gradients_at_a_point_and_in_the_void() -> None:
    """At a lone data point and far from all of them nothing is NaN, infinite or negative."""
    data = torch.zeros(1, 2)
    x = torch.tensor([[0.0, 0.0], [1e4, -1e4]], requires_grad=True)
    for metric in (
        LandMetric(data, sigma=0.1, epsilon=1e-3),
        RbfMetric.fit(data, centres=1, epsilon=1e-3),
    ):
        value = metric.squared_norm(x, torch.ones(2, 2))
        (gradient,) = torch.autograd.grad(value.sum(), x)
        assert torch.isfinite(gradient).all()
        # The void is 1 / epsilon long, and so is, for LAND, a point without neighbours.
        assert float(value.detach()[1]) == pytest.approx(2 / 1e-3)


def ring() -> Tensor:
    angle = 2 * torch.pi * torch.arange(600) / 600
    return torch.stack([torch.cos(angle), torch.sin(angle)], 1).double()


def test_the_void_is_longer_than_the_data() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    u = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    g = torch.Generator().manual_seed(0)
    for metric in (
        LandMetric(ring(), sigma=0.15),
        RbfMetric.fit(ring(), centres=30, generator=g),
    ):
        on, off = metric.squared_norm(x, u).tolist()
        assert off > 100 * on
    # LAND knows directions: along the ring is shorter than across.
    along = LandMetric(ring(), sigma=0.15).squared_norm(x[:1], u[:1])
    across = LandMetric(ring(), sigma=0.15).squared_norm(x[:1], u[:1].flip(1))
    assert float(across) > 5 * float(along)


def test_fitted_weights_are_the_best_non_negative_ones() -> None:
    """h is about one on the data, and the conditions of Karush, Kuhn and Tucker hold."""
    g = torch.Generator().manual_seed(0)
    metric = RbfMetric.fit(ring(), centres=30, width=2.0, generator=g)
    h = metric.height(ring())
    assert float((h - 1).square().mean().sqrt()) < 0.02
    kernels = torch.exp(-0.5 * metric.rates * torch.cdist(ring(), metric.centres).square())
    slope = kernels.T @ (h - 1)
    assert (metric.weights >= 0).all() and float(slope.min()) > -1e-8
    assert float((slope * metric.weights).abs().max()) < 1e-8


def test_widths_are_those_of_the_clusters() -> None:
    data = torch.tensor([[0.0], [2.0], [100.0], [106.0]], dtype=torch.float64)
    metric = RbfMetric.fit(data, centres=2, width=0.5, generator=torch.Generator().manual_seed(0))
    order = metric.centres.flatten().argsort()
    torch.testing.assert_close(metric.centres[order].flatten(), torch.tensor([1.0, 103.0]).double())
    expected = 0.5 / (0.5 * torch.tensor([1.0, 3.0]).double()) ** 2
    torch.testing.assert_close(metric.rates[order], expected)


def test_clusters() -> None:
    """Blobs are found, and copies of one point do no harm."""
    g = torch.Generator().manual_seed(0)
    corners = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    data = corners.repeat(50, 1) + 0.1 * torch.randn(200, 2, generator=g)
    centres, member = kmeans(data, 4, g)
    assert float(torch.cdist(corners, centres).amin(1).max()) < 0.1
    assert np.unique(torch.bincount(member).numpy()).tolist() == [50]
    centres, _ = kmeans(torch.ones(5, 2), 3, g)
    assert torch.equal(centres, torch.ones(3, 2))


def test_flat_metric_and_one_of_ones_own() -> None:
    class Logarithmic(DiagonalMetric):
        def diagonal(self, x: Tensor) -> Tensor:
            return x**-2

    x, u = torch.tensor([[2.0, 4.0]]), torch.tensor([[1.0, 2.0]])
    assert float(FlatMetric().squared_norm(x, u)) == 5
    assert float(Logarithmic().squared_norm(x, u)) == 0.5


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda x: LandMetric(x, sigma=0), ConfigError, "sigma: got 0"),
        (lambda x: LandMetric(x, sigma=1, epsilon=float("nan")), ConfigError, "epsilon"),
        (lambda x: LandMetric(x[0], sigma=1), ShapeError, "points: got"),
        (lambda x: LandMetric(x[:0], sigma=1), ShapeError, "points: got"),
        (lambda x: LandMetric(x / 0, sigma=1), GeometryError, "points: got"),
        (lambda x: LandMetric(x, sigma=1).diagonal(x[:, :1]), ShapeError, "2 coordinates"),
        (lambda x: RbfMetric.fit(x, centres=9), ConfigError, "centres: got 9"),
        (lambda x: RbfMetric.fit(x, centres=2, width=-1), ConfigError, "width"),
        (lambda x: RbfMetric.fit(x, centres=2).height(x[:, :1]), ShapeError, "2 coordinates"),
        (lambda x: RbfMetric(x, x[:, 0], x[:3, 0]), ShapeError, "weights"),
        (lambda x: RbfMetric(x, -x[:, 0], x[:, 0]), GeometryError, "rates"),
        (lambda x: RbfMetric(x, x[:, 0], -x[:, 0]), GeometryError, "weights"),
    ],
)
def test_bad_input(wrong: Callable[[Tensor], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong(points(8, 2))
