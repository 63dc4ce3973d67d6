"""Straight lines on a triangle mesh: faces are unfolded into one plane as they are crossed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import SolverError
from flowatlas.manifolds._triangles import Triangles

__all__ = ["Walked", "walk"]

#: Edges that one step may cross.
_MOST = 100_000


@dataclass(frozen=True, slots=True)
class Walked:
    """Where walks ended.

    Attributes:
        face: `(n,)`.
        barycentric: `(n, 3)`.
        frame: `(n, m, 3)`: the vectors that were carried along, parallel to themselves.
    """

    face: Tensor
    barycentric: Tensor
    frame: Tensor


def walk(mesh: Triangles, face: Tensor, barycentric: Tensor, u: Tensor, frame: Tensor) -> Walked:
    """Follow the tangents `u` for unit time.

    Across an edge a vector keeps its part along the edge, and its part across it; at the boundary
    what points outward is dropped, so that the walk slides along it.

    Args:
        mesh: where.
        face: `(n,)`.
        barycentric: `(n, 3)`.
        u: `(n, 3)`, in the planes of the faces.
        frame: `(n, m, 3)`: vectors to carry along.

    Raises:
        SolverError: a walk that crosses too many edges to be meant.
    """
    place = barycentric
    # The edge a walk has just come through cannot be the next one it leaves by.
    closed = torch.full_like(face, -1)
    rows = torch.arange(len(face), device=face.device)
    for _ in range(_MOST):
        if len(rows) == 0:
            return Walked(face, place, frame)
        f, at, v = face[rows], place[rows], u[rows]
        rate = torch.einsum("nki,ni->nk", mesh.gradients[f], v)
        leaving = rate < 0
        leaving = leaving & (torch.arange(3, device=f.device) != closed[rows].unsqueeze(1))
        time = torch.where(leaving, at / torch.where(leaving, -rate, 1.0), torch.inf)
        time, edge = time.min(1)
        ends = time >= 1
        time = time.clamp(0, 1)
        at = (at + time.unsqueeze(1) * rate).clamp(min=0)
        place = place.index_put((rows,), at / at.sum(1, keepdim=True))
        left = v * (1 - time).unsqueeze(1)
        # In a corner of the boundary sliding dies out, and would go on for ever.
        rest = (rate * (1 - time).unsqueeze(1)).abs().amax(1)
        go = (~ends & (rest > torch.finfo(rate.dtype).eps)).nonzero().squeeze(1)
        if len(go) == 0:
            return Walked(face, place, frame)
        rows, edge, f, left = rows[go], edge[go], f[go], left[go]
        at = place[rows]
        beyond = mesh.neighbours[f, edge]
        wall = beyond < 0
        out = mesh.conormals[f, edge]
        into = torch.where(wall.unsqueeze(1), 0.0, -mesh.conormals[beyond, mesh.entries[f, edge]])
        left = _turned(left.unsqueeze(1), out, into).squeeze(1)
        u = u.index_put((rows,), left)
        if frame.shape[1]:
            carried = frame[rows]
            turned = _turned(carried, out, into)
            frame = frame.index_put((rows,), torch.where(wall[:, None, None], carried, turned))
        corner = torch.stack([(edge + 1) % 3, (edge + 2) % 3], 1)
        shared = at.gather(1, corner)
        moved = torch.zeros_like(at).scatter(1, mesh.carried[f, edge], shared)
        place = place.index_put((rows,), torch.where(wall.unsqueeze(1), at, moved))
        closed = closed.index_put((rows,), torch.where(wall, edge, mesh.entries[f, edge]))
        face = face.index_put((rows,), torch.where(wall, f, beyond))
    raise SolverError(
        f"u: a walk crossed {_MOST} edges and was not at its end. The velocity is far too large "
        "for this mesh; check the field, or take more steps."
    )


def _turned(v: Tensor, out: Tensor, into: Tensor) -> Tensor:
    """Vectors `(n, m, 3)` with their component along `out` laid along `into`."""
    across = torch.einsum("nmi,ni->nm", v, out).unsqueeze(-1)
    return v + across * (into - out).unsqueeze(1)
