"""The five maps and the distance, against each other."""

from __future__ import annotations

import torch

from flowatlas._autodiff import jvp
from flowatlas.testing._setup import Setup

__all__ = ["MapTests"]


class MapTests(Setup):
    """expmap, logmap, projx, proju, inner; dist and what is derived from it."""

    def test_projx_fixes_points_and_is_idempotent(self) -> None:
        """projx(x) = x on the manifold, and projx(projx(z)) = projx(z) nearby."""
        x = self.point(20)
        self.close(self.manifold.projx(x), x, "projx moves points of the manifold")
        noise = torch.randn(x.shape, generator=self.generator(1), dtype=x.dtype)
        projected = self.manifold.projx(x + 0.05 * noise)
        self.close(self.manifold.projx(projected), projected, "projx is not idempotent")

    def test_projx_differentiates_to_the_identity_on_tangents(self) -> None:
        """The derivative of projx at x along a tangent is that tangent, as one curve tells."""
        x = self.point(20)
        u = self.manifold.pushforward(x, self.tangent(x))
        value, derivative = jvp(self.manifold.projx, (x,), (u,))
        self.close(value, x, "projx moves points of the manifold")
        self.close(derivative, u, "the derivative of projx changes tangents")

    def test_projx_has_finite_gradients_and_tangent_derivatives_on_the_manifold(self) -> None:
        """Perturbing a point in any direction moves its projection along a tangent."""
        x = self.point(20)
        noise = torch.randn(x.shape, generator=self.generator(1), dtype=x.dtype)
        _, derivative = jvp(self.manifold.projx, (x,), (noise,))
        self.finite([derivative], "the derivative of projx on the manifold")
        _, gap = self.as_tangent(x, derivative)
        self.close(gap, torch.zeros_like(gap), "the derivative of projx is not tangent")
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((self.manifold.projx(leaf) * noise).sum(), leaf)
        self.finite([gradient], "the gradient of projx on the manifold")

    def test_proju_is_a_linear_projection_that_is_self_adjoint(self) -> None:
        """P P a = P a, P(2 a - 3 b) = 2 P a - 3 P b, <P a, b> = <a, P b>; tangents are fixed."""
        x = self.point(20)
        shape = (*x.shape[:1], *self.tangent_shape)
        a = torch.randn(shape, generator=self.generator(1), dtype=x.dtype)
        b = torch.randn(shape, generator=self.generator(2), dtype=x.dtype)
        pa, pb = self.manifold.proju(x, a), self.manifold.proju(x, b)
        self.close(self.manifold.proju(x, pa), pa, "proju is not idempotent")
        self.close(self.manifold.proju(x, 2 * a - 3 * b), 2 * pa - 3 * pb, "proju is not linear")
        self.close(
            self.manifold.inner(x, pa, b),
            self.manifold.inner(x, a, pb),
            "proju is not self-adjoint with respect to inner",
        )
        u = self.tangent(x)
        self.close(self.manifold.proju(x, u), u, "proju changes what random_tangent returns")
        u = self.manifold.logmap(x, self.manifold.expmap(x, u))
        self.close(self.manifold.proju(x, u), u, "logmap is not tangent")

    def test_the_tangent_space_has_the_declared_dimension(self) -> None:
        """The projected unit vectors span `dimension(point_shape)` directions of the point."""
        x = self.point(5)
        rank = torch.linalg.matrix_rank(self.columns(x, self.spanning(x)), rtol=1e-8)
        self.check(
            bool((rank == self.dimension).all()),
            f"dimension({self.point_shape}) is {self.dimension}, the tangent spaces have "
            f"{sorted(set(rank.tolist()))}",
        )

    def test_inner_is_a_scalar_product(self) -> None:
        """Symmetric, bilinear, and positive definite on tangents; norm is its root."""
        x = self.point(20)
        u, v, w = (self.tangent(x, stream=100 + k) for k in range(3))
        inner = self.manifold.inner
        self.close(inner(x, u, v), inner(x, v, u), "inner is not symmetric")
        combined = 2 * inner(x, u, w) - 3 * inner(x, v, w)
        self.close(inner(x, 2 * u - 3 * v, w), combined, "inner is not linear")
        spanning = self.spanning(x)
        gram = torch.stack([torch.stack([inner(x, a, b) for b in spanning], -1) for a in spanning])
        eigenvalues = torch.linalg.eigvalsh(gram.movedim(0, -2))[:, -self.dimension :]
        self.check(
            bool((eigenvalues > 1e-8 * eigenvalues[:, -1:]).all()),
            f"inner is not positive definite on tangents (least eigenvalue {eigenvalues.min()})",
        )
        self.close(self.manifold.norm(x, u).square(), inner(x, u, u), "norm^2 is not inner(u, u)")

    def test_expmap_stays_on_the_manifold(self) -> None:
        """exp_x(u) is a point, also far beyond the injectivity radius; exp_x(0) = x."""
        x = self.point(20)
        for length in (0.0, 1e-8, self.reach, 3 * self.radius):
            y = self.manifold.expmap(x, self.tangent(x, length))
            self.manifold.check_point(y, f"expmap(x, u) with |u| = {length:g}")
        self.close(self.manifold.expmap(x, 0 * self.tangent(x)), x, "expmap(x, 0) is not x")

    def test_logmap_inverts_expmap(self) -> None:
        """log_x(exp_x(u)) = u within the injectivity radius, from 1e-6 to its edge."""
        x = self.point(20)
        for length in self.lengths:
            u = self.tangent(x, length)
            back = self.manifold.logmap(x, self.manifold.expmap(x, u))
            self.close(back, u, f"log(exp(u)) is not u at length {length:g}")

    def test_expmap_inverts_logmap(self) -> None:
        """exp_x(log_x(y)) = y for any two points, however far apart."""
        x, y = self.point(50), self.point(50, stream=1)
        u = self.manifold.logmap(x, y)
        self.close(self.manifold.expmap(x, u), y, "exp(log(y)) is not y")
        zero = torch.zeros_like(u)
        self.close(self.manifold.logmap(x, x), zero, "log_x(x) is not zero")

    def test_dist_is_the_length_of_the_logarithm(self) -> None:
        """d(x, y) = |log_x y| = d(y, x), d(x, x) = 0, and squared_dist is its square."""
        x, y = self.point(50), self.point(50, stream=1)
        dist = self.manifold.dist(x, y)
        length = self.manifold.norm(x, self.manifold.logmap(x, y))
        self.close(dist, length, "dist is not the length of logmap")
        self.close(dist, self.manifold.dist(y, x), "dist is not symmetric")
        self.close(self.manifold.squared_dist(x, y), dist.square(), "squared_dist is not dist^2")
        zero = torch.zeros_like(dist)
        for d in (self.manifold.dist(x, x), self.manifold.squared_dist(x, x)):
            self.close(d, zero, "the distance of a point to itself is not zero")
        for length_ in self.lengths:
            y = self.manifold.expmap(x, self.tangent(x, length_))
            expected = torch.full_like(dist, length_)
            self.close(self.manifold.dist(x, y), expected, f"dist is wrong at {length_:g}")

    def test_dist_obeys_the_triangle_inequality(self) -> None:
        """d(x, z) <= d(x, y) + d(y, z)."""
        x, y, z = (self.point(200, stream=k) for k in range(3))
        d = self.manifold.dist
        excess = (d(x, z) - d(x, y) - d(y, z)).max().item()
        self.check(excess < 1e-9, f"the triangle inequality fails by {excess:.2e}")

    def test_gradient_of_half_the_squared_distance_is_minus_the_logarithm(self) -> None:
        """grad_x d(x, y)^2 / 2 = -log_x y (Gauss's lemma), which ties inner to expmap."""
        x = self.point(50)
        y = self.manifold.expmap(x, self.tangent(x, stream=101))
        w = self.tangent(x, stream=102)

        def half_square(s: torch.Tensor) -> torch.Tensor:
            moved = self.manifold.expmap(x, self.per_tangent(s) * w)
            return self.manifold.squared_dist(moved, y) / 2

        zero = torch.zeros(50, dtype=x.dtype)
        _, slope = jvp(half_square, (zero,), (torch.ones_like(zero),))
        expected = -self.manifold.inner(x, self.manifold.logmap(x, y), w)
        self.close(slope, expected, "the gradient of squared_dist / 2 is not -logmap")

    def test_pairwise_squared_dist_equals_loops(self) -> None:
        """Entry (i, j) is the squared distance of samples i and j, added over their points."""
        # torch.cdist takes another algorithm from 25 rows on.
        for count, points in ((4, ()), (30, ()), (4, (3,)), (4, (2, 3))):
            x, y = self.point(count, *points), self.point(count + 1, *points, stream=1)
            pairs = self.manifold.pairwise_squared_dist(x, y)
            loops = torch.stack(
                [torch.stack([self.manifold.squared_dist(a, b).sum() for b in y]) for a in x]
            )
            self.close(
                pairs, loops, f"pairwise_squared_dist differs from loops for {count} of {points}"
            )
