"""Guidance by a worse version of the same network."""

from __future__ import annotations

import torch

from flowatlas.field import Field
from flowatlas.guidance.base import Guidance, Moment, Scale, Values
from flowatlas.guidance.classifier_free import checked_interval, within
from flowatlas.paths.base import StatePath

__all__ = ["Autoguidance"]


class Autoguidance(Guidance):
    r"""Away from the errors that a weaker network makes more of:

    $$v = v_{weak} + w \, (v_{good} - v_{weak}).$$

    Both see the same condition, or none. The weaker one is smaller, or trained for less time, on
    the same data.

    Args:
        field: the good network.
        weak: the other, with the same kind of prediction.
        path: what both were trained on.
        scale: w, one number or one for each component of a product (1 for those left out).
        interval: times at which to guide; elsewhere the weak network is not called.

    Raises:
        ConfigError: a scale for no component, an interval that is none.

    Reference: Guiding a Diffusion Model with a Bad Version of Itself, Karras et al., 2024,
    arXiv:2406.02507.

    Example:
        ```python
        weak = lambda x, t, condition=None: 0.9 * model(x, t)
        field = Autoguidance(model, weak, path, scale=2.0)
        x = sample(field, path, shape=(8, 2), solver=Heun(steps=16))
        ```
    """

    def __init__(
        self,
        field: Field,
        weak: Field,
        path: StatePath,
        scale: Scale = 1.0,
        *,
        interval: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__(field, path)
        self.weak = weak
        self.scale = self.scales(scale)
        self.interval = checked_interval(interval)

    def guide(self, moment: Moment) -> Values:
        (good,) = self.predict(self.field, moment, [moment.condition])
        inside = within(moment.t, self.interval)
        if not bool(inside.any()):
            return good
        (weak,) = self.predict(self.weak, moment, [moment.condition])
        weights = {name: torch.where(inside, w, 1.0) for name, w in self.scale.items()}
        return self.combined([weak, good], [{k: 1 - w for k, w in weights.items()}, weights])
