from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.paths import AffinePath
from flowatlas.sources import Empirical, Gaussian


@pytest.mark.parametrize(
    "mean", [0.0, 1.5, torch.tensor([1.0, -2.0, 0.5])], ids=["0", "1.5", "tensor"]
)
@pytest.mark.parametrize("std", [1.0, 0.3, 10.0])
def test_density_is_that_of_torch(mean: float | Tensor, std: float) -> None:
    x = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    each = Normal(torch.as_tensor(mean, dtype=torch.float64).expand(3), std).log_prob(x)
    for point_ndim, expected in ((0, each), (1, each.sum(-1)), (2, each.sum((-2, -1)))):
        value = Gaussian(std, mean=mean, point_ndim=point_ndim).log_prob(x)
        torch.testing.assert_close(value, expected)


def test_samples_have_mean_and_standard_deviation(generator: torch.Generator) -> None:
    n, mean = 40000, torch.tensor([1.0, -2.0])
    x = Gaussian(3.0, mean=mean).sample((n, 2), generator=generator)
    # Five standard errors of either.
    assert (x.mean(0) - mean).abs().max() < 5 * 3 / math.sqrt(n)
    assert (x.std(0) - 3).abs().max() < 5 * 3 / math.sqrt(2 * n)


def test_affine_path_reads_the_moments() -> None:
    mean = torch.tensor([1.0, -2.0])
    path = AffinePath(source=Gaussian(2.0, mean=mean), prediction="noise")
    x_0 = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    t = torch.full((6,), 0.25)
    score = path.convert(x_0, torch.zeros(6, 2), t, "score")
    torch.testing.assert_close(score, (mean - x_0) / (0.75 * 4))
    with pytest.raises(CapabilityError, match="Gaussian"):
        AffinePath(source=Empirical(x_0), prediction="noise")


def test_errors() -> None:
    for std in (0.0, -2.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="std"):
            Gaussian(std)
    with pytest.raises(ConfigError, match="mean"):
        Gaussian(mean=math.nan)
    with pytest.raises(ConfigError, match="point_ndim"):
        Gaussian(point_ndim=-1)
    for shape in ((3,)[:0], (8, 4), (4, 1)):
        with pytest.raises(ShapeError, match="mean"):
            Gaussian(mean=torch.zeros(3)).sample(shape)
    with pytest.raises(ShapeError, match="axes"):
        Gaussian(point_ndim=2).log_prob(torch.zeros(3))
