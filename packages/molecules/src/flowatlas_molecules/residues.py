"""The twenty amino acids as tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.errors import DataError, ShapeError

__all__ = ["LETTERS", "NAMES", "letters", "tokens"]

#: One-letter codes, in the alphabetical order of the three-letter ones.
LETTERS = "ARNDCQEGHILKMFPSTWYV"
#: Three-letter codes, in the same order.
NAMES = (
    *("ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE"),
    *("LEU", "LYS", "MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL"),
)


def tokens(sequence: str) -> Tensor:
    """Token ids `(n,)` of a sequence of one-letter codes.

    Raises:
        DataError: a letter that is none of the twenty; the message has its place.

    Example:
        ```python
        from flowatlas_molecules import tokens

        tokens("MKV")  # tensor([12, 11, 19])
        ```
    """
    for place, letter in enumerate(sequence):
        if letter not in LETTERS:
            raise DataError(
                f"sequence: got {letter!r} at position {place}; allowed are the twenty letters "
                f"{LETTERS}. Replace unknown residues, or leave the chain out."
            )
    return torch.tensor([LETTERS.index(letter) for letter in sequence], dtype=torch.int64)


def letters(tokens: Tensor) -> str:
    """The sequence that token ids `(n,)` stand for: the inverse of `tokens`.

    Raises:
        ShapeError: ids on more than one axis.
        DataError: ids outside 0 to 19.
    """
    if tokens.ndim != 1:
        raise ShapeError(
            f"tokens: got shape {tuple(tokens.shape)}; one chain is (n,). Call letters for each."
        )
    ids = tokens.tolist()
    if any(not 0 <= i < len(LETTERS) for i in ids):
        raise DataError(
            f"tokens: got ids from {min(ids)} to {max(ids)}; residue types are 0 to 19. Cut off "
            "padding with tokens[mask]."
        )
    return "".join(LETTERS[i] for i in ids)
