"""Text as tokens, and a corpus whose parts do not repeat each other."""

from __future__ import annotations

import pytest
import torch

from flowatlas.data import (
    ALPHABET,
    decode_text,
    encode_text,
    normalised_text,
    shared_passages,
    text_windows,
    topics,
)
from flowatlas.data.text import TOPICS
from flowatlas.errors import ConfigError, DataError, ShapeError


def test_normalisation_is_that_of_text8() -> None:
    assert normalised_text("  PEP 8,\n(c) 2001 — Ünïts") == "pep eight c two zero zero one n ts"
    once = normalised_text("a*b = 42")
    assert once == "a b four two" and normalised_text(once) == once


def test_tokens_and_back() -> None:
    assert len(ALPHABET) == 27 and ALPHABET[0] == " "
    tokens = encode_text("a zebra")
    assert tokens.tolist()[:3] == [1, 0, 26]
    assert decode_text(tokens.unsqueeze(0)) == ["a zebra"]
    assert decode_text(torch.tensor([[1, 27, -3]])) == ["a__"]
    with pytest.raises(DataError, match="normalised_text"):
        encode_text("Zebra")
    with pytest.raises(ShapeError, match="unsqueeze"):
        decode_text(tokens)


def test_windows() -> None:
    documents = ["abc", "defg"]
    assert decode_text(text_windows(documents, 4)) == ["abc ", "defg"]
    assert decode_text(text_windows(documents, 4, 2)) == ["abc ", "c de", "defg"]
    with pytest.raises(DataError, match="too few"):
        text_windows(documents, 9)


def test_shared_passages() -> None:
    assert shared_passages(["abcd"], ["xbcdx"], 3) == 0.5
    assert shared_passages(["abcd"], ["abc"], 4) == 0.0


def test_topics_are_split_by_document() -> None:
    """No paragraph is in two parts; of passages of twenty characters less than a tenth are."""
    corpus = topics()
    sizes = [sum(map(len, part)) for part in (corpus.train, corpus.validation, corpus.test)]
    assert sizes[0] > 200_000 and min(sizes) > 15_000
    everything = [*corpus.train, *corpus.validation, *corpus.test]
    assert len(set(everything)) == len(everything)
    assert all(normalised_text(one) == one for one in everything)
    assert shared_passages(corpus.test, corpus.train) < 0.1
    assert shared_passages(corpus.test, corpus.train, 60) < 0.01


def test_the_set_has_tokens_and_no_manifold() -> None:
    x = TOPICS.checked(TOPICS.read(None), "here")
    assert x.dtype == torch.int64 and x.shape[1] == 128
    assert x.min() == 0 and x.max() == 26
    with pytest.raises(ConfigError, match="MixturePath"):
        TOPICS.space()
    with pytest.raises(DataError, match="from 0 to 26"):
        TOPICS.checked(x + 1, "here")
