"""The flow from a Gaussian to a mixture of Gaussians, along any affine path."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.exact.base import ExactFlow, wider
from flowatlas.exact.gaussian_mixture import GaussianMixture
from flowatlas.schedulers import Coefficients, Scheduler
from flowatlas.state import broadcast_time

__all__ = ["ExactMixtureFlow"]

#: A vector per component plus a diagonal along the axes of its covariance.
Affine = tuple[Tensor, Tensor]


class ExactMixtureFlow(ExactFlow):
    r"""The marginal flow of $x_t = \alpha_t x_1 + \sigma_t x_0$, target a mixture of Gaussians.

    The source is $x_0 \sim N(m, s^2 I)$, independent of $x_1 \sim \sum_k w_k N(\mu_k, C_k)$. Given
    component k, $(x_0, x_1, x_t)$ is jointly Gaussian, so x_t has mean and covariance

    $$M_k = \alpha_t \mu_k + \sigma_t m, \qquad S_k = \alpha_t^2 C_k + \sigma_t^2 s^2 I,$$

    and the density of x_t is $p_t(x) = \sum_k w_k N(x; M_k, S_k)$. The covariances with x_t are
    $\alpha_t C_k$ for x_1 and $\sigma_t s^2 I$ for x_0, so regression on $g_k = S_k^{-1}(x - M_k)$
    gives

    $$E_k[x_1 \mid x_t = x] = \mu_k + \alpha_t C_k g_k, \qquad
      E_k[x_0 \mid x_t = x] = m + \sigma_t s^2 g_k.$$

    The velocity is the expectation of $\dot\alpha_t x_1 + \dot\sigma_t x_0$,

    $$E_k[\dot x_t \mid x_t = x] = \dot\alpha_t \mu_k + \dot\sigma_t m
      + (\alpha_t \dot\alpha_t C_k + \sigma_t \dot\sigma_t s^2 I) g_k,$$

    and the score of a component is $-g_k$. The marginal of each is the mean over the components
    with the responsibilities $r_k(x, t) = w_k N(x; M_k, S_k) / p_t(x)$.

    Nothing is divided by $\alpha_t$ or $\sigma_t$, so all of it is finite on the closed interval
    [0, 1]. The one exception is real: where $\dot\sigma_t$ diverges at the data, as it does for
    variance-preserving schedules, and the source has a mean, so does the velocity.

    Args:
        target: the law of x_1.
        scheduler: alpha and sigma, any; the straight path if None.
        source_std: s.
        source_mean: m, a number or `(dim,)`.

    Raises:
        ConfigError: a standard deviation that is not positive.
        ShapeError: a mean that does not fit the target.

    Reference: Flow Matching for Generative Modeling, Lipman et al., 2022, arXiv:2210.02747, eq. 8,
    whose integral over x_1 this is.
    """

    def __init__(
        self,
        target: GaussianMixture,
        scheduler: Scheduler | None = None,
        source_std: float = 1.0,
        source_mean: float | Tensor = 0.0,
    ) -> None:
        super().__init__(scheduler)
        if not 0 < source_std < float("inf"):
            raise ConfigError(f"source_std: got {source_std}; it must be positive and finite.")
        mean = torch.as_tensor(source_mean, dtype=target.dtype, device=target.means.device)
        if mean.ndim and mean.shape != (target.dim,):
            raise ShapeError(
                f"source_mean: got shape {tuple(mean.shape)}; need a number or ({target.dim},)."
            )
        self.target = target
        self.source_std = source_std
        self.source_mean = mean.expand(target.dim)

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        return self._expectation(x, t, self._velocity)

    def posterior_mean(self, x: Tensor, t: Tensor) -> Tensor:
        r"""$E[x_1 \mid x_t = x]$, `(batch, ..., dim)`: what a target prediction learns."""
        return self._expectation(
            x, t, lambda c: (self.target.means, c.alpha * self.target.variances)
        )

    def noise_mean(self, x: Tensor, t: Tensor) -> Tensor:
        r"""$E[x_0 \mid x_t = x]$, `(batch, ..., dim)`: what a noise prediction learns."""
        return self._expectation(x, t, lambda c: (self.source_mean, c.sigma * self.source_std**2))

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        r"""$\nabla \log p_t(x)$, `(batch, ..., dim)`."""
        return self._expectation(
            x, t, lambda c: (torch.zeros_like(self.source_mean), -torch.ones_like(c.alpha))
        )

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        z, variances, _ = self._marginals(x, t)
        return self.target.log_density(z, variances).to(x.dtype)

    def prediction(self, kind: str) -> Callable[..., Tensor]:
        """The field that a network with this prediction kind would be at its optimum.

        Args:
            kind: `"velocity"`, `"target"`, `"noise"` or `"score"`, as in `AffinePath`.

        Raises:
            ConfigError: another kind.
        """
        fields = {
            "velocity": self.velocity,
            "target": self.posterior_mean,
            "noise": self.noise_mean,
            "score": self.score,
        }
        if kind not in fields:
            raise ConfigError(f"kind: got {kind!r}; it must be one of {', '.join(fields)}.")
        return partial(_field, fields[kind])

    def _velocity(self, c: Coefficients) -> Affine:
        target, mean = self.target, self.source_mean
        # d_sigma may be infinite, and does not matter to coordinates without a mean.
        drift = torch.where(mean == 0, 0.0, c.d_sigma * mean)
        slope = c.alpha * c.d_alpha * target.variances + c.sigma_d_sigma * self.source_std**2
        return c.d_alpha * target.means + drift, slope

    def _expectation(self, x: Tensor, t: Tensor, form: Callable[[Coefficients], Affine]) -> Tensor:
        z, variances, c = self._marginals(x, t)
        responsibility = torch.softmax(self.target.log_terms(z, variances), -1).unsqueeze(-1)
        intercept, slope = form(c)
        each = intercept + self.target.from_axes(slope * z / variances)
        return (responsibility * each).sum(-2).to(x.dtype)

    def _marginals(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Coefficients]:
        """Offsets from each M_k and variances S_k along its axes, and the coefficients.

        Shapes `(batch, ..., components, dim)`, with coefficients that broadcast to them.
        """
        self.target.check_shape(x)
        dtype = wider(x, self.target.means)
        c = self.scheduler(broadcast_time(t, x).to(dtype).unsqueeze(-1))
        middle = c.alpha * self.target.means + c.sigma * self.source_mean
        z = self.target.to_axes(x.to(dtype).unsqueeze(-2) - middle)
        variances = c.alpha**2 * self.target.variances + c.sigma**2 * self.source_std**2
        return z, variances, c

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r}, {self.scheduler!r})"


def _field(
    method: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    t: Tensor,
    condition: Any = None,
    /,
    **masks: Any,
) -> Tensor:
    return method(x, t)
