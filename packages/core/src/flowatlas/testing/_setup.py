"""What every group of conformance tests starts from: points, tangents, tolerances."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.capability import Capability

__all__ = ["Inputs", "Setup", "only_if", "requires"]

F = TypeVar("F", bound=Callable[..., Any])


def only_if(condition: Callable[[Any], bool]) -> Callable[[F], F]:
    """Generate a test only in subclasses for which `condition(cls)` holds."""

    def mark(test: F) -> F:
        test.generated_if = condition  # type: ignore[attr-defined]
        return test

    return mark


def requires(*capabilities: Capability) -> Callable[[F], F]:
    """Generate a test only for manifolds that declare all of `capabilities`."""
    return only_if(lambda cls: set(capabilities) <= cls.manifold.capabilities)


class Inputs(NamedTuple):
    """Arguments for any map: two points, two tangents at the first, and curve parameters."""

    x: Tensor
    y: Tensor
    u: Tensor
    v: Tensor
    s: Tensor


class Setup:
    """Attributes of `ManifoldConformance`, and the tools its tests are written with."""

    manifold: Manifold
    point_shape: tuple[int, ...]
    base_point: Tensor | None = None
    max_length: float = 2.0
    tolerance: ClassVar[Mapping[torch.dtype, float]] = MappingProxyType(
        {torch.float64: 1e-9, torch.float32: 5e-6}
    )
    float32_log: tuple[float, float] = (1e-4, 5e-7)
    float32_point: float = 1e-6
    density_std: float | None = None
    everywhere: bool = False
    embedded: bool | None = None
    wrong_shapes: tuple[tuple[int, ...], ...] | None = None
    seed: int = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "manifold"):
            return
        for base in reversed(cls.__mro__[1:]):
            for name, test in vars(base).items():
                condition = getattr(test, "generated_if", None)
                if condition is not None and name not in vars(cls):
                    # pytest collects callables only.
                    setattr(cls, name, test if condition(cls) else None)

    # What is drawn.

    def generator(self, stream: int = 0) -> torch.Generator:
        """A generator of its own for each `stream`."""
        return torch.Generator().manual_seed(1000 * self.seed + stream)

    def random_point(
        self, generator: torch.Generator, batch: tuple[int, ...], dtype: torch.dtype
    ) -> Tensor:
        """Points of shape `(*batch, *point_shape)`: the uniform law where there is one."""
        if Capability.UNIFORM in self.manifold.capabilities:
            flat = self.manifold.random_uniform(
                (math.prod(batch), *self.point_shape), generator=generator, dtype=dtype
            )
            return flat.reshape(*batch, *self.point_shape)
        base = self.base_point
        if base is None:
            base = self.manifold.projx(
                torch.randn(self.point_shape, generator=generator, dtype=dtype)
            )
        x = base.to(dtype).expand(batch + self.point_shape)
        return self.manifold.expmap(x, self.random_tangent(generator, x))

    def random_tangent(
        self, generator: torch.Generator, x: Tensor, length: float | None = None
    ) -> Tensor:
        """Tangents at `x` of the given length, or of all lengths up to `self.reach`."""
        u = self.manifold.random_tangent(x, generator=generator)
        if length is None:
            shape = x.shape[: x.ndim - self.manifold.point_ndim]
            share = 0.05 + 0.95 * torch.rand(shape, generator=generator, dtype=x.dtype)
            return u * self.per_tangent(self.reach * share / self.manifold.norm(x, u))
        return u * self.per_tangent(length / self.manifold.norm(x, u))

    @property
    def reach(self) -> float:
        """Longest of the tangents drawn at random."""
        radius = self.manifold.injectivity_radius
        return 0.9 * radius if math.isfinite(radius) else self.max_length

    @property
    def radius(self) -> float:
        """The injectivity radius, or `max_length` where it is infinite."""
        radius = self.manifold.injectivity_radius
        return radius if math.isfinite(radius) else self.max_length

    @property
    def lengths(self) -> list[float]:
        """Lengths from very short to the edge of the injectivity radius."""
        edge = self.radius - 1e-3
        return [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.25 * edge, 0.5 * edge, 0.9 * edge, edge]

    def point(self, *batch: int, stream: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
        """Random points `(*batch, *point_shape)`, different for each stream."""
        return self.random_point(self.generator(stream), batch, dtype)

    def tangent(self, x: Tensor, length: float | None = None, stream: int = 100) -> Tensor:
        """Random tangents at `x`, different for each stream."""
        return self.random_tangent(self.generator(stream), x, length)

    def inputs(self, *batch: int, dtype: torch.dtype = torch.float64) -> Inputs:
        """Arguments for the maps; y is within the injectivity radius of x."""
        x = self.point(*batch, dtype=dtype)
        y = self.manifold.expmap(x, self.tangent(x, stream=101))
        s = torch.rand(batch, generator=self.generator(7), dtype=dtype)
        return Inputs(x, y, self.tangent(x), self.tangent(x, stream=102), s)

    # The maps, for tests that are about every one of them.

    def maps(self) -> dict[str, Callable[[Inputs], Tensor]]:
        """Every map of the contract, as a function of `Inputs`."""
        m = self.manifold
        return {
            "expmap": lambda i: m.expmap(i.x, i.u),
            "logmap": lambda i: m.logmap(i.x, i.y),
            "projx": lambda i: m.projx(i.x),
            "proju": lambda i: m.proju(i.x, i.u),
            "inner": lambda i: m.inner(i.x, i.u, i.v),
            "norm": lambda i: m.norm(i.x, i.u),
            "dist": lambda i: m.dist(i.x, i.y),
            "squared_dist": lambda i: m.squared_dist(i.x, i.y),
            "geodesic": lambda i: m.geodesic(i.x, i.y, i.s)[0],
            "geodesic velocity": lambda i: m.geodesic(i.x, i.y, i.s)[1],
            "pushforward": lambda i: m.pushforward(i.x, i.u),
            "retract": lambda i: m.retract(i.x, i.u),
            "pullback": lambda i: m.pullback(i.x, i.u, self.carried(i)),
            "log_volume": lambda i: m.log_volume(i.x),
        }

    def carried(self, i: Inputs) -> Tensor:
        """A tangent at `retract(x, u)`."""
        return self.manifold.proju(self.manifold.retract(i.x, i.u), i.v)

    def event(self, name: str) -> tuple[int, ...]:
        """Trailing shape of the result of a map."""
        if name in ("expmap", "projx", "geodesic", "pushforward", "retract"):
            return self.point_shape
        if name in ("inner", "norm", "dist", "squared_dist", "log_volume"):
            return ()
        return self.tangent_shape

    # Linear algebra of tangents.

    @property
    def tangent_shape(self) -> tuple[int, ...]:
        return self.manifold.tangent_shape(self.point_shape)

    @property
    def dimension(self) -> int:
        return self.manifold.dimension(self.point_shape)

    def per_tangent(self, values: Tensor) -> Tensor:
        """View one number per point so that it multiplies tangents."""
        return values.reshape(values.shape + (1,) * len(self.tangent_shape))

    def spanning(self, x: Tensor) -> Tensor:
        """Tangents at `x` that span its tangent space, `(count, *x.shape[:-k], *tangent_shape)`."""
        count = math.prod(self.tangent_shape)
        units = torch.eye(count, dtype=x.dtype).reshape(count, *self.tangent_shape)
        lead = x.shape[: x.ndim - self.manifold.point_ndim]
        units = units.reshape(count, *(1,) * len(lead), *self.tangent_shape)
        units = units.expand(count, *lead, *self.tangent_shape)
        return torch.stack([self.manifold.proju(x, unit) for unit in units])

    def columns(self, x: Tensor, tangents: Tensor) -> Tensor:
        """Derivatives of the stored point along `tangents`, one a column: `(..., numel, count)`."""
        derivatives = [self.manifold.pushforward(x, one) for one in tangents]
        lead = x.shape[: x.ndim - self.manifold.point_ndim]
        return torch.stack([d.reshape(*lead, -1) for d in derivatives], -1)

    def as_tangent(self, x: Tensor, derivative: Tensor) -> tuple[Tensor, Tensor]:
        """The tangent at `x` along which the stored point changes by `derivative`.

        Returns:
            The tangent, and how far its pushforward is from `derivative`: zero if that is tangent.
        """
        spanning = self.spanning(x)
        columns = self.columns(x, spanning)
        lead = x.shape[: x.ndim - self.manifold.point_ndim]
        target = derivative.reshape(*lead, -1, 1)
        weights = torch.linalg.pinv(columns, rtol=1e-10) @ target
        flat = spanning.reshape(len(spanning), *lead, -1)
        tangent = torch.einsum("k...t,...k->...t", flat, weights[..., 0])
        gap = (columns @ weights - target).abs().amax((-2, -1))
        return tangent.reshape(*lead, *self.tangent_shape), gap

    # Assertions.

    def close(
        self, actual: Tensor, expected: Tensor, what: str, tolerance: float | None = None
    ) -> None:
        """Fail unless equal within the dtype's tolerance, relative to the largest value above 1."""
        if tolerance is None:
            tolerance = self.tolerance[actual.dtype]
        size = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
        torch.testing.assert_close(
            actual,
            expected,
            rtol=0.0,
            atol=tolerance * size,
            msg=lambda detail: f"{self.manifold!r}: {what}.\n{detail}",
        )

    def finite(self, values: Iterable[Tensor], what: str) -> None:
        """Fail unless every number is finite."""
        for value in values:
            bad = int((~torch.isfinite(value)).sum())
            self.check(bad == 0, f"{what}: {bad} of {value.numel()} numbers are not finite")

    def check(self, condition: bool, what: str) -> None:
        """Fail unless `condition`; as an exception of ours, since `assert` is stripped by -O."""
        if not condition:
            raise AssertionError(f"{self.manifold!r}: {what}.")

    def raises(self, error: type[Exception], call: Callable[[], Any], *words: str) -> None:
        """Fail unless `call` raises `error` with all of `words` in its message."""
        try:
            call()
        except error as raised:
            missing = [word for word in words if word not in str(raised)]
            self.check(not missing, f"the message {str(raised)!r} does not mention {missing}")
        else:
            self.check(False, f"no {error.__name__} was raised")


def identity(dimension: int, like: Tensor) -> Tensor:
    """The identity matrix in the dtype of `like`."""
    return torch.eye(dimension, dtype=like.dtype)
