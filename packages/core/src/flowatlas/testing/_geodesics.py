"""Geodesics in closed form, against exp and log and automatic differentiation."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas._autodiff import jvp
from flowatlas.testing._setup import Setup

__all__ = ["GeodesicTests"]


class GeodesicTests(Setup):
    """`geodesic(x_0, x_1, s) -> (x_s, velocity)`."""

    def pair(self) -> tuple[Tensor, Tensor]:
        """Two batches of points within the injectivity radius of each other."""
        x_0 = self.point(20)
        return x_0, self.manifold.expmap(x_0, self.tangent(x_0, stream=101))

    def parameters(self, count: int = 20) -> Tensor:
        """Curve parameters in (0, 1)."""
        return torch.rand(count, generator=self.generator(7), dtype=torch.float64)

    def test_geodesic_ends_where_it_should(self) -> None:
        """x_s is x_0 at s = 0 and x_1 at s = 1, for any two points."""
        x_0, x_1 = self.point(50), self.point(50, stream=1)
        zero = torch.zeros(50, dtype=x_0.dtype)
        start, _ = self.manifold.geodesic(x_0, x_1, zero)
        end, _ = self.manifold.geodesic(x_0, x_1, zero + 1)
        self.close(start, x_0, "geodesic does not start at x_0")
        self.close(end, x_1, "geodesic does not end at x_1")

    def test_geodesic_is_exp_of_a_multiple_of_log(self) -> None:
        """x_s = exp_{x_0}(s log_{x_0} x_1), and it stays on the manifold."""
        x_0, x_1 = self.pair()
        s = self.parameters()
        x_s, _ = self.manifold.geodesic(x_0, x_1, s)
        u = self.manifold.logmap(x_0, x_1)
        expected = self.manifold.expmap(x_0, self.per_tangent(s) * u)
        self.close(x_s, expected, "geodesic is not exp(s log)")
        self.manifold.check_point(x_s, "geodesic(x_0, x_1, s)")

    def test_geodesic_velocity_is_the_derivative_of_its_point(self) -> None:
        """d x_s / d s, by automatic differentiation and by central differences."""
        x_0, x_1 = self.pair()
        s = self.parameters()

        def curve(r: Tensor) -> Tensor:
            return self.manifold.geodesic(x_0, x_1, r)[0]

        x_s, velocity = self.manifold.geodesic(x_0, x_1, s)
        pushed = self.manifold.pushforward(x_s, velocity)
        _, derivative = jvp(curve, (s,), (torch.ones_like(s),))
        self.close(pushed, derivative, "the velocity is not the derivative of the point")
        h = 1e-5
        # Through logmap, so that a chart that wraps around does not count as a jump.
        ahead, behind = (self.manifold.logmap(x_s, curve(s + d)) for d in (h, -h))
        self.close(velocity, (ahead - behind) / (2 * h), "the velocity is not the slope", 1e-6)

    def test_geodesic_has_constant_speed(self) -> None:
        """The velocity is tangent and its length is d(x_0, x_1) at every s."""
        x_0, x_1 = self.pair()
        dist = self.manifold.dist(x_0, x_1)
        for value in (0.0, 0.3, 1.0):
            x_s, velocity = self.manifold.geodesic(x_0, x_1, torch.full_like(dist, value))
            self.close(self.manifold.proju(x_s, velocity), velocity, "the velocity is not tangent")
            self.close(self.manifold.norm(x_s, velocity), dist, f"wrong speed at s = {value}")

    def test_geodesic_velocity_points_to_the_end(self) -> None:
        """velocity = log_{x_s}(x_1) / (1 - s), by which paths turn endpoints into velocities."""
        x_0, x_1 = self.pair()
        s = 0.9 * self.parameters()
        x_s, velocity = self.manifold.geodesic(x_0, x_1, s)
        expected = self.manifold.logmap(x_s, x_1) / self.per_tangent(1 - s)
        self.close(velocity, expected, "the velocity is not log(x_1) / (1 - s)")

    def test_geodesic_reversed_is_the_same_curve(self) -> None:
        """From x_1 to x_0 at 1 - s: the same point, the opposite velocity."""
        x_0, x_1 = self.pair()
        s = self.parameters()
        x_s, velocity = self.manifold.geodesic(x_0, x_1, s)
        back, reverse = self.manifold.geodesic(x_1, x_0, 1 - s)
        self.close(back, x_s, "the reversed geodesic is another curve")
        self.close(reverse, -velocity, "the reversed velocity is not the opposite")

    def test_geodesic_between_coincident_points_rests(self) -> None:
        """x_0 = x_1 gives that point and velocity zero."""
        x = self.point(20)
        x_s, velocity = self.manifold.geodesic(x, x, self.parameters())
        self.close(x_s, x, "the geodesic from x to x moves")
        self.close(velocity, torch.zeros_like(velocity), "the geodesic from x to x has a velocity")

    def test_geodesic_broadcasts_its_parameter(self) -> None:
        """s of shape (batch, 1) is one parameter for all points of a sample."""
        x_0 = self.point(4, 3)
        x_1 = self.manifold.expmap(x_0, self.tangent(x_0, stream=101))
        s = self.parameters(4).unsqueeze(-1)
        whole = self.manifold.geodesic(x_0, x_1, s)
        full = self.manifold.geodesic(x_0, x_1, s.expand(4, 3))
        for one, other in zip(whole, full, strict=True):
            self.close(one, other, "geodesic does not broadcast s")

    def test_expmap_curves_are_tangent_and_of_constant_speed(self) -> None:
        """d exp_x(s u) / d s is a tangent of length |u|, and at s = 0 it is u itself."""
        x = self.point(20)
        u = self.tangent(x)
        for value in (0.0, 0.5, 1.0):
            s = torch.full((20,), value, dtype=x.dtype)
            y, derivative = jvp(
                lambda r: self.manifold.expmap(x, self.per_tangent(r) * u),
                (s,),
                (torch.ones_like(s),),
            )
            velocity, gap = self.as_tangent(y, derivative)
            self.close(gap, torch.zeros_like(gap), f"the curve leaves the manifold at s = {value}")
            speed = self.manifold.norm(y, velocity)
            self.close(speed, self.manifold.norm(x, u), f"the speed is not |u| at s = {value}")
            if value == 0.0:
                pushed = self.manifold.pushforward(x, u)
                self.close(derivative, pushed, "pushforward is not the derivative of expmap at 0")
