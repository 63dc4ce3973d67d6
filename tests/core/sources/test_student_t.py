"""Student's t law: density of scipy, its integral, samples, and what it is refused for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.paths import AffinePath
from flowatlas.sources import StudentT

DOUBLE = torch.float64


@pytest.mark.parametrize("df", [0.7, 3.0, 50.0])
@pytest.mark.parametrize("location", [0.0, 1.5, torch.tensor([1.0, -2.0, 0.5])], ids=str)
def test_density_is_that_of_scipy(df: float, location: float | Tensor) -> None:
    x = 3 * torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    centre = torch.as_tensor(location, dtype=DOUBLE).expand(3)
    points = scipy.stats.multivariate_t(centre.numpy(), 0.49 * np.eye(3), df=df)
    expected = torch.from_numpy(points.logpdf(x.numpy()))
    torch.testing.assert_close(StudentT(df, 0.7, location=location).log_prob(x), expected)
    each = torch.from_numpy(scipy.stats.t(df, centre.numpy(), 0.7).logpdf(x.numpy()))
    law = StudentT(df, 0.7, location=location, point_ndim=0)
    torch.testing.assert_close(law.log_prob(x), each)
    whole = scipy.stats.multivariate_t(np.zeros(15), 0.49 * np.eye(15), df=df)
    expected = torch.from_numpy(whole.logpdf(x.flatten(1).numpy()))
    torch.testing.assert_close(StudentT(df, 0.7, point_ndim=2).log_prob(x), expected)


@pytest.mark.parametrize("df", [1.0, 4.0])
@pytest.mark.parametrize("point_ndim", [0, 1])
def test_samples_have_the_distribution_of_lengths(df: float, point_ndim: int) -> None:
    # |x|^2 / (d s^2) has law F(d, df); a Kolmogorov-Smirnov test at 1e-6.
    n, d = 8000, 3 if point_ndim else 1
    generator = torch.Generator().manual_seed(1)
    x = StudentT(df, 2.0, location=1.0, point_ndim=point_ndim).sample(
        (n, 3) if point_ndim else (n,), generator=generator, dtype=DOUBLE
    )
    square = ((x - 1) / 2).square()
    ratio = (square.mean(-1) if point_ndim else square).numpy()
    bound = math.sqrt(math.log(2e6) / (2 * n))
    assert scipy.stats.kstest(ratio, scipy.stats.f(d, df).cdf).statistic < bound
    # Power: another number of degrees of freedom, and another scale, are seen.
    assert scipy.stats.kstest(ratio, scipy.stats.f(d, 2 * df).cdf).statistic > bound
    assert scipy.stats.kstest(1.2 * ratio, scipy.stats.f(d, df).cdf).statistic > bound


def test_directions_are_isotropic_and_coordinates_of_a_point_share_their_length() -> None:
    n = 20000
    x = StudentT(5.0).sample((n, 2), generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    unit = x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    assert unit.mean(0).abs().max() < 5 * math.sqrt(0.5 / n)
    # Uncorrelated but dependent: large coordinates come together.
    together = torch.corrcoef(x.abs().T)[0, 1]
    apart = StudentT(5.0, point_ndim=0).sample(
        (n, 2), generator=torch.Generator().manual_seed(0), dtype=DOUBLE
    )
    assert together > 0.05 and torch.corrcoef(apart.abs().T)[0, 1].abs() < 0.05


def test_noise_prediction_is_refused() -> None:
    assert StudentT(3.0).std is None
    AffinePath(source=StudentT(3.0), prediction="velocity")
    with pytest.raises(CapabilityError, match="Gaussian"):
        AffinePath(source=StudentT(3.0), prediction="noise")


def test_errors() -> None:
    for value in (0.0, -2.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="df"):
            StudentT(value)
        with pytest.raises(ConfigError, match="scale"):
            StudentT(3.0, value)
    with pytest.raises(ConfigError, match="location"):
        StudentT(3.0, location=math.nan)
    with pytest.raises(ConfigError, match="point_ndim"):
        StudentT(3.0, point_ndim=-1)
    for shape in ((8, 4), (4, 1)):
        with pytest.raises(ShapeError, match="location"):
            StudentT(3.0, location=torch.zeros(3)).sample(shape)
    with pytest.raises(ShapeError, match="axes"):
        StudentT(3.0, point_ndim=2).log_prob(torch.zeros(3))
    assert repr(StudentT(3.0, 2.0, location=1.0, point_ndim=2)) == (
        "StudentT(3, scale=2, location=1, point_ndim=2)"
    )
