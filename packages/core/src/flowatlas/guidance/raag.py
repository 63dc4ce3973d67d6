"""Guidance whose strength follows the ratio of the two predictions."""

from __future__ import annotations

import torch

from flowatlas.errors import ConfigError
from flowatlas.field import Field
from flowatlas.guidance.base import Guidance, Moment, Scale, Values, needs_condition
from flowatlas.paths.base import StatePath

__all__ = ["RAAG"]


class RAAG(Guidance):
    r"""Classifier-free guidance that is weaker where the two predictions differ more:

    $$w = 1 + (w_{max} - 1) \, e^{-a \rho}, \qquad
      \rho = \| v_c - v_\varnothing \|^2 / \| v_\varnothing \|^2.$$

    Early in the flow the unconditional velocity is small and the ratio high, where a strong pull
    throws samples off. Norms are the metric's at x_t, over all points of a sample; each component
    of a product has its own ratio. Those of tokens are of the rates.

    Args:
        field: a network trained with `condition_dropout`.
        path: what it was trained on.
        scale: $w_{max}$, one number or one for each component (1 for those left out).
        decay: a, zero or more; 0 is plain classifier-free guidance.

    Raises:
        ConfigError: a scale for no component, or a negative decay.
        CapabilityError: when called, for a Dirichlet path, whose probabilities have no length.

    Reference: RAAG: Ratio Aware Adaptive Guidance, Zhu et al., 2025, arXiv:2508.03442; tokens are
    ours.

    Example:
        ```python
        field = RAAG(model, path, scale=5.0, decay=2.0)
        x = sample(field, path, shape=(64, 2), condition={"label": label}, solver=Euler(steps=10))
        ```
    """

    def __init__(
        self, field: Field, path: StatePath, scale: Scale = 1.0, *, decay: float = 1.0
    ) -> None:
        super().__init__(field, path)
        self.scale = self.scales(scale)
        if not 0 <= decay < float("inf"):
            raise ConfigError(f"decay: got {decay}; it must be zero or more, and finite.")
        self.decay = float(decay)

    def guide(self, moment: Moment) -> Values:
        condition = needs_condition(moment)
        conditions = [condition, self.null_condition(condition)]
        given, null = self.predict(self.field, moment, conditions)
        cc = self.inner(moment, given, given)
        cn = self.inner(moment, given, null)
        nn = self.inner(moment, null, null)
        weights = {}
        for name, w in self.scale.items():
            # A difference of squares, which rounding could leave below zero.
            gap = (cc[name] - 2 * cn[name] + nn[name]).clamp(min=0)
            rho = gap / nn[name].clamp(min=torch.finfo(gap.dtype).tiny)
            weights[name] = 1 + (w - 1) * torch.exp(-self.decay * rho.clamp(max=1e30))
        return self.combined([null, given], [{k: 1 - w for k, w in weights.items()}, weights])
