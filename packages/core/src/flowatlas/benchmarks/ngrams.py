"""Counting models of text, and how far the counts of two texts are from each other."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas.benchmarks.config import require
from flowatlas.data.text import ALPHABET, decode_text, encode_text

__all__ = ["KneserNey", "jensen_shannon", "known_words", "ngram_counts", "vocabulary"]

VOCAB = len(ALPHABET)


class KneserNey:
    r"""Interpolated Kneser-Ney: the next character given the last n - 1.

    $$p_n(c \mid h) = \frac{\max(N(hc) - d, 0) + d \, |\{c : N(hc) > 0\}| \, p_{n-1}(c \mid h')}
      {\sum_c N(hc)}$$

    where h' is h without its first character, and N of the lower orders counts the different
    characters before instead of occurrences; $p_0$ is uniform. The first characters of a row are
    predicted by models of as high an order as there are characters.

    Args:
        text: to count, normalised.
        order: n, from 1 to 5; the table of counts has $27^n$ entries.
        discount: d, above 0 and at most 1.

    Reference: An Empirical Study of Smoothing Techniques for Language Modeling, Chen and Goodman,
    1998, for the interpolated form.
    """

    def __init__(self, text: str, order: int, discount: float = 0.75) -> None:
        require(1 <= order <= 5, "order", order, "from 1 to 5")
        self.order = order
        tokens = encode_text(text)
        self._occurrences = [
            ngram_counts(tokens.unsqueeze(0), n).view(-1, VOCAB) for n in range(1, order + 1)
        ]
        self._different = [
            (above.view(VOCAB, -1, VOCAB) > 0).sum(0) for above in self._occurrences[1:]
        ]
        self._set(discount)

    def with_discount(self, discount: float) -> KneserNey:
        """The same counts, otherwise discounted."""
        changed = copy.copy(self)
        changed._set(discount)
        return changed

    def law(self, context: Tensor) -> Tensor:
        """Probabilities of the next character, `(count, 27)`.

        Args:
            context: `(count, length)`, what stands before; the last n - 1 characters count.
        """
        used = context[:, max(0, context.shape[1] - self.order + 1) :]
        orders = [*self._different[: used.shape[1]], self._occurrences[used.shape[1]]]
        p = torch.full((len(context), VOCAB), 1 / VOCAB)
        for n, counts in enumerate(orders):
            code = torch.zeros(len(context), dtype=torch.int64)
            for j in range(used.shape[1] - n, used.shape[1]):
                code = code * VOCAB + used[:, j]
            found = counts[code].float()
            total, kinds = found.sum(1, keepdim=True), (found > 0).sum(1, keepdim=True)
            kept = (found - self.discount).clamp(min=0) + self.discount * kinds * p
            p = torch.where(total > 0, kept / total.clamp(min=1), p)
        return p

    def bits(self, rows: Tensor) -> float:
        """Mean bits for a character of rows `(count, length)`, each by itself."""
        total = 0.0
        for i in range(rows.shape[1]):
            p = self.law(rows[:, :i]).gather(1, rows[:, i : i + 1])
            total -= p.double().log2().sum().item()
        return total / rows.numel()

    def sample(self, count: int, length: int, *, generator: torch.Generator) -> Tensor:
        """Rows of text, `(count, length)`."""
        rows = torch.zeros(count, length, dtype=torch.int64)
        for i in range(length):
            p = self.law(rows[:, :i])
            rows[:, i] = torch.multinomial(p, 1, generator=generator).squeeze(1)
        return rows

    def _set(self, discount: float) -> None:
        require(0 < discount <= 1, "discount", discount, "above 0 and at most 1")
        self.discount = discount


def ngram_counts(rows: Tensor, n: int) -> Tensor:
    """How often each n-gram occurs inside of the rows, `(27^n,)`.

    Args:
        rows: `(count, length)`, tokens of the 27 characters.
        n: length of the passages.
    """
    code = torch.zeros_like(rows[:, : rows.shape[1] - n + 1])
    for j in range(n):
        code = code * VOCAB + rows[:, j : rows.shape[1] - n + 1 + j]
    return torch.bincount(code.flatten(), minlength=VOCAB**n)


def jensen_shannon(a: Tensor, b: Tensor) -> float:
    r"""$\tfrac12 KL(p \| m) + \tfrac12 KL(q \| m)$ in bits, of two vectors of counts; at most 1.

    m is the mean of the shares p and q. It is finite for any counts; those of two finite texts from
    one law are some way apart, so that it needs a floor beside it.
    """
    p, q = a.double() / a.sum(), b.double() / b.sum()
    m = 0.5 * (p + q)
    # Where m is zero, so are p and q: there is nothing to add.
    safe = torch.where(m > 0, m, 1.0)
    total = torch.special.xlogy(p, p / safe) + torch.special.xlogy(q, q / safe)
    return 0.5 * float(total.sum()) / math.log(2)


def vocabulary(documents: Sequence[str]) -> frozenset[str]:
    """All the words of some documents."""
    return frozenset(word for one in documents for word in one.split())


def known_words(rows: Tensor, words: frozenset[str]) -> float:
    """Share of the words of rows that are among `words`; the first and last of a row are cut."""
    found = [word for row in decode_text(rows) for word in row.split(" ")[1:-1] if word]
    return sum(word in words for word in found) / max(1, len(found))
