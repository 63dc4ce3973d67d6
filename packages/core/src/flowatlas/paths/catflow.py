"""CatFlow: categories as vertices of a simplex, reached through flat space."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas._random import Generators
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds.euclidean import Euclidean
from flowatlas.paths.affine import AffinePath
from flowatlas.paths.base import PathSample
from flowatlas.paths.continuous import ContinuousPath, TimeWeight
from flowatlas.paths.interval import Interval
from flowatlas.schedulers import CondOT, Scheduler
from flowatlas.sources.base import Source
from flowatlas.sources.gaussian import Gaussian

__all__ = ["CatFlowPath"]


class CatFlowPath(ContinuousPath):
    r"""$x_t = \alpha_t x_1 + \sigma_t x_0$ with $x_1$ one-hot, and a network that classifies.

    The marginal velocity of an affine path depends on the posterior of $x_1$ only through its mean,
    and for a one-hot $x_1$ that is the probability of each category. The network returns logits of
    the posterior, `(batch, *points, vocab)`; the loss is their cross-entropy at $x_1$,

    $$L = -E \sum_k x_1^k \log \operatorname{softmax}(f(x_t, t))^k, \qquad
      \hat x_1 = \operatorname{softmax}(f(x_t, t)),$$

    and the velocity is that of target prediction, $\hat x_1$ being the target. Unlike tokens of a
    `MixturePath`, states are continuous: they move by any Runge-Kutta solver and end next to a
    vertex, whose category is `x.argmax(-1)`.

    Args:
        vocab: number of categories, the length of the last axis.
        source: the law of x_0; a standard Gaussian if None.
        scheduler: alpha and sigma; the straight path if None.
        weight: factor of this component's loss.
        time_weight: function of t, `(batch,)` to `(batch,)`, that multiplies the loss.

    Raises:
        ConfigError: fewer than two categories, a negative weight.

    Reference: Variational Flow Matching for Graph Generation, Eijkelboom et al., 2024,
    arXiv:2406.04843, section 4 (CatFlow).

    Example:
        ```python
        path = CatFlowPath(vocab=5)
        x_1 = torch.nn.functional.one_hot(torch.randint(5, (64, 9)), 5).float()
        loss = FlowMatching(path)(model, x_1).loss
        category = sample(model, path, shape=(4, 9, 5), solver=Midpoint(steps=10)).argmax(-1)
        ```
    """

    kinds = ("logits",)

    def __init__(
        self,
        vocab: int,
        source: Source | None = None,
        scheduler: Scheduler | None = None,
        *,
        weight: float = 1.0,
        time_weight: TimeWeight | None = None,
    ) -> None:
        if vocab < 2:
            raise ConfigError(f"vocab: got {vocab}; it is the number of categories, 2 or more.")
        source = Gaussian() if source is None else source
        scheduler = CondOT() if scheduler is None else scheduler
        super().__init__(
            Euclidean(),
            source,
            prediction="logits",
            scheduler=scheduler,
            weight=weight,
            time_weight=time_weight,
            loss=None,
        )
        self.vocab = vocab
        self._affine = AffinePath(scheduler, source=source, prediction="target")

    @property
    def affine(self) -> AffinePath:
        """The same path for a network that predicts the mean of x_1 itself."""
        schedule = self.inference_scheduler
        return self._affine if schedule is None else self._affine.with_schedule(schedule)

    def interpolate(
        self, x_0: Tensor, x_1: Tensor, t: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if x_1.shape[-1] != self.vocab:
            raise ShapeError(
                f"x_1: got shape {tuple(x_1.shape)}; its last axis is one-hot over {self.vocab} "
                "categories. Use torch.nn.functional.one_hot(tokens, vocab).float()."
            )
        return self._affine.interpolate(x_0, x_1, t)

    def squared_error(self, prediction: Tensor, sample: PathSample) -> Tensor:
        """The cross-entropy of each point, in place of a squared error."""
        assert isinstance(sample.x_1, Tensor)
        return -(sample.x_1 * torch.log_softmax(prediction, -1)).sum(-1)

    def convert(self, prediction: Tensor, x: Tensor, t: Tensor, to: str) -> Tensor:
        """The velocity, target, noise or score that the logits imply."""
        if to == "logits":
            return prediction
        return self.affine.convert(torch.softmax(prediction, -1), x, t, to)

    def as_canonical(self) -> ContinuousPath:
        return self.affine.as_canonical()

    def tilt(self, gradient: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return self.affine.tilt(gradient, x, t)

    @property
    def tilts(self) -> bool:
        return self.affine.tilts

    @property
    def tilt_start(self) -> float:
        return self.affine.tilt_start

    def score(self, x: Tensor, t: Tensor, prediction: Tensor) -> Tensor:
        return self.affine.score(x, t, torch.softmax(prediction.to(x.dtype), -1))

    @property
    def score_interval(self) -> Interval:
        return self.affine.score_interval

    def noise_level(self, t: Tensor) -> Tensor:
        return self.affine.noise_level(t)

    def conversion_interval(self, to: str) -> Interval:
        return Interval(0.0, 1.0) if to == "logits" else self.affine.conversion_interval(to)

    def conditional_step(
        self,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        prediction: Tensor,
        *,
        generator: Generators = None,
    ) -> Tensor:
        return self.affine.conditional_step(x, t, s, torch.softmax(prediction, -1))
