"""Two-dimensional laws with structure: two moons, eight Gaussians, a checkerboard.

Each is a `Source`: it can be sampled from a seeded generator, and its density is known, so that a
likelihood can be compared with the best one possible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from flowatlas._random import Generators, draw
from flowatlas.data.dataset import DataSet
from flowatlas.errors import ShapeError
from flowatlas.manifolds import Euclidean
from flowatlas.sources import Source

__all__ = [
    "CHECKERBOARD",
    "EIGHT_GAUSSIANS",
    "TWO_MOONS",
    "Checkerboard",
    "EightGaussians",
    "TwoMoons",
]

_Rows = Callable[[int, torch.Generator | None], Tensor]


def _draw(
    rows: _Rows,
    shape: Sequence[int],
    generator: Generators,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> Tensor:
    """Points of the plane, made in float64 so that a seed gives the same ones in every dtype."""
    shape = tuple(shape)
    if len(shape) < 2 or shape[-1] != 2:
        raise ShapeError(f"shape: got {shape}; this law lives in the plane, shape (batch, ..., 2).")
    x = draw(lambda s, g: rows(math.prod(s[:-1]), g).view(s), shape, generator)
    return x.to(dtype=dtype or torch.get_default_dtype(), device=device)


def _device(generator: torch.Generator | None) -> torch.device | None:
    return None if generator is None else generator.device


def _rand(n: int, generator: torch.Generator | None) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64, device=_device(generator))


def _randn(n: int, generator: torch.Generator | None) -> Tensor:
    return torch.randn(n, 2, generator=generator, dtype=torch.float64, device=_device(generator))


class EightGaussians(Source):
    r"""Equal mixture of eight Gaussians on a circle.

    Args:
        radius: of the circle.
        scale: standard deviation of each.
    """

    has_density = True

    def __init__(self, radius: float = 2.0, scale: float = 0.2) -> None:
        self.radius, self.scale = radius, scale

    def _centres(self, like: Tensor) -> Tensor:
        angle = torch.arange(8, dtype=like.dtype, device=like.device) * (math.pi / 4)
        return self.radius * torch.stack([torch.cos(angle), torch.sin(angle)], -1)

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        return _draw(self._rows, shape, generator, dtype, device)

    def _rows(self, n: int, generator: torch.Generator | None) -> Tensor:
        noise = _randn(n, generator)
        which = (_rand(n, generator) * 8).long()
        return self._centres(noise)[which] + self.scale * noise

    def log_prob(self, x: Tensor) -> Tensor:
        square = (x.unsqueeze(-2) - self._centres(x)).square().sum(-1)
        log_z = math.log(8 * 2 * math.pi * self.scale**2)
        return torch.logsumexp(-square / (2 * self.scale**2), -1) - log_z


class TwoMoons(Source):
    r"""Two interleaved half circles of radius 1, blurred by a Gaussian.

    The density is an integral over each arc, done by the trapezoid rule on 513 nodes: exact to
    rounding for scales of 0.03 or more.

    Args:
        scale: standard deviation of the blur.
    """

    has_density = True

    def __init__(self, scale: float = 0.1) -> None:
        self.scale = scale

    @staticmethod
    def _arcs(angle: Tensor) -> tuple[Tensor, Tensor]:
        upper = torch.stack([torch.cos(angle) - 0.5, torch.sin(angle) - 0.25], -1)
        lower = torch.stack([0.5 - torch.cos(angle), 0.25 - torch.sin(angle)], -1)
        return upper, lower

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        return _draw(self._rows, shape, generator, dtype, device)

    def _rows(self, n: int, generator: torch.Generator | None) -> Tensor:
        noise = _randn(n, generator)
        upper, lower = self._arcs(math.pi * _rand(n, generator))
        first = _rand(n, generator).unsqueeze(-1) < 0.5
        return torch.where(first, upper, lower) + self.scale * noise

    def log_prob(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, 2)
        parts = [self._log_prob(part) for part in torch.split(flat, 4096)]
        return torch.cat(parts).view(x.shape[:-1])

    def _log_prob(self, x: Tensor) -> Tensor:
        nodes = 513
        angle = torch.linspace(0, math.pi, nodes, dtype=x.dtype, device=x.device)
        centres = torch.cat(self._arcs(angle))
        log_weight = torch.full(
            (nodes,), -math.log(2 * (nodes - 1)), dtype=x.dtype, device=x.device
        )
        log_weight[[0, -1]] -= math.log(2)
        square = torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist").square()
        exponent = log_weight.repeat(2) - square / (2 * self.scale**2)
        return torch.logsumexp(exponent, -1) - math.log(2 * math.pi * self.scale**2)


class Checkerboard(Source):
    """Uniform on the eight dark squares of a 4 x 4 board of side 4, centred at the origin.

    Its density is zero elsewhere, where `log_prob` is minus infinity.
    """

    has_density = True

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        return _draw(self._rows, shape, generator, dtype, device)

    @staticmethod
    def _rows(n: int, generator: torch.Generator | None) -> Tensor:
        x, y = 4 * _rand(n, generator), _rand(n, generator)
        row = 2 * (_rand(n, generator) * 2).floor() + x.floor() % 2
        return torch.stack([x, row + y], -1) - 2

    def log_prob(self, x: Tensor) -> Tensor:
        cell = (x + 2).floor()
        dark = ((cell >= 0) & (cell < 4)).all(-1) & (cell.sum(-1) % 2 == 0)
        return torch.where(dark, -math.log(8.0), -math.inf).to(x.dtype)


def _read(_: Path | None, *, law: Callable[[], Source]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return law().sample((20_000, 2), generator=generator, dtype=torch.float64)


def _toy(name: str, summary: str, law: type[Source]) -> DataSet:
    return DataSet(
        name=f"toy/{name}",
        summary=f"{summary}, 20000 points of the plane",
        manifold=Euclidean,
        read=partial(_read, law=law),
        origin=f"generated by flowatlas.data.toy.{law.__name__}",
        licence="Apache-2.0",
        law=law,
    )


TWO_MOONS = _toy("two_moons", "two blurred half circles", TwoMoons)
EIGHT_GAUSSIANS = _toy("eight_gaussians", "eight Gaussians on a circle", EightGaussians)
CHECKERBOARD = _toy("checkerboard", "uniform on alternate squares", Checkerboard)
