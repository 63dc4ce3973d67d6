"""Posteriors of tokens, and how far one rate of jumping is from another."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.paths.token_schedule import TokenSchedule, jump_rate
from flowatlas.sources.base import Source
from flowatlas.sources.tokens import TokenSource

__all__ = ["column", "evidence", "rate_divergence", "redraw_divergence", "with_evidence"]


def column(log_p: Tensor, tokens: Tensor) -> Tensor:
    """The entry of each token in its row; of the last for a mask, which has none."""
    index = tokens.long().clamp(max=log_p.shape[-1] - 1).unsqueeze(-1)
    return log_p.gather(-1, index).squeeze(-1)


def rate_divergence(
    schedule: TokenSchedule, log_p: Tensor, x_1: Tensor, x: Tensor, t: Tensor
) -> Tensor:
    r"""Generalised KL divergence of the jumps of x_1 from those of the posterior p.

    $$\sum_{y \ne x} \hat u(y) - u(y) + u(y) \log \frac{u(y)}{\hat u(y)}, \qquad
      \hat u(y) = r(y) p(y), \quad u(y) = r(y) [y = x_1]$$

    with $r = \dot\kappa_t / (1 - \kappa_t)$.

    Args:
        schedule: tells r.
        log_p: `(batch, *points, vocab)`.
        x_1: `(batch, *points)`.
        x: `(batch, *points)`.
        t: `(batch,)`.

    Reference: Flow Matching with General Discrete Paths, Shaul et al., 2024, arXiv:2412.03487.
    """
    own = torch.where(x < log_p.shape[-1], column(log_p, x).exp(), 0.0)
    rate = jump_rate(schedule.at(t, x_1))
    if schedule.by_token:
        everywhere = (log_p.exp() * jump_rate(schedule.table(t, x_1))).sum(-1)
        leaving = everywhere - own * jump_rate(schedule.at(t, x))
    else:
        leaving = (1 - own) * rate
    return leaving - torch.where(x == x_1, 0.0, rate * (1 + column(log_p, x_1)))


def redraw_divergence(
    source: TokenSource,
    schedule: TokenSchedule,
    log_p: Tensor,
    x_1: Tensor,
    x: Tensor,
    t: Tensor,
) -> Tensor:
    r"""Generalised KL divergence as above, of the jumps of noising backward in time.

    Noising draws each token from the source again, at the rate $\rho = \dot\kappa_t / \kappa_t$ as
    t falls. Backward, given x_1, a token x jumps to y at

    $$u(y \mid x_1) = \rho \, p_0(x) \frac{p_t(y \mid x_1)}{p_t(x \mid x_1)}
      = \rho \cdot \begin{cases} p_0(y) + \frac{\kappa_t}{1 - \kappa_t} [y = x_1] & x \ne x_1 \\
      g \, p_0(y) & x = x_1 \end{cases}, \qquad
      g = \frac{(1 - \kappa_t) p_0(x)}{(1 - \kappa_t) p_0(x) + \kappa_t}.$$

    Args:
        source: tells p_0, of all states.
        schedule: not by token.
        log_p: `(batch, *points, vocab)`.
        x_1: `(batch, *points)`.
        x: `(batch, *points)`; no tokens that the source never has.
        t: `(batch,)`, inside (0, 1).
    """
    vocab = log_p.shape[-1]
    states = torch.arange(vocab + source.masks, device=x.device)
    c = schedule.at(t, x_1)
    p_0 = source.mass(states).to(log_p.dtype)
    posterior = torch.nn.functional.pad(log_p.exp(), (0, int(source.masks)))
    stays = c.sigma * source.mass(x).to(log_p.dtype)
    g = stays / (stays + c.alpha)
    own = posterior.gather(-1, x.long().unsqueeze(-1))
    odds = (c.alpha / c.sigma).unsqueeze(-1)
    there = (x == x_1).unsqueeze(-1)
    goal = odds * (states == x_1.unsqueeze(-1))
    u = torch.where(there, g.unsqueeze(-1) * p_0, p_0 + goal)
    predicted = p_0 * (1 - own + own * g.unsqueeze(-1)) + odds * posterior
    possible = (states != x.unsqueeze(-1)) & (u > 0)
    ratio = torch.where(possible, u, 1.0) / torch.where(possible, predicted, 1.0)
    each = torch.where(states != x.unsqueeze(-1), predicted - u, 0.0) + u * ratio.log()
    return c.d_alpha / c.alpha * each.sum(-1)


def evidence(
    source: Source, schedule: TokenSchedule, x: Tensor, t: Tensor, vocab: int
) -> tuple[Tensor, Tensor | None]:
    """What tokens say of their own x_1, as `with_evidence` takes it.

    Args:
        source: a `TokenSource`, whose law is known.
        schedule: tells kappa.
        x: `(batch, *points)`.
        t: `(batch,)`.
        vocab: number of tokens of data.
    """
    assert isinstance(source, TokenSource)
    c = schedule.at(t, x)
    odds = c.alpha / (c.sigma * source.mass(x)).clamp(min=1e-30)
    own = torch.where(x < vocab, torch.log1p(odds), 0.0)
    kept = schedule.table(t, x).sigma.clamp(min=1e-30).log() if schedule.by_token else None
    return own.to(t.dtype), kept


def with_evidence(logits: Tensor, x: Tensor, own: Tensor, kept: Tensor | None) -> Tensor:
    r"""Logits of the denoiser times $(1 - \kappa_t) p_0(x) + \kappa_t [x_1 = x]$, by column x_1.

    Args:
        logits: `(..., vocab)`.
        x: `(...)`, the tokens themselves; a mask, which has no column, says nothing.
        own: broadcastable to `x`; what to add in the token's own column.
        kept: log(1 - kappa) of every token, broadcastable to the logits; None if all are equal.
    """
    if kept is not None:
        logits = logits + kept
    column = x.long().clamp(max=logits.shape[-1] - 1).unsqueeze(-1)
    added = own.expand(x.shape).unsqueeze(-1).to(logits.dtype)
    return logits.scatter_add(-1, column, added)
