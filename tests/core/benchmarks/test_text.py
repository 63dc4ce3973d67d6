"""Text: models that count are what they say, and a small run has its place between them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowatlas.benchmarks import run
from flowatlas.benchmarks.ngrams import (
    KneserNey,
    jensen_shannon,
    known_words,
    ngram_counts,
    vocabulary,
)
from flowatlas.benchmarks.text import TOPICS
from flowatlas.benchmarks.token_method import TokenMethod, TokenPreset
from flowatlas.data import encode_text
from flowatlas.errors import ConfigError

TEXT = "the cat sat on the mat and the dog sat on the cat that sat on the hat " * 3


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_counting_models_are_laws_and_their_samples_follow_them(order: int) -> None:
    model = KneserNey(TEXT, order, 0.7)
    contexts = torch.randint(27, (500, 6), generator=torch.Generator().manual_seed(0))
    contexts[:50] = encode_text("the ca")
    for length in range(7):
        law = model.law(contexts[:, :length])
        torch.testing.assert_close(law.sum(1), torch.ones(500))
        assert (law > 0).all()
        far = contexts.clone()
        far[:, : max(0, length - order + 1)] = 0
        assert torch.equal(law, model.law(far[:, :length]))  # what is further away has no say
    generator = torch.Generator().manual_seed(0)
    rows = model.sample(4000, 8, generator=generator)
    # The mean surprise of its own samples is their entropy: no other law has less on them.
    own = model.bits(rows)
    assert own < KneserNey(TEXT[::-1] + TEXT[:40], order, 0.5).bits(rows)
    first = torch.bincount(rows[:, 0], minlength=27) / 4000
    assert (first - model.law(rows[:1, :0])[0]).abs().max() < 4.5 * 0.5 / math.sqrt(4000)


def test_kneser_ney_by_hand() -> None:
    """`aaab`: after a there are two a and one b; both come after one character alone, an a."""
    model = KneserNey("aaab", 2, 0.5)
    after_a = model.law(encode_text("a").unsqueeze(0))[0]
    lower = (1 - 0.5) / 2 + 0.5 * 2 / 2 / 27
    exact = (1 - 0.5) / 3 + 0.5 * 2 / 3 * lower
    assert after_a[2].item() == pytest.approx(exact, rel=1e-6)
    assert after_a[26].item() == pytest.approx(0.5 * 2 / 3 * (0.5 * 2 / 2 / 27), rel=1e-6)
    # The first character by the unigram of occurrences: three of four are a.
    once = (3 - 0.5) / 4 + 0.5 * 2 / 4 / 27
    rows = encode_text("ab").unsqueeze(0)
    assert model.bits(rows) == pytest.approx(-(math.log2(once) + math.log2(exact)) / 2, rel=1e-6)


def test_counts_and_their_divergence() -> None:
    rows = torch.stack([encode_text("abab"), encode_text("baba")])
    assert ngram_counts(rows, 2).nonzero().flatten().tolist() == [27 + 2, 2 * 27 + 1]
    assert ngram_counts(rows, 2).sum() == 6  # none across rows
    p, q = torch.tensor([3, 1, 0]), torch.tensor([0, 0, 8])
    assert jensen_shannon(p, q) == pytest.approx(1.0)
    assert jensen_shannon(p, 7 * p) == pytest.approx(0.0, abs=1e-12)
    # By hand: shares (3/4, 1/4) and (1/4, 3/4), mean one half.
    skew = 0.75 * math.log2(1.5) + 0.25 * math.log2(0.5)
    assert jensen_shannon(torch.tensor([3, 1]), torch.tensor([1, 3])) == pytest.approx(skew)


def test_known_words_leave_out_what_is_cut() -> None:
    words = vocabulary(["the cat", "sat"])
    rows = torch.stack([encode_text("e cat szt the c"), encode_text("t the the cat m")])
    assert known_words(rows, words) == pytest.approx(5 / 6)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="source"):
        TokenMethod(name="x", summary="", source="noise")
    with pytest.raises(ConfigError, match="curve_steps"):
        TokenPreset(width=8, depth=1, batch=1, lr=1.0, steps=1, curve_steps=(0.5,))


def test_a_run_from_end_to_end(tmp_path: Path) -> None:
    """A few steps: no worse than a uniform guess, and the references are in their order."""
    settings = {
        "width": 32,
        "depth": 1,
        "length": 32,
        "steps": 40,
        "bound_times": 2,
        "samples": 16,
        "curve_steps": "4",
        "corrected_steps": "4",
        "solver_steps": 16,
    }
    options: dict[str, Any] = {"preset": "demo", "output": tmp_path, "settings": settings}
    found = run(TOPICS, method="uniform", **options)
    m = {key: value or 0.0 for key, value in found.metrics.items()}
    # Within four standard errors of the uniform guess, whose bound has a gap of 1.21 bits.
    assert 2 < m["bits_redraw"] < math.log2(27) + 4 * m["bits_redraw_standard_error"]
    assert m["bits"] < math.log2(27) + 1.3 + 4 * m["bits_standard_error"]
    assert m["fivegram/bits"] < m["trigram/bits"] < m["unigram/bits"] < math.log2(27)
    assert m["trigram/js3"] < m["unigram/js3"] and m["exact/js3"] < m["unigram/js3"]
    assert m["exact/words"] > 0.8 > m["unigram/words"]
    assert found.nfe == 16
    again = run(TOPICS, method="uniform", resume=True, **options)
    assert again.metrics == found.metrics
    with np.load(tmp_path / str(found.arrays)) as arrays:
        assert len(TOPICS.figures(arrays, "text/topics")) == 3
