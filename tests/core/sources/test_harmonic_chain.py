"""The bead-spring chain: covariance, density and its integral, likelihood of a flow."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from flowatlas.errors import CapabilityError, ConfigError, GeometryError, ShapeError
from flowatlas.paths import AffinePath
from flowatlas.sampling import log_prob
from flowatlas.solvers import RK4
from flowatlas.sources import HarmonicChain

DOUBLE = torch.float64


def laplacian(beads: int) -> Tensor:
    """Of the path graph, from its edges."""
    edges = torch.eye(beads, dtype=DOUBLE)[1:] - torch.eye(beads, dtype=DOUBLE)[:-1]
    product: Tensor = edges.mT @ edges
    return product


def basis(beads: int) -> Tensor:
    """Orthonormal rows that span the centred chains, by QR."""
    columns = torch.eye(beads, dtype=DOUBLE)[:, :-1] - 1 / beads
    rows: Tensor = torch.linalg.qr(columns)[0].mT
    return rows


@pytest.mark.parametrize("beads", [2, 3, 17])
def test_covariance_is_the_pseudoinverse_of_the_energy(beads: int) -> None:
    source = HarmonicChain(0.7)
    modes = source._modes(beads, torch.zeros((), dtype=DOUBLE))
    expected = torch.linalg.pinv(0.7 * laplacian(beads))
    torch.testing.assert_close(modes @ modes.mT, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("beads", [2, 5, 40])
@pytest.mark.parametrize("dimension", [1, 3])
def test_density_is_that_of_a_gaussian_on_centred_chains(beads: int, dimension: int) -> None:
    source = HarmonicChain(1.3)
    x = source.sample(
        (6, beads, dimension), generator=torch.Generator().manual_seed(0), dtype=DOUBLE
    )
    rows = basis(beads)
    # In coordinates of the subspace, where the precision is regular.
    precision = 1.3 * rows @ laplacian(beads) @ rows.mT
    law = MultivariateNormal(torch.zeros(beads - 1, dtype=DOUBLE), precision_matrix=precision)
    expected = law.log_prob((rows @ x).mT).sum(-1)
    torch.testing.assert_close(source.log_prob(x), expected, atol=1e-8, rtol=1e-10)


def test_samples_are_centred_and_as_far_apart_as_the_covariance_says() -> None:
    n, beads, k = 20000, 8, 3 / 3.8**2
    x = HarmonicChain(k).sample(
        (n, beads, 3), generator=torch.Generator().manual_seed(0), dtype=DOUBLE
    )
    assert x.mean(-2).abs().max() < 1e-12
    # Springs are independent: |x_i - x_j|^2 has mean 3 |i - j| / k and variance 2/3 of its square.
    for i, j in ((0, 1), (3, 4), (0, 7), (2, 5)):
        square = (x[:, i] - x[:, j]).square().sum(-1)
        expected = 3 * abs(i - j) / k
        error = expected * math.sqrt(2 / 3 / n)
        assert abs(square.mean().item() - expected) < 5 * error
        # Power: a spring constant that is ten percent off is seen.
        assert abs(square.mean().item() - 1.1 * expected) > 5 * error
    steps = x[:, 1:] - x[:, :-1]
    correlation = torch.corrcoef(steps[..., 0].mT) - torch.eye(beads - 1, dtype=DOUBLE)
    assert correlation.abs().max() < 5 / math.sqrt(n)


def test_likelihood_of_a_flow_that_shrinks_chains() -> None:
    # dx/dt = -a x keeps chains centred and makes the law that of a stiffer spring.
    a, source = 0.4, HarmonicChain(1.0)
    path = AffinePath(source=source)

    def field(x: Tensor, t: Tensor, condition: object = None) -> Tensor:
        return -a * (x - x.mean(-2, keepdim=True))

    x = HarmonicChain(math.exp(2 * a)).sample(
        (5, 6, 3), generator=torch.Generator().manual_seed(0), dtype=DOUBLE
    )
    found = log_prob(field, path, x, solver=RK4(steps=20))
    torch.testing.assert_close(found, HarmonicChain(math.exp(2 * a)).log_prob(x), atol=1e-5, rtol=0)


def test_noise_prediction_is_refused() -> None:
    assert HarmonicChain().std is None
    with pytest.raises(CapabilityError, match="Gaussian"):
        AffinePath(source=HarmonicChain(), prediction="noise")


def test_errors() -> None:
    for value in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="stiffness"):
            HarmonicChain(value)
    for shape in ((3,), (4, 1, 3), (4, 5, 0)):
        with pytest.raises(ShapeError, match="two beads"):
            HarmonicChain().sample(shape)
    x = HarmonicChain().sample((2, 5, 3), generator=torch.Generator().manual_seed(0))
    with pytest.raises(GeometryError, match="mean"):
        HarmonicChain().log_prob(x + 1)
    assert HarmonicChain().log_prob(x[:0]).shape == (0,)
