"""Divergence of a velocity field, exact or estimated, jointly over all continuous components."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from flowatlas._arguments import count
from flowatlas._autodiff import jvp, vjp
from flowatlas._points import by_name
from flowatlas._random import Generators, draw_noise
from flowatlas.manifolds.base import Manifold

__all__ = ["Divergence", "Exact", "Hutchinson"]

Velocity = Callable[[Any], Any]


class Divergence(ABC):
    r"""$\operatorname{div} v = \sum_i \langle E_i, D_{E_i} v \rangle$, over an orthonormal frame.

    D is the derivative in the coordinates that points are stored in: ambient ones on embedded
    manifolds, where the normal part of D drops out of the product; a chart's, where the term
    $d \log\sqrt{\det G}(v)$ is added; and along $R\, \widehat{w}$ for body-frame tangents of SO(3),
    whose left-invariant fields have no divergence.

    Attributes:
        copies: how many copies of the state are differentiated at once, for the memory's sake.
    """

    copies: int = 1

    def probe(self, x: Any, manifolds: dict[str, Manifold], generator: Generators) -> Any:
        """Random numbers that one whole trajectory uses; none by default."""
        return None

    @abstractmethod
    def __call__(
        self, velocity: Velocity, x: Any, manifolds: dict[str, Manifold], probe: Any
    ) -> tuple[Any, Tensor]:
        """Velocity at `x`, and its divergence `(batch,)`.

        Args:
            velocity: from the state to its velocity, at a fixed time.
            x: tensor or mapping, continuous components only.
            manifolds: of each component; a lone one is named "x".
            probe: what `probe` returned.
        """


class Exact(Divergence):
    """Every direction in turn: for up to some ten dimensions.

    Larger states cost as many backward passes as they have dimensions, in bounded memory.

    Args:
        chunk_size: directions differentiated at once.
    """

    def __init__(self, chunk_size: int = 64) -> None:
        self.chunk_size = self.copies = count("chunk_size", chunk_size)

    def __call__(
        self, velocity: Velocity, x: Any, manifolds: dict[str, Manifold], probe: Any
    ) -> tuple[Any, Tensor]:
        value, pull = vjp(velocity, x)
        total: Any = 0.0
        for name, manifold in manifolds.items():
            for u in _directions(manifold, by_name(x)[name], self.chunk_size):

                def rate(one: Tensor, name: str = name) -> Tensor:
                    return _rate(pull, value, x, {name: one}, manifolds)

                total = total + torch.func.vmap(rate)(u).sum(0)
        return value, total + _volume_term(x, value, manifolds)


class Hutchinson(Divergence):
    """An unbiased estimate from random directions, kept along the whole trajectory.

    Args:
        probes: directions to average over.
        rademacher: signs (the default, of lower variance) or normal draws.

    Reference: FFJORD, Grathwohl et al., 2018, arXiv:1810.01367, section 3.1.
    """

    def __init__(self, probes: int = 1, *, rademacher: bool = True) -> None:
        self.probes, self.rademacher = count("probes", probes), rademacher

    def probe(self, x: Any, manifolds: dict[str, Manifold], generator: Generators) -> Any:
        return [
            {
                name: draw_noise(
                    manifold.noise_shape(by_name(x)[name]),
                    by_name(x)[name],
                    generator,
                    self.rademacher,
                )
                for name, manifold in manifolds.items()
            }
            for _ in range(self.probes)
        ]

    def __call__(
        self, velocity: Velocity, x: Any, manifolds: dict[str, Manifold], probe: Any
    ) -> tuple[Any, Tensor]:
        value, pull = vjp(velocity, x)
        total: Any = 0.0
        for noise in probe:
            us = {
                name: manifold.tangent_from_noise(by_name(x)[name], noise[name])
                for name, manifold in manifolds.items()
            }
            total = total + _rate(pull, value, x, us, manifolds)
        return value, total / self.probes + _volume_term(x, value, manifolds)


def _rate(
    pull: Callable[..., Any],
    value: Any,
    x: Any,
    us: dict[str, Tensor],
    manifolds: dict[str, Manifold],
) -> Tensor:
    """<u, D_u v> of each sample along the tangents `us`, zero where not named.

    The product with u is pulled back from the velocity `value` to the point, not u pushed forward:
    a backward pass takes half the time of forward differentiation for the usual networks, and works
    for fused attention.
    """
    covectors = {
        name: _lowered(manifolds[name], by_name(x)[name], us[name], v)
        if name in us
        else torch.zeros_like(v)
        for name, v in by_name(value).items()
    }
    (pulled,) = pull(covectors["x"] if isinstance(value, Tensor) else covectors)
    total: Any = 0.0
    for name, u in us.items():
        along = manifolds[name].pushforward(by_name(x)[name], u)
        total = total + (by_name(pulled)[name] * along).flatten(1).sum(1)
    result: Tensor = total
    return result


def _lowered(manifold: Manifold, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """The covector of `u`: the derivative of <u, v> in v."""
    product, pull = vjp(lambda v: manifold.inner(x, u, v), v)
    covector: Tensor = pull(torch.ones_like(product))[0]
    return covector


def _directions(manifold: Manifold, x: Tensor, size: int) -> Iterator[Tensor]:
    """Orthonormal tangents, one point at a time: `(count, batch, *points, *tangent_shape)`."""
    basis = manifold.tangent_basis(x)
    point_axes = x.ndim - manifold.point_ndim - 1
    tangent_shape = basis.shape[point_axes + 2 :]
    dimension = basis.shape[point_axes + 1]
    batch, points = x.shape[0], x.shape[1 : 1 + point_axes]
    number = math.prod(points)
    flat = basis.reshape(batch, number, dimension, *tangent_shape)
    for start in range(0, number * dimension, size):
        index = torch.arange(start, min(start + size, number * dimension), device=x.device)
        where, which = index // dimension, index % dimension
        u = flat.new_zeros(len(index), batch, number, *tangent_shape)
        u[torch.arange(len(index), device=x.device), :, where] = flat[:, where, which].transpose(
            0, 1
        )
        yield u.reshape(len(index), batch, *points, *tangent_shape)


def _volume_term(x: Any, value: Any, manifolds: dict[str, Manifold]) -> Any:
    """Derivative of log sqrt(det G) along the velocity, for charts."""
    total: Any = 0.0
    for name, manifold in manifolds.items():
        if manifold.is_chart:
            _, part = jvp(manifold.log_volume, (by_name(x)[name],), (by_name(value)[name],))
            total = total + _per_sample(part)
    return total


def _per_sample(value: Tensor) -> Tensor:
    """Sum over the points of a sample."""
    return value.flatten(1).sum(1) if value.ndim > 1 else value
