"""Random surfaces with formulae, to learn from and to try things on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowatlas_robotics.clouds.meshes import Surface

__all__ = ["FIRST_HELD_OUT", "random_surface"]

#: Seeds from here on are kept for trials: nothing learns from them.
FIRST_HELD_OUT = 1_000_000
#: Cells of the grid of angles, each way.
_CELLS = 48
#: Waves in the profile of a turned shape.
_WAVES = 4


def random_surface(seed: int) -> Surface:
    r"""A superquadric, a supertorus or a turned shape, of random proportions, normalised.

    With $c_e(u) = \operatorname{sign}(\cos u) |\cos u|^e$ and the same of the sine, the first two
    are $(c_a(v) c_b(u), c_a(v) s_b(u), s_a(v))$ and $((R + c_a(v)) c_b(u), (R + c_a(v)) s_b(u),
    s_a(v))$: from balls to boxes and cylinders, and rings of such. The third is the surface of
    revolution of a sum of random waves, as of vases. All are stretched along the three axes.

    Args:
        seed: of kind and proportions; every seed is another surface.

    Reference: Superquadrics and Angle-Preserving Transformations, Barr, 1981, IEEE Computer
    Graphics and Applications 1.
    """
    generator = torch.Generator().manual_seed(seed)
    kind, a, b, ring = torch.rand(4, generator=generator).tolist()
    stretch = 0.4 + 0.6 * torch.rand(3, generator=generator)
    waves = torch.randn(_WAVES, generator=generator)
    u = torch.linspace(-math.pi, math.pi, _CELLS + 1)
    # Exponents from boxes with blunt edges to balls.
    a, b = 0.2 + 0.8 * a, 0.2 + 0.8 * b
    if kind < 0.4:
        v = torch.linspace(-math.pi / 2, math.pi / 2, _CELLS + 1)
        points = _turned(_power(v.cos(), a), _power(v.sin(), a), u, b)
    elif kind < 0.6:
        points = _turned(1.5 + ring + _power(u.cos(), a), _power(u.sin(), a), u, b)
    else:
        height = torch.linspace(0, 1, _CELLS + 1)
        order = torch.arange(1, _WAVES + 1)
        profile = (waves / order * (math.pi * order * height[:, None]).sin()).sum(1)
        # Closed at both ends, and nowhere thinner than a stem.
        radius = (0.25 + profile.abs()) * (1 - (2 * height - 1) ** 8).clamp(min=0)
        points = _turned(radius, 3 * height, u, 1.0)
    return Surface(_triangles(points * stretch)).normalised()


def _power(x: Tensor, exponent: float) -> Tensor:
    return x.sign() * x.abs().pow(exponent)


def _turned(radius: Tensor, height: Tensor, u: Tensor, exponent: float) -> Tensor:
    """A grid of points `(v, u, 3)`: a profile turned about the third axis."""
    x = radius[:, None] * _power(u.cos(), exponent)
    y = radius[:, None] * _power(u.sin(), exponent)
    return torch.stack([x, y, height[:, None].expand_as(x)], -1)


def _triangles(grid: Tensor) -> Tensor:
    """Two triangles for each cell of a grid of points `(v, u, 3)`."""
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[:-1, 1:], grid[1:, 1:]
    halves = torch.stack([torch.stack([a, b, c], -2), torch.stack([b, d, c], -2)])
    return halves.reshape(-1, 3, 3)
