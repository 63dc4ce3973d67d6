"""Bases, volumes and the densities that are pushed through the exponential map."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowatlas._autodiff import jvp
from flowatlas.manifolds.capability import Capability
from flowatlas.testing._setup import Setup, identity, only_if, requires

__all__ = ["MeasureTests"]


class MeasureTests(Setup):
    """tangent_basis, uniform_log_prob, exp_preimages, log_det_expmap, log_volume."""

    @requires(Capability.TANGENT_BASIS)
    def test_tangent_basis_is_orthonormal(self) -> None:
        """<e_i, e_j> = delta_ij, each e_i is tangent, and there are `dimension` of them."""
        x = self.point(4, 5)
        basis = self.manifold.tangent_basis(x)
        expected = (4, 5, self.dimension, *self.tangent_shape)
        self.check(basis.shape == expected, f"basis of shape {tuple(basis.shape)}, not {expected}")
        axes = basis.movedim(2, 0)
        gram = torch.stack(
            [torch.stack([self.manifold.inner(x, a, b) for b in axes], -1) for a in axes], -1
        )
        eye = identity(self.dimension, x).expand_as(gram)
        self.close(gram, eye, "tangent_basis is not orthonormal")
        for axis in axes:
            self.close(self.manifold.proju(x, axis), axis, "tangent_basis is not tangent")

    @requires(Capability.TANGENT_BASIS)
    def test_tangent_basis_is_complete(self) -> None:
        """u = sum_i <u, e_i> e_i for every tangent u."""
        x = self.point(20)
        u = self.tangent(x)
        axes = self.manifold.tangent_basis(x).movedim(1, 0)
        parts = [self.per_tangent(self.manifold.inner(x, u, axis)) * axis for axis in axes]
        self.close(torch.stack(parts).sum(0), u, "tangent_basis is not complete")

    @requires(Capability.UNIFORM)
    def test_uniform_density_is_constant(self) -> None:
        """One finite value per point, the same everywhere."""
        log_prob = self.manifold.uniform_log_prob(self.point(4, 5))
        self.check(log_prob.shape == (4, 5), f"uniform_log_prob of shape {tuple(log_prob.shape)}")
        self.finite([log_prob], "uniform_log_prob")
        self.close(log_prob, log_prob[:1, :1].expand(4, 5), "uniform_log_prob is not constant")

    @requires(Capability.UNIFORM, Capability.WRAPPED)
    def test_uniform_density_is_one_over_the_volume(self) -> None:
        """A wrapped normal integrates to one by uniform points: volume * mean density = 1.

        The density comes from exp_preimages and log_det_expmap, which know nothing of the volume.
        Five standard errors of the mean are allowed (two-sided error probability 6e-7 a centre).
        """
        count = 20000
        y = self.point(count, stream=3)
        volume = (-self.manifold.uniform_log_prob(y[0])).exp()
        std = self.density_std
        if std is None:
            # Wide enough to weigh all of the manifold, and little piles up at the cut locus.
            std = self.manifold.injectivity_radius / (2.5 * math.sqrt(self.dimension))
        for centre in self.point(3, stream=4):
            x = centre.expand_as(y)
            total = volume * self.wrapped_density(x, y, std)
            error = total.std().item() / math.sqrt(count)
            mean = total.mean().item()
            self.check(
                abs(mean - 1) < 5 * error and error < 0.02,
                f"exp(uniform_log_prob) is not one over the volume: a density integrates to "
                f"{mean:.4f}, with standard error {error:.4f}",
            )

    def wrapped_density(self, x: Tensor, y: Tensor, std: float) -> Tensor:
        """Density at `y` of exp_x(u), u an isotropic normal tangent at x."""
        terms = []
        for u in self.manifold.exp_preimages(x, y, 1):
            square = self.manifold.inner(x, u, u)
            log_normal = -square / (2 * std**2) - self.dimension * math.log(
                std * math.sqrt(2 * math.pi)
            )
            terms.append(log_normal - self.manifold.log_det_expmap(x, u))
        return torch.logsumexp(torch.stack(terms), 0).exp()

    @requires(Capability.WRAPPED)
    def test_wrapped_normal_log_prob_sums_over_the_preimages(self) -> None:
        """The log of the sum of their densities, and so at the mean itself without windings."""
        x = self.point(20)
        y = self.manifold.expmap(x, self.tangent(x, stream=101))
        for std in (0.1 * self.radius, self.radius):
            expected = self.wrapped_density(x, y, std).log()
            actual = self.manifold.wrapped_normal_log_prob(x, y, std, 1)
            self.close(actual, expected, f"wrapped_normal_log_prob is another at {std:.3f}", 1e-8)
            peak = -self.dimension * math.log(std * math.sqrt(2 * math.pi))
            actual = self.manifold.wrapped_normal_log_prob(x, x, std, 0)
            expected = torch.full_like(actual, peak)
            self.close(actual, expected, "wrapped_normal_log_prob(x, x, std, 0) is another", 1e-8)

    @requires(Capability.WRAPPED)
    def test_exp_preimages_lead_to_the_point(self) -> None:
        """exp_x(u) = y for each of them; with images = 0 there is logmap alone."""
        x = self.point(20)
        y = self.manifold.expmap(x, self.tangent(x, stream=101))
        log = self.manifold.logmap(x, y)
        alone = self.manifold.exp_preimages(x, y, 0)
        self.check(alone.shape == (1, *log.shape), f"images=0 gives shape {tuple(alone.shape)}")
        self.close(alone[0], log, "exp_preimages(x, y, 0) is not logmap")
        images = self.manifold.exp_preimages(x, y, 2)
        for u in images:
            self.close(self.manifold.proju(x, u), u, "a preimage is not tangent")
            self.close(self.manifold.expmap(x, u), y, "a preimage does not lead to y")
        for i, u in enumerate(images):
            for v in images[:i]:
                gap = self.manifold.norm(x, u - v).min().item()
                self.check(gap > 1e-3, "exp_preimages lists a tangent twice")

    @requires(Capability.WRAPPED)
    def test_exp_preimages_are_complete(self) -> None:
        """A tangent of up to 2.5 injectivity radii is among the preimages of where it leads."""
        x = self.point(50)
        longest = 2.5 * self.radius
        for length in (0.3 * longest, 0.5 * longest, 0.7 * longest, 0.97 * longest):
            u = self.tangent(x, length)
            images = self.manifold.exp_preimages(x, self.manifold.expmap(x, u), 2)
            gaps = torch.stack([self.manifold.norm(x, image - u) for image in images])
            worst = gaps.amin(0).max().item()
            self.check(worst < 1e-6, f"a tangent of length {length:.3f} is no preimage ({worst})")

    @requires(Capability.WRAPPED, Capability.TANGENT_BASIS)
    def test_log_det_expmap_is_the_jacobian(self) -> None:
        """log |det d exp_x(u)| by automatic differentiation, between orthonormal bases."""
        x = self.point(20)
        for length in (0.0, 1e-7, 0.3 * self.radius, 0.9 * self.radius, 1.4 * self.radius):
            u = self.tangent(x, length)
            jacobian = []
            for axis in self.manifold.tangent_basis(x).movedim(1, 0):
                y, derivative = jvp(lambda w: self.manifold.expmap(x, w), (u,), (axis,))
                image, _ = self.as_tangent(y, derivative)
                rows = self.manifold.tangent_basis(y).movedim(1, 0)
                jacobian.append(torch.stack([self.manifold.inner(y, image, e) for e in rows], -1))
            expected = torch.linalg.slogdet(torch.stack(jacobian, -1))[1]
            actual = self.manifold.log_det_expmap(x, u)
            self.close(actual, expected, f"log_det_expmap is not the Jacobian at {length:g}", 1e-7)

    def test_log_volume_is_that_of_the_metric(self) -> None:
        """log sqrt(det G) with G the inner products of the coordinate vectors; 0 if no chart."""
        x = self.point(4, 5)
        log_volume = self.manifold.log_volume(x)
        self.check(log_volume.shape == (4, 5), f"log_volume of shape {tuple(log_volume.shape)}")
        if not self.manifold.is_chart:
            self.close(log_volume, torch.zeros_like(log_volume), "log_volume without a chart")
            return
        axes = self.spanning(x)
        gram = torch.stack(
            [torch.stack([self.manifold.inner(x, a, b) for b in axes], -1) for a in axes], -1
        )
        if not self.manifold.codim:
            expected = torch.linalg.slogdet(gram)[1] / 2
            self.close(log_volume, expected, "log_volume is not log sqrt(det G)")
            return
        # Coordinates of a linear subspace are free up to a constant: rates of change are compared.
        flat = axes.reshape(len(axes), *log_volume.shape, -1)
        ambient = torch.linalg.eigvalsh(torch.einsum("i...t,j...t->...ij", flat, flat))
        dimension = self.dimension
        expected = torch.linalg.eigvalsh((gram + gram.mT) / 2)[..., -dimension:].log()
        expected = (expected - ambient[..., -dimension:].log()).sum(-1) / 2
        expected = expected + (log_volume - expected).mean()
        self.close(log_volume, expected, "log_volume is not log sqrt(det G) but for a constant")

    @only_if(lambda cls: cls.manifold.is_chart)
    def test_tangents_of_a_chart_are_coordinate_velocities(self) -> None:
        """Tangents make up one linear space and pushforward is the identity there.

        That is what the divergence of a chart assumes.
        """
        x, y = self.point(20), self.point(20, stream=1)
        u = self.tangent(x)
        self.close(self.manifold.pushforward(x, u), u, "pushforward of a chart")
        self.close(self.manifold.proju(y, u), u, "the tangents of a chart depend on the point")
