r"""How far each token is on its way: $\kappa_t$, common to all, by position, or by token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.paths._edges import last_finite
from flowatlas.schedulers import Coefficients, Scheduler
from flowatlas.state import broadcast_time

__all__ = ["CommonSchedule", "PerPosition", "PerToken", "TokenSchedule"]


class TokenSchedule(ABC):
    r"""$\kappa_t$ of tokens: the alpha of convex coefficients, whose sigma is $1 - \kappa_t$.

    ```python
    class LeftToRight(TokenSchedule):            # each of four positions has a quarter of the time
        def values(self, t):
            alpha = (4 * t.unsqueeze(-1) - torch.arange(4)).clamp(0, 1)
            moving = 4.0 * ((alpha > 0) & (alpha < 1))
            return Coefficients(alpha, 1 - alpha, moving, -moving, (alpha - 1) * moving)
    ```

    Attributes:
        by_token: whether kappa depends on the token that is approached, x_1, instead of where.
    """

    by_token: bool = False

    @abstractmethod
    def values(self, t: Tensor) -> Coefficients:
        """Coefficients at `t`, of any shape.

        Returns:
            Of shape `(*t.shape, *own)`, where `own` is `()` if kappa is common to all tokens,
            `(*points,)` if it depends on the position, and `(vocab,)` with `by_token`.
        """

    def at(self, t: Tensor, x_1: Tensor) -> Coefficients:
        """Coefficients of given tokens.

        Args:
            t: `(batch,)`.
            x_1: `(batch, *points)`, what is approached.

        Returns:
            Coefficients that broadcast to `x_1`.
        """
        return _each(self.values(t), lambda a: self._place(a, x_1))

    def table(self, t: Tensor, x: Tensor) -> Coefficients:
        """Coefficients for every token of the vocabulary.

        Args:
            t: `(batch,)`.
            x: `(batch, *points)`; only its shape is read.

        Returns:
            Coefficients that broadcast to logits, `(batch, *points, vocab)`.
        """
        return _each(self.values(t), lambda a: self._spread(a, x))

    def jump_chance(self, t: Tensor, s: Tensor, x_1: Tensor) -> Tensor:
        r"""$1 - (1 - \kappa_s) / (1 - \kappa_t)$ of given tokens, in float64."""
        return self._place(self._chance(t, s), x_1)

    def largest_jump_chance(self, t: Tensor, s: Tensor, x: Tensor) -> Tensor:
        """The largest of the chances that the vocabulary has at each place, in float64."""
        chance = self._chance(t, s)
        return self._place(chance, x) if not self.by_token else broadcast_time(chance.amax(1), x)

    def _chance(self, t: Tensor, s: Tensor) -> Tensor:
        now, then = self.values(torch.stack([t, s]).double()).sigma.unbind()
        return ((now - then) / now.clamp(min=1e-30)).clamp_(min=0)

    def max_rate(self, t: Tensor) -> Tensor:
        """Largest of the rates d_kappa / (1 - kappa), with the shape of `t`."""
        rate = jump_rate(self.values(t))
        return rate if rate.ndim == t.ndim else rate.flatten(t.ndim).amax(-1)

    @property
    def t_max(self) -> float:
        """The last time at which all rates are usable."""
        return last_finite(self.max_rate, 1.0)

    def _place(self, a: Tensor, x_1: Tensor) -> Tensor:
        """From `(batch, *own)` to what broadcasts to tokens."""
        if a.ndim == 1:
            return broadcast_time(a, x_1)
        if self.by_token:
            chosen = x_1.flatten(1).long().clamp(max=a.shape[1] - 1)
            return a.gather(1, chosen).view(x_1.shape)
        if a.shape != x_1.shape:
            raise ShapeError(
                f"scheduler: {self!r} has positions {tuple(a.shape[1:])}, but tokens have shape "
                f"(batch, *points) = {tuple(x_1.shape)}."
            )
        return a

    def _spread(self, a: Tensor, x: Tensor) -> Tensor:
        """From `(batch, *own)` to what broadcasts to logits."""
        if self.by_token:
            return a.view(a.shape[0], *(1,) * (x.ndim - 1), -1)
        return self._place(a, x).unsqueeze(-1)


class CommonSchedule(TokenSchedule):
    """One schedule for all tokens.

    Args:
        scheduler: convex.

    Raises:
        ConfigError: if it is not.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = _convex(scheduler)

    def values(self, t: Tensor) -> Coefficients:
        return self.scheduler(t)

    def __repr__(self) -> str:
        return repr(self.scheduler)


class PerPosition(TokenSchedule):
    r"""A schedule for each position: $\kappa^i_t$.

    Args:
        schedulers: convex ones; one for each position, or a few that `index` chooses from.
        index: `(*points,)`, which of them each position has; in their order if None.

    Raises:
        ConfigError: no schedulers, one that is not convex, an index out of range.

    Example:
        ```python
        # The first half of 256 tokens is ahead of the second.
        halves = PerPosition([Polynomial(1), Polynomial(3)], index=torch.arange(256) // 128)
        path = MixturePath(vocab=27, scheduler=halves)
        ```
    """

    def __init__(self, schedulers: Sequence[Scheduler], index: Tensor | None = None) -> None:
        self.schedulers = [_convex(one) for one in schedulers]
        self.index = _checked(index, len(self.schedulers))

    def values(self, t: Tensor) -> Coefficients:
        return _chosen(self.schedulers, self.index, t)

    def __repr__(self) -> str:
        return f"PerPosition({self.schedulers}, index=<{', '.join(map(str, self.index.shape))}>)"


class PerToken(TokenSchedule):
    r"""A schedule for each token of the vocabulary: $\kappa_t(x_1)$.

    The rate of a jump to token j is $\dot\kappa_t(j) / (1 - \kappa_t(j)) \, p(x_1 = j \mid x_t)$.

    Args:
        schedulers: convex ones; one for each token, or a few that `index` chooses from.
        index: `(vocab,)`, which of them each token has; in their order if None.

    Raises:
        ConfigError: no schedulers, one that is not convex, an index out of range.
        ShapeError: an index that is no vector.

    Reference: Flow Matching with General Discrete Paths, Shaul et al., 2024, arXiv:2412.03487,
    where kappa depends on the target token.

    Example:
        ```python
        # Vowels appear early.
        late = torch.ones(27, dtype=torch.int64)
        late[[1, 5, 9, 15, 21]] = 0
        path = MixturePath(27, "mask", PerToken([Polynomial(1), Polynomial(3)], index=late))
        ```
    """

    by_token = True

    def __init__(self, schedulers: Sequence[Scheduler], index: Tensor | None = None) -> None:
        self.schedulers = [_convex(one) for one in schedulers]
        self.index = _checked(index, len(self.schedulers))
        if self.index.ndim != 1:
            raise ShapeError(
                f"index: got shape {tuple(self.index.shape)}; need (vocab,), one entry per token."
            )

    def values(self, t: Tensor) -> Coefficients:
        return _chosen(self.schedulers, self.index, t)

    def __repr__(self) -> str:
        return f"PerToken({self.schedulers}, index=<{len(self.index)}>)"


def jump_rate(c: Coefficients) -> Tensor:
    """d_kappa / (1 - kappa): infinite, not NaN, where kappa is one."""
    left = torch.where(c.sigma > 0, c.sigma, 1.0)
    return torch.where(c.sigma > 0, c.d_alpha / left, torch.inf)


def _convex(scheduler: Scheduler) -> Scheduler:
    if not (isinstance(scheduler, Scheduler) and scheduler.convex):
        raise ConfigError(
            f"scheduler: {scheduler!r} is not convex (sigma = 1 - alpha), so its alpha is no "
            "probability of having jumped. Use CondOT, Polynomial, Cubic or ConvexCosine."
        )
    return scheduler


def _checked(index: Tensor | None, count: int) -> Tensor:
    if count == 0:
        raise ConfigError("schedulers: got none; give at least one.")
    index = torch.arange(count) if index is None else index.long()
    if index.numel() == 0 or not 0 <= int(index.min()) <= int(index.max()) < count:
        raise ConfigError(
            f"index: it says which of {count} schedulers each has, so its entries are from 0 to "
            f"{count - 1}; got {index}."
        )
    return index


def _chosen(schedulers: Sequence[Scheduler], index: Tensor, t: Tensor) -> Coefficients:
    """`(*t.shape, *index.shape)`."""
    each = [scheduler(t) for scheduler in schedulers]
    index = index.to(t.device)

    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(c, name) for c in each], -1)[..., index]

    names = ("alpha", "sigma", "d_alpha", "d_sigma", "sigma_d_sigma")
    return Coefficients(*(stacked(name) for name in names))


def _each(c: Coefficients, fn: Callable[[Tensor], Tensor]) -> Coefficients:
    return Coefficients(fn(c.alpha), fn(c.sigma), fn(c.d_alpha), fn(c.d_sigma), fn(c.sigma_d_sigma))
