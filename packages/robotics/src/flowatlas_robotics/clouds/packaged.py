"""Meshes of real things that ship inside Meta-World."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

from flowatlas.errors import CapabilityError
from flowatlas_robotics.clouds.meshes import Surface, read_surface

__all__ = ["metaworld_surfaces"]

#: Least standard deviation of points along any direction, where the root mean square radius is 1:
#: plates are left out, of which few points see one side alone.
_THICKNESS = 0.15
_POINTS = 1000
#: Least area at that size: frames of thin rods are left out (a sphere has 12.6).
_AREA = 2.0


def metaworld_surfaces() -> dict[str, Surface]:
    """The parts of Meta-World's objects, normalised, as `object/part`.

    Plates, frames of rods, nets and parts of collision models are left out.

    Raises:
        CapabilityError: Meta-World is not installed.
    """
    spec = find_spec("metaworld")
    if spec is None or not spec.submodule_search_locations:
        raise CapabilityError(
            "metaworld: not installed, and its meshes are needed. "
            "pip install 'flowatlas-robotics[metaworld]'."
        )
    folder = Path(spec.submodule_search_locations[0]) / "assets" / "objects" / "meshes"
    found = {}
    for path in sorted(folder.rglob("*.stl")):
        if "_col" in path.stem or "net" in path.stem:
            continue
        surface = read_surface(path).normalised()
        if float(surface.areas.sum()) < _AREA:
            continue
        points = surface.sample(_POINTS, generator=torch.Generator().manual_seed(0))
        if float(torch.linalg.eigvalsh(points.mT.cov()).clamp(min=0)[0].sqrt()) >= _THICKNESS:
            found[f"{path.relative_to(folder).parts[0]}/{path.stem}"] = surface
    return found
