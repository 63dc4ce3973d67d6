"""Autoguidance, CFG-Zero*, RAAG and compositions: their formulae, and laws where they are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.exact import ExactMixtureFlow, GaussianMixture
from flowatlas.guidance import RAAG, Autoguidance, CFGZero, Composition, Mixture
from flowatlas.manifolds import Lorentz
from flowatlas.paths import AffinePath, GeodesicPath, MixturePath
from flowatlas.sampling import sample
from flowatlas.solvers import RK4, Euler, TauLeaping
from flowatlas.sources import WrappedNormal
from flowatlas.testing._fields import STD, Classes, Constant, affine, centred, labels

GIVEN = torch.tensor([[3.0, 1.0], [0.0, -2.0]])
NULL = torch.tensor([[1.0, 0.5], [0.5, -1.0]])


def at(field: object, condition: dict[str, Tensor] | None = None, t: float = 0.5) -> Tensor:
    """The prediction at the origin for one sample of two points."""
    found: Tensor = field(torch.zeros(1, 2, 2), torch.full((1,), t), condition)  # type: ignore[operator]
    return found[0]


def test_autoguidance_extrapolates_from_the_weaker_network() -> None:
    path = AffinePath()
    field = Autoguidance(Constant([GIVEN]), Constant([NULL]), path, scale=2.5)
    assert torch.allclose(at(field), NULL + 2.5 * (GIVEN - NULL))
    early = Autoguidance(Constant([GIVEN]), Constant([NULL]), path, scale=2.5, interval=(0.6, 1.0))
    assert torch.allclose(at(early), GIVEN)


def test_cfg_zero_starts_from_the_closest_multiple_of_the_null_prediction() -> None:
    """Of all multiples s v, the fitted one is the closest to v_c: golden section agrees."""
    path = AffinePath()
    fitted = at(CFGZero(Constant([GIVEN, NULL]), path, scale=0.0), labels(1, 0))
    s = torch.linspace(-3, 3, 60_001)
    errors = (GIVEN - s.view(-1, 1, 1) * NULL).square().sum((1, 2))
    assert torch.allclose(fitted, s[errors.argmin()] * NULL, atol=1e-3)
    full = at(CFGZero(Constant([GIVEN, NULL]), path, scale=3.0), labels(1, 0))
    assert torch.allclose(full, fitted + 3 * (GIVEN - fitted), atol=1e-5)
    assert not at(CFGZero(Constant([GIVEN, NULL]), path, scale=3.0), labels(1, 0), 0.03).any()


def test_cfg_zero_takes_the_metric_of_the_manifold() -> None:
    """On the hyperboloid the inner product is Minkowski's."""
    space = Lorentz()
    x = space.expmap(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.2, -0.4]]))
    given = space.proju(x, torch.tensor([[0.3, 1.0, 0.2]]))
    null = space.proju(x, torch.tensor([[0.1, 0.5, -0.9]]))
    path = GeodesicPath(space, WrappedNormal(space, mean=torch.tensor([1.0, 0.0, 0.0]), std=1.0))
    field = CFGZero(Constant([given[0], null[0]]), path, scale=0.0)
    found = field(x, torch.full((1,), 0.5), labels(1, 0))
    residual = given - found  # type: ignore[operator]
    assert space.inner(x, residual, null).abs().max() < 1e-5


def test_cfg_zero_holds_tokens_and_fits_their_rates() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]])
    path = MixturePath(3)
    field = CFGZero(Constant([p[:1].log(), p[1:].log()]), path, scale=0.0, zero_until=0.5)
    x = torch.full((1, 1), 3)
    found = field(x, torch.full((1,), 0.7), labels(1, 0))
    s = (p[0] * p[1]).sum() / p[1].square().sum()
    assert torch.allclose(found.exp(), s * p[1], atol=1e-6)  # type: ignore[union-attr]
    early = field(x, torch.full((1,), 0.2), labels(1, 0))
    assert bool(early.isneginf().all())  # type: ignore[union-attr]
    x = sample(
        field,
        path,
        shape=(500, 1),
        end=0.5,
        condition=labels(500, 0),
        solver=TauLeaping(steps=4),
        generator=torch.Generator().manual_seed(0),
    )
    assert bool((x == 3).all())


def test_raag_weakens_the_pull_by_the_ratio() -> None:
    path = AffinePath()
    ratio = ((GIVEN - NULL).square().sum() / NULL.square().sum()).item()
    w = 1 + 4 * math.exp(-0.7 * ratio)
    found = at(RAAG(Constant([GIVEN, NULL]), path, scale=5.0, decay=0.7), labels(1, 0))
    assert torch.allclose(found, NULL + w * (GIVEN - NULL), atol=1e-5)
    plain = at(RAAG(Constant([GIVEN, NULL]), path, scale=5.0, decay=0.0), labels(1, 0))
    assert torch.allclose(plain, NULL + 5 * (GIVEN - NULL), atol=1e-5)
    # Nothing to compare with: the conditional prediction alone.
    rest = at(RAAG(Constant([GIVEN, 0 * NULL]), path, scale=5.0), labels(1, 0))
    assert torch.allclose(rest, GIVEN)
    assert torch.isfinite(
        at(RAAG(Constant([0 * GIVEN, 0 * NULL]), path, scale=5.0), labels(1, 0))
    ).all()


def test_a_product_of_gaussians_is_reached() -> None:
    """p prod (p_i / p)^w_i is N(sum w_i m_i, s^2 I) for Gaussians of one width, at every t."""
    means = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]], dtype=torch.float64)
    field, path = Classes(means, centred(2), "target"), affine("target")
    weights = (1.0, 1.5, -0.5)
    x_0 = torch.linspace(-1, 1, 10, dtype=torch.float64).view(5, 2)
    condition = labels(5, 0, 1, 2)
    x = sample(
        Composition(field, path, weights),
        path,
        x_init=x_0,
        condition=condition,
        solver=RK4(steps=100),
    )
    expected = (torch.tensor(weights, dtype=torch.float64) @ means) + STD * x_0
    assert (x - expected).abs().max() < 3e-3
    assert set(field.batches) == {4 * 5}


def test_tokens_compose_as_products_of_laws() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.3, 0.3, 0.4]])
    path = MixturePath(3)
    field = Composition(Constant([row.log().unsqueeze(0) for row in p]), path, (1.0, 1.0))
    found = field(torch.full((1, 1), 3), torch.full((1,), 0.2), labels(1, 0, 1))
    expected = p[0] * p[1] / p[2]
    assert torch.allclose(found.exp(), expected, atol=1e-5)  # type: ignore[union-attr]


def test_the_mixture_of_exact_flows_is_the_exact_flow_of_the_mixture() -> None:
    means = torch.tensor([[2.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    field, path = Classes(means, centred(2), "velocity"), affine("velocity")

    def log_weights(x: Tensor, t: Tensor, _: object) -> Tensor:
        each = torch.stack([flow.log_prob(x, t) for flow in field.flows[:2]], 1)
        return each + weights.log()

    exact = ExactMixtureFlow(GaussianMixture(weights, means, stds=STD))
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.linspace(0, 1, 40, dtype=torch.float64)
    found = Mixture(field, path, log_weights)(x, t, labels(40, 0, 1))
    assert torch.allclose(found, exact.velocity(x, t), atol=1e-10)  # type: ignore[arg-type]


def test_the_mixture_of_rates_is_their_mean() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]])
    path = MixturePath(3)
    field = Mixture(
        Constant([row.log().unsqueeze(0) for row in (*p, p[0])]),
        path,
        lambda x, t, condition: torch.tensor([[0.25, 0.75]]).log().expand(len(t), 2),
    )
    found = field(torch.full((1, 1), 3), torch.full((1,), 0.2), labels(1, 0, 1))
    assert torch.allclose(found.exp(), 0.25 * p[0] + 0.75 * p[1], atol=1e-6)  # type: ignore[union-attr]


def test_what_does_not_fit_is_refused() -> None:
    field, path = Constant([GIVEN, NULL]), AffinePath()
    x, t = torch.zeros(1, 2, 2), torch.zeros(1)
    with pytest.raises(ConfigError, match="weights"):
        Composition(field, path, ())
    with pytest.raises(ConfigError, match="weights"):
        Composition(field, path, (math.nan,))
    with pytest.raises(ShapeError, match=r"need \(batch, 2, ...\)"):
        Composition(field, path, (1.0, 1.0))(x, t, labels(1, 0))
    with pytest.raises(ShapeError, match="log_weights"):
        Mixture(field, path, lambda x, t, c: torch.zeros(3))(x, t, labels(1, 0, 1))
    with pytest.raises(ConfigError, match="zero_until"):
        CFGZero(field, path, zero_until=1.0)
    with pytest.raises(ConfigError, match="decay"):
        RAAG(field, path, decay=-1.0)
    with pytest.raises(ConfigError, match="path: got Constant"):
        RAAG(path, field)  # type: ignore[arg-type]


def test_euler_follows_a_guided_field_through_fixed_points() -> None:
    """Points that are given stay where they are under guidance."""
    path = AffinePath()
    field = Composition(Constant([GIVEN, NULL]), path, (2.0,))
    fixed = (torch.tensor([[True, False]]), torch.full((1, 2, 2), 9.0))
    x = sample(
        field,
        path,
        shape=(1, 2, 2),
        condition={"label": torch.zeros(1, 1, dtype=torch.int64)},
        fixed=fixed,
        solver=Euler(steps=3),
    )
    assert bool((x[0, 0] == 9).all())
