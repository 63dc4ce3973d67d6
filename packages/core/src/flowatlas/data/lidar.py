"""The slopes of Mount Rainier, as a laser scanner in an aeroplane saw them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowatlas.data.dataset import DataSet
from flowatlas.errors import DataError
from flowatlas.manifolds import Euclidean

__all__ = ["RAINIER", "height_above"]

#: Class of points on the ground, by the ASPRS standard; 5 is high vegetation, 7 noise.
GROUND = 2


def _read(path: Path | None) -> Tensor:
    assert path is not None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            xyz, kind = arrays["xyz"], arrays["classification"]
    except (KeyError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: has no readable arrays 'xyz' and 'classification' ({error}). Restore the "
            f"original file; its sha256 is {RAINIER.sha256}."
        ) from error
    if xyz.ndim != 2 or xyz.shape[1] != 3 or kind.shape != xyz.shape[:1]:
        raise DataError(
            f"{path}: arrays of shapes {xyz.shape} and {kind.shape}; expected points (n, 3) and as "
            "many classes (n,). Restore the original file."
        )
    ground = torch.from_numpy(xyz[kind == GROUND]).double() / 1000
    return ground - ground.mean(0)


def height_above(ground: Tensor, x: Tensor, *, neighbours: int = 8) -> Tensor:
    """Height of points over the ground below them, `(...)`, in the units of the data.

    The ground at a place is the plane of least squares through the nearest points of the map,
    nearer ones counting more.

    Args:
        ground: `(n, 3)`, the last coordinate up.
        x: `(..., 3)`.
        neighbours: how many points decide.
    """
    from scipy.spatial import cKDTree

    flat = x.detach().double().cpu().reshape(-1, 3)
    places = ground.double().cpu()
    distance, index = cKDTree(places[:, :2].numpy()).query(flat[:, :2].numpy(), k=neighbours)
    near = places[torch.from_numpy(index)]
    scale = torch.from_numpy(distance).amax(1, keepdim=True).clamp(min=1e-12)
    weight = torch.exp(-((torch.from_numpy(distance) / scale).square()))
    offset = near[..., :2] - flat[:, None, :2]
    design = torch.cat([torch.ones_like(offset[..., :1]), offset / scale.unsqueeze(-1)], -1)
    root = weight.sqrt().unsqueeze(-1)
    # A little ridge, for neighbours that lie on one line.
    gram = (root * design).mT @ (root * design) + 1e-9 * torch.eye(3, dtype=torch.float64)
    moment = (root * design).mT @ (root * near[..., 2:])
    level: Tensor = torch.linalg.solve(gram, moment)[:, 0, 0]
    return (flat[:, 2] - level).reshape(x.shape[:-1])


RAINIER = DataSet(
    name="lidar/rainier",
    summary="ground of Mount Rainier by laser, kilometres (east, north, up) about the mean",
    manifold=Euclidean,
    read=_read,
    origin="rtqichen/rtqichen.github.io@ab70913be6ba/data/rainier2-thin.las",
    licence="none stated",
    file="lidar/rainier2_thin.npz",
    sha256="372c104ccccd2112714e8a3d4e305ee273e1363612188f5c04bcc194f98d911a",
)
