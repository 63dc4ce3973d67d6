"""Draws of tokens: their law in every dtype, for vocabularies of any size, and their memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from flowatlas.paths import Jumps, MixturePath
from flowatlas.paths._categorical import draw_rows, invert

D = torch.float64


def grid(n: int) -> Tensor:
    """Equidistant numbers in place of random ones: shares of draws are then exact to 1 / n."""
    return (torch.arange(n, dtype=D) + 0.5) / n


@pytest.mark.parametrize("vocab", [1, 2, 5, 27, 1023, 1024, 1100, 5000])
def test_inversion_has_the_law(vocab: int) -> None:
    """With n equidistant numbers, token j is drawn n p_j times, give or take one."""
    logits = 2 * torch.randn(1, vocab, generator=torch.Generator().manual_seed(0), dtype=D)
    logits[0, vocab // 2 :: 7] = -torch.inf if vocab > 2 else 0.0
    logits[0, -1] = -torch.inf if vocab > 2 else 0.0
    n = 4000
    # Chunks take care of the rows; one row for all would be read n times.
    x = draw_rows(logits.expand(n, -1), None, grid(n))
    count = torch.bincount(x, minlength=vocab).to(D)
    expected = n * torch.softmax(logits[0], 0)
    assert (count - expected).abs().max() <= 1
    assert (count[logits[0] == -torch.inf] == 0).all()


@pytest.mark.parametrize("vocab", [27, 1100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_draws_the_same_tokens(vocab: int, dtype: torch.dtype) -> None:
    """The logits are what they are; adding them up loses nothing more."""
    g = torch.Generator().manual_seed(1)
    n = 4000
    logits = (3 * torch.randn(200, vocab, generator=g)).to(dtype).repeat(n // 200, 1)
    u = torch.rand(n, generator=g, dtype=D)
    low, high = draw_rows(logits, None, u), draw_rows(logits.to(D), None, u)
    # An error of 1e-7 in each probability moves some 1e-7 n of the draws, all told.
    assert (low != high).sum() <= 1


@pytest.mark.parametrize("vocab", [1000, 100_000])
def test_unlikely_tokens_are_as_rare_as_they_should_be(vocab: int) -> None:
    """Many tokens of 2e-9 each beside one that has the rest: sums in float32 mix them up."""
    logits = torch.full((1, vocab), -20.0)
    logits[0, 0] = 0.0
    one = torch.tensor(-20.0).exp().double()
    tail = (vocab - 1) * one / (1 + (vocab - 1) * one)
    n = 40
    found = invert(logits.expand(n, -1), 1 - tail + tail * grid(n))
    expected = 1 + grid(n) * (vocab - 1)
    assert (found - expected).abs().max() < 2
    assert (invert(logits.expand(n, -1), (1 - tail) * grid(n)) == 0).all()


def test_numbers_at_the_edges_stay_inside() -> None:
    for vocab in (3, 2000):
        logits = torch.full((2, vocab), -torch.inf)
        logits[:, 1] = 0.0
        assert torch.equal(invert(logits, torch.tensor([0.0, 1 - 2**-53], dtype=D)), torch.ones(2))


class Sizes(TorchDispatchMode):
    """The largest tensor that any operation makes anew, in bytes; views of `own` are none."""

    def __init__(self, own: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest, self.given = 0, own.untyped_storage().data_ptr()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.untyped_storage().data_ptr() != self.given:
            self.largest = max(self.largest, result.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize(
    ("prediction", "jumps"),
    [
        ("logits", Jumps()),
        ("denoiser", Jumps()),
        ("logits", Jumps(temperature=0.7, top_p=0.9)),
        ("log_rates", Jumps(corrector=1.0)),
    ],
)
@pytest.mark.parametrize("s", [0.6, 1.0])
def test_a_vocabulary_of_128k_takes_little_beside_its_logits(
    prediction: str, jumps: Jumps, s: float
) -> None:
    vocab = 128_000
    path = MixturePath(vocab, "uniform", prediction=prediction).with_jumps(jumps)
    logits = torch.zeros(2, 40, vocab, dtype=torch.bfloat16)
    x = torch.randint(vocab, (2, 40), generator=torch.Generator().manual_seed(0))
    with Sizes(logits) as sizes:
        y = path.jump(x, torch.full((2,), 0.3), torch.full((2,), s), logits)
    own = logits.untyped_storage().nbytes()
    assert y.shape == x.shape and y.max() < vocab
    assert sizes.largest < 0.25 * own
    with Sizes(logits) as sizes:
        torch.zeros_like(logits)
    assert sizes.largest == own  # it does see one
