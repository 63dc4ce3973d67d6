"""The contract every manifold keeps: five maps, and what it declares beyond them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

import torch
from torch import Tensor

from flowatlas._autodiff import jvp
from flowatlas._random import Generators, draw_noise
from flowatlas.errors import CapabilityError, ShapeError
from flowatlas.manifolds._check_point import check_on_manifold
from flowatlas.manifolds._contraction import contraction
from flowatlas.manifolds._wrapped_normal import wrapped_normal_log_prob
from flowatlas.manifolds.capability import Capability

__all__ = ["Manifold"]


class Manifold(ABC):
    """A Riemannian manifold as a set of batched functions of points and tangents.

    Points have shape `(..., *point_shape)` and tangents `(..., *tangent_shape)`, where the leading
    axes are a batch and any number of points per sample. A subclass writes five maps and declares
    the rest:

    ```python
    class Circle(Manifold):                       # the unit circle, points (..., 2)
        codim = 1
        injectivity_radius = math.pi

        def projx(self, x):
            return x / x.norm(dim=-1, keepdim=True)

        def proju(self, x, u):
            return u - (x * u).sum(-1, keepdim=True) * x

        def inner(self, x, u, v):
            return (u * v).sum(-1)

        def expmap(self, x, u):
            n = u.norm(dim=-1, keepdim=True)
            return torch.cos(n) * x + torch.sinc(n / math.pi) * u

        def logmap(self, x, y):
            cross = x[..., :1] * y[..., 1:] - x[..., 1:] * y[..., :1]
            angle = torch.atan2(cross, (x * y).sum(-1, keepdim=True))
            return angle * torch.cat([-x[..., 1:], x[..., :1]], -1)
    ```

    `flowatlas.testing.ManifoldConformance` tests such a class in three lines.

    Maps must be differentiable everywhere, coincident points included (where a formula is singular,
    select its *input* before evaluating it, not its output after), and must not draw random
    numbers.

    Attributes:
        point_ndim: number of axes of one point: 1 for vectors, 2 for matrices.
        codim: dimension of the tangent representation minus that of the manifold: 1 for a sphere in
            its ambient space, 0 for charts and Lie algebras.
        injectivity_radius: geodesics shorter than this are unique; `inf` without a cut locus.
        is_chart: whether tangents are coordinate velocities whose volume density, `log_volume`,
            varies: then the divergence has a term for it. The tangents of a chart make up one
            linear space, a subspace of the stored coordinates if `codim` is positive, as symmetric
            matrices are.
        unbounded_scale: whether the metric at a point, in the coordinates that points are stored
            in, grows and shrinks without bound: networks then say what to do in an orthonormal
            frame (`tangent_from_noise`).
        capabilities: the `Capability` members whose methods are implemented.
    """

    point_ndim: int = 1
    codim: int = 0
    injectivity_radius: float = math.inf
    is_chart: bool = False
    unbounded_scale: bool = False
    capabilities: frozenset[Capability] = frozenset()
    #: Largest residual, relative to the size of the point, that still counts as on the manifold.
    tolerance: Mapping[torch.dtype, float] = MappingProxyType(
        {torch.float64: 1e-8, torch.float32: 1e-4}
    )

    # The five maps.

    @abstractmethod
    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Point reached from `x` after unit time along the geodesic with velocity `u`."""

    @abstractmethod
    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Initial velocity of a shortest geodesic from `x` to `y`: the inverse of `expmap`.

        At the cut locus, where the shortest geodesic is not unique, one of them is returned.
        """

    @abstractmethod
    def projx(self, x: Tensor) -> Tensor:
        """Closest point of the manifold (or a smooth projection that fixes the manifold)."""

    @abstractmethod
    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Orthogonal projection of `u` onto the tangent space at `x`."""

    @abstractmethod
    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Riemannian inner product of tangents at `x`, shape `(...)`."""

    # Shapes.

    def tangent_shape(self, point_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of one tangent vector for points of `point_shape`."""
        return tuple(point_shape)

    def dimension(self, point_shape: Sequence[int]) -> int:
        """Dimension of the manifold whose points have `point_shape`."""
        return math.prod(self.tangent_shape(point_shape)) - self.codim

    def point_shape_of(self, x: Tensor) -> tuple[int, ...]:
        """The last `point_ndim` axes of `x`."""
        return tuple(x.shape[x.ndim - self.point_ndim :])

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        """Raise `ShapeError` unless `x` can hold points of this manifold.

        Manifolds whose points have a fixed shape override this.
        """
        if x.ndim < self.point_ndim:
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; points of {self!r} have {self.point_ndim} "
                "axes, after the batch axis."
            )

    # Derived maps. Override one where a closed form is faster or more accurate.

    def norm(self, x: Tensor, u: Tensor) -> Tensor:
        """Riemannian length of `u`, shape `(...)`; gradient zero at `u = 0`."""
        square = self.inner(x, u, u)
        positive = square > 0
        return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Geodesic distance, shape `(...)`."""
        return self.norm(x, self.logmap(x, y))

    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Squared geodesic distance, shape `(...)`; smooth at `x = y`."""
        u = self.logmap(x, y)
        return self.inner(x, u, u)

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Squared distances between every two samples, summed over the points of a sample.

        Args:
            x: `(n, ..., *point_shape)`.
            y: `(m, ..., *point_shape)`.

        Returns:
            `(n, m)`.
        """
        square = self.squared_dist(x.unsqueeze(1), y.unsqueeze(0))
        return square.flatten(2).sum(-1) if square.ndim > 2 else square

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Point and velocity at parameter `s` of the geodesic from `x_0` (s = 0) to `x_1` (s = 1).

        Args:
            x_0: `(..., *point_shape)`.
            x_1: `(..., *point_shape)`.
            s: broadcastable to the leading axes `(...)`.

        Returns:
            `x_s`, and `d x_s / d s` as a tangent at `x_s`.
        """
        u = self.logmap(x_0, x_1)
        s = s.expand(x_0.shape[: x_0.ndim - self.point_ndim])
        # Forward differentiation refuses tensors whose elements share memory.
        s = s.reshape(s.shape + (1,) * (u.ndim - s.ndim)).contiguous()
        x_s, velocity = jvp(lambda r: self.expmap(x_0, r * u), (s,), (torch.ones_like(s),))
        return x_s, velocity

    # What solvers step with.

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        """A local parametrisation of the manifold around `x`, with `retract(x, 0) = x`.

        Runge-Kutta methods add their stages up in the linear space of `u` and map back here. For
        embedded manifolds that space is the ambient one, and the order of the method is kept
        because the field is then a field on the ambient space (evaluated at `projx`).
        """
        return self.projx(x + u)

    def pullback(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Express the velocity `v` at `retract(x, u)` in the linear space of `u`.

        The identity for embedded manifolds and charts; `dexpinv` for Lie groups (Munthe-Kaas).
        """
        return v

    def pushforward(self, x: Tensor, u: Tensor) -> Tensor:
        """Derivative of the stored point along the tangent `u`, with the shape of `x`.

        The identity unless tangents are stored in other coordinates than points, as the
        body-frame vectors of SO(3) are.
        """
        return u

    # Measure.

    def log_volume(self, x: Tensor) -> Tensor:
        """log sqrt(det G) of a chart, shape `(...)`: zero where tangents are orthonormal."""
        return x.new_zeros(x.shape[: x.ndim - self.point_ndim])

    def random_uniform(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Uniform points of `shape` = `(batch, ..., *point_shape)`. Needs `Capability.UNIFORM`."""
        self._lacks(Capability.UNIFORM)

    def uniform_log_prob(self, x: Tensor) -> Tensor:
        """Log density of the uniform law, nats, shape `(...)`. Needs `Capability.UNIFORM`."""
        self._lacks(Capability.UNIFORM)

    def random_tangent(
        self, x: Tensor, *, generator: Generators = None, rademacher: bool = False
    ) -> Tensor:
        """Tangents at `x` with mean zero and identity covariance in an orthonormal basis.

        Args:
            x: `(batch, ..., *point_shape)`.
            generator: one, or one per sample.
            rademacher: signs instead of normal draws: a trace estimate of lower variance.
        """
        noise = draw_noise(self.noise_shape(x), x, generator, rademacher)
        return self.tangent_from_noise(x, noise)

    def noise_shape(self, x: Tensor) -> tuple[int, ...]:
        """Shape of the independent numbers that `tangent_from_noise` takes."""
        lead = x.shape[: x.ndim - self.point_ndim]
        return (*lead, *self.tangent_shape(self.point_shape_of(x)))

    def tangent_from_noise(self, x: Tensor, noise: Tensor) -> Tensor:
        """Tangent at `x` of identity covariance, from numbers of mean zero and variance one.

        The default projects them, which is right where `inner` is the ambient inner product.
        Manifolds with another metric read them as coefficients in `tangent_basis` and override
        `noise_shape` and this.
        """
        return self.proju(x, noise)

    def tangent_basis(self, x: Tensor) -> Tensor:
        """Orthonormal basis at `x`, shape `(..., dimension, *tangent_shape)`.

        Needs `Capability.TANGENT_BASIS`.
        """
        self._lacks(Capability.TANGENT_BASIS)

    def sharp(self, x: Tensor, covector: Tensor) -> Tensor:
        r"""The tangent vector whose inner product with every tangent u is `covector . u`.

        With the derivative of $f(\exp_x u)$ at u = 0 as covector it is the gradient of f.

        Args:
            x: `(..., *point_shape)`.
            covector: `(..., *tangent_shape)`.

        Raises:
            CapabilityError: without a tangent basis.
        """
        basis = self.tangent_basis(x)
        axes = basis.ndim - (x.ndim - self.point_ndim) - 1
        dual = covector.unsqueeze(-axes - 1)
        along = (basis * dual).flatten(-axes).sum(-1) if axes else basis * dual
        return (along.reshape(*along.shape, *(1,) * axes) * basis).sum(-axes - 1)

    def exp_preimages(self, x: Tensor, y: Tensor, images: int) -> Tensor:
        """The tangents at `x` whose exponential is `y`, the shortest ones first to cover.

        Needs `Capability.WRAPPED`.

        Args:
            x: `(..., *point_shape)`.
            y: `(..., *point_shape)`.
            images: how many windings to go out to each side; 0 gives `logmap` alone.

        Returns:
            `(count, ..., *tangent_shape)`, `count` depending on `images` and the manifold. Where x
            is y itself the windings of spheres and rotations have no direction: they are zeros.
        """
        self._lacks(Capability.WRAPPED)

    def log_det_expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """log |det d exp_x(u)| in orthonormal bases, shape `(...)`. Needs `Capability.WRAPPED`."""
        self._lacks(Capability.WRAPPED)

    def wrapped_normal_log_prob(self, mean: Tensor, x: Tensor, std: float, images: int) -> Tensor:
        """Log density at `x` of exp_mean(std e) with e standard normal, nats, shape `(...)`.

        The sum over `exp_preimages(mean, x, images)`; override it where that sum is a product.
        Needs `Capability.WRAPPED`.
        """
        return wrapped_normal_log_prob(self, mean, x, std, images)

    def is_shortest(self, x: Tensor, u: Tensor) -> Tensor:
        """Whether the geodesic from `x` along `u` is a shortest one up to time 1, `(...)`."""
        return self.norm(x, u) < self.injectivity_radius

    def contraction(self, x: Tensor, y: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Density and pull at `x` of a uniform law that each of the points `y` draws to itself.

        Every point moves along the shortest geodesic to one of the `y`, chosen at random, until
        `keep` of the distance is left. Needs `Capability.WRAPPED`, and a law that is uniform.

        Args:
            x: `(batch, *point_shape)`.
            y: `(n, *point_shape)`.
            keep: `(batch,)`, in (0, 1].

        Returns:
            The density at `x` relative to the uniform one, `(batch,)`, and the mean of log_x(y)
            over the posterior of y, `(batch, *tangent_shape)`; zero where the density is.
        """
        return contraction(self, x, y, keep)

    def _lacks(self, capability: Capability) -> NoReturn:
        known = ", ".join(sorted(c.value for c in self.capabilities)) or "none"
        raise CapabilityError(
            f"{self!r} does not have the capability '{capability.value}' (it declares: {known}). "
            f"Implement the methods listed under Capability.{capability.name} and add it to "
            "`capabilities`, or choose a source, solver or divergence that does not need it."
        )

    # Validation of user data.

    def residual(self, x: Tensor) -> Tensor:
        """Largest coordinate difference between `x` and its projection, shape `(...)`."""
        gap = (self.projx(x) - x).abs()
        return gap.flatten(gap.ndim - self.point_ndim).amax(-1) if self.point_ndim else gap

    def check_point(self, x: Tensor, name: str = "x") -> None:
        """Raise unless `x` has the right shape, is finite, and lies on the manifold.

        Raises:
            ShapeError: the trailing axes cannot be points of this manifold.
            GeometryError: NaN, infinity, or a point off the manifold; the message has the residual.
        """
        self.check_shape(x, name)
        check_on_manifold(self, x, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
