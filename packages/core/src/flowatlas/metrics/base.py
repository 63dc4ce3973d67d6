"""What a metric is: the length of a velocity, which depends on where it is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

__all__ = ["DiagonalMetric", "FlatMetric", "RiemannianMetric"]


class RiemannianMetric(ABC):
    r"""A metric $|u|^2_{G(x)} = u^T G(x) u$ on $\mathbb{R}^n$.

    It says which ways are long. Unlike a `Manifold` it has no exponential map in closed form: its
    geodesics are found by learning (`MetricPath`).

    ```python
    class HalfPlane(RiemannianMetric):
        def squared_norm(self, x, u):
            return u.square().sum(-1) / x[..., 1] ** 2
    ```
    """

    @abstractmethod
    def squared_norm(self, x: Tensor, u: Tensor) -> Tensor:
        """Squared length of `u` at `x`.

        Args:
            x: points, `(..., dim)`.
            u: tangents, of the same shape.

        Returns:
            `(...)`, differentiable in both.
        """


class DiagonalMetric(RiemannianMetric):
    r"""A metric $\sum_a g_a(x) u_a^2$; a subclass writes `diagonal`.

    ```python
    class Logarithmic(DiagonalMetric):
        def diagonal(self, x):
            return x**-2
    ```
    """

    @abstractmethod
    def diagonal(self, x: Tensor) -> Tensor:
        """$g_a(x) > 0$, `(..., dim)`, at points of that shape."""

    def squared_norm(self, x: Tensor, u: Tensor) -> Tensor:
        return (self.diagonal(x) * u.square()).sum(-1)


class FlatMetric(RiemannianMetric):
    """The metric of flat space, whose geodesics are straight."""

    def squared_norm(self, x: Tensor, u: Tensor) -> Tensor:
        return u.square().sum(-1)

    def __repr__(self) -> str:
        return "FlatMetric()"
