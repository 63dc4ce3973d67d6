"""Dirichlet laws: moments, densities in either measure, the boundary, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds import Simplex
from flowatlas.sources import Dirichlet

LAWS: list[tuple[Dirichlet, Tensor]] = [
    (Dirichlet(1.0), torch.ones(4)),
    (Dirichlet(0.3), torch.full((4,), 0.3)),
    (Dirichlet([0.5, 3.0, 1.0, 7.0]), torch.tensor([0.5, 3.0, 1.0, 7.0])),
]
every_law = pytest.mark.parametrize(("source", "a"), LAWS, ids=[repr(s) for s, _ in LAWS])


@every_law
def test_moments(source: Dirichlet, a: Tensor, generator: torch.Generator) -> None:
    """Means and second moments, and those of the logarithms, within five standard errors."""
    n, a = 40000, a.double()
    x = source.sample((n, 4), generator=generator, dtype=torch.float64)
    Simplex().check_point(x)
    assert (x > 0).all()
    total = a.sum()
    expected = {
        "mean": (x, a / total),
        "square": (x.square(), a * (a + 1) / (total * (total + 1))),
        "logarithm": (x.log(), torch.digamma(a) - torch.digamma(total)),
    }
    for name, (values, wanted) in expected.items():
        z = (values.mean(0) - wanted) / (values.std(0) / math.sqrt(n))
        assert z.abs().max() < 5, name


@every_law
def test_density_is_the_textbook_one_in_the_coordinates(
    source: Dirichlet, a: Tensor, generator: torch.Generator
) -> None:
    x = source.sample((50, 3, 4), generator=generator, dtype=torch.float64)
    found = Simplex().lebesgue_log_prob(x, source.log_prob(x))
    torch.testing.assert_close(found, torch.distributions.Dirichlet(a.double()).log_prob(x))


def test_density_integrates_to_one_over_the_volume(generator: torch.Generator) -> None:
    """Mean over uniform points, times the volume: five standard errors (6e-7)."""
    n = 40000
    for source in (Dirichlet(1.0), Dirichlet([2.0, 3.0, 1.5])):
        x = Simplex().random_uniform((n, 3), generator=generator, dtype=torch.float64)
        value = (source.log_prob(x) - Simplex().uniform_log_prob(x)).exp()
        error = value.std().item() / math.sqrt(n)
        assert error < 0.02 and abs(value.mean().item() - 1) < 5 * error


def test_one_half_is_uniform_at_the_boundary_too() -> None:
    vertex = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(Dirichlet(0.5).log_prob(vertex), Simplex().uniform_log_prob(vertex))
    assert (Dirichlet(1.0).log_prob(vertex) == -math.inf).all()


def test_float32_and_bfloat16(generator: torch.Generator) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        x = Dirichlet(1.0).sample((4, 3, 512), generator=generator, dtype=dtype)
        assert x.dtype == dtype
        sums = x.double().sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-2, rtol=0)
    assert (Dirichlet(1.0).sample((2000, 512), generator=generator) > 0).all()


def test_what_is_no_concentration_is_refused() -> None:
    for bad in (0.0, -1.0, math.nan, math.inf, [1.0, 0.0]):
        with pytest.raises(ConfigError, match="concentration: got"):
            Dirichlet(bad)
    with pytest.raises(ConfigError, match="shape"):
        Dirichlet(torch.ones(2, 2))
    with pytest.raises(ShapeError, match=r"\(4, 3\).*\(\.\.\., 5\)"):
        Dirichlet(torch.ones(5)).sample((4, 3))
    with pytest.raises(ShapeError, match="K >= 2"):
        Dirichlet(1.0).log_prob(torch.ones(4, 1))
