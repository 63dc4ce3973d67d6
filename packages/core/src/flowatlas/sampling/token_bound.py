"""An upper bound on minus the log probability of tokens, by the rates of their jumps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowatlas._arguments import check_kind, count
from flowatlas._points import check_state, check_tokens, point_masks
from flowatlas._random import Generators, rand
from flowatlas.errors import CapabilityError, ShapeError
from flowatlas.field import Condition, Field, call_field, check_condition
from flowatlas.paths._rates import rate_divergence, redraw_divergence
from flowatlas.paths.mixture import MixturePath
from flowatlas.sampling._chunks import in_chunks
from flowatlas.sources.tokens import TokenSource

__all__ = ["TokenBound", "token_bound"]

#: Numbers that a network may return at once: 64 MB of float32.
BUDGET = 2**24
#: Rates are infinite at both ends, where no time is drawn but by rounding.
NEAREST = 1e-12


@dataclass(frozen=True, slots=True)
class TokenBound:
    """Bounds of samples, and how well they are known.

    Attributes:
        nats: `(batch,)`, an unbiased estimate of the bound on minus the log probability.
        standard_error: `(batch,)`, of that estimate; a little too large, for times are stratified.
        tokens: `(batch,)`, how many tokens each sample has.
    """

    nats: Tensor
    standard_error: Tensor
    tokens: Tensor

    @property
    def bits_per_token(self) -> float:
        """Bits of all samples together over their tokens."""
        return (self.nats.sum() / self.tokens.sum() / math.log(2)).item()


def token_bound(
    field: Field,
    path: MixturePath,
    x_1: Tensor,
    *,
    condition: Condition | None = None,
    mask: Tensor | None = None,
    redraw: bool = False,
    times: int = 32,
    generator: Generators = None,
    chunk_size: int | None = None,
) -> TokenBound:
    r"""How improbable the jump process of a field makes data, at most.

    The process that is known to end at $x_1$ and the one that the field generates start from one
    law. Their divergence over whole trajectories, which bounds that of where they end, is

    $$-\log p(x_1) \le E \int_0^1 \sum_i \sum_{y \ne x_t^i} \hat u^i(y) - u^i(y)
      + u^i(y) \log \frac{u^i(y)}{\hat u^i(y)} \, dt$$

    with the rates u of the former, and of the latter $\hat u$, the mean of u over the posterior
    that the field predicts. Which process it is does not change the law of $x_t$ given $x_1$:

    - the path's own, in which each token jumps once, $u(y) = \dot\kappa_t / (1 - \kappa_t)$ at
      $y = x_1$. `TauLeaping` follows it, in the limit of small steps.
    - with `redraw`, noising backward in time, in which a token may be drawn from the source again
      and again: rates of $\dot\kappa_t / \kappa_t \, p_0(y)$ are added where $x_t \ne x_1$, and
      $\dot\kappa_t / \kappa_t \, p_0(y) \, (1 - \kappa_t) p_0(x) / ((1 - \kappa_t) p_0(x) +
      \kappa_t)$ where $x_t = x_1$.

    For an exact posterior the bound by redraws is $-\log p(x_1)$ itself, since noising backward is
    a Markov process. With a mask the two are one. From other sources the path's own process is none
    given $x_t$ alone, for it matters whether a token has jumped, and its bound has a gap: of
    $(\log V + 1)(V - 1) / V - \log V$ nats for a uniform token, .84 at V = 27.

    Args:
        field: a trained network. From sources other than a mask let it predict `"denoiser"`: the
            own probability of a token must go to one as t does, or the bound is infinite.
        path: what it was trained on; with a schedule of `with_schedule`, what it is sampled by.
        x_1: `(batch, *points)`, tokens of data.
        condition: mapping of tensors `(batch, ...)`.
        mask: True where a token exists, `(batch, *points)`; padding has no part in the bound.
        redraw: which of the two processes.
        times: evaluations of the field; one time is drawn from each of as many intervals, which
            are shorter toward the data.
        generator: one, or one per sample.
        chunk_size: samples at once; chosen to bound memory if None.

    Raises:
        ConfigError: a path that is no `MixturePath`, no times.
        CapabilityError: a path that draws from another law than the field's (`with_jumps`), or
            predicts log-rates; redraws from a source whose law is not known, or with a schedule by
            token.
        ShapeError: tokens, condition, mask or prediction that do not fit.

    Reference: Flow Matching with General Discrete Paths, Shaul et al., 2024, arXiv:2412.03487, for
    the bound by the path's own process; Discrete Diffusion Modeling by Estimating the Ratios of the
    Data Distribution, Lou et al., 2023, arXiv:2310.16834, for that of noising backward. Formulae
    derived here.

    Example:
        ```python
        path = MixturePath(vocab=27, source="uniform", prediction="denoiser")
        model = lambda x, t: torch.zeros(*x.shape, 27)
        bound = token_bound(model, path, torch.zeros(8, 16).long(), redraw=True)
        bound.bits_per_token  # log2(27), about 4.75: an exact field for uniform tokens
        ```
    """
    check_kind("path", path, MixturePath, "MixturePath(27)")
    times = count("times", times)
    _check_process(path, redraw)
    check_state(path, x_1, "x_1")
    if x_1.numel() == 0:
        raise ShapeError(f"x_1: got shape {tuple(x_1.shape)}; it has no tokens to bound.")
    if condition is not None:
        check_condition(condition, x_1.shape[0])
    exists = point_masks(path, mask, x_1)
    check_tokens(path, x_1, "x_1", exists, data=True)
    if mask is not None:
        x_1 = torch.where(mask, x_1, 0)
    if chunk_size is None:
        chunk_size = max(1, BUDGET // (x_1[0].numel() * path.states))

    def run(x_1: Tensor, *, generator: Generators, **parts: Any) -> Mapping[str, Tensor]:
        return _estimate(field, path, x_1, redraw, times, generator, **parts)

    found = in_chunks(run, x_1, chunk_size, generator, condition=condition, mask=mask)
    tokens = torch.ones_like(x_1) if mask is None else mask.long()
    return TokenBound(found["mean"], found["error"], tokens.flatten(1).sum(1))


@torch.no_grad()
def _estimate(
    field: Field,
    path: MixturePath,
    x_1: Tensor,
    redraw: bool,
    times: int,
    generator: Generators,
    *,
    condition: Condition | None,
    mask: Tensor | None,
) -> Mapping[str, Tensor]:
    schedule = path.sampling_schedule
    values = []
    for k in range(times):
        x_0 = path.draw(x_1, generator=generator)
        u = rand((x_1.shape[0],), generator=generator, dtype=torch.float64, device=x_1.device)
        noise = rand(x_1.shape, generator=generator, dtype=torch.float64, device=x_1.device)
        # The fewer tokens are left, the faster they jump: times of density 1 / 2 sqrt(1 - t), by
        # which the variance is finite. Differences of rates are small beside them: all in float64.
        left = 1 - (k + u) / times
        t = (1 - left.square()).clamp(NEAREST, 1 - NEAREST)
        x_t = torch.where(noise < schedule.at(t, x_1).alpha, x_1, x_0)
        prediction = call_field(field, x_t, t.to(torch.get_default_dtype()), condition, mask)
        path.check_logits(prediction, x_t)
        log_p = torch.log_softmax(path.posterior(prediction.double(), x_t, t), -1)
        if redraw:
            assert isinstance(path.source, TokenSource)
            rate = redraw_divergence(path.source, schedule, log_p, x_1, x_t, t)
        else:
            rate = rate_divergence(schedule, log_p, x_1, x_t, t)
        moved = path.moved(x_t)
        if moved is not None:
            rate = torch.where(moved, 0.0, rate)
        if mask is not None:
            rate = torch.where(mask, rate, 0.0)
        values.append(2 * left * rate.flatten(1).sum(1))
    each = torch.stack(values)
    error = each.std(0) / math.sqrt(times) if times > 1 else torch.full_like(each[0], torch.inf)
    return {"mean": each.mean(0), "error": error}


def _check_process(path: MixturePath, redraw: bool) -> None:
    if path.jumps.changes_law or path.jumps.corrector != 0.0:
        raise CapabilityError(
            f"path: it has {path.jumps}, and the bound is that of the process without. Use the "
            "path without with_jumps."
        )
    if redraw and not isinstance(path.source, TokenSource):
        raise CapabilityError(
            f"redraw: the law of {type(path.source).__name__} is not known token by token. Use "
            "'mask', 'uniform' or Categorical(probs), or redraw=False."
        )
    if redraw and path.sampling_schedule.by_token:
        raise CapabilityError(
            "redraw: with a schedule by token there is no one rate of noising. Use a schedule "
            "common to all tokens, or redraw=False."
        )
