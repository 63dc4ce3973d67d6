from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from flowatlas.errors import ConfigError
from flowatlas.networks import FourierTimeEmbedding


def test_no_two_times_look_alike() -> None:
    t = torch.linspace(0, 1, 201)
    embedded = FourierTimeEmbedding(32)(t)
    distance = torch.cdist(embedded, embedded) + 10 * torch.eye(201)
    assert embedded.shape == (201, 32)
    # Neighbours at distance 1/200 are told apart, and nothing far away is nearer than they are.
    assert distance.min() > 0.05
    far = (t[:, None] - t).abs() > 0.02
    assert distance[far].min() > torch.diagonal(distance, 1).max() / 2


def test_frequencies_span_a_quarter_to_the_highest() -> None:
    angle = FourierTimeEmbedding(8, max_frequency=4.0).frequencies / (2 * math.pi)
    assert angle[0].item() == pytest.approx(0.25)
    assert angle[-1].item() == pytest.approx(4.0)
    ratios = angle[1:] / angle[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand(3))


def test_follows_the_dtype_of_time() -> None:
    t = torch.rand(5, dtype=torch.float64)
    assert FourierTimeEmbedding(8)(t).dtype == torch.float64


@pytest.mark.parametrize("arguments", [{"dim": 7}, {"dim": 0}, {"max_frequency": 0.1}])
def test_settings_are_checked(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        FourierTimeEmbedding(**arguments)
