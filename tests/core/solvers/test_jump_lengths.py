"""Leaps whose length follows from what they change."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError
from flowatlas.exact import ExactTokenChain
from flowatlas.paths import AffinePath, MixturePath
from flowatlas.sampling import integrate, sample
from flowatlas.schedulers import Cubic
from flowatlas.solvers import AdaptiveTauLeaping

D = torch.float64
JOINT = torch.tensor([[0.4, 0.05, 0.0], [0.05, 0.2, 0.0], [0.0, 0.05, 0.25]], dtype=D)


def flat(x: Tensor, t: Tensor, condition: Any = None, **masks: Any) -> Tensor:
    return torch.zeros(*x.shape, 4)


def test_masked_tokens_appear_at_an_even_pace() -> None:
    """A tenth of the tokens in each leap, whatever the schedule."""
    n = 20_000
    path = MixturePath(4, "mask", Cubic())
    x = path.draw(torch.zeros(1, n, dtype=torch.int64))
    counts = [n]

    def watched(x: Tensor, t: Tensor) -> Tensor:
        counts.append(int((x == 4).sum()))
        return flat(x, t)

    found = integrate(watched, path, x, solver=AdaptiveTauLeaping(0.1))
    assert 10 <= found.nfe <= 12
    for before, after in pairwise(counts[1:10]):
        # Five standard errors of a binomial number.
        assert abs(before - after - 0.1 * n) < 5 * math.sqrt(0.1 * n)


@pytest.mark.parametrize("prediction", ["logits", "denoiser"])
@pytest.mark.parametrize("source", ["mask", "uniform"])
def test_the_law_converges(source: str, prediction: str) -> None:
    n = 5000
    path = MixturePath(3, source, prediction=prediction)
    chain = ExactTokenChain(path, JOINT)
    errors = []
    for share in (0.5, 0.1):
        solver = AdaptiveTauLeaping(share)
        g = torch.Generator().manual_seed(0)
        x = sample(chain, path, shape=(n, 2), solver=solver, generator=g)
        found = torch.bincount(x[:, 0] * 3 + x[:, 1], minlength=9).view(3, 3) / n
        errors.append(0.5 * (found - JOINT).abs().sum().item())
    # Exceeded by samples of the exact law with a probability below 1e-6.
    noise = 0.5 * math.sqrt(9 / n) + math.sqrt(math.log(1e6) / (2 * n))
    assert errors[0] > 0.07 and errors[1] < 0.4 * errors[0] + noise


def test_a_sample_does_not_depend_on_its_batch() -> None:
    path = MixturePath(4, "uniform")
    given = torch.arange(6).unsqueeze(1) > torch.arange(9)  # another number of tokens each

    def model(x: Tensor, t: Tensor, condition: Any = None, **masks: Any) -> Tensor:
        return torch.nn.functional.one_hot(x.cumsum(1) % 4, 4).float()

    def run(rows: slice) -> Tensor:
        generators = [torch.Generator().manual_seed(i) for i in range(6)[rows]]
        held = (given[rows], torch.ones(len(generators), 9, dtype=torch.int64))
        x: Tensor = sample(
            model,
            path,
            shape=(len(generators), 9),
            fixed=held,
            solver=AdaptiveTauLeaping(0.2),
            generator=generators,
        )
        return x

    assert torch.equal(run(slice(2, 5)), run(slice(0, 6))[2:5])


def test_the_number_of_leaps_is_bounded() -> None:
    """By a posterior that never agrees with the state, (1 - t) would shrink by a share each."""
    path = MixturePath(4, "uniform")
    x = path.draw(torch.zeros(2, 50, dtype=torch.int64))
    found = integrate(flat, path, x, solver=AdaptiveTauLeaping(0.1, shortest=0.01))
    assert 20 < found.nfe < 40


def test_times_are_met() -> None:
    path = MixturePath(4, "mask")
    x = path.draw(torch.zeros(2, 50, dtype=torch.int64))
    found = integrate(flat, path, x, times=[0.3, 0.35], end=0.5, solver=AdaptiveTauLeaping(0.1))
    assert found.t == (0.0, 0.3, 0.35, 0.5) and len(found.x_t) == 4
    assert 6 <= found.nfe <= 10


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"share: got 0"):
        AdaptiveTauLeaping(0.0)
    with pytest.raises(ConfigError, match="shortest: got 2"):
        AdaptiveTauLeaping(shortest=2)
    with pytest.raises(CapabilityError, match="AdaptiveTauLeaping moves tokens alone"):
        integrate(lambda x, t: x, AffinePath(), torch.zeros(2, 3), solver=AdaptiveTauLeaping())
