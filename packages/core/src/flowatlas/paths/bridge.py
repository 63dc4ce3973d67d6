"""Bridges: paths with noise of their own between any two laws."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NoReturn

import torch
from torch import Tensor

from flowatlas._precision import full_precision
from flowatlas._random import Generators, randn
from flowatlas.errors import CapabilityError, ConfigError
from flowatlas.manifolds.euclidean import Euclidean
from flowatlas.paths._edges import first_finite, last_finite
from flowatlas.paths.base import PathSample
from flowatlas.paths.continuous import ContinuousPath, TimeWeight
from flowatlas.paths.gamma import BrownianGamma, Gamma, GammaCoefficients
from flowatlas.paths.interval import Interval
from flowatlas.schedulers import Coefficients, CondOT, Scheduler
from flowatlas.sources.base import Source
from flowatlas.sources.gaussian import Gaussian
from flowatlas.state import broadcast_time

__all__ = ["BridgePath"]

#: The least distance of an edge from an end at which something is infinite: in float32, 1 - t still
#: has two digits there.
MARGIN = 1e-5


class BridgePath(ContinuousPath):
    r"""$x_t = \alpha_t x_1 + \sigma_t x_0 + \gamma_t z$, $z \sim N(0, I)$, in $\mathbb{R}^n$.

    The source may have any law, and depend on the data in any way (`Empirical`, `Paired`,
    `Sinkhorn`): the Gaussian that a score needs is z. With the straight line and
    $\gamma_t = s \sqrt{t (1 - t)}$ the path is the Brownian bridge, and with `Sinkhorn` of
    $\epsilon = 2 s^2$ as the coupling its marginals are the Schroedinger bridge.

    With $m_t = \alpha_t x_1 + \sigma_t x_0$ the noiseless point, the network predicts

    | prediction | output | its shape |
    |---|---|---|
    | `"velocity_and_noise"` | $E[\dot m_t \mid x_t]$ and $E[z \mid x_t]$ | `(batch, 2, *event)` |
    | `"velocity"` | $E[\dot m_t + \dot\gamma_t z \mid x_t]$ | `(batch, *event)` |

    Of the first, both targets are finite, and with $\eta = E[z \mid x_t]$ the second of the two,

    $$v_t = E[\dot m_t \mid x_t] + \dot\gamma_t \eta, \qquad
      \nabla \log p_t = - \eta / \gamma_t,$$

    so that one network serves ODE and stochastic solvers with any diffusion. The Brownian bridge
    itself is $\epsilon = s^2 / 2$: its forward drift $E[(x_1 - x_t) / (1 - t) \mid x_t]$ is the
    velocity plus that times the score. The target of the second kind is infinite at the ends if
    $\dot\gamma_t$ is.

    Where $\dot\gamma_t$ or $1 / \gamma_t$ exceeds 1000, or within 1e-5 of an end at which it is
    infinite, neither is used: solvers start with $x_0$ as the state just after 0, which is off by
    the $\gamma$ there, and end with `conditional_step`. Without noise, use a grid that is dense at
    both ends if $\dot\gamma_t$ is infinite there.

    Args:
        gamma: a `Gamma`; a number s stands for `BrownianGamma(s)`.
        scheduler: alpha and sigma; the straight line if None.
        source: the law of x_0; a standard Gaussian if None.
        prediction: `"velocity_and_noise"` or `"velocity"`.
        point_ndim: trailing axes that make one point, for masks (see `Euclidean`).
        weight: factor of this component's loss.
        time_weight: function of t, `(batch,)` to `(batch,)`, that multiplies the loss.
        loss: function of the mean squared error per point: the sum of those of both parts.

    Raises:
        ConfigError: unknown prediction kind, negative weight, a gamma that is none.

    Reference: Stochastic Interpolants: A Unifying Framework for Flows and Diffusions, Albergo,
    Boffi and Vanden-Eijnden, 2023, arXiv:2303.08797; Simulation-Free Schroedinger Bridges via Score
    and Flow Matching, Tong et al., 2023, arXiv:2307.03672, for bridges between minibatches.

    Example:
        ```python
        path = BridgePath(0.5, source=Empirical(x_0))
        model = MLP((2,), output="velocity_and_noise")
        loss = FlowMatching(path)(model, x_1).loss
        solver = EulerMaruyama(steps=50, diffusion=0.125)  # the process of the Brownian bridge
        x = sample(model, path, shape=(64, 2), solver=solver)
        ```
    """

    kinds = ("velocity_and_noise", "velocity")

    def __init__(
        self,
        gamma: float | Gamma,
        scheduler: Scheduler | None = None,
        *,
        source: Source | None = None,
        prediction: str = "velocity_and_noise",
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
        if isinstance(gamma, int | float) and not isinstance(gamma, bool):
            gamma = BrownianGamma(gamma)
        if not isinstance(gamma, Gamma):
            raise ConfigError(
                f"gamma: got {gamma!r}; it must be a number, for a Brownian bridge, or a Gamma "
                "such as SineSquaredGamma(1.0)."
            )
        self.gamma = gamma

    def interpolation_noise(
        self, like: Tensor, *, batch: int | None = None, generator: Generators = None
    ) -> Tensor:
        """z, of the shape of the state."""
        shape = like.shape if batch is None else (batch, *like.shape[1:])
        return randn(shape, generator=generator, dtype=like.dtype, device=like.device)

    def interpolate(
        self, x_0: Tensor, x_1: Tensor, t: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        assert noise is not None
        time = broadcast_time(t, x_1)
        mean, d_mean = self.scheduler.interpolate(x_0, x_1, time)
        g = self.gamma(time)
        # Infinite at the ends, and not what the other kind is regressed on.
        dx_t = d_mean + g.d_gamma * noise if self.prediction == "velocity" else None
        return torch.addcmul(mean, g.gamma, noise), dx_t

    def squared_error(self, prediction: Tensor, sample: PathSample) -> Tensor:
        error = (prediction - self._regression_target(sample)).square()
        if self.prediction == "velocity_and_noise":
            error = error.sum(1)
        axes = tuple(range(error.ndim - self.point_ndim, error.ndim))
        return error.mean(axes) if axes else error

    def _regression_target(self, sample: PathSample) -> Tensor:
        if self.prediction == "velocity":
            assert isinstance(sample.dx_t, Tensor)
            return sample.dx_t
        x_0, x_1, z = sample.x_0, sample.x_1, sample.noise
        assert isinstance(x_0, Tensor)
        assert isinstance(x_1, Tensor)
        assert isinstance(z, Tensor)
        _, d_mean = self.scheduler.interpolate(x_0, x_1, broadcast_time(sample.t, x_1))
        return torch.stack([d_mean, z], 1)

    def prediction_shape(self, x: Tensor) -> tuple[int, ...]:
        shape = tuple(x.shape)
        return shape if self.prediction == "velocity" else (shape[0], 2, *shape[1:])

    def convert(self, prediction: Tensor, x: Tensor, t: Tensor, to: str) -> Tensor:
        """Turn the prediction into `"velocity"`, `"noise"`, `"score"` or `"target"`.

        Raises:
            IntervalError: if t leaves `conversion_interval(to)`.
            CapabilityError: all but the velocity, from a prediction of it alone.
        """
        if to == self.prediction:
            return prediction
        self.conversion_interval(to).check(t, f"{to} from {self.prediction} prediction")
        d_mean, z = prediction.unbind(1)
        if to == "noise":
            return z
        c, g = self._coefficients(t, x)
        if to == "score":
            return -z / g.gamma
        if to == "velocity":
            return d_mean + g.d_gamma * z
        return self._ends(d_mean, x - g.gamma * z, c)[1]

    def _coefficients(self, t: Tensor, x: Tensor) -> tuple[Coefficients, GammaCoefficients]:
        time = broadcast_time(t, x)
        return self.scheduler(time), self.gamma(time)

    @staticmethod
    def _ends(d_mean: Tensor, mean: Tensor, c: Coefficients) -> tuple[Tensor, Tensor]:
        """x_0 and x_1 from the noiseless point and its derivative: two linear equations."""
        wronskian = c.sigma * c.d_alpha - c.alpha * c.d_sigma
        x_0 = (c.d_alpha * mean - c.alpha * d_mean) / wronskian
        return x_0, (c.sigma * d_mean - c.d_sigma * mean) / wronskian

    def conversion_interval(self, to: str) -> Interval:
        if to == self.prediction:
            return self._edges["velocity"] if to == "velocity" else self._whole
        if self.prediction == "velocity":
            raise CapabilityError(
                f"prediction: {to!r} does not follow from 'velocity' on a bridge, for z is not "
                "known. Train with prediction='velocity_and_noise'."
            )
        return self._whole if to == "noise" else self._edges[to]

    @property
    def _whole(self) -> Interval:
        return Interval(0.0, self.scheduler.t_max)

    @cached_property
    def _edges(self) -> dict[str, Interval]:
        """Where the factors of `convert` are usable."""

        def moving(t: Tensor) -> Tensor:
            c = self.scheduler(t)
            return 1 / (c.sigma * c.d_alpha - c.alpha * c.d_sigma)

        rates: dict[str, Callable[[Tensor], Tensor]] = {
            "velocity": lambda t: self.gamma(t).d_gamma,
            "score": lambda t: 1 / self.gamma(t).gamma,
            "target": moving,
        }
        return {name: self._edge(rate) for name, rate in rates.items()}

    def _edge(self, rate: Callable[[Tensor], Tensor]) -> Interval:
        start, end = first_finite(rate), last_finite(rate, self.scheduler.t_max)
        return Interval(
            max(start, MARGIN) if start > 0 else 0.0, min(end, 1 - MARGIN) if end < 1 else 1.0
        )

    def score(self, x: Tensor, t: Tensor, prediction: Tensor) -> Tensor:
        with full_precision(x):
            return self.convert(prediction.to(x.dtype), x, t, "score")

    @property
    def score_interval(self) -> Interval:
        return self.conversion_interval("score")

    def noise_level(self, t: Tensor) -> Tensor:
        return self.gamma(t).gamma

    def conditional_step(
        self,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        prediction: Tensor,
        *,
        generator: Generators = None,
    ) -> Tensor:
        """Move along the path of the predicted x_0, x_1 and z; by Euler from a velocity alone."""
        if self.prediction == "velocity":
            return x + broadcast_time(s - t, x) * prediction
        self.conversion_interval("target").check(t, "the target")
        (c, g), (then, g_then) = self._coefficients(t, x), self._coefficients(s, x)
        d_mean, z = prediction.unbind(1)
        x_0, x_1 = self._ends(d_mean, x - g.gamma * z, c)
        return then.alpha * x_1 + then.sigma * x_0 + g_then.gamma * z

    def with_schedule(self, scheduler: Scheduler) -> NoReturn:
        """Refused: the noise of a bridge belongs to its schedule.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError(
            f"scheduler: a bridge cannot be sampled by {scheduler!r}, since the noise of x_t would "
            "be that of another time. Use a grid of a solver, such as ShiftedGrid, or train on it."
        )

    @property
    def local_t_min(self) -> float:
        return self._edges["velocity"].start if self.prediction == "velocity" else 0.0

    @property
    def local_t_max(self) -> float:
        end = self.scheduler.t_max
        return min(end, self._edges["velocity"].end) if self.prediction == "velocity" else end
