"""A normal law in a tangent space, carried over by the exponential map."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators
from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.capability import Capability
from flowatlas.sources.base import Source

__all__ = ["WrappedNormal", "images_needed"]

#: Bound on the error of the log density from leaving out windings.
TRUNCATION = 1e-10


class WrappedNormal(Source):
    r"""$x_0 = \exp_m(s\, \epsilon)$ with $\epsilon$ standard normal in the tangent space at m.

    Every tangent that the exponential map takes to x adds to the density,

    $$p(x) = \sum_{u:\, \exp_m(u) = x} N(u; 0, s^2 I) \,/\, |\det d\exp_m(u)|.$$

    On compact manifolds geodesics return, so that the sum is infinite; it is cut where what is left
    out changes log p by less than 1e-10. Where geodesics from m focus (on a sphere at the antipode
    of m, and by the return of those that went round, at m itself) the density of this law has an
    integrable singularity. Its weight is below $e^{-\pi^2 / 2 s^2}$: with s up to 0.5, say, nothing
    is seen of it.

    Args:
        manifold: one that declares `Capability.WRAPPED`.
        mean: m, a point `(*point_shape)`, or a tensor of points that broadcasts to the samples.
        std: s, in the units of the manifold's distance (radians on spheres and rotations).
        images: how many windings to count to each side (see `Manifold.exp_preimages`); chosen
            from `std` if None.

    Raises:
        CapabilityError: a manifold without the capability.
        ConfigError: `std` or `images` out of range.
        GeometryError: a mean off the manifold.

    Reference: A Wrapped Normal Distribution on Hyperbolic Space, Nagano et al., 2019,
    arXiv:1902.02992, where there is one preimage; here the sum is over all of them, on any
    manifold that can list them.

    Example:
        ```python
        source = WrappedNormal(Sphere(), torch.tensor([0.0, 0.0, 1.0]), 0.3)
        x_0 = source.sample((64, 3), generator=torch.Generator().manual_seed(0))
        ```
    """

    has_density = True

    def __init__(
        self, manifold: Manifold, mean: Tensor, std: float, *, images: int | None = None
    ) -> None:
        if Capability.WRAPPED not in manifold.capabilities:
            raise CapabilityError(
                f"manifold: {manifold!r} does not declare Capability.WRAPPED, so the density of a "
                "wrapped normal law on it is not known. Use Uniform(manifold) or "
                "Empirical(points), or implement exp_preimages and log_det_expmap."
            )
        if not 0 < std < math.inf:
            raise ConfigError(f"std: got {std}; it must be positive and finite.")
        if images is not None and images < 0:
            raise ConfigError(f"images: got {images}; it counts windings, so 0 or more.")
        manifold.check_shape(mean, "mean")
        manifold.check_point(
            mean.unsqueeze(0) if mean.ndim == manifold.point_ndim else mean, "mean"
        )
        self.manifold = manifold
        # Not `std` and `mean`: those are how a Gaussian declares itself.
        self.centre = mean
        self.spread = float(std)
        self.images = images

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        dtype = torch.get_default_dtype() if dtype is None else dtype
        # Geometry in half precision is wrong, not fast.
        working = dtype if dtype in (torch.float32, torch.float64) else torch.float32
        mean = self._mean(shape, working, self.centre.device if device is None else device)
        noise = self.manifold.random_tangent(mean, generator=generator)
        return self.manifold.expmap(mean, self.spread * noise).to(dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        manifold = self.manifold
        manifold.check_shape(x)
        dimension = manifold.dimension(manifold.point_shape_of(x))
        mean = self._mean(x.shape, x.dtype, x.device)
        images = self.images
        if images is None:
            images = images_needed(self.spread, manifold.injectivity_radius, dimension)
        return manifold.wrapped_normal_log_prob(mean, x, self.spread, images)

    def _mean(
        self, shape: Sequence[int], dtype: torch.dtype, device: torch.device | str | None
    ) -> Tensor:
        mean = self.centre.to(dtype=dtype, device=device)
        shape = tuple(shape)
        own = tuple(mean.shape)
        ndim = self.manifold.point_ndim
        tail = shape[max(0, len(shape) - len(own)) :]
        fits = len(own) <= len(shape) and all(a in (1, b) for a, b in zip(own, tail, strict=True))
        if not fits or own[len(own) - ndim :] != shape[len(shape) - ndim :]:
            raise ShapeError(
                f"shape: got {shape} for a wrapped normal law whose mean has shape {own}; samples "
                "have shape (batch, ..., *point_shape), to which the mean must broadcast."
            )
        return mean.expand(shape)

    def __repr__(self) -> str:
        return f"WrappedNormal({self.manifold!r}, std={self.spread:g})"


def images_needed(std: float, radius: float, dimension: int) -> int:
    r"""Windings to each side after which the rest changes the log density by less than 1e-10.

    At the worst place, the cut locus at distance r, the shortest preimage left out after k windings
    has length (2 k + 1) r. Beside the one of length r it counts $e^{-2 k (k + 1) r^2 / s^2}$, times
    at most $(2 k + 1)^{n - 1}$ for the ratio of their volumes; both ends and n axes may do so.
    Longer ones make a wide law's rest larger, but its sum as well.
    """
    if math.isinf(radius):
        return 0
    square = (radius / std) ** 2
    allowed = math.log(TRUNCATION / (4 * dimension))
    k = 1
    while (dimension - 1) * math.log(2 * k + 1) - 2 * k * (k + 1) * square > allowed:
        k += 1
    return k
