"""The flow between two Gaussians, whose flow map is known as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.exact._quadrature import gauss_legendre
from flowatlas.exact.gaussian_mixture import GaussianMixture
from flowatlas.exact.mixture_flow import ExactMixtureFlow
from flowatlas.schedulers import Coefficients, Scheduler
from flowatlas.state import broadcast_time

__all__ = ["ExactGaussianFlow"]


class ExactGaussianFlow(ExactMixtureFlow):
    r"""`ExactMixtureFlow` with one component, and its flow map.

    With $m_t = \alpha_t \mu + \sigma_t m$ and $\Sigma_t = \alpha_t^2 C + \sigma_t^2 s^2 I$, the
    velocity is

    $$u_t(x) = \dot m_t + \tfrac12 \dot\Sigma_t \Sigma_t^{-1} (x - m_t).$$

    The source is isotropic, so all $\Sigma_t$ commute and
    $\tfrac12 \dot\Sigma_t \Sigma_t^{-1} = \frac{d}{dt} \log \Sigma_t^{1/2}$. The offset
    $y_t = x_t - m_t$ obeys $\dot y_t = (\frac{d}{dt} \log \Sigma_t^{1/2}) y_t$, hence

    $$X_{s,t}(x) = m_t + \Sigma_t^{1/2} \Sigma_s^{-1/2} (x - m_s),$$

    which is also the optimal transport map from $p_s$ to $p_t$.

    Args:
        target: a mixture of one component.
        scheduler: alpha and sigma, any; the straight path if None.
        source_std: s.
        source_mean: m, a number or `(dim,)`.

    Raises:
        ConfigError: a target of several components.
    """

    def __init__(
        self,
        target: GaussianMixture,
        scheduler: Scheduler | None = None,
        source_std: float = 1.0,
        source_mean: float | Tensor = 0.0,
    ) -> None:
        super().__init__(target, scheduler, source_std, source_mean)
        if target.components != 1:
            raise ConfigError(
                f"target: got {target.components} components; a flow map is known for one. Use "
                "ExactMixtureFlow and integrate it."
            )
        nodes, weights = gauss_legendre(6, 0.0, 1.0)
        self._rule = tuple(zip(nodes.tolist(), weights.tolist(), strict=True))

    def flow_map(self, x: Tensor, s: Tensor, t: Tensor) -> Tensor:
        r"""$X_{s,t}(x)$: where the point that is at `x` at time s is at time t.

        Args:
            x: `(batch, ..., dim)`.
            s: `(batch,)`, in [0, 1].
            t: `(batch,)`, in [0, 1], before or after s.

        Returns:
            `(batch, ..., dim)`.
        """
        z, variances, _ = self._marginals(x, s)
        _, variances_t, then = self._marginals(x, t)
        middle = then.alpha * self.target.means + then.sigma * self.source_mean
        moved = self.target.from_axes((variances_t / variances).sqrt() * z)
        return (middle + moved).squeeze(-2).to(x.dtype)

    def average_velocity(self, x: Tensor, s: Tensor, t: Tensor, condition: Any = None, /) -> Tensor:
        r"""$(X_{s,t}(x) - x) / (t - s)$, and $u_t(x)$ where s = t: a flow-map model's optimum.

        The differences are taken factor by factor, each as the mean of a derivative where s and t
        are close, so that nothing cancels: with $\delta f = (f_t - f_s) / (t - s)$ and $\lambda$ an
        eigenvalue of $\Sigma$,

        $$\frac{X_{s,t}(x) - x}{t - s} = \delta m
          + \frac{\delta\lambda}{\lambda_s + \sqrt{\lambda_s \lambda_t}} (x - m_s).$$

        Args:
            x: `(batch, ..., dim)`.
            s: `(batch,)`.
            t: `(batch,)`.
            condition: of no effect.

        Returns:
            `(batch, ..., dim)`.

        Reference: Mean Flows for One-step Generative Modeling, Geng et al., 2025, arXiv:2505.13447,
        eq. 3. There `x` is the point at the later time.
        """
        z, variances_s, now = self._marginals(x, s)
        _, variances_t, then = self._marginals(x, t)
        dtype = z.dtype
        s, t = (broadcast_time(r, x).to(dtype).unsqueeze(-1) for r in (s, t))

        def quotient(
            value: Callable[[Coefficients], Tensor], rate: Callable[[Coefficients], Tensor]
        ) -> Tensor:
            change = value(then) - value(now)
            return self._difference_quotient(lambda r: rate(self.scheduler(r)), change, s, t)

        alpha = quotient(lambda c: c.alpha, lambda c: c.d_alpha)
        half_square = quotient(lambda c: 0.5 * c.sigma**2, lambda c: c.sigma_d_sigma)
        # sigma itself by way of its square, whose derivative is finite for every schedule.
        total = now.sigma + then.sigma
        sigma = torch.where(
            total > 0, 2 * half_square / torch.where(total > 0, total, 1.0), now.d_sigma
        )
        middle = alpha * self.target.means
        middle = middle + torch.where(self.source_mean == 0, 0.0, sigma * self.source_mean)
        square = alpha * (now.alpha + then.alpha) * self.target.variances
        square = square + 2 * half_square * self.source_std**2
        root = variances_s.sqrt()
        stretch = square / (root * (variances_t.sqrt() + root))
        moved = self.target.from_axes(stretch * z)
        return (middle + moved).squeeze(-2).to(x.dtype)

    def _difference_quotient(
        self, rate: Callable[[Tensor], Tensor], change: Tensor, s: Tensor, t: Tensor
    ) -> Tensor:
        """(f(t) - f(s)) / (t - s) from the change of f and its derivative.

        For close times the difference cancels, and the derivative is smooth enough for six nodes.
        """
        step = t - s
        close = step.abs() <= 0.01 * torch.maximum(s, t)
        mean = torch.zeros_like(step)
        for node, weight in self._rule:
            mean = mean + weight * rate(s + node * step)
        return torch.where(close, mean, change / torch.where(close, 1.0, step))
