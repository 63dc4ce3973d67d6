"""Classifier-free guidance."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.field import Field
from flowatlas.guidance.base import Guidance, Moment, Scale, Values, needs_condition
from flowatlas.paths.base import StatePath

__all__ = ["ClassifierFree"]


class ClassifierFree(Guidance):
    r"""Away from what the network predicts without a condition:

    $$v = v_\varnothing + w \, (v_c - v_\varnothing),$$

    and the same for log-rates. w = 1 is the conditional flow, w = 0 the other; above 1 samples
    agree better with the condition and vary less. Scores are combined as velocities are: at each t
    it is the score of $p_t(x)^{1 - w} p_t(x \mid c)^w$, and the samples follow the law with
    exponent w at t = 1 only where these are the marginals of one flow, as for Gaussians of one
    covariance, or for a single masked token.

    Both predictions come from one call on twice the batch; where w = 1 (outside `interval`), the
    null prediction is not asked for. The null condition is `field.null_condition(condition)`.

    Args:
        field: a network trained with `condition_dropout`.
        path: what it was trained on.
        scale: w, one number or one for each component of a product (1 for those left out).
        interval: times at which to guide; elsewhere w = 1.
        rescale: how much of the change in length is taken back, from 0 to 1: at 1 the guided
            velocity is as long as the conditional one, over all points of a sample, and tokens
            jump as often.

    Raises:
        ConfigError: a scale for no component, an interval that is none, a rescale outside [0, 1].

    Reference: Classifier-Free Diffusion Guidance, Ho and Salimans, 2022, arXiv:2207.12598; the
    interval, Kynkaanniemi et al., 2024, arXiv:2404.07724; rescaling, Lin et al., 2023,
    arXiv:2305.08891, who take standard deviations where we take norms, which tangent vectors have
    on every manifold; log-rates, Nisonoff et al., 2024, arXiv:2406.01572; for Dirichlet paths Stark
    et al., 2024, arXiv:2402.05841, whose scores are linear in the probabilities as velocities are.

    Example:
        ```python
        field = ClassifierFree(model, path, scale=3.0, interval=(0.1, 0.9))
        x = sample(field, path, shape=(64, 2), condition={"label": label}, solver=Heun(steps=16))
        ```
    """

    def __init__(
        self,
        field: Field,
        path: StatePath,
        scale: Scale = 1.0,
        *,
        interval: tuple[float, float] = (0.0, 1.0),
        rescale: float = 0.0,
    ) -> None:
        super().__init__(field, path)
        self.scale = self.scales(scale)
        self.interval = checked_interval(interval)
        if not 0 <= rescale <= 1:
            raise ConfigError(f"rescale: got {rescale}; it must be from 0 to 1.")
        self.rescale = float(rescale)

    def guide(self, moment: Moment) -> Values:
        condition = needs_condition(moment)
        inside = within(moment.t, self.interval)
        if not bool(inside.any()) or all(w == 1 for w in self.scale.values()):
            return self.predict(self.field, moment, [condition])[0]
        conditions = [condition, self.null_condition(condition)]
        given, null = self.predict(self.field, moment, conditions)
        weights = {name: torch.where(inside, w, 1.0) for name, w in self.scale.items()}
        others = {name: 1 - w for name, w in weights.items()}
        guided = self.combined([null, given], [others, weights])
        return guided if self.rescale == 0 else self._rescaled(moment, guided, given)

    def _rescaled(self, moment: Moment, guided: Values, given: Values) -> Values:
        wanted = self.inner(moment, given, given)
        present = self.inner(moment, guided, guided)
        rescaled = {}
        for name, part in self.path.components.items():
            ratio = ratio_of(wanted[name], present[name]).sqrt()
            factor = 1 + self.rescale * (ratio - 1)
            rescaled[name] = part.arithmetic.scaled(guided[name], factor)
        return rescaled


def ratio_of(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, one where the denominator vanishes."""
    rest = denominator <= torch.finfo(denominator.dtype).tiny
    return torch.where(rest, 1.0, numerator / torch.where(rest, 1.0, denominator))


def within(t: Tensor, interval: tuple[float, float]) -> Tensor:
    """Which times lie in a closed interval."""
    return (t >= interval[0]) & (t <= interval[1])


def checked_interval(interval: tuple[float, float]) -> tuple[float, float]:
    """An interval of times in [0, 1], or `ConfigError`."""
    try:
        low, high = (float(bound) for bound in interval)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not 0 <= low <= high <= 1:
        raise ConfigError(
            f"interval: got {interval!r}; it must be two times with 0 <= first <= second <= 1."
        )
    return low, high
