"""Distances between sets of points, against what is known of them."""

from __future__ import annotations

import math

import pytest
import torch

from flowatlas.benchmarks.metrics import (
    embed,
    energy_distance,
    negative_log_likelihood,
    sampling_noise,
    sliced_wasserstein,
)
from flowatlas.manifolds import SO3, FlatTorus
from flowatlas.paths import AffinePath


def normal(n: int, k: int, seed: int) -> torch.Tensor:
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_energy_distance_of_shifted_normals() -> None:
    # In one dimension E|X - Y| is known: sqrt(2) times the mean of a folded normal.
    shift = 1.0
    z = shift / math.sqrt(2)
    folded = math.sqrt(2 / math.pi) * math.exp(-(z**2) / 2) + z * math.erf(z / math.sqrt(2))
    expected = 2 * math.sqrt(2) * folded - 2 * 2 / math.sqrt(math.pi)
    found = energy_distance(normal(4000, 1, 0), normal(4000, 1, 1) + shift)
    assert found == pytest.approx(expected, abs=0.05)


def test_energy_distance_is_unbiased_at_zero() -> None:
    values = [energy_distance(normal(200, 2, i), normal(200, 2, 100 + i)) for i in range(40)]
    mean = sum(values) / 40
    error = torch.tensor(values).std().item() / math.sqrt(40)
    assert abs(mean) < 4 * error
    assert min(values) < 0 < max(values)


def test_sampling_noise_is_what_two_sets_of_data_differ_by() -> None:
    noise = sampling_noise(normal(1600, 2, 0), normal(200, 2, 1), count=200)
    assert 0 < noise < 0.05
    assert energy_distance(normal(200, 2, 2) + 1, normal(200, 2, 3)) > 5 * noise


def test_sliced_wasserstein_of_a_shift_is_its_length_over_root_k() -> None:
    x = normal(3000, 3, 0)
    shift = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    found = sliced_wasserstein(x, x + shift, directions=2000, generator=generator)
    assert found == pytest.approx(1 / math.sqrt(3), rel=0.05)


def test_embeddings_do_not_see_the_seam() -> None:
    x = torch.tensor([[0.001, 3.0]])
    y = torch.tensor([[2 * math.pi - 0.001, 3.0]])
    assert float((embed(FlatTorus(), x) - embed(FlatTorus(), y)).norm()) < 0.01
    assert embed(SO3(), torch.eye(3)[None]).shape == (1, 9)


def test_likelihood_of_a_field_at_rest_is_that_of_the_source() -> None:
    x = normal(64, 2, 0)
    found = negative_log_likelihood(lambda x, t: 0 * x, AffinePath(), x, rtol=1e-5, atol=1e-5)
    expected = (0.5 * x.square().sum(1) + math.log(2 * math.pi)).mean()
    assert found.nll == pytest.approx(float(expected), abs=1e-6)
    assert found.nfe >= 1 and found.standard_error > 0
