"""Guidance by an energy of the data that a state will become."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from flowatlas._points import by_name
from flowatlas.field import Field
from flowatlas.guidance._gradient import GradientGuidance, Strength, pulls
from flowatlas.guidance.base import Moment, Scale, Values
from flowatlas.paths.base import StatePath
from flowatlas.state import State

__all__ = ["Energy"]


class Energy(GradientGuidance):
    r"""Towards data of low energy, $p(x_1) \, e^{-w E(x_1)}$, without a classifier of noisy states.

    The gradient that would do it is that of $\log E[e^{-w E(x_1)} \mid x_t]$. Here it is that of
    $-w \, E(\hat x_1)$, with $\hat x_1$ the end that the network predicts from $x_t$: the mean of
    the exponential is replaced by the exponential of the mean. That is exact where the posterior
    is Gaussian with a covariance that does not depend on $x_t$ and the energy is linear, and is the
    usual approximation elsewhere, too weak where the posterior is wide. The gradient goes through
    the network: one call forward and one backward a step.

    Args:
        field: a network, conditional or not.
        path: what it was trained on.
        energy: of predicted data `x_1`, the whole state with its tokens as they are, to `(batch,)`.
        scale: w, for all continuous components or, by name, for some.
        strength: factor of the gradient, `(batch,)` to `(batch,)`, for paths without a formula.
        interval: times at which to guide.

    Raises:
        CapabilityError: a path without a formula and no `strength`, or with both; a scale for
            tokens.
        ConfigError: a scale for no component, an interval that is none.
        ShapeError: when called, an energy of another shape.

    Reference: Diffusion Posterior Sampling, Chung et al., 2022, arXiv:2209.14687, for the
    approximation; On the Guidance of Flow Matching, Feng et al., 2025, arXiv:2502.02150, for flows.

    Example:
        ```python
        field = Energy(model, path, lambda x_1: (x_1 - 1).square().sum(-1), scale=2.0)
        x = sample(field, path, shape=(8, 2), solver=Heun(steps=16))
        ```
    """

    argument = "energy"

    def __init__(
        self,
        field: Field,
        path: StatePath,
        energy: Callable[[Any], Tensor],
        scale: Scale = 1.0,
        *,
        strength: Strength | None = None,
        interval: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__(field, path, scale, strength=strength, interval=interval)
        self.energy = energy

    def log_tilt(self, x: State, t: Tensor, moment: Moment) -> tuple[Tensor, Values]:
        # The network is asked at the time itself: only what a gradient adds has an earliest one.
        here = Moment(x, moment.t, moment.condition, moment.mask, moment.fixed)
        values = self.plain(here)
        return -self.energy(self._end(x, moment.t, values)), values

    def _end(self, x: State, t: Tensor, values: Values) -> Any:
        """The predicted data of the components that are pulled, the others as they are."""
        state = dict(by_name(x))
        for name, part in pulls(self, self.scale).items():
            canonical = part.as_canonical()
            bounds = canonical.conversion_interval("target")
            seen = t.clamp(bounds.start, bounds.end)
            state[name] = canonical.convert(values[name], state[name], seen, "target")
        return state["x"] if isinstance(x, Tensor) else state
