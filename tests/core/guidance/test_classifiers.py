"""Classifier, energy and token-classifier guidance against the conditional laws they aim at."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.exact import ExactMixtureFlow, ExactTokenChain, GaussianMixture
from flowatlas.guidance import (
    Classifier,
    Energy,
    TokenClassifier,
    exact_log_ratios,
    taylor_log_ratios,
)
from flowatlas.manifolds import SO3, Lorentz, Sphere
from flowatlas.paths import AffinePath, DirichletPath, GeodesicPath, MixturePath, ProductPath
from flowatlas.sampling import log_prob, sample
from flowatlas.schedulers import CondOT, Cosine, LinearVP, Scheduler
from flowatlas.solvers import RK4, Euler, TauLeaping
from flowatlas.sources import Gaussian

MEANS = torch.tensor([[1.5, -1.0], [-2.0, 0.5]], dtype=torch.float64)
STDS = torch.tensor([0.5, 0.8], dtype=torch.float64)
MIXTURE = GaussianMixture(torch.tensor([0.3, 0.7], dtype=torch.float64), MEANS, stds=STDS)


def component(k: int) -> GaussianMixture:
    return GaussianMixture(torch.ones(1), MEANS[k : k + 1], stds=STDS[k].item())


@pytest.mark.parametrize("scheduler", [CondOT(), Cosine(), LinearVP()], ids=repr)
@pytest.mark.parametrize("kind", ["velocity", "target", "score"])
def test_the_exact_classifier_leads_to_its_class(scheduler: Scheduler, kind: str) -> None:
    """p(x | y) is one Gaussian, whose flow map is x_0 -> m + s x_0 for a source of N(0, 4 I)."""
    source = Gaussian(2.0)
    flow = ExactMixtureFlow(MIXTURE, scheduler, source_std=2.0)
    first = ExactMixtureFlow(component(0), scheduler, source_std=2.0)
    path = AffinePath(scheduler, source=source, prediction=kind)
    guided = Classifier(
        flow.prediction(kind), path, lambda x, t, _: first.log_prob(x, t) - flow.log_prob(x, t)
    )
    x_0 = 2 * torch.randn(50, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = sample(guided, path, x_init=x_0, solver=RK4(steps=100))
    assert (x - (MEANS[0] + STDS[0] * x_0 / 2)).abs().max() < 2e-2


def test_its_velocity_is_that_of_the_class() -> None:
    flow, first = ExactMixtureFlow(MIXTURE), ExactMixtureFlow(component(1))
    guided = Classifier(
        flow, AffinePath(), lambda x, t, _: first.log_prob(x, t) - flow.log_prob(x, t)
    )
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.linspace(0.01, 1, 60, dtype=torch.float64)
    found = guided(x, t)
    assert torch.allclose(found, first.velocity(x, t), atol=1e-9)  # type: ignore[arg-type]
    density = log_prob(guided, AffinePath(), x[:4], solver=RK4(steps=40))
    assert torch.allclose(density, component(1).log_prob(x[:4]), atol=2e-3)


def test_on_the_simplex_the_classifier_gives_the_exact_posterior() -> None:
    """p(x_1 = i | x_t, y) is proportional to q_i l_i x_i^(alpha - 1), by Bayes' rule."""
    path = DirichletPath(4)
    prior = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    likely = torch.tensor([0.1, 0.9, 0.3, 0.8], dtype=torch.float64)

    def logits(x: Tensor, t: Tensor) -> Tensor:
        alpha = 1 + 7 * t.view(-1, 1)
        return prior.log() + (alpha - 1) * x.log()

    def log_likelihood(x: Tensor, t: Tensor, _: object) -> Tensor:
        return (torch.softmax(logits(x, t), -1) * likely).sum(-1).log()

    x = path.source.sample((50, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.linspace(0.01, 1, 50, dtype=torch.float64)
    found = Classifier(logits, path, log_likelihood)(x, t)
    assert torch.allclose(found, torch.softmax(logits(x, t) + likely.log(), -1), atol=1e-9)  # type: ignore[arg-type]
    count = 10_000
    end = sample(
        Classifier(logits, path, log_likelihood),
        path,
        shape=(count, 4),
        solver=Euler(steps=30),
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(0),
    )
    share = torch.bincount(end.argmax(-1), minlength=4).double() / count
    given = prior * likely / (prior * likely).sum()
    # Five standard errors, and what 30 Euler steps leave.
    assert (share - given).abs().max() < 0.025 + 0.01
    assert (prior - given).abs().max() > 0.2


def test_a_linear_energy_shifts_a_gaussian_by_its_covariance() -> None:
    """p(x) exp(a . x) is N(m + C a, C): the approximation of the energy is exact here."""
    covariance = torch.tensor([[[0.5, 0.2], [0.2, 0.3]]], dtype=torch.float64)
    law = GaussianMixture(torch.ones(1), MEANS[:1], covariances=covariance)
    a = torch.tensor([0.7, -1.1], dtype=torch.float64)
    flow, path = ExactMixtureFlow(law), AffinePath(prediction="target")
    x_0 = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    guided = Energy(flow.prediction("target"), path, lambda x: -(x * a).sum(-1), scale=2.0)
    moved = sample(guided, path, x_init=x_0, solver=RK4(steps=25))
    plain = sample(flow.prediction("target"), path, x_init=x_0, solver=RK4(steps=25))
    assert (moved - plain - 2 * covariance[0] @ a).abs().max() < 5e-3


@pytest.mark.parametrize("manifold", [Sphere(), SO3(), Lorentz()], ids=repr)
def test_gradients_are_the_manifolds(manifold: Sphere | SO3 | Lorentz) -> None:
    """The inner product with any tangent is the derivative along the geodesic that way."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(manifold, Lorentz):
        x = manifold.projx(torch.randn(5, 3, generator=generator, dtype=torch.float64))
    else:
        shape = (5, 3, 3) if isinstance(manifold, SO3) else (5, 3)
        x = manifold.random_uniform(shape, generator=generator, dtype=torch.float64)
    weight = torch.randn(x.shape[1:], generator=generator, dtype=torch.float64)

    def height(x: Tensor) -> Tensor:
        return (x * weight).flatten(1).sum(1).sin()

    path = GeodesicPath(manifold, Gaussian())
    still = torch.zeros(5, *manifold.tangent_shape(x.shape[1:]), dtype=torch.float64)
    guided = Classifier(
        lambda x, t: still, path, lambda x, t, _: height(x), strength=lambda t: torch.ones_like(t)
    )
    found = guided(x, torch.full((5,), 0.5, dtype=torch.float64))
    assert isinstance(found, Tensor)
    assert torch.allclose(manifold.proju(x, found), found, atol=1e-10)
    u = manifold.random_tangent(x, generator=generator)
    eps = 1e-6
    slope = (height(manifold.expmap(x, eps * u)) - height(manifold.expmap(x, -eps * u))) / (2 * eps)
    assert torch.allclose(manifold.inner(x, found, u), slope, atol=1e-7)


def test_outside_the_interval_nothing_is_added() -> None:
    path = AffinePath()
    x = torch.ones(3, 2)
    t = torch.tensor([0.2, 0.5, 0.8])
    for guided in (
        Classifier(lambda x, t: x, path, lambda x, t, _: x.sum(-1), interval=(0.4, 0.6)),
        Energy(lambda x, t: x, path, lambda x: -x.sum(-1), interval=(0.4, 0.6)),
    ):
        found = guided(x, t)
        assert isinstance(found, Tensor)
        assert torch.equal(found[[0, 2]], x[[0, 2]])
        assert bool((found[1] > x[1]).all())
    tokens = torch.full((3, 1), 4)
    ratios = torch.tensor([0.0, 1.0, 2.0, 3.0]).expand(3, 1, 4)
    by_token = TokenClassifier(
        lambda x, t: torch.zeros(3, 1, 4), MixturePath(4), lambda *_: ratios, interval=(0.4, 0.6)
    )
    rates = by_token(tokens, t)
    assert isinstance(rates, Tensor)
    gap = rates[..., 3] - rates[..., 0]
    assert torch.allclose(gap, torch.tensor([[0.0], [3.0], [0.0]]))


def test_a_pull_on_the_sphere_goes_up() -> None:
    sphere = Sphere()
    path = GeodesicPath(sphere)
    field = Energy(
        lambda x, t: torch.zeros_like(x),
        path,
        lambda x: -x[:, 2],
        strength=lambda t: 5 * torch.ones_like(t),
    )
    x = sample(
        field,
        path,
        shape=(100, 3),
        solver=Euler(steps=30),
        generator=torch.Generator().manual_seed(0),
    )
    assert x[:, 2].min() > 0.5
    assert sphere.residual(x).max() < 1e-5


JOINT = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.08, 0.20], [0.05, 0.20, 0.05]])
#: p(y | x_1), for one value of y: likes the first token to be large and both to differ.
LIKES = torch.tensor([[0.1, 0.3, 0.5], [0.5, 0.2, 0.7], [0.9, 0.8, 0.3]])


def _chains(source: str) -> tuple[MixturePath, ExactTokenChain, ExactTokenChain]:
    path = MixturePath(3, source=source)
    given = JOINT * LIKES
    return path, ExactTokenChain(path, JOINT), ExactTokenChain(path, given / given.sum())


def _distance(field: object, path: MixturePath, law: Tensor, count: int = 8_000) -> float:
    """Total variation between samples and a law."""
    x = sample(
        field,  # type: ignore[arg-type]
        path,
        shape=(count, 2),
        solver=TauLeaping(steps=30),
        generator=torch.Generator().manual_seed(0),
    )
    share = torch.bincount(x[:, 0] * 3 + x[:, 1], minlength=9).double() / count
    return float((share - law.flatten()).abs().sum()) / 2


def test_masked_tokens_follow_the_law_given_y() -> None:
    """A draw of this size is 0.01 from its own law on average, and leaps add about as much."""
    path, chain, given = _chains("mask")

    def log_likelihood(x: Tensor, t: Tensor, _: object) -> Tensor:
        return given.log_prob(x, t) - chain.log_prob(x, t)

    guided = TokenClassifier(chain, path, exact_log_ratios(log_likelihood, vocab=3))
    assert _distance(guided, path, given.joint) < 0.03
    assert _distance(chain, path, given.joint) > 0.1


def test_from_another_source_the_ratio_is_that_of_the_posteriors() -> None:
    """The classifier of x_1 given x_t and one end is exact, that of changed states is not."""
    path, chain, given = _chains("uniform")

    def log_ratios(x: Tensor, t: Tensor, _: object) -> Tensor:
        ratio = given.posterior(x, t) / chain.posterior(x, t)
        return ratio.log().to(torch.get_default_dtype())

    def log_likelihood(x: Tensor, t: Tensor, _: object) -> Tensor:
        return given.log_prob(x, t) - chain.log_prob(x, t)

    exact = TokenClassifier(chain, path, log_ratios)
    changed = TokenClassifier(chain, path, exact_log_ratios(log_likelihood, vocab=3))
    assert _distance(exact, path, given.joint) < 0.03
    assert _distance(changed, path, given.joint) > 0.05


def test_exact_ratios_are_those_of_every_change() -> None:
    _, chain, given = _chains("mask")
    x = torch.tensor([[3, 1], [3, 3], [0, 2]])
    t = torch.tensor([0.3, 0.5, 0.9], dtype=torch.float64)

    def log_likelihood(x: Tensor, t: Tensor, _: object) -> Tensor:
        return given.log_prob(x, t) - chain.log_prob(x, t)

    found = exact_log_ratios(log_likelihood, 3, chunk_size=4)(x, t, None)
    for row in range(3):
        for i in range(2):
            for v in range(3):
                y = x[row : row + 1].clone()
                y[0, i] = v
                change = log_likelihood(y, t[row : row + 1], None)
                change = change - log_likelihood(x[row : row + 1], t[row : row + 1], None)
                assert torch.allclose(found[row, i, v], change[0])


def test_taylor_ratios_are_exact_where_the_likelihood_is_linear() -> None:
    weight = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))

    def relaxed(x: Tensor, t: Tensor, condition: Mapping[str, Tensor] | None) -> Tensor:
        return (x * weight).flatten(1).sum(1)

    def discrete(x: Tensor, t: Tensor, condition: Mapping[str, Tensor] | None) -> Tensor:
        return relaxed(torch.nn.functional.one_hot(x, 4).float(), t, condition)

    x = torch.randint(4, (6, 5), generator=torch.Generator().manual_seed(1))
    t = torch.full((6,), 0.5)
    taylor = taylor_log_ratios(relaxed, states=4, vocab=3)(x, t, None)
    assert torch.allclose(taylor, exact_log_ratios(discrete, 3)(x, t, None), atol=1e-5)


def test_in_a_product_each_kind_has_its_own_classifier() -> None:
    path = ProductPath(place=AffinePath(), word=MixturePath(3))

    def model(x: Mapping[str, Tensor], t: Tensor) -> dict[str, Tensor]:
        return {"place": -x["place"], "word": torch.zeros(*x["word"].shape, 3)}

    by_place = Classifier(
        model, path, lambda x, t, _: -(x["place"] - 1).square().sum(-1), scale={"place": 1.0}
    )
    both = TokenClassifier(
        by_place,
        path,
        exact_log_ratios(
            lambda x, t, _: (x["word"] == 2).float().sum(-1) * (1 + x["place"][:, 0]),
            3,
            component="word",
        ),
        scale=3.0,
        component="word",
    )
    state = {"place": torch.full((4, 2), 0.5), "word": torch.full((4, 2), 3)}
    found = both(state, torch.full((4,), 0.5))
    assert isinstance(found, dict)
    ratio = found["word"][..., 2] - found["word"][..., 0]
    assert torch.allclose(ratio, torch.full((4, 2), 3 * 1.5))
    assert torch.allclose(found["word"][..., 0], torch.full((4, 2), -1.0986), atol=1e-3)
    # d log p = 2 (1 - x), times sigma^2 / alpha + sigma = 1 at t = 1/2.
    assert torch.allclose(found["place"], torch.full((4, 2), -0.5 + 1.0), atol=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    def field(x: Tensor, t: Tensor) -> Tensor:
        return x

    sphere = GeodesicPath(Sphere())
    with pytest.raises(CapabilityError, match="Pass strength="):
        Classifier(field, sphere, lambda x, t, c: x[:, 0])
    with pytest.raises(CapabilityError, match="Leave it out"):
        Classifier(field, AffinePath(), lambda x, t, c: x[:, 0], strength=torch.ones_like)
    with pytest.raises(CapabilityError, match="TokenClassifier"):
        Classifier(field, MixturePath(3), lambda x, t, c: t)
    product = ProductPath(place=AffinePath(), word=MixturePath(3))
    with pytest.raises(CapabilityError, match="TokenClassifier"):
        Energy(field, product, lambda x: x, scale={"word": 1.0})
    with pytest.raises(ShapeError, match="log_likelihood: it returned"):
        Classifier(field, AffinePath(), lambda x, t, c: x)(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(ConfigError, match="no component"):
        TokenClassifier(field, product, lambda x, t, c: x, component="words")
    with pytest.raises(CapabilityError, match="has no tokens"):
        TokenClassifier(field, product, lambda x, t, c: x, component="place")
    with pytest.raises(ShapeError, match="log_ratios"):
        TokenClassifier(
            lambda x, t: torch.zeros(*x.shape, 3), MixturePath(3), lambda x, t, c: torch.zeros(2, 3)
        )(torch.zeros(2, 4).long(), torch.zeros(2))
    with pytest.raises(ConfigError, match="strength: it returned"):
        Classifier(field, sphere, lambda x, t, c: x[:, 0], strength=lambda t: torch.ones(2, 3))(
            torch.eye(3)[:2], torch.full((2,), 0.5)
        )
