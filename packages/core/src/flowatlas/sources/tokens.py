"""Sources of tokens: all masked, uniform, or any law over the vocabulary."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from flowatlas._random import Generators, rand, randint
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.sources.base import Source

__all__ = ["Categorical", "Mask", "TokenSource", "UniformTokens"]


class TokenSource(Source):
    r"""Independent tokens, each from the same law $p_0$.

    Tokens are ids from 0 on. Those of the data are below `vocab`; a source with a mask has one more
    state, whose id is `vocab`. A source made without a vocabulary takes that of its path.

    ```python
    class Always(TokenSource):
        def __init__(self, token, vocab=None):
            self.token, self.vocab = token, vocab
        def over(self, vocab):
            return Always(self.token, vocab)
        def mass(self, x):
            return (x == self.token).double()
        def sample(self, shape, *, generator=None, dtype=None, device=None):
            return torch.full(tuple(shape), self.token, device=device)
    ```

    Attributes:
        vocab: number of tokens that data can have; None until a path tells.
        masks: whether there is a mask token.
    """

    has_density = True
    vocab: int | None = None
    masks: bool = False

    @abstractmethod
    def over(self, vocab: int) -> Self:
        """This source over a vocabulary of that size.

        Raises:
            ConfigError: if it is a source over another.
        """

    @abstractmethod
    def mass(self, x: Tensor) -> Tensor:
        """Probability of each token, with the shape of `x`; floating point."""

    def moved(self, x: Tensor) -> Tensor | None:
        """Which tokens the source never has, so that they can only be the data's.

        None where there are no such tokens.
        """
        return self.mass(x) == 0

    def log_prob(self, x: Tensor) -> Tensor:
        """Log probability of each token, in nats, with the shape of `x`."""
        return self.mass(x).log()


class Mask(TokenSource):
    """Every token is the mask, whose id is the size of the vocabulary.

    Args:
        vocab: number of tokens without the mask; that of the path if None.

    Example:
        ```python
        path = MixturePath(vocab=20, source=Mask())
        x_0 = path.draw(residue)  # all 20
        ```
    """

    masks = True

    def __init__(self, vocab: int | None = None) -> None:
        self.vocab = None if vocab is None else _size(vocab)

    def over(self, vocab: int) -> Mask:
        _check_same(self, vocab)
        return Mask(vocab)

    def mass(self, x: Tensor) -> Tensor:
        return (x == _known(self)).to(torch.get_default_dtype())

    def moved(self, x: Tensor) -> Tensor:
        return x != _known(self)

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        return torch.full(tuple(shape), _known(self), dtype=_integer(dtype), device=device)

    def __repr__(self) -> str:
        return f"Mask({'' if self.vocab is None else self.vocab})"


class UniformTokens(TokenSource):
    """Every token of the vocabulary is as likely.

    Args:
        vocab: number of tokens; that of the path if None.

    Example:
        ```python
        source = UniformTokens(27)
        x_0 = source.sample((32, 256), generator=torch.Generator().manual_seed(0))
        ```
    """

    def __init__(self, vocab: int | None = None) -> None:
        self.vocab = None if vocab is None else _size(vocab)

    def over(self, vocab: int) -> UniformTokens:
        _check_same(self, vocab)
        return UniformTokens(vocab)

    def mass(self, x: Tensor) -> Tensor:
        return torch.full(x.shape, 1 / _known(self), device=x.device)

    def moved(self, x: Tensor) -> None:
        return None

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        x = randint(_known(self), shape, generator=generator, device=device)
        return x.to(_integer(dtype))

    def __repr__(self) -> str:
        return f"UniformTokens({'' if self.vocab is None else self.vocab})"


class Categorical(TokenSource):
    """Any law over the vocabulary, such as the frequencies of the data, or over it and the mask.

    Args:
        probs: `(vocab,)`, zero or more, that sum to one; with `masks`, `(vocab + 1,)`, the last
            being the mask's.
        masks: whether the last of the probabilities is that of the mask.

    Raises:
        ShapeError: probabilities that are no vector, or fewer than two.
        ConfigError: probabilities that are negative, not finite, or do not sum to one.

    Example:
        ```python
        counts = torch.bincount(residue.flatten(), minlength=20)
        path = MixturePath(vocab=20, source=Categorical(counts / counts.sum()))
        ```
    """

    def __init__(self, probs: Tensor, *, masks: bool = False) -> None:
        if probs.ndim != 1 or len(probs) < 2:
            raise ShapeError(
                f"probs: got shape {tuple(probs.shape)}; need (vocab,), one for each token, and at "
                "least two."
            )
        exact = probs.detach().to(torch.float64)
        total = exact.sum().item()
        if not (bool((exact >= 0).all()) and math.isfinite(total)):
            raise ConfigError(
                "probs: probabilities are finite and zero or more; got values in "
                f"[{exact.min().item():g}, {exact.max().item():g}]. Take the softmax of logits."
            )
        if abs(total - 1) > 1e-4:
            raise ConfigError(
                f"probs: they sum to {total:g} rather than one. Divide counts by their sum."
            )
        self.probs = exact / total
        self.masks = masks
        self.vocab = len(probs) - masks
        self._levels = self.probs.cumsum(0)
        self._full = bool((self.probs > 0).all()) and not masks

    def over(self, vocab: int) -> Categorical:
        _check_same(self, vocab)
        return self

    def mass(self, x: Tensor) -> Tensor:
        return self.probs.to(x.device)[x]

    def moved(self, x: Tensor) -> Tensor | None:
        return None if self._full else self.mass(x) == 0

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        u = rand(shape, generator=generator, dtype=torch.float64, device=device)
        # On the right of equal levels, so that tokens of probability zero are never drawn.
        x = torch.searchsorted(self._levels.to(u.device), u, right=True)
        last = int(self.probs.nonzero().max())
        return x.clamp(max=last).to(_integer(dtype))

    def __repr__(self) -> str:
        kind = ", masks=True" if self.masks else ""
        return f"Categorical(<{len(self.probs)}>{kind})"


def _size(vocab: int) -> int:
    if isinstance(vocab, bool) or not isinstance(vocab, int) or vocab < 1:
        raise ConfigError(f"vocab: got {vocab!r}; it is the number of tokens, 1 or more.")
    return vocab


def _known(source: TokenSource) -> int:
    if source.vocab is None:
        raise ConfigError(
            f"vocab: {source!r} has none yet; give it to a MixturePath, or make "
            f"{type(source).__name__}(vocab)."
        )
    return source.vocab


def _check_same(source: TokenSource, vocab: int) -> None:
    if source.vocab is not None and source.vocab != _size(vocab):
        raise ConfigError(
            f"vocab: got {vocab} for {source!r}, whose vocabulary has {source.vocab} tokens. Make "
            "the two equal (the mask does not count)."
        )


def _integer(dtype: torch.dtype | None) -> torch.dtype:
    """Tokens are integers, whatever the continuous components of the same state are."""
    whole = dtype is not None and not dtype.is_floating_point and dtype != torch.bool
    return dtype if whole and dtype is not None else torch.int64
