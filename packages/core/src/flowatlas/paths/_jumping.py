"""A step of a mixture path, in either direction: who jumps, where to, and who is taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowatlas._random import Generators, rand
from flowatlas.paths._categorical import Transform, draw_rows
from flowatlas.paths._rates import evidence, with_evidence
from flowatlas.sources.tokens import TokenSource

if TYPE_CHECKING:
    from flowatlas.paths.mixture import MixturePath

__all__ = ["leap", "reversed_leap", "taken_back"]

#: Numbers of logits that are worked on at once.
CHUNK = 1 << 20


def leap(
    path: MixturePath, x: Tensor, t: Tensor, s: Tensor, prediction: Tensor, generator: Generators
) -> Tensor:
    """The state at s > t, with the posterior of t.

    Args:
        path: tells schedule, source and options.
        x: `(batch, *points)`.
        t: `(batch,)`.
        s: `(batch,)`.
        prediction: `(batch, *points, vocab)`.
        generator: one, or one per sample.
    """
    chance = _chance(path, x, t, s, prediction)
    who = rand(x.shape, generator=generator, device=x.device) < chance.float()
    moved = path.moved(x)
    if moved is not None:
        who &= ~moved
    rows = who.view(-1).nonzero().squeeze(1)
    u = _numbers(x, rows, generator)
    if rows.shape[0] == 0:
        return x
    flat = prediction.reshape(-1, path.vocab)
    chosen = None if rows.shape[0] == flat.shape[0] else rows
    drawn = draw_rows(flat, chosen, u, _transform(path, x, t, rows)).to(x.dtype)
    new = x.reshape(-1).index_copy(0, rows, drawn).view(x.shape)
    if not path.sampling_schedule.by_token:
        return new
    # The chance was the largest over the vocabulary: slower tokens are thinned out.
    u = rand(x.shape, generator=generator, dtype=torch.float64, device=x.device)
    return torch.where(u * chance < path.sampling_schedule.jump_chance(t, s, new), new, x)


def taken_back(path: MixturePath, x: Tensor, t: Tensor, s: Tensor, generator: Generators) -> Tensor:
    r"""The state at s < t given the one at t: the source's again where it had not jumped by s.

    A token that has jumped by t had done so by s with probability $\kappa_s / \kappa_t$. This is
    exact whatever the data, for it needs no posterior.
    """
    u = rand(x.shape, generator=generator, dtype=torch.float64, device=x.device)
    x_0 = path.source.sample(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    now, then = (path.sampling_schedule.at(time.double(), x).alpha for time in (t, s))
    return torch.where(u * now < then, x, x_0)


def reversed_leap(
    path: MixturePath, x: Tensor, t: Tensor, s: Tensor, prediction: Tensor, generator: Generators
) -> Tensor:
    r"""The state at s < t of the time-reversed process, with the posterior of t.

    A token that shows x has jumped with probability $\rho$, and then had done so by s already with
    probability $\kappa_s / \kappa_t$; otherwise it is the source's again, whatever it was then.
    """
    kappa, then = (path.sampling_schedule.at(time.double(), x).alpha for time in (t, s))
    chance = _jumped(path, x, t, prediction) * (1 - then / kappa.clamp(min=1e-30)).clamp(0, 1)
    u = rand(x.shape, generator=generator, dtype=torch.float64, device=x.device)
    x_0 = path.source.sample(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return torch.where(u < chance, x_0, x)


def _jumped(path: MixturePath, x: Tensor, t: Tensor, prediction: Tensor) -> Tensor:
    r"""Probability that each token has jumped, given the whole state, in float64.

    $$\rho^i = \frac{\kappa_t \, p(x_1^i = x^i \mid x_t)}
      {(1 - \kappa_t) p_0(x^i) + \kappa_t}$$

    Where the source cannot have been x, that is known without a network; so it is of a mask.
    """
    assert isinstance(path.source, TokenSource)
    c = path.sampling_schedule.at(t.double(), x)
    idle = c.sigma * path.source.mass(x).double()
    sure = (idle == 0) & (x < path.vocab)
    unsure = ((~sure) & (x < path.vocab)).view(-1).nonzero().squeeze(1)
    chance = sure.double()
    if unsure.shape[0] == 0:
        return chance
    own = _own_posterior(path, x, t, prediction, unsure)
    shown = (c.alpha / (idle + c.alpha).clamp(min=1e-30)).expand(x.shape).reshape(-1)[unsure]
    return chance.view(-1).index_copy(0, unsure, own * shown).view(x.shape)


def _own_posterior(
    path: MixturePath, x: Tensor, t: Tensor, prediction: Tensor, rows: Tensor
) -> Tensor:
    """p(x_1 = x | x_t) of some tokens, in float64, a few logits at a time."""
    flat, tokens = prediction.reshape(-1, path.vocab), x.reshape(-1)
    transform = _posterior_of(path, x, t, rows)
    size, parts = max(1, CHUNK // path.vocab), []
    for index in torch.arange(len(rows), device=x.device).split(size):
        logits = flat[rows[index]]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if transform is not None:
            logits = transform(logits, index)
        column = logits.gather(1, tokens[rows[index]].long().unsqueeze(1)).squeeze(1)
        parts.append((column.double() - logits.double().logsumexp(1)).exp())
    return torch.cat(parts)


def _numbers(x: Tensor, rows: Tensor, generator: Generators) -> Tensor:
    """Uniform numbers for some tokens; of each sample's own generator, as many whoever jumps."""
    if generator is None or isinstance(generator, torch.Generator):
        return rand(rows.shape, generator=generator, dtype=torch.float64, device=x.device)
    u = rand(x.shape, generator=generator, dtype=torch.float64, device=x.device)
    return u.view(-1)[rows]


def _chance(path: MixturePath, x: Tensor, t: Tensor, s: Tensor, prediction: Tensor) -> Tensor:
    """Probability that a token jumps, or at least as much, broadcastable to `x`."""
    chance = path.sampling_schedule.largest_jump_chance(t, s, x)
    if path.prediction != "log_rates":
        return chance
    total = _total_rates(prediction.reshape(-1, path.vocab)).view(x.shape)
    return -torch.expm1(total * torch.log1p(-chance))


def _total_rates(log_rates: Tensor) -> Tensor:
    """Sum of the rates of each row, in float64, without a copy of all the logits."""
    size = max(1, CHUNK // log_rates.shape[1])
    return torch.cat([part.logsumexp(1).double().exp() for part in log_rates.split(size)])


def _transform(path: MixturePath, x: Tensor, t: Tensor, rows: Tensor) -> Transform | None:
    """From what the network says to the logits that x_1 is drawn from, for some tokens."""
    jumps = path.jumps
    posterior = _posterior_of(path, x, t, rows)
    if not jumps.changes_law:
        return posterior
    if posterior is None:
        return lambda logits, _: jumps.reshaped(logits)
    return lambda logits, index: jumps.reshaped(posterior(logits, index))


def _posterior_of(path: MixturePath, x: Tensor, t: Tensor, rows: Tensor) -> Transform | None:
    """From what the network says to the logits of the posterior, for some tokens."""
    if path.prediction != "denoiser":
        return None
    tokens = x.reshape(-1)[rows]
    odds, kept = evidence(path.source, path.sampling_schedule, x, t, path.vocab)
    odds = odds.expand(x.shape).reshape(-1)[rows]
    sample = rows // max(x[0].numel(), 1)

    def transform(logits: Tensor, index: Tensor) -> Tensor:
        own = None if kept is None else kept.view(x.shape[0], -1)[sample[index]]
        return with_evidence(logits, tokens[index], odds[index], own)

    return transform
