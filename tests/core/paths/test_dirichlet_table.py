"""The parts of the Dirichlet table: cells by bits, polynomials through Chebyshev's points."""

from __future__ import annotations

import math

import pytest
import torch

from flowatlas.paths import DirichletPath
from flowatlas.paths._chebyshev import chebyshev, lagrange
from flowatlas.paths._octaves import Octaves


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cells_hold_their_numbers(dtype: torch.dtype) -> None:
    """Found by bits, they are those of the logarithm and the mantissa."""
    rows = Octaves(5, 2)
    x = torch.cat([torch.logspace(-6, 0, 500), torch.tensor([1 / 32, 0.5, 0.999999, 1.0])])
    x = x.to(dtype)
    cell, place, below = rows.locate(x)
    for one, row, inside, under in zip(
        x.tolist(), cell.tolist(), place.tolist(), below.tolist(), strict=True
    ):
        mantissa, exponent = math.frexp(one)
        octave, share = exponent - 1 + 5, int((2 * mantissa - 1) * 4)
        assert row == max(octave, 0) * 4 + share
        assert inside == pytest.approx(2 * mantissa - 1 - share / 4, abs=1e-6)
        assert 0 <= inside < rows.length
        assert under == pytest.approx(min(octave, 0) * math.log(2))
    assert cell[-1] == rows.count - 1 == 20


def test_what_is_no_probability_stays_in_the_table() -> None:
    rows = Octaves(5, 2)
    x = torch.tensor([0.0, -1e-7, 1e-45, 1 + 1e-6, 2.0, torch.nan])
    cell, place, _ = rows.locate(x)
    assert ((cell >= 0) & (cell < rows.count)).all()
    assert torch.isfinite(place[:-1]).all() and place[-1].isnan()
    c = DirichletPath(4).velocity_coefficient(x, 2.0)
    assert c[-1].isnan() and torch.isfinite(c[:-1]).all()


def test_many_times_are_one_time_each() -> None:
    """Lines of the table, and its cells one by one, are the same function."""
    path = DirichletPath(20)
    x = path.source.sample((300, 20), generator=torch.Generator().manual_seed(0))
    alpha = torch.linspace(1, 8, 300).unsqueeze(1)
    both = path.velocity_coefficient(x, alpha)
    for i in (0, 7, 150, 299):
        torch.testing.assert_close(
            both[i], path.velocity_coefficient(x[i], alpha[i].item()), rtol=2e-6, atol=0
        )


def test_gradients_are_the_same_in_place() -> None:
    """What is written in place is not what autograd needs: against forward mode, in x and p."""
    path = DirichletPath(5, prediction="target")
    g = torch.Generator().manual_seed(0)
    x = path.source.sample((3, 5), generator=g, dtype=torch.float64)
    p = path.source.sample((3, 5), generator=g, dtype=torch.float64)
    t = torch.full((3,), 0.4, dtype=torch.float64)

    def total(x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        return path.velocity(x, t, p).square().sum()

    leaves = x.clone().requires_grad_(), p.clone().requires_grad_()
    reverse = torch.autograd.grad(total(*leaves), leaves)
    forward = torch.func.jacfwd(total, argnums=(0, 1))(x, p)
    for a, b in zip(reverse, forward, strict=True):
        torch.testing.assert_close(a, b)
    # The step is small beside a cell, and the slope of the table right to 1e-4.
    h = 1e-6
    for i in (0, 1):
        ends = [[x.clone(), p.clone()], [x.clone(), p.clone()]]
        ends[0][i][1, 2] -= h
        ends[1][i][1, 2] += h
        slope = (total(*ends[1]) - total(*ends[0])) / (2 * h)
        torch.testing.assert_close(reverse[i][1, 2], slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 9])
def test_polynomials_are_reproduced(count: int) -> None:
    nodes = chebyshev(-1.0, 3.0, count)
    assert nodes[0] == -1 and nodes[-1] == 3 and (nodes.diff() > 0).all()
    at = torch.cat([torch.linspace(-1, 3, 40, dtype=torch.float64), nodes])
    weights = lagrange(nodes, at)
    for degree in range(count):
        torch.testing.assert_close(weights @ nodes**degree, at**degree)
    # Power: one degree more is not.
    assert (weights @ nodes**count - at**count).abs().max() > 1e-2
