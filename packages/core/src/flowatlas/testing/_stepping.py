"""What solvers step with: retract, pullback, pushforward."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from torch import Tensor

from flowatlas._autodiff import jvp
from flowatlas.testing._setup import Setup, only_if

__all__ = ["SteppingTests"]


def adds_stages_in_ambient_space(cls: Any) -> bool:
    """Whether solvers do: as the class says, or else if there is a codimension and no chart."""
    embedded: bool | None = cls.embedded
    if embedded is not None:
        return embedded
    return cls.manifold.codim > 0 and not cls.manifold.is_chart


class SteppingTests(Setup):
    """A local parametrisation whose derivative `pullback` inverts, and the order it gives."""

    def test_retract_starts_at_the_point_along_the_tangent(self) -> None:
        """retract(x, 0) = x, and d/ds retract(x, s u) at 0 is pushforward(x, u)."""
        x = self.point(20)
        u = self.tangent(x)
        value, derivative = jvp(lambda w: self.manifold.retract(x, w), (0 * u,), (u,))
        self.close(value, x, "retract(x, 0) is not x")
        self.close(derivative, self.manifold.pushforward(x, u), "retract does not start along u")
        self.manifold.check_point(self.manifold.retract(x, u), "retract(x, u)")

    def test_pullback_at_the_start_is_the_identity(self) -> None:
        """pullback(x, 0, v) = v, and it is linear in v."""
        x = self.point(20)
        u, v = self.tangent(x), self.tangent(x, stream=101)
        self.close(self.manifold.pullback(x, 0 * u, v), v, "pullback(x, 0, v) is not v")
        a, b = self.manifold.pullback(x, u, v), self.manifold.pullback(x, u, u)
        both = self.manifold.pullback(x, u, 2 * v - 3 * u)
        self.close(both, 2 * a - 3 * b, "pullback is not linear")

    @only_if(lambda cls: not adds_stages_in_ambient_space(cls))
    def test_pullback_inverts_the_derivative_of_retract(self) -> None:
        """d/ds retract(x, u + s pullback(x, u, v)) = pushforward(retract(x, u), v)."""
        x = self.point(20)
        u, v = self.tangent(x), self.tangent(x, stream=101)
        for scale in (1e-7, 1e-3, 1.0):
            w = self.manifold.pullback(x, scale * u, v)
            y, derivative = jvp(lambda a: self.manifold.retract(x, a), (scale * u,), (w,))
            expected = self.manifold.pushforward(y, v)
            self.close(derivative, expected, f"pullback does not invert retract, u times {scale:g}")

    @only_if(lambda cls: adds_stages_in_ambient_space(cls))
    def test_pullback_of_an_embedded_manifold_is_the_identity(self) -> None:
        """Stages add up in the ambient space, where the field is evaluated at the projection."""
        i = self.inputs(20)
        v = self.carried(i)
        self.close(self.manifold.pullback(i.x, i.u, v), v, "pullback is not the identity")

    def test_runge_kutta_steps_keep_order_four(self) -> None:
        """Halving the step of RK4 divides its error by 2^4 on a field that does not commute."""
        x = self.point(10)
        reach = 0.4 * self.reach
        targets = [
            self.manifold.expmap(x, self.tangent(x, reach, stream=100 + k)) for k in range(2)
        ]

        def field(y: Tensor, t: float) -> Tensor:
            first, second = (self.manifold.logmap(y, target) for target in targets)
            return math.cos(2 * t) * first + math.sin(3 * t) * second

        ends = [self.integrate(field, x, steps) for steps in (4, 8, 16)]
        coarse, fine = (
            self.manifold.dist(a, b).square().mean().sqrt().item() for a, b in pairwise(ends)
        )
        # Flat space with a linear field has rounding alone left.
        order = math.log2(coarse / max(fine, 1e-15))
        self.check(order > 3.5, f"RK4 has order {order:.2f} (errors {coarse:.1e}, {fine:.1e})")

    def integrate(self, field: Callable[[Tensor, float], Tensor], x: Tensor, steps: int) -> Tensor:
        """The classical method over [0, 1] as solvers do it: stages in the space of retract."""
        m, h = self.manifold, 1.0 / steps
        for step in range(steps):
            t = step * h
            k = [field(x, t)]
            for c in (0.5, 0.5, 1.0):
                u = c * h * k[-1]
                k.append(m.pullback(x, u, field(m.retract(x, u), t + c * h)))
            x = m.retract(x, h * (k[0] + 2 * k[1] + 2 * k[2] + k[3]) / 6)
        return x
