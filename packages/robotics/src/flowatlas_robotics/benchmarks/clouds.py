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
from flowatlas_robotics.clouds.draws import even_clouds
from flowatlas_robotics.clouds.meshes import Surface, read_surface
from flowatlas_robotics.clouds.packaged import metaworld_surfaces
from flowatlas_robotics.clouds.shapes import FIRST_HELD_OUT, random_surface

__all__ = ["HELD_OUT", "CloudSet", "surfaces"]

#: Objects of Meta-World that nothing is learned from, with all their parts.
HELD_OUT = ("basketball", "coffeemachine", "faucet", "hammer", "lever", "thermos", "xyz_base")


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
    first = FIRST_HELD_OUT if held_out else 0
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
