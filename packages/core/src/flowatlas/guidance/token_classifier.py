"""Guidance of tokens by a classifier of noisy states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowatlas._points import by_name
from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.field import Condition, Field
from flowatlas.guidance.base import Guidance, Moment, Values
from flowatlas.guidance.classifier_free import checked_interval, within
from flowatlas.paths.base import StatePath
from flowatlas.paths.mixture import MixturePath

__all__ = ["LogRatios", "TokenClassifier", "exact_log_ratios", "taylor_log_ratios"]

#: `(x, t, condition)` to the log likelihoods of all states that differ in one token.
LogRatios = Callable[[Any, Tensor, Condition | None], Tensor]


class TokenClassifier(Guidance):
    r"""Multiplies the rate of every jump by what it does to the likelihood of y:

    $$u_t^i(v, x \mid y) = u_t^i(v, x)
      \left( \frac{p(y \mid x_1^i = v, \, x_t = x)}{p_t(y \mid x_t = x)} \right)^{w}.$$

    At w = 1 this is Bayes' rule for the posterior of each token, hence the process given y, for any
    source. With a mask, a token that becomes v has $x_1^i = v$ from then on: the ratio is that of a
    classifier of noisy states after and before the jump, which `exact_log_ratios` evaluates. For
    other sources that ratio is another one, because a token that shows v need not end there; then
    it is an approximation that does not become exact with small steps.

    Args:
        field: a network, conditional or not.
        path: what it was trained on.
        log_ratios: `(x, t, condition)` to the logarithm of the ratio for every token and value,
            `(batch, *points, vocab)`; `exact_log_ratios` and `taylor_log_ratios` make it from the
            log likelihood of noisy states.
        scale: w.
        component: the tokens, in a product.
        interval: times at which to guide.

    Raises:
        ConfigError: no such component, a scale or interval that is none.
        CapabilityError: a component without tokens.
        ShapeError: when called, ratios of another shape.

    Reference: Unlocking Guidance for Discrete State-Space Diffusion and Flow Models, Nisonoff et
    al., 2024, arXiv:2406.01572, whose ratio is that of the two states, exact for rates that are
    the time reversal of a noising process. Those of a mixture path are, with a mask, and are not
    with another source.

    Example:
        ```python
        path = MixturePath(vocab=5)
        model = lambda x, t: torch.zeros(*x.shape, 5)
        ones = lambda x, t, condition: (x == 1).float().sum(-1)        # likes ones
        field = TokenClassifier(model, path, exact_log_ratios(ones, vocab=5), scale=2.0)
        x = sample(field, path, shape=(4, 6), solver=TauLeaping(steps=8))
        ```
    """

    def __init__(
        self,
        field: Field,
        path: StatePath,
        log_ratios: LogRatios,
        scale: float = 1.0,
        *,
        component: str = "x",
        interval: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__(field, path)
        if component not in path.components:
            raise ConfigError(
                f"component: no component {component!r}; there are {sorted(path.components)}."
            )
        if not isinstance(path.components[component], MixturePath):
            raise CapabilityError(
                f"component: {component!r} has no tokens. Use Classifier, which takes gradients."
            )
        self.component = component
        self.log_ratios = log_ratios
        self.scale = self.scales({component: scale})[component]
        self.interval = checked_interval(interval)

    def guide(self, moment: Moment) -> Values:
        (values,) = self.predict(self.field, moment, [moment.condition])
        inside = within(moment.t, self.interval)
        if not bool(inside.any()):
            return values
        log_rates = values[self.component]
        ratios = self.log_ratios(moment.x, moment.t, moment.condition)
        if ratios.shape != log_rates.shape:
            raise ShapeError(
                f"log_ratios: got shape {tuple(ratios.shape)}; need {tuple(log_rates.shape)}, the "
                "ratio for every token and value."
            )
        w = torch.where(inside, self.scale, 0.0).to(log_rates.dtype)
        pulled = log_rates + w.view(-1, *(1,) * (log_rates.ndim - 1)) * ratios
        return {**values, self.component: pulled}


def exact_log_ratios(
    log_likelihood: Callable[[Any, Tensor, Condition | None], Tensor],
    vocab: int,
    *,
    component: str = "x",
    chunk_size: int = 4096,
) -> LogRatios:
    """Log ratios by evaluating every change of one token: points times vocabulary evaluations.

    Args:
        log_likelihood: `(x, t, condition)` to `(batch,)`.
        vocab: number of tokens that data can have.
        component: the tokens, in a product.
        chunk_size: states evaluated at once.
    """

    def ratios(x: Any, t: Tensor, condition: Condition | None) -> Tensor:
        tokens = by_name(x)[component]
        batch, points = len(tokens), tokens[0].numel()
        index = torch.arange(batch * points * vocab, device=tokens.device)
        found = []
        for part in index.split(chunk_size):
            row = part // (points * vocab)
            changed = tokens.reshape(batch, points)[row]
            position, value = part // vocab % points, part % vocab
            changed[torch.arange(len(part), device=part.device), position] = value.to(changed.dtype)
            changed = changed.view(-1, *tokens.shape[1:])
            rows = _rows(x, row)
            new = changed if isinstance(x, Tensor) else {**rows, component: changed}
            found.append(log_likelihood(new, t[row], _rows(condition, row)))
        present = log_likelihood(x, t, condition)
        every = torch.cat(found).view(*tokens.shape, vocab)
        return every - present.view(-1, *(1,) * tokens.ndim)

    return ratios


def taylor_log_ratios(
    log_likelihood: Callable[[Tensor, Tensor, Condition | None], Tensor], states: int, vocab: int
) -> LogRatios:
    """Log ratios to first order, by one gradient: for classifiers that take relaxed tokens.

    Args:
        log_likelihood: of one-hot tokens `(batch, *points, states)`, which it also takes between
            the corners, to `(batch,)`.
        states: `path.states`, the mask included.
        vocab: number of tokens that data can have.

    Reference: the same, their Taylor-approximated guidance; Grathwohl et al., 2021,
    arXiv:2102.04509, for the idea.
    """

    def ratios(x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        corner = torch.nn.functional.one_hot(x.long(), states).to(t.dtype)

        def total(relaxed: Tensor) -> Tensor:
            return log_likelihood(relaxed, t, condition).sum()

        slope = torch.func.grad(total)(corner)
        present = slope.gather(-1, x.long().unsqueeze(-1))
        change: Tensor = (slope - present)[..., :vocab]
        return change

    return ratios


def _rows(value: Any, index: Tensor) -> Any:
    if value is None or isinstance(value, Tensor):
        return None if value is None else value[index]
    return {name: one[index] for name, one in value.items()}
