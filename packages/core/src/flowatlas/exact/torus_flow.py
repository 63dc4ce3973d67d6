"""The flow from the uniform law of the flat torus to a wrapped normal mixture, by quadrature."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.exact._quadrature import gauss_legendre, nodes_for
from flowatlas.exact.base import ExactFlow, convex_scheduler, wider
from flowatlas.exact.wrapped_normal import WrappedNormalMixture
from flowatlas.schedulers import Coefficients, Scheduler
from flowatlas.state import broadcast_time

__all__ = ["ExactTorusFlow"]


class ExactTorusFlow(ExactFlow):
    r"""The marginal flow of geodesics from uniform points on the flat torus to a mixture.

    $x_t = x_0 + \kappa_t D$ with $D = \log_{x_0}(x_1)$, the shortest displacement, x_0 uniform and
    independent of x_1. Whatever x_1 is, D is uniform on the cube $[-L/2, L/2]^d$, and
    $x_1 = x_t + (1 - \kappa_t) D$ up to whole periods. Conditioning on $x_t = x$ weighs each D by
    the density of the x_1 that it leads to, so

    $$p_t(x) = L^{-d} \int p_1(x + (1 - \kappa_t) D) \, dD, \qquad
      u_t(x) = \dot\kappa_t \frac{\int D \, p_1(x + (1 - \kappa_t) D) \, dD}
                                 {\int p_1(x + (1 - \kappa_t) D) \, dD}.$$

    Both are finite up to $\kappa_t = 1$, where $p_1(x)$ is left and the velocity vanishes. Within a
    component the coordinates are independent, so the integrals over the cube are products of
    integrals over one coordinate, in any dimension: Gauss-Legendre, in logarithms, so that nothing
    underflows far from all means.

    Accuracy, measured in float64 against twice as many nodes, at all t and all points, the least
    likely included: with a period of 2 pi, log densities and velocities agree within 5e-14 for
    standard deviations from 0.3 up, 5e-13 at 0.1, 1e-10 at 0.03 and 1e-9 at 0.01. With half of the
    nodes it is 1e-8 at 0.3 and 1e-5 at 0.1.

    Args:
        target: the law of x_1.
        scheduler: convex; kappa_t = t if None.
        nodes: of the quadrature; chosen for the smallest standard deviation s if None,
            24 + 2.1 L / s. Memory and time grow in proportion, as they do with the largest s / L.

    Raises:
        ConfigError: a schedule that is not convex, fewer than two nodes.

    Reference: Flow Matching on General Geometries, Chen and Lipman, 2023, arXiv:2302.03660,
    section 3.
    """

    def __init__(
        self,
        target: WrappedNormalMixture,
        scheduler: Scheduler | None = None,
        *,
        nodes: int | None = None,
    ) -> None:
        super().__init__(convex_scheduler(scheduler))
        if nodes is None:
            nodes = nodes_for(target.period, target.scales.min().item())
        if nodes < 2:
            raise ConfigError(f"nodes: got {nodes}; the quadrature needs at least 2.")
        self.target = target
        self.nodes = nodes
        half = 0.5 * target.period
        displacements, weights = gauss_legendre(nodes, -half, half)
        self._displacements = displacements.to(target.means)
        self._log_weights = (weights / weights.sum()).log().to(target.means)

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        terms, c = self._integrand(x, t)
        responsibility = torch.softmax(self._log_components(terms), -1).unsqueeze(-1)
        mean = (torch.softmax(terms, -1) * self._displacements).sum(-1)
        u = (responsibility * mean).sum(-2)
        return (c.d_alpha.squeeze(-1).squeeze(-1) * u).to(x.dtype)

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        terms, _ = self._integrand(x, t)
        return torch.logsumexp(self._log_components(terms), -1).to(x.dtype)

    def _log_components(self, terms: Tensor) -> Tensor:
        """Log of each component's part of p_t, `(batch, ..., components)`."""
        return self.target.weights.log() + torch.logsumexp(terms, -1).sum(-1)

    def _integrand(self, x: Tensor, t: Tensor) -> tuple[Tensor, Coefficients]:
        """Log of weight times density at each node, `(batch, ..., components, dim, nodes)`."""
        self.target.check_shape(x)
        dtype = wider(x, self.target.means)
        c = self.scheduler(broadcast_time(t, x).to(dtype)[..., None, None])
        offset = self.target.offsets(x.to(dtype)).unsqueeze(-1)
        return self._log_weights + self.target.log_factors(
            offset + c.sigma * self._displacements
        ), c

    def __repr__(self) -> str:
        return f"ExactTorusFlow({self.target!r}, {self.scheduler!r}, nodes={self.nodes})"
