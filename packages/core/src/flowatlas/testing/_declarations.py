"""What is declared is there, what is not raises, and user data are refused with a reason."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch

from flowatlas.errors import CapabilityError, GeometryError, ShapeError
from flowatlas.manifolds.capability import Capability
from flowatlas.testing._setup import Setup, only_if

__all__ = ["DeclarationTests"]


class DeclarationTests(Setup):
    """Capabilities, shapes, and `check_point`."""

    def test_declarations_are_consistent(self) -> None:
        """Shapes, dimension, codimension and radius fit each other; repr names the class."""
        m = self.manifold
        x = self.point(2)
        self.check(m.point_ndim == len(self.point_shape), f"point_ndim is {m.point_ndim}")
        self.check(
            m.point_shape_of(x) == self.point_shape, f"point_shape_of: {m.point_shape_of(x)}"
        )
        dimension = math.prod(self.tangent_shape) - m.codim
        self.check(m.dimension(self.point_shape) == dimension, "dimension is not tangents - codim")
        self.check(m.injectivity_radius > 0, f"injectivity_radius is {m.injectivity_radius}")
        known = m.capabilities <= frozenset(Capability)
        self.check(known, f"capabilities are no Capability members: {m.capabilities}")
        self.check(type(m).__name__ in repr(m), f"repr {m!r} does not name the class")

    @only_if(lambda cls: cls.manifold.capabilities != frozenset(Capability))
    def test_undeclared_capabilities_raise(self) -> None:
        """CapabilityError that names the capability, not some other failure."""
        m, x = self.manifold, self.point(2)
        calls: dict[Capability, list[Any]] = {
            Capability.UNIFORM: [
                lambda: m.random_uniform((2, *self.point_shape)),
                lambda: m.uniform_log_prob(x),
            ],
            Capability.TANGENT_BASIS: [lambda: m.tangent_basis(x)],
            Capability.WRAPPED: [
                lambda: m.exp_preimages(x, x, 1),
                lambda: m.log_det_expmap(x, self.tangent(x)),
            ],
        }
        for capability in frozenset(Capability) - m.capabilities:
            for call in calls[capability]:
                self.raises(CapabilityError, call, capability.value)

    def test_check_point_accepts_points(self) -> None:
        """Points of either precision, and several points per sample."""
        for dtype in (torch.float32, torch.float64):
            for lead in ((4,), (4, 3)):
                self.manifold.check_point(self.point(*lead, dtype=dtype), "x_1")

    def test_check_point_refuses_what_is_not_finite(self) -> None:
        """GeometryError with the argument's name, for one NaN or infinity among many points."""
        for value in (math.nan, math.inf, -math.inf):
            x = self.point(6).clone()
            x.view(-1)[-1] = value
            self.raises(GeometryError, partial(self.manifold.check_point, x, "x_one"), "x_one")

    def test_check_point_refuses_integers(self) -> None:
        """GeometryError with the argument's name and the dtype."""
        x = torch.zeros(2, *self.point_shape, dtype=torch.int64)
        call = partial(self.manifold.check_point, x, "x_one")
        self.raises(GeometryError, call, "x_one", "int64")

    @only_if(lambda cls: not cls.everywhere)
    def test_check_point_refuses_points_off_the_manifold(self) -> None:
        """GeometryError with the argument's name, in either precision, for one among many."""
        for dtype in (torch.float32, torch.float64):
            x = self.point(6, dtype=dtype).clone()
            x[-1] += 3.0 + torch.rand(self.point_shape, generator=self.generator(3), dtype=dtype)
            self.raises(GeometryError, partial(self.manifold.check_point, x, "x_one"), "x_one")

    @only_if(lambda cls: bool(refused_shapes(cls)))
    def test_check_point_refuses_wrong_shapes(self) -> None:
        """ShapeError with the argument's name and the shape received."""
        for shape in refused_shapes(type(self)):
            x = torch.zeros(shape)
            for check in (self.manifold.check_point, self.manifold.check_shape):
                self.raises(ShapeError, partial(check, x, "x_one"), "x_one", str(shape))


def refused_shapes(cls: Any) -> tuple[tuple[int, ...], ...]:
    """Shapes that are no points: those the class lists, or one with too few axes."""
    if cls.wrong_shapes is not None:
        shapes: tuple[tuple[int, ...], ...] = cls.wrong_shapes
        return shapes
    return ((),) if cls.manifold.point_ndim else ()
