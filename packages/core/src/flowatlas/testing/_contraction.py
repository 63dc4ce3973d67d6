"""What draws a law to a set of points: which geodesics are shortest, and the density it leaves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowatlas._autodiff import jvp
from flowatlas.manifolds.capability import Capability
from flowatlas.testing._setup import Setup, requires

__all__ = ["ContractionTests"]


class ContractionTests(Setup):
    """is_shortest and contraction."""

    @requires(Capability.WRAPPED)
    def test_is_shortest_says_whether_the_distance_is_the_length(self) -> None:
        """d(x, exp_x(u)) = |u| for a shortest geodesic, and less beyond the cut locus."""
        x = self.point(100)
        for length in (0.0, 0.3, 0.9, 0.99, 1.01, 1.3, 1.9):
            u = self.tangent(x, length * self.radius)
            actual = self.manifold.is_shortest(x, u)
            self.check(actual.shape == (100,), f"is_shortest of shape {tuple(actual.shape)}")
            wrong = int((actual != self.reaches(x, u)).sum())
            self.check(
                wrong == 0,
                f"is_shortest is wrong for {wrong} of 100 tangents of {length} injectivity radii",
            )

    def reaches(self, x: Tensor, u: Tensor) -> Tensor:
        """Whether the geodesic along `u` is a shortest one, by its definition."""
        length = self.manifold.norm(x, u)
        return length - self.manifold.dist(x, self.manifold.expmap(x, u)) < 1e-6

    @requires(Capability.WRAPPED, Capability.TANGENT_BASIS)
    def test_contraction_is_the_push_forward_of_a_uniform_law(self) -> None:
        """One over the Jacobian of z -> exp_y(k log_y z) where it comes to x, pair by pair."""
        x, y = self.point(12), self.point(9, stream=1)
        bounded = math.isfinite(self.manifold.injectivity_radius)
        # Volumes of negative curvature grow beyond all bounds with the distance.
        keep = torch.linspace(0.02 if bounded else 0.5, 1.0, 12, dtype=x.dtype)
        density, pull = self.manifold.contraction(x, y, keep)
        shapes = tuple(density.shape), tuple(pull.shape)
        expected = (12,), (12, *self.tangent_shape)
        self.check(shapes == expected, f"contraction of shapes {shapes}, not {expected}")
        pairs = torch.stack([self.drawn_to(x, one.expand_as(x), keep) for one in y])
        logs = torch.stack([self.manifold.logmap(x, one.expand_as(x)) for one in y])
        total = pairs.sum(0)
        mean = (self.per_tangent(pairs) * logs).sum(0)
        mean = mean / self.per_tangent(torch.where(total > 0, total, 1.0))
        self.close(density, total / len(y), "contraction has another density", 1e-6)
        self.close(pull, mean, "contraction has another mean of the logarithms", 1e-6)
        if bounded:
            self.check(bool((pairs == 0).any()), "all points are within reach of all: draw more")

    def drawn_to(self, x: Tensor, y: Tensor, keep: Tensor) -> Tensor:
        """Density at `x` of the law that comes of a uniform one drawn to `y`, `(batch,)`."""
        u = self.manifold.logmap(y, x)
        far = u / self.per_tangent(keep)
        inside = self.reaches(y, far)
        # Where nothing comes from, the Jacobian of some other point does.
        z = self.manifold.expmap(y, torch.where(self.per_tangent(inside), far, u))
        scale = self.per_tangent(torch.where(inside, keep, 1.0))

        def drawn(w: Tensor) -> Tensor:
            log = self.manifold.logmap(y, self.manifold.expmap(z, w))
            return self.manifold.expmap(y, scale * log)

        rows = self.manifold.tangent_basis(x).movedim(1, 0)
        jacobian = []
        for axis in self.manifold.tangent_basis(z).movedim(1, 0):
            _, derivative = jvp(drawn, (torch.zeros_like(axis),), (axis,))
            image, _ = self.as_tangent(x, derivative)
            jacobian.append(torch.stack([self.manifold.inner(x, image, e) for e in rows], -1))
        log_det = torch.linalg.slogdet(torch.stack(jacobian, -1))[1]
        return torch.where(inside, torch.exp(-log_det), 0.0)
