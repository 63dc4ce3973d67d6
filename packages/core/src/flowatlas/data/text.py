"""Text as tokens: twenty-seven characters, and documents that keep their parts apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from flowatlas.data.dataset import DataSet
from flowatlas.errors import DataError, ShapeError

__all__ = [
    "ALPHABET",
    "TOPICS",
    "Corpus",
    "decode_text",
    "encode_text",
    "normalised_text",
    "shared_passages",
    "text_windows",
    "topics",
]

#: The characters of normalised text; a token is the place of its character.
ALPHABET = " abcdefghijklmnopqrstuvwxyz"
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: Tokens of a row of `load("text/topics")`.
LENGTH = 128


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents, normalised, in three parts. Choices are made on `validation`.

    Attributes:
        train: one string a document.
        validation: likewise.
        test: likewise.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def normalised_text(text: str) -> str:
    """Text in 27 characters, as text8 has it: a to z, and single spaces for all the rest.

    Letters become lower-case, digits are spelled out.

    Example:
        ```python
        normalised_text("PEP 8, (c) 2001")  # "pep eight c two zero zero one"
        ```
    """
    spelled = re.sub("[0-9]", lambda digit: f" {_DIGITS[int(digit[0])]} ", text.lower())
    return re.sub("[^a-z]+", " ", spelled).strip()


def encode_text(text: str) -> Tensor:
    """Tokens `(length,)` of normalised text.

    Raises:
        DataError: other characters than those of `ALPHABET`.
    """
    wrong = sorted(set(text) - set(ALPHABET))
    if wrong:
        raise DataError(
            f"text: got the characters {wrong[:8]}; allowed are a to z and the space. Use "
            "normalised_text(text)."
        )
    place = {character: i for i, character in enumerate(ALPHABET)}
    return torch.tensor([place[character] for character in text], dtype=torch.int64)


def decode_text(tokens: Tensor) -> list[str]:
    """The rows of `(n, length)` as strings; a mask, or what is no character, is shown as `_`.

    Raises:
        ShapeError: tokens that are no rows.
    """
    if tokens.ndim != 2:
        raise ShapeError(
            f"tokens: got shape {tuple(tokens.shape)}; need (n, length). Use tokens.unsqueeze(0) "
            "for a single row."
        )
    shown = ALPHABET + "_"
    last = len(ALPHABET)
    return ["".join(shown[i if 0 <= i < last else last] for i in row) for row in tokens.tolist()]


def text_windows(documents: Sequence[str], length: int, stride: int | None = None) -> Tensor:
    """Rows of consecutive characters of the documents, joined by spaces.

    Args:
        documents: normalised.
        length: of a row.
        stride: from the start of a row to that of the next; `length`, rows that do not overlap, if
            None. What is left at the end is left out.

    Returns:
        `(n, length)` of int64.

    Raises:
        DataError: less text than one row.
    """
    tokens = encode_text(" ".join(documents))
    if len(tokens) < length:
        raise DataError(f"documents: {len(tokens)} characters are too few for a row of {length}.")
    return tokens.unfold(0, length, length if stride is None else stride).clone()


def shared_passages(test: Sequence[str], train: Sequence[str], length: int = 20) -> float:
    """Share of the passages of that many characters in `test` that are in `train` as well."""
    known = {one[i : i + length] for one in train for i in range(len(one) - length + 1)}
    found = [one[i : i + length] in known for one in test for i in range(len(one) - length + 1)]
    return sum(found) / max(1, len(found))


@cache
def topics() -> Corpus:
    """The help topics of Python: its language reference, as `pydoc` shows it.

    Topics repeat each other: of equal paragraphs (after normalisation) the first in alphabetical
    order of topics stays, and topics of which nothing stays are left out. Of those that are left,
    in that order, every seventh is for testing, beginning with the first, and the one after it for
    validation. The text is that of the running Python: it changes a little from version to version.
    """
    from pydoc_data.topics import topics as pages

    seen: set[str] = set()
    documents = []
    for name in sorted(pages):
        kept = []
        for paragraph in re.split(r"\n\s*\n", pages[name]):
            plain = normalised_text(paragraph)
            if plain and plain not in seen:
                seen.add(plain)
                kept.append(plain)
        if kept:
            documents.append(" ".join(kept))
    return Corpus(
        tuple(one for i, one in enumerate(documents) if i % 7 > 1),
        tuple(documents[1::7]),
        tuple(documents[::7]),
    )


def _topics(_: Path | None) -> Tensor:
    corpus = topics()
    return text_windows([*corpus.train, *corpus.validation, *corpus.test], LENGTH)


TOPICS = DataSet(
    name="text/topics",
    summary=f"Python's help topics, rows of {LENGTH} characters: tokens from 0, the space, to 26",
    vocab=len(ALPHABET),
    read=_topics,
    origin="module pydoc_data.topics of the running Python",
    licence="PSF-2.0",
)
