"""What the sampling tests share: exact flows."""

from __future__ import annotations

import pytest
import torch

from flowatlas.exact import ExactGaussianFlow, ExactMixtureFlow, GaussianMixture


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def mixture() -> ExactMixtureFlow:
    """Three anisotropic components in the plane."""
    roots = torch.tensor(
        [[[0.5, 0.0], [0.3, 0.2]], [[0.3, 0.0], [-0.2, 0.4]], [[0.2, 0], [0, 0.6]]]
    )
    means = torch.tensor([[2.0, 0.0], [-1.0, 1.5], [-1.0, -2.0]])
    return ExactMixtureFlow(GaussianMixture(torch.tensor([1.0, 2.0, 1.5]), means, roots @ roots.mT))


@pytest.fixture(scope="session")
def gaussian() -> ExactGaussianFlow:
    """One Gaussian in the plane, whose flow map is known."""
    covariance = torch.tensor([[[0.5, 0.3], [0.3, 0.4]]])
    return ExactGaussianFlow(
        GaussianMixture(torch.ones(1), torch.tensor([[1.0, -2.0]]), covariance)
    )
