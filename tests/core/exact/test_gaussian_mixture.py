from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.exact import GaussianMixture

WEIGHTS = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
MEANS = torch.tensor([[-2.0, 0.0, 0.3], [1.0, 1.5, -1.0], [0.5, -2.0, 0.0]], dtype=torch.float64)
# In three dimensions, for in two the eigenvectors may come as a symmetric matrix.
ROOTS = torch.tensor(
    [
        [[0.7, 0.0, 0.0], [0.3, 0.5, 0.0], [-0.4, 0.6, 0.3]],
        [[0.4, 0.0, 0.0], [0.0, 1.0, 0.0], [0.2, -0.3, 0.8]],
        [[0.9, 0.0, 0.0], [-0.5, 0.6, 0.0], [0.7, 0.1, 0.2]],
    ],
    dtype=torch.float64,
)
COVARIANCES = ROOTS @ ROOTS.mT
STDS = torch.tensor([[0.5, 1.0, 0.8], [0.3, 0.3, 0.4], [2.0, 0.1, 1.0]], dtype=torch.float64)


def reference(covariances: Tensor) -> MixtureSameFamily:
    return MixtureSameFamily(Categorical(WEIGHTS), MultivariateNormal(MEANS, covariances))


@pytest.mark.parametrize(
    ("target", "covariances"),
    [
        (GaussianMixture(WEIGHTS, MEANS, COVARIANCES), COVARIANCES),
        (GaussianMixture(WEIGHTS, MEANS, stds=STDS), torch.diag_embed(STDS**2)),
        (GaussianMixture(WEIGHTS, MEANS, stds=0.7), 0.49 * torch.eye(3).expand(3, 3, 3).double()),
        (
            GaussianMixture(WEIGHTS, MEANS, stds=STDS[:, 0]),
            (STDS[:, 0] ** 2)[:, None, None] * torch.eye(3).double(),
        ),
    ],
    ids=["covariances", "stds", "one-std", "std-each"],
)
def test_density_is_that_of_torch_distributions(
    target: GaussianMixture, covariances: Tensor, generator: torch.Generator
) -> None:
    x = 3 * torch.randn(4, 50, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        target.log_prob(x), reference(covariances).log_prob(x), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("kind", ["covariances", "stds"])
def test_samples_have_the_density(kind: str, generator: torch.Generator) -> None:
    # The means of features of the samples, in standard errors: 8 features, 4.5 sigma each, so a
    # right sampler fails with probability 5e-5.
    given: dict[str, Any] = (
        {"covariances": COVARIANCES} if kind == "covariances" else {"stds": STDS}
    )
    target = GaussianMixture(WEIGHTS, MEANS, **given)
    covariances = COVARIANCES if kind == "covariances" else torch.diag_embed(STDS**2)
    right = reference(covariances)
    torch.manual_seed(1)
    expected = right.sample((200_000,))
    x = target.sample(20_000, generator)
    assert x.dtype == torch.float64

    def errors(x: Tensor) -> Tensor:
        def features(y: Tensor) -> Tensor:
            products = [y[:, 0] ** 2, y[:, 0] * y[:, 1], y[:, 1] * y[:, 2]]
            waves = [torch.sin(2 * y[:, 0]), torch.cos(2 * y[:, 1]), right.log_prob(y)]
            return torch.stack([y[:, 0], y[:, 1], *products, *waves], 1)

        f, e = features(x), features(expected)
        error = (f.var(0) / len(f) + e.var(0) / len(e)).sqrt()
        return ((f.mean(0) - e.mean(0)) / error).abs().max()

    assert errors(x) < 4.5
    assert errors(x + 0.1) > 4.5
    assert errors(1.05 * x) > 4.5
    wrong = GaussianMixture(torch.ones(3), MEANS, **given)
    assert errors(wrong.sample(20_000, generator)) > 4.5


def test_a_sample_depends_on_its_own_generator_alone() -> None:
    target = GaussianMixture(WEIGHTS, MEANS, COVARIANCES)

    def draw(seeds: list[int]) -> Tensor:
        return target.sample(len(seeds), [torch.Generator().manual_seed(s) for s in seeds])

    assert torch.equal(draw([3, 5, 7])[1:], draw([5, 7]))


def test_to_keeps_the_law() -> None:
    target = GaussianMixture(WEIGHTS, MEANS, COVARIANCES)
    single = target.to(torch.float32)
    x = MEANS.float() + 0.5
    assert single.means.dtype == single.variances.dtype == torch.float32
    assert single.log_prob(x).dtype == torch.float32
    torch.testing.assert_close(
        single.log_prob(x).double(), target.log_prob(x.double()), rtol=1e-5, atol=1e-5
    )
    # The computation is in the wider dtype and the answer in that of x.
    assert target.log_prob(x).dtype == torch.float32
    assert single.log_prob(x.double()).dtype == torch.float64
    stds = GaussianMixture(WEIGHTS, MEANS, stds=STDS).to(torch.float32)
    assert stds.sample(3).dtype == torch.float32


def test_weights_are_normalised_and_nothing_can_be_reassigned() -> None:
    target = GaussianMixture(WEIGHTS, MEANS, stds=1.0)
    assert target.weights.sum().item() == pytest.approx(1.0, abs=1e-15)
    with pytest.raises(AttributeError):
        target.weights = WEIGHTS  # type: ignore[misc]
    assert (target.components, target.dim) == (3, 3)
    assert repr(target) == "GaussianMixture(components=3, dim=3)"


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({}, ConfigError, "exactly one"),
        ({"stds": 1.0, "covariances": COVARIANCES}, ConfigError, "exactly one"),
        ({"stds": 0.0}, ConfigError, "stds.*positive"),
        ({"stds": math.nan}, ConfigError, "stds.*finite"),
        ({"stds": torch.ones(2)}, ShapeError, r"stds.*\(2,\).*\(3, 3\)"),
        ({"covariances": COVARIANCES[:2]}, ShapeError, r"covariances.*\(3, 3, 3\)"),
        ({"covariances": -COVARIANCES}, ConfigError, "positive definite"),
        ({"covariances": COVARIANCES.triu()}, ConfigError, "symmetric"),
        ({"stds": 1.0, "weights": torch.tensor([1.0, 0.0, 1.0])}, ConfigError, "weights.*positive"),
        ({"stds": 1.0, "weights": torch.ones(3, 1)}, ShapeError, "weights"),
        ({"stds": 1.0, "means": MEANS[:2]}, ShapeError, r"means.*\(3, dim\)"),
        ({"stds": 1.0, "means": MEANS * math.inf}, ConfigError, "means.*finite"),
    ],
)
def test_errors_name_the_argument(
    arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    given = {"weights": WEIGHTS, "means": MEANS} | arguments
    with pytest.raises(error, match=match):
        GaussianMixture(**given)


def test_points_of_another_dimension_are_an_error() -> None:
    with pytest.raises(ShapeError, match=r"x: got shape \(4, 2\)"):
        GaussianMixture(WEIGHTS, MEANS, stds=1.0).log_prob(torch.zeros(4, 2))
