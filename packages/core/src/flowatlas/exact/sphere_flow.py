"""The flow from the uniform law of the sphere to a von Mises-Fisher mixture, by quadrature."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.exact._quadrature import gauss_legendre, nodes_for
from flowatlas.exact.base import ExactFlow, convex_scheduler, wider
from flowatlas.exact.von_mises_fisher import VonMisesFisherMixture, check_shape
from flowatlas.manifolds.sphere import Sphere
from flowatlas.schedulers import Coefficients, Scheduler
from flowatlas.state import broadcast_time

__all__ = ["ExactSphereFlow"]


class ExactSphereFlow(ExactFlow):
    r"""The marginal flow of geodesics from uniform points on the sphere to a mixture.

    $x_t = \exp_{x_0}(\kappa_t \log_{x_0} x_1)$ with x_0 uniform and independent of x_1.

    Given x_1, all of the sphere contracts towards it: x_t keeps its direction from x_1, and its
    angle to x_1 falls from $\theta_0$ to $\theta = (1 - \kappa_t) \theta_0$. The area element
    $\sin\theta \, d\theta \, d\varphi$ turns the uniform density into

    $$p_t(x \mid x_1) = \frac{1}{4 \pi} \frac{\sin\theta_0}{(1 - \kappa_t) \sin\theta}, \qquad
      u_t(x \mid x_1) = \frac{\dot\kappa_t}{1 - \kappa_t} \log_x(x_1)$$

    for $\theta_0 \le \pi$ and no density beyond. Now write x_1 in polar coordinates around x, with
    the unit tangent $e(\varphi)$ and the angle $(1 - \kappa_t) \theta_0$. Every singular factor
    cancels against the area element:

    $$p_t(x) = \frac{1}{4 \pi} \int_0^\pi \! \int_0^{2 \pi} p_1(x_1) \sin\theta_0
      \, d\varphi \, d\theta_0, \qquad
      u_t(x) = \frac{\dot\kappa_t}{4 \pi \, p_t(x)} \int_0^\pi \! \int_0^{2 \pi}
      p_1(x_1) \, \theta_0 e(\varphi) \sin\theta_0 \, d\varphi \, d\theta_0$$

    with $x_1 = \exp_x((1 - \kappa_t) \theta_0 e(\varphi))$: both are finite up to $\kappa_t = 1$,
    where $p_1(x)$ is left and the velocity vanishes by symmetry.

    For a von Mises-Fisher component of concentration c whose mean lies at angle $\psi$ from x in
    the direction $e_\mu$, $\langle\mu, x_1\rangle = \cos\theta \cos\psi + \sin\theta \sin\psi
    \cos(\varphi - \varphi_\mu)$. The integral over $\varphi$ is then $2 \pi I_0(z)$, and that of
    $e(\varphi)$ is $2 \pi I_1(z) e_\mu$, with $z = c \sin\theta \sin\psi$. What is left for the
    quadrature is the angle $\theta_0$: Gauss-Legendre, in logarithms, so that neither underflows
    far from all means.

    Accuracy, measured in float64 against twice as many nodes, at all t and all points, the least
    likely included: log densities and velocities agree within 5e-14 for concentrations up to 100,
    5e-13 at 1e3, and 5e-11 at 1e4. With half of the nodes it is 1e-11 at concentration 10, 1e-7 at
    100 and 1e-5 at 1e3.

    Points off the sphere are projected first, so the field is constant along rays and its ambient
    trace is its divergence.

    Args:
        target: the law of x_1.
        scheduler: convex; kappa_t = t if None.
        nodes: of the quadrature; chosen for the largest concentration c if None,
            24 + 6.6 sqrt(c). Memory and time grow in proportion.

    Raises:
        ConfigError: a schedule that is not convex, fewer than two nodes.

    Reference: Flow Matching on General Geometries, Chen and Lipman, 2023, arXiv:2302.03660,
    section 3.
    """

    def __init__(
        self,
        target: VonMisesFisherMixture,
        scheduler: Scheduler | None = None,
        *,
        nodes: int | None = None,
    ) -> None:
        super().__init__(convex_scheduler(scheduler))
        if nodes is None:
            nodes = nodes_for(math.pi, target.rates.max().item() ** -0.5)
        if nodes < 2:
            raise ConfigError(f"nodes: got {nodes}; the quadrature needs at least 2.")
        self.target = target
        self.nodes = nodes
        angles, weights = gauss_legendre(nodes, 0.0, math.pi)
        weights = weights * torch.sin(angles)
        self._angles = angles.to(target.means)
        self._log_weights = (weights / weights.sum()).log().to(target.means)

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        terms, z, direction, sine, c = self._integrand(x, t)
        log_total = torch.logsumexp((terms + torch.special.i0e(z).log()).flatten(-2), -1)
        share = torch.exp(terms - log_total[..., None, None]) * _i1e_over(z)
        length = (share * sine * self._angles).sum(-1) * self.target.rates
        u = (length.unsqueeze(-1) * direction).sum(-2)
        return (c.d_alpha.squeeze(-1) * u).to(x.dtype)

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        terms, z, *_ = self._integrand(x, t)
        terms = terms + torch.special.i0e(z).log()
        return torch.logsumexp(terms.flatten(-2), -1).to(x.dtype)

    def _integrand(
        self, x: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Coefficients]:
        """The parts of the integral over the nodes.

        Returns:
            Log of weight times density without its Bessel factor, and the argument z of that, both
            `(batch, ..., components, nodes)`; sin(psi) e_mu, `(batch, ..., components, 3)`;
            sin(theta), `(batch, ..., 1, nodes)`; and the coefficients, `(batch, ..., 1, 1)`.
        """
        check_shape(x)
        dtype = wider(x, self.target.means)
        c = self.scheduler(broadcast_time(t, x).to(dtype).unsqueeze(-1))
        x = Sphere().projx(x.to(dtype)).unsqueeze(-2)
        means, rates = self.target.means, self.target.rates.unsqueeze(-1)
        cos_psi = (x * means).sum(-1, keepdim=True)
        direction = means - cos_psi * x
        sin_psi = torch.linalg.vector_norm(direction, dim=-1, keepdim=True)
        theta = c.sigma * self._angles
        sine = torch.sin(theta)
        z = rates * sine * sin_psi
        # cos(theta - psi) - 1: what is left of the exponent beside exp(-z) I_0(z).
        exponent = rates * (torch.cos(theta) * cos_psi + sine * sin_psi - 1)
        terms = self.target.log_heights.unsqueeze(-1) + self._log_weights + exponent
        return terms, z, direction, sine, c

    def __repr__(self) -> str:
        return f"ExactSphereFlow({self.target!r}, {self.scheduler!r}, nodes={self.nodes})"


def _i1e_over(z: Tensor) -> Tensor:
    """exp(-z) I_1(z) / z for z >= 0, which is 1/2 at zero."""
    small = z < 1e-8
    safe = torch.where(small, 1.0, z)
    return torch.where(small, 0.5 * torch.exp(-z), torch.special.i1e(safe) / safe)
