"""Affine paths in flat space, with every prediction kind and its conversions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from flowatlas._precision import full_precision
from flowatlas._random import Generators, randn
from flowatlas.errors import CapabilityError
from flowatlas.manifolds.euclidean import Euclidean
from flowatlas.paths._edges import first_finite, last_finite
from flowatlas.paths.base import PathSample
from flowatlas.paths.continuous import ContinuousPath, TimeWeight
from flowatlas.paths.interval import Interval
from flowatlas.schedulers import Coefficients, CondOT, Scheduler
from flowatlas.sources.base import Source
from flowatlas.sources.gaussian import Gaussian
from flowatlas.state import broadcast_time

__all__ = ["AffinePath"]


class AffinePath(ContinuousPath):
    r"""$x_t = \alpha_t x_1 + \sigma_t x_0$ in $\mathbb{R}^n$.

    The network may predict any of four things, which determine each other at (x, t):

    | prediction | meaning | its velocity is finite |
    |---|---|---|
    | `"velocity"` | $E[\dot\alpha_t x_1 + \dot\sigma_t x_0 \mid x_t]$ | where the schedule is |
    | `"target"` | $E[x_1 \mid x_t]$ | away from the data, where $\sigma_t = 0$ |
    | `"noise"` | $E[x_0 \mid x_t]$ | away from the source, where $\alpha_t = 0$ |
    | `"score"` | $\nabla \log p_t(x_t) = -E[x_0 - m \mid x_t] / (\sigma_t s^2)$ | as `"noise"` |

    with m and s the mean and standard deviation of the source. `conversion_interval` tells the
    interval of each; samplers stop at its edge and end with `conditional_step`.

    The score that stochastic solvers use follows from each of the four, if the source is Gaussian
    and the coupling in training was independent.

    Args:
        scheduler: alpha and sigma; the straight path if None.
        source: the law of x_0; a standard Gaussian if None. Score and noise need a Gaussian.
        prediction: `"velocity"`, `"target"`, `"noise"` or `"score"`.
        point_ndim: trailing axes that make one point, for masks (see `Euclidean`).
        weight: factor of this component's loss.
        time_weight: function of t, `(batch,)` to `(batch,)`, that multiplies the loss.
        loss: function of the mean squared error per point, such as a pseudo-Huber.

    Raises:
        ConfigError: unknown prediction kind, negative weight.
        CapabilityError: score or noise prediction with a source that is not Gaussian.

    Reference: Flow Matching for Generative Modeling, Lipman et al., 2022, arXiv:2210.02747, eq. 10
    to 15; Stochastic Interpolants, Albergo et al., 2023, arXiv:2303.08797, for the score.
    """

    kinds = ("velocity", "target", "noise", "score")
    pointwise_times = True

    def __init__(
        self,
        scheduler: Scheduler | None = None,
        *,
        source: Source | None = None,
        prediction: str = "velocity",
        point_ndim: int = 1,
        weight: float = 1.0,
        time_weight: TimeWeight | None = None,
        loss: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(
            Euclidean(point_ndim),
            Gaussian(point_ndim=point_ndim) if source is None else source,
            prediction=prediction,
            scheduler=CondOT() if scheduler is None else scheduler,
            weight=weight,
            time_weight=time_weight,
            loss=loss,
        )
        if prediction in ("noise", "score") and not self.gaussian:
            raise CapabilityError(
                f"prediction: {prediction!r} needs a Gaussian source, since its formula holds for "
                f"no other; got {type(self.source).__name__}. Use 'velocity' or 'target'."
            )

    @property
    def gaussian(self) -> bool:
        """Whether the source is an isotropic Gaussian, which score and noise prediction need."""
        return self.source.std is not None

    def interpolate(
        self, x_0: Tensor, x_1: Tensor, t: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.scheduler.interpolate(x_0, x_1, broadcast_time(t, x_1))

    def renoise(self, x: Tensor, t: Tensor, s: Tensor, *, generator: Generators = None) -> Tensor:
        r"""Draw x_s for s <= t from $N(r x_t + (\sigma_s - r \sigma_t) m,\, (\sigma_s^2 - r^2
        \sigma_t^2)\, s_0^2)$, with $r = \alpha_s / \alpha_t$.

        m and $s_0$ are the source's; whatever x_1 is, this takes its x_t to its x_s in law.
        """
        if not self.gaussian:
            raise CapabilityError(
                f"renoise: going back in time needs a Gaussian source, got "
                f"{type(self.source).__name__}. Sample without Resampling."
            )
        mean, std = self._source_moments(x)
        schedule = self.inference_scheduler or self.scheduler
        now, then = schedule(broadcast_time(t, x)), schedule(broadcast_time(s, x))
        # At the source alpha is zero and nothing is left of x.
        ratio = then.alpha / now.alpha.clamp(min=1e-30)
        spread = (then.sigma**2 - (ratio * now.sigma) ** 2).clamp(min=0).sqrt() * std
        noise = randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return ratio * x + (then.sigma - ratio * now.sigma) * mean + spread * noise

    def squared_error(self, prediction: Tensor, sample: PathSample) -> Tensor:
        error = (prediction - self._regression_target(sample)).square()
        axes = tuple(range(error.ndim - self.point_ndim, error.ndim))
        return error.mean(axes) if axes else error

    def _regression_target(self, sample: PathSample) -> Tensor:
        x_0, x_1, dx_t = sample.x_0, sample.x_1, sample.dx_t
        assert isinstance(x_0, Tensor)
        assert isinstance(x_1, Tensor)
        assert isinstance(dx_t, Tensor)
        if self.prediction == "velocity":
            return dx_t
        if self.prediction == "target":
            return x_1
        if self.prediction == "noise":
            return x_0
        return self._score(x_0, self.scheduler(broadcast_time(sample.t, x_0)))

    def convert(self, prediction: Tensor, x: Tensor, t: Tensor, to: str) -> Tensor:
        schedule = self.inference_scheduler
        if schedule is None or to == "target":
            return self._convert(prediction, x, t, to)
        # The state follows the new schedule; only the endpoint is read by the old one.
        self.conversion_interval(to).check(t, f"{to} from {self.prediction} prediction")
        x_1 = self._convert(prediction, x, t, "target")
        c = schedule(broadcast_time(t, x))
        if to == "velocity":
            return c.d_alpha / c.sigma * (x_1 - x)
        x_0 = (x - c.alpha * x_1) / c.sigma
        return x_0 if to == "noise" else self._score(x_0, c)

    def _convert(self, prediction: Tensor, x: Tensor, t: Tensor, to: str) -> Tensor:
        if to == self.prediction:
            return prediction
        self._training_interval(to).check(t, f"{to} from {self.prediction} prediction")
        c = self.scheduler(broadcast_time(t, x))
        if to == "target":
            return self._target(prediction, x, c)
        if to == "velocity" and self.prediction == "target":
            return c.d_alpha * prediction + c.sigma_d_sigma / c.sigma**2 * (
                x - c.alpha * prediction
            )
        x_0 = self._noise(prediction, x, c)
        if to == "noise":
            return x_0
        if to == "score":
            return self._score(x_0, c)
        return c.d_sigma * x_0 + c.d_alpha / c.alpha * (x - c.sigma * x_0)

    def _target(self, prediction: Tensor, x: Tensor, c: Coefficients) -> Tensor:
        """E[x_1 | x_t] from the prediction: two linear equations in (x_0, x_1)."""
        if self.prediction == "target":
            return prediction
        if self.prediction == "velocity":
            return (c.sigma * prediction - c.d_sigma * x) / self._wronskian(c)
        return (x - c.sigma * self._noise(prediction, x, c)) / c.alpha

    def _noise(self, prediction: Tensor, x: Tensor, c: Coefficients) -> Tensor:
        """E[x_0 | x_t] from the prediction."""
        if self.prediction == "noise":
            return prediction
        if self.prediction == "score":
            mean, std = self._source_moments(prediction)
            return mean - c.sigma * std**2 * prediction
        if self.prediction == "velocity":
            return (c.d_alpha * x - c.alpha * prediction) / self._wronskian(c)
        return (x - c.alpha * prediction) / c.sigma

    def _score(self, x_0: Tensor, c: Coefficients) -> Tensor:
        mean, std = self._source_moments(x_0)
        return (mean - x_0) / (c.sigma * std**2)

    @staticmethod
    def _wronskian(c: Coefficients) -> Tensor:
        """sigma d_alpha - alpha d_sigma: one for the straight path, zero where the path rests."""
        return c.sigma * c.d_alpha - c.alpha * c.d_sigma

    def _source_moments(self, like: Tensor) -> tuple[float | Tensor, float]:
        if self.source.std is None:
            raise CapabilityError(
                f"source: the score needs a Gaussian source, got {type(self.source).__name__}."
            )
        mean = self.source.mean
        return (mean.to(like) if isinstance(mean, Tensor) else mean), self.source.std

    def score(self, x: Tensor, t: Tensor, prediction: Tensor) -> Tensor:
        with full_precision(x):
            return self.convert(prediction.to(x.dtype), x, t, "score")

    @property
    def score_interval(self) -> Interval:
        self._source_moments(torch.empty(0))
        return self.conversion_interval("score") & self._within

    def noise_level(self, t: Tensor) -> Tensor:
        _, std = self._source_moments(t)
        return (self.inference_scheduler or self.scheduler)(t).sigma * std

    @property
    def local_t_max(self) -> float:
        if self.prediction == "score":
            return self._training_interval("score").end
        return self.scheduler.t_max

    def conversion_interval(self, to: str) -> Interval:
        schedule = self.inference_scheduler
        if schedule is None or to == "target":
            return self._training_interval(to)
        end = self._inference_ends["velocity" if to == "velocity" else "noise"]
        return self._training_interval("target") & Interval(0.0, end)

    def _training_interval(self, to: str) -> Interval:
        """Where `to` can be had from the prediction kind: the denominators of `_convert`."""
        start, end = 0.0, self.scheduler.t_max
        kind, edge = self.prediction, self._edges
        if kind == "velocity" and to != "velocity":
            start = max(start, edge["moving"].start)
        if kind == "velocity" and to in ("noise", "score"):
            end = min(end, edge["moving"].end)
        if kind in ("noise", "score") and to in ("velocity", "target"):
            start = max(start, edge["alpha"].start)
        if (kind, to) in (("target", "velocity"), ("score", "score")):
            end = min(end, edge["approach"].end)
        if (kind, to) == ("target", "noise") or (kind != "score" and to == "score"):
            end = min(end, edge["sigma"].end)
        if to == self.prediction and to in ("target", "noise"):
            end = 1.0
        return Interval(start, end)

    @cached_property
    def _inference_ends(self) -> dict[str, float]:
        """Up to where velocities and noises can be had along the inference schedule."""
        schedule = self.inference_scheduler
        assert schedule is not None
        return {
            "velocity": last_finite(lambda t: _approach_rate(schedule(t)), 1.0),
            "noise": last_finite(lambda t: _noise_rate(schedule(t)), 1.0),
        }

    @cached_property
    def _edges(self) -> dict[str, Interval]:
        """Where the factors of `_convert` are usable."""
        schedule = self.scheduler

        def moving(t: Tensor) -> Tensor:
            return _ratio(torch.ones_like(t), self._wronskian(schedule(t)))

        def from_source(t: Tensor) -> Tensor:
            return _ratio(schedule(t).d_alpha, schedule(t).alpha)

        def approach(t: Tensor) -> Tensor:
            return _ratio(schedule(t).sigma_d_sigma, schedule(t).sigma ** 2)

        end = schedule.t_max
        return {
            "moving": Interval(first_finite(moving), last_finite(moving, end)),
            "alpha": Interval(first_finite(from_source), end),
            "approach": Interval(0.0, last_finite(approach, end)),
            "sigma": Interval(0.0, last_finite(lambda t: _noise_rate(schedule(t)), end)),
        }

    def tilt(self, gradient: Tensor, x: Tensor, t: Tensor) -> Tensor:
        r"""What adding `gradient` to the score adds to the velocity.

        $$(\sigma_t^2 \dot\alpha_t / \alpha_t - \sigma_t \dot\sigma_t) s^2 \, g$$

        with s the standard deviation of the source. It grows without bound towards the source,
        where the gradient of any likelihood vanishes: `tilt_start` is where it is still below 1000.

        Args:
            gradient: $g = \nabla_{x_t} \log p(y \mid x_t)$, `(batch, *event)`.
            x: of the same shape; not used, for the factor is a function of t alone.
            t: `(batch,)`.

        Raises:
            CapabilityError: a source that is not Gaussian.
        """
        _, std = self._source_moments(gradient)
        c = (self.inference_scheduler or self.scheduler)(broadcast_time(t, gradient))
        return (c.sigma**2 * c.d_alpha / c.alpha - c.sigma_d_sigma) * std**2 * gradient

    @property
    def tilts(self) -> bool:
        return self.gaussian

    @property
    def tilt_start(self) -> float:
        return self._edges["alpha"].start

    def conditional_step(
        self,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        prediction: Tensor,
        *,
        generator: Generators = None,
    ) -> Tensor:
        x_1 = self._convert(prediction, x, t, "target")
        schedule = self.inference_scheduler or self.scheduler
        now, then = schedule(broadcast_time(t, x)), schedule(broadcast_time(s, x))
        ratio = then.sigma / now.sigma
        return ratio * x + (then.alpha - ratio * now.alpha) * x_1


def _approach_rate(c: Coefficients) -> Tensor:
    return _ratio(c.d_alpha, c.sigma)


def _noise_rate(c: Coefficients) -> Tensor:
    return _ratio(torch.ones_like(c.sigma), c.sigma)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Quotient that is infinite, not NaN, where the denominator vanishes."""
    vanishes = denominator.abs() < 1e-30
    return torch.where(vanishes, torch.inf, numerator / torch.where(vanishes, 1.0, denominator))
