"""Guidance by the gradient of a classifier of noisy states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from flowatlas.field import Condition, Field
from flowatlas.guidance._gradient import GradientGuidance, Strength
from flowatlas.guidance.base import Moment, Scale, Values
from flowatlas.paths.base import StatePath
from flowatlas.state import State

__all__ = ["Classifier"]


class Classifier(GradientGuidance):
    r"""Adds the gradient of a log likelihood to the score:

    $$\nabla \log p_t(x \mid y) = \nabla \log p_t(x) + w \, \nabla_{x} \log p_t(y \mid x)$$

    On an affine path with a Gaussian source a change of score is a change of velocity, and on a
    Dirichlet path one of the probabilities (`path.tilt`): with the exact likelihood of noisy states
    and w = 1 the samples are those of $p(x \mid y)$. The classifier has to know the noise: it is
    called at $x_t$ and t.

    On other paths there is no such formula. `strength` then says what the gradient, a tangent
    vector, is multiplied by: a pull towards y, whose law is not known.

    Args:
        field: a network, conditional or not.
        path: what it was trained on.
        log_likelihood: `(x, t, condition)` to $\log p_t(y \mid x)$, `(batch,)`; x is the whole
            state, and the condition whatever the sampler was given.
        scale: w, for all continuous components or, by name, for some (tokens have no gradient,
            `TokenClassifier` is theirs).
        strength: factor of the gradient, `(batch,)` to `(batch,)`, for paths without a formula.
        interval: times at which to guide.

    Raises:
        CapabilityError: a path without a formula and no `strength`, or with both; a scale for
            tokens.
        ConfigError: a scale for no component, an interval that is none.
        ShapeError: when called, a likelihood of another shape.

    Reference: Diffusion Models Beat GANs on Image Synthesis, Dhariwal and Nichol, 2021,
    arXiv:2105.05233; Score-Based Generative Modeling through SDEs, Song et al., 2020,
    arXiv:2011.13456, for the score; on Dirichlet paths Stark et al., 2024, arXiv:2402.05841.

    Example:
        ```python
        log_likelihood = lambda x, t, condition: -(x - 1).square().sum(-1)
        field = Classifier(model, path, log_likelihood, scale=2.0)
        x = sample(field, path, shape=(8, 2), solver=Heun(steps=16))
        ```
    """

    def __init__(
        self,
        field: Field,
        path: StatePath,
        log_likelihood: Callable[[Any, Tensor, Condition | None], Tensor],
        scale: Scale = 1.0,
        *,
        strength: Strength | None = None,
        interval: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__(field, path, scale, strength=strength, interval=interval)
        self.log_likelihood = log_likelihood

    def log_tilt(self, x: State, t: Tensor, moment: Moment) -> tuple[Tensor, Values]:
        return self.log_likelihood(x, t, moment.condition), {}
