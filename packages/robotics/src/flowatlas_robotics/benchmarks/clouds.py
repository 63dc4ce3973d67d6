"""Sparse and dense clouds of shapes, in two parts that share no shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor

from flowatlas.data import find
from flowatlas.data.meshes import BUNNY, SPOT
from flowatlas.manifolds import SO3
from flowatlas_robotics.clouds.meshes import Surface, read_surface
from flowatlas_robotics.clouds.neighbours import farthest_points, gather
from flowatlas_robotics.clouds.packaged import metaworld_surfaces
from flowatlas_robotics.clouds.shapes import random_surface

__all__ = ["HELD_OUT", "CloudSet", "even_clouds", "surfaces", "uniform_clouds"]

#: Objects of Meta-World that nothing is learned from, with all their parts.
HELD_OUT = ("basketball", "coffeemachine", "faucet", "hammer", "lever", "thermos", "xyz_base")
#: Seeds of held-out generated shapes begin here.
_FIRST_HELD_OUT = 1_000_000
#: Uniform draws for each point of an even selection.
_DRAWS = 4
#: Clouds that are thinned out together.
_CHUNK = 50


@dataclass(frozen=True)
class CloudSet:
    """Sparse and dense clouds of the same surfaces, which are turned at random.

    Attributes:
        names: of the surfaces, one a cloud.
        surfaces: one a cloud.
        turns: rotation matrices `(n, 3, 3)`.
        sparse: `(n, s, 3)`.
        dense: `(n, f s, 3)`, drawn independently of the sparse ones.
    """

    names: Sequence[str]
    surfaces: Sequence[Surface]
    turns: Tensor
    sparse: Tensor
    dense: Tensor

    @classmethod
    def of(
        cls,
        known: Mapping[str, Surface],
        count: int,
        sparse: int,
        factor: int,
        *,
        generator: torch.Generator | None = None,
    ) -> CloudSet:
        """So many clouds, of each surface in turn.

        Args:
            known: surfaces by name.
            count: clouds.
            sparse: points of a sparse cloud.
            factor: times as many points of a dense one.
            generator: of the draws.
        """
        names = [name for name, _ in zip(cycle(known), range(count), strict=False)]
        chosen = [known[name] for name in names]
        turns = SO3().random_uniform((count, 3, 3), generator=generator, dtype=torch.float32)
        few, many = (
            even_clouds(chosen, turns, points, generator=generator)
            for points in (sparse, factor * sparse)
        )
        return cls(names, chosen, turns, few, many)


def uniform_clouds(
    chosen: Sequence[Surface],
    turns: Tensor,
    points: int,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Uniform draws from turned surfaces, `(n, points, 3)`."""
    x = torch.stack([surface.sample(points, generator=generator) for surface in chosen])
    return x @ turns.mT


def even_clouds(
    chosen: Sequence[Surface],
    turns: Tensor,
    points: int,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Even selections of four times as many uniform draws, `(n, points, 3)`."""
    made = []
    for first in range(0, len(chosen), _CHUNK):
        rows = slice(first, first + _CHUNK)
        x = uniform_clouds(chosen[rows], turns[rows], _DRAWS * points, generator=generator)
        made.append(gather(x, farthest_points(x, points).unsqueeze(-1)).squeeze(2))
    return torch.cat(made)


def surfaces(
    part: str, generated: int, *, files: bool, data_root: Path | None = None
) -> dict[str, Surface]:
    """The shapes of a part, `"train"` or `"test"`.

    Args:
        part: which.
        generated: how many random shapes.
        files: whether to add meshes; to the tests also a bunny and a cow, and no random shapes.
        data_root: directory with data files.

    Raises:
        DataError: a mesh file is missing or corrupt.
        CapabilityError: Meta-World is not installed.
    """
    held_out = part == "test"
    first = _FIRST_HELD_OUT if held_out else 0
    found: dict[str, Surface] = {}
    if files and held_out:
        for data in (BUNNY, SPOT):
            path = find(data, data_root)
            assert path is not None
            found[data.name] = read_surface(path).normalised()
    if files:
        for name, surface in metaworld_surfaces().items():
            if (name.split("/")[0] in HELD_OUT) == held_out:
                found[name] = surface
    if not (files and held_out):
        found |= {f"random/{i}": random_surface(first + i) for i in range(generated)}
    return found
