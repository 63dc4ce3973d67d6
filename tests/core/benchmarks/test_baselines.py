"""Kernel estimates: they reproduce the figures they must, and choose on validation alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flowatlas.benchmarks.baselines import (
    Baseline,
    fixed_bandwidth,
    gaussian_fit,
    neighbour_bandwidth,
)
from flowatlas.data import EightGaussians, load, rotation_mixture, split
from flowatlas.manifolds import SO3, Euclidean, Sphere


def mean_nll(name: str, root: Path, fit: object) -> float:
    """Mean over seeds 0 to 2 of the test NLL of a baseline."""
    values = []
    for seed in range(3):
        parts = split(load(name, data_root=root), seed)
        found = fit(Sphere(), parts.train, parts.validation)  # type: ignore[operator]
        assert isinstance(found, Baseline)
        values.append(-float(found.density.log_prob(parts.test).mean()))
    return sum(values) / 3


# The figures were measured on other random splits; the slack is two standard errors of a mean over
# three of them (volcano: between splits the likelihood of copies varies by more than a nat).
@pytest.mark.parametrize(
    ("name", "figure", "slack"), [("earth/earthquake", -0.23, 0.08), ("earth/flood", 0.56, 0.06)]
)
def test_one_bandwidth_reproduces_its_figures(
    name: str, figure: float, slack: float, data_root: Path
) -> None:
    assert mean_nll(name, data_root, fixed_bandwidth) == pytest.approx(figure, abs=slack)


@pytest.mark.parametrize(
    ("name", "figure", "slack"),
    [("earth/volcano", -7.09, 1.8), ("earth/earthquake", -0.68, 0.12), ("earth/flood", 0.44, 0.06)],
)
def test_bandwidth_by_neighbours_reproduces_its_figures(
    name: str, figure: float, slack: float, data_root: Path
) -> None:
    assert mean_nll(name, data_root, neighbour_bandwidth) == pytest.approx(figure, abs=slack)


@pytest.mark.parametrize("fit", [fixed_bandwidth, neighbour_bandwidth])
@pytest.mark.parametrize("space", ["plane", "rotations"])
def test_estimates_come_close_to_a_known_density(space: str, fit: object) -> None:
    manifold, law, shape = {
        "plane": (Euclidean(), EightGaussians(), (2,)),
        "rotations": (SO3(), rotation_mixture(), (3, 3)),
    }[space]
    x = law.sample((4000, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = split(x, 0)
    found = fit(manifold, parts.train, parts.validation)  # type: ignore[operator]
    best = -float(law.log_prob(parts.test).mean())
    nll = -float(found.density.log_prob(parts.test).mean())
    # No estimate beats the law by more than chance; a good one is not far from it.
    assert best - 0.05 < nll < best + 0.25
    validation = -float(found.density.log_prob(parts.validation).mean())
    assert found.validation_nll == pytest.approx(validation, abs=1e-9)


def test_the_choice_does_not_see_test_points() -> None:
    x = Sphere().random_uniform((600, 3), generator=torch.Generator().manual_seed(0)).double()
    parts = split(x, 0)
    again = fixed_bandwidth(Sphere(), parts.train, parts.validation.clone())
    first = fixed_bandwidth(Sphere(), parts.train, parts.validation)
    assert first.setting == again.setting
    # On uniform data the best kernel is as wide as they come, or there is none but the background.
    assert first.validation_nll == pytest.approx(2.531, abs=0.05)


def test_gaussian_fit_is_the_likelihood_of_the_fitted_gaussian() -> None:
    x = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0))
    assert gaussian_fit(x[:10_000], x[10_000:]) == pytest.approx(1.5 * 2.8379, abs=0.03)
