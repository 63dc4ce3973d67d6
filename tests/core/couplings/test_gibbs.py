"""Gibbs-weighted pairs: the weights, and the law they leave to the source."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowatlas.couplings import GibbsWeighted, MinibatchOT
from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.manifolds import Euclidean, ProductManifold, Sphere
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath

FLAT = Euclidean()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("tau", [0.3, 1.0, 5.0])
def test_frequencies_are_the_weights(tau: float) -> None:
    """Twenty thousand data at one place: chi-square of who they draw, at 1e-6."""
    x_0 = torch.tensor([[0.0, 0.5], [1.0, 0.0], [-0.7, 0.2], [0.3, -0.4]], dtype=torch.float64)
    n, g = 50 * 400, seeded()
    x_1 = torch.tensor([[0.4, 0.1]], dtype=torch.float64).expand(400, 2)
    coupling = GibbsWeighted(FLAT, tau)
    index = torch.cat([coupling.pair(x_0.repeat(100, 1), x_1, generator=g) for _ in range(50)])
    found = (index % 4).bincount(minlength=4).double()
    weight = torch.exp(-(x_0 - x_1[0]).square().sum(1) / (2 * tau**2))
    expected = n * weight / weight.sum()
    # The quantile of chi-square with three degrees of freedom.
    assert ((found - expected).square() / expected).sum() < 30.7
    if tau < 5:
        assert ((found - n / 4).square() / (n / 4)).sum() > 300


@pytest.mark.parametrize(("tau", "kept"), [(0.8, False), (20.0, True)])
def test_the_law_of_the_source_is_the_one_that_is_said(tau: float, kept: bool) -> None:
    """N(k m, k tau^2 + k^2 v) in place of N(0, s^2), in a batch that is all but infinite."""
    s, m, v, n = 1.5, 1.0, 0.25, 3000
    x_0 = s * torch.randn(n, 1, generator=seeded(), dtype=torch.float64)
    x_1 = m + v**0.5 * torch.randn(n, 1, generator=seeded(1), dtype=torch.float64)
    found = x_0[GibbsWeighted(FLAT, tau).pair(x_0, x_1, generator=seeded(2))]
    k = s**2 / (s**2 + tau**2)
    mean, var = k * m, k * tau**2 + k**2 * v

    def fits(mean: float, var: float) -> bool:
        # Five standard errors; the finite batch doubles the variance of either at most.
        error = math.sqrt(2 * var / n)
        close = abs(found.mean().item() - mean) < 5 * error
        return close and abs(found.var().item() / var - 1) < 5 * math.sqrt(4 / n)

    assert fits(mean, var)
    assert fits(0.0, s**2) is kept
    if not kept:
        # Jointly: the covariance is k v.
        cov = ((found - mean) * (x_1 - m)).mean().item()
        assert abs(cov - k * v) < 5 * math.sqrt(2 * (var * v + (k * v) ** 2) / n)


def test_it_lies_between_nearest_and_independent() -> None:
    x_0, x_1 = torch.randn(2, 200, 3, generator=seeded(), dtype=torch.float64)
    square = torch.cdist(x_1, x_0).square()
    rows = torch.arange(200)
    nearest = GibbsWeighted(FLAT, 1e-3).pair(x_0, x_1, generator=seeded())
    assert torch.equal(nearest, square.argmin(1))
    costs = [
        square[rows, GibbsWeighted(FLAT, tau).pair(x_0, x_1, generator=seeded())].mean().item()
        for tau in (0.1, 0.5, 1.0, 100.0)
    ]
    assert costs == sorted(costs)
    assert costs[-1] == pytest.approx(square.mean().item(), rel=0.2)


def test_one_generator_each() -> None:
    x_0, x_1 = torch.randn(2, 6, 3, generator=seeded())
    coupling = GibbsWeighted(FLAT, 1.0)
    index = coupling.pair(x_0, x_1, generator=[seeded(i) for i in range(6)])
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    again = coupling.pair(x_0, x_1[order], generator=[seeded(int(i)) for i in order])
    assert torch.equal(again, index[order])
    assert index.dtype == torch.int64


def test_other_spaces_and_objectives() -> None:
    x = torch.nn.functional.normalize(torch.randn(2, 10, 3, generator=seeded()), dim=-1)
    assert GibbsWeighted(Sphere(), 0.1).pair(x[0], x[0]).shape == (10,)
    space = ProductManifold(a=Euclidean(), b=Sphere())
    state = {"a": x[0], "b": x[1]}
    nearest = GibbsWeighted(space, 1e-2).pair(state, state)
    assert nearest.tolist() == list(range(10))
    empty = torch.zeros(0, 3)
    assert GibbsWeighted(FLAT, 1.0).pair(empty, empty).shape == (0,)

    def zero(x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)

    x_1 = torch.randn(100, 2, generator=seeded())
    losses = [
        FlowMatching(AffinePath(), coupling=coupling)(zero, x_1, generator=seeded(1)).loss
        for coupling in (GibbsWeighted(FLAT, 0.3), None)
    ]
    assert losses[0] < 0.5 * losses[1]
    # Weights of the data are the objective's.
    weight = torch.rand(100, generator=seeded(2))
    output = FlowMatching(AffinePath(), coupling=MinibatchOT(FLAT))(
        zero, x_1, weight=weight, generator=seeded(1)
    )
    assert output.loss == pytest.approx(output.per_sample.mean().item())


def test_errors() -> None:
    for tau in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="tau"):
            GibbsWeighted(FLAT, tau)
    with pytest.raises(ConfigError, match="space"):
        GibbsWeighted("flat", 1.0)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="same shape"):
        GibbsWeighted(FLAT, 1.0).pair(torch.zeros(4, 1), torch.zeros(4, 2))
    with pytest.raises(ShapeError, match="Pass GibbsWeighted the path"):
        GibbsWeighted(FLAT, 1.0).pair({"x": torch.zeros(4, 2)}, {"x": torch.zeros(4, 2)})
    with pytest.raises(GeometryError, match="NaN"):
        GibbsWeighted(FLAT, 1.0).pair(torch.full((4, 2), torch.nan), torch.zeros(4, 2))
