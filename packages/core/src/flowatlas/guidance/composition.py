"""Several conditions at once: all of them, none of some, or one of many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition, Field
from flowatlas.guidance.base import Guidance, Moment, Values, needs_condition
from flowatlas.paths.base import StatePath

__all__ = ["Composition", "Mixture"]


class Composition(Guidance):
    r"""Towards some conditions and away from others:

    $$v = v_\varnothing + \sum_i w_i \, (v_{c_i} - v_\varnothing),$$

    and the same for log-rates. At each t this is the score of
    $p_t(x) \prod_i (p_t(x \mid c_i) / p_t(x))^{w_i}$: weights of one ask for all conditions, which
    are then taken to be independent given x; a negative weight asks for the absence of one.

    Every tensor of the condition has an axis of conditions after that of the batch:
    `condition={"label": torch.stack([red, round], 1)}` for two labels `(batch,)`. All predictions,
    the null one included, come from one call on a larger batch.

    Args:
        field: a network trained with `condition_dropout`.
        path: what it was trained on.
        weights: w_i, one for each condition.

    Raises:
        ConfigError: no weights, or some that are not finite.
        ShapeError: when called, a condition without as many entries.

    Reference: Compositional Visual Generation with Composable Diffusion Models, Liu et al., 2022,
    arXiv:2206.01714.

    Example:
        ```python
        field = Composition(model, path, weights=(2.0, -0.5))
        both = {"label": torch.stack([label, 1 - label], 1)}
        x = sample(field, path, shape=(64, 2), condition=both, solver=Heun(steps=16))
        ```
    """

    def __init__(self, field: Field, path: StatePath, weights: Sequence[float]) -> None:
        super().__init__(field, path)
        self.weights = tuple(float(w) for w in weights)
        if not self.weights or not all(math.isfinite(w) for w in self.weights):
            raise ConfigError(
                f"weights: got {tuple(weights)}; give one finite number for each condition."
            )

    def guide(self, moment: Moment) -> Values:
        terms = _terms(needs_condition(moment), len(self.weights))
        conditions = [self.null_condition(terms[0]), *terms]
        values = self.predict(self.field, moment, conditions)
        weights = (1 - sum(self.weights), *self.weights)
        return self.combined(values, [torch.full_like(moment.t, w) for w in weights])


class Mixture(Guidance):
    r"""Towards one of several conditions, each sample to its own:

    $$v = \sum_i r_i(x_t, t) \, v_{c_i}, \qquad r_i \propto w_i \, p_t(x_t \mid c_i).$$

    With the true responsibilities r this is the flow to the mixture $\sum_i w_i \, p(x \mid c_i)$,
    for it is the mean velocity of the paths that pass here. They come from a classifier of noisy
    states, or from densities where those are known. Rates add up as velocities do, so that tokens
    are combined by the logarithm of the mean rate.

    Every tensor of the condition has an axis of conditions after that of the batch, as for
    `Composition`.

    Args:
        field: a conditional network.
        path: what it was trained on.
        log_weights: `(x, t, condition)` to $\log r_i$, `(batch, conditions)`, up to a constant.

    Raises:
        ShapeError: when called, conditions or weights that do not fit.

    Reference: the mixture of Compositional Visual Generation with Energy Based Models, Du et al.,
    2020, arXiv:2004.06030; the velocity is derived here.

    Example:
        ```python
        field = Mixture(model, path, lambda x, t, condition: torch.zeros(len(t), 2))
        either = {"label": torch.stack([label, 1 - label], 1)}
        x = sample(field, path, shape=(64, 2), condition=either, solver=Heun(steps=16))
        ```
    """

    def __init__(
        self,
        field: Field,
        path: StatePath,
        log_weights: Callable[[Any, Tensor, Condition], Tensor],
    ) -> None:
        super().__init__(field, path)
        self.log_weights = log_weights

    def guide(self, moment: Moment) -> Values:
        condition = needs_condition(moment)
        log_weights = self.log_weights(moment.x, moment.t, condition)
        if log_weights.ndim != 2 or len(log_weights) != len(moment.t):
            raise ShapeError(
                f"log_weights: got shape {tuple(log_weights.shape)}; need ({len(moment.t)}, "
                "conditions)."
            )
        values = self.predict(self.field, moment, _terms(condition, log_weights.shape[1]))
        shares = torch.softmax(log_weights, 1).unbind(1)
        return {
            name: part.arithmetic.mean([value[name] for value in values], shares)
            for name, part in self.path.components.items()
        }


def _terms(condition: Condition, count: int) -> list[dict[str, Tensor]]:
    """One condition for each entry of the axis after the batch."""
    for name, value in condition.items():
        if value.ndim < 2 or value.shape[1] != count:
            raise ShapeError(
                f"condition[{name!r}]: got shape {tuple(value.shape)}; need (batch, {count}, ...), "
                f"one entry for each of {count} conditions. Use torch.stack([first, second], 1)."
            )
    return [{name: value[:, i] for name, value in condition.items()} for i in range(count)]
