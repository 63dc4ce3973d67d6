"""A triangle mesh, checked, with what geometry needs of every face and edge."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowatlas.errors import GeometryError, ShapeError

__all__ = ["Triangles", "normalised", "triangles", "uniform_in_triangle"]

Array = NDArray[Any]
#: A face whose height is less than this share of its longest edge has no usable plane.
_FLATTEST = 1e-8
#: Where the boundary turns by more than 30 degrees it has a corner.
_SMOOTH = np.pi / 6


@dataclass(frozen=True, slots=True)
class Triangles:
    """Tables by face; edge k of a face is the one opposite to its corner k.

    Attributes:
        vertices: `(V, 3)`.
        faces: `(F, 3)`, corners counterclockwise as seen from the side the normals point to.
        corners: `(F, 3, 3)`, their positions.
        centres: `(F, 3)`.
        gradients: `(F, 3, 3)`: of the barycentric coordinate k.
        areas: `(F,)`.
        normals: `(F, 3)`, unit.
        conormals: `(F, 3, 3)`: unit, in the plane of the face, outward across edge k.
        edges: `(F, 3, 3)`: unit, along edge k.
        neighbours: `(F, 3)`: the face across edge k, -1 at the boundary.
        entries: `(F, 3)`: which edge of the neighbour that is.
        carried: `(F, 3, 2)`: which corners of the neighbour are the corners k + 1, k + 2 (mod 3).
        across: `(F, 3, 3)`: unit, the direction that a continuous flux cannot have at edge k: the
            mean of the normals of both faces; zero at the boundary.
        walls: `(F, 3, 3, 3)`: at the corners, the projection onto what no flow along the boundary
            has: out of the surface where the boundary is smooth, everything where one is driven
            into a corner, nothing where one goes around it, nor at inner vertices.
        corner_normals: `(F, 3, 3)`: unit normals at the corners, means over the faces that meet.
    """

    vertices: Tensor
    faces: Tensor
    corners: Tensor
    centres: Tensor
    gradients: Tensor
    areas: Tensor
    normals: Tensor
    conormals: Tensor
    edges: Tensor
    neighbours: Tensor
    entries: Tensor
    carried: Tensor
    across: Tensor
    walls: Tensor
    corner_normals: Tensor

    def to(self, dtype: torch.dtype, device: torch.device) -> Self:
        """The same tables with another dtype (of what is no index) and on another device."""
        moved = {}
        for entry in fields(self):
            value: Tensor = getattr(self, entry.name)
            moved[entry.name] = value.to(
                device=device, dtype=dtype if value.is_floating_point() else value.dtype
            )
        return type(self)(**moved)


def triangles(vertices: Array, faces: Array) -> Triangles:
    """Tables of a mesh in float64.

    Args:
        vertices: `(V, 3)`.
        faces: `(F, 3)`, integers.

    Raises:
        ShapeError: arrays of other shapes.
        GeometryError: a vertex that is not finite or that no face uses, a face without area, an
            edge of three faces or more, two faces that disagree which side is up.
    """
    _check(vertices, faces)
    corner = vertices[faces]
    # Edge k runs from corner k + 1 to corner k + 2.
    along = np.roll(corner, -2, 1) - np.roll(corner, -1, 1)
    length = np.linalg.norm(along, axis=-1)
    cross = np.cross(along[:, 0], along[:, 1])
    double = np.linalg.norm(cross, axis=-1)
    flat = double <= _FLATTEST * length.max(1) ** 2
    if flat.any():
        raise GeometryError(
            f"faces: {int(flat.sum())} of {len(faces)} have no area, the first of them face "
            f"{int(flat.argmax())}; a point there has no tangent plane. Remove or repair them."
        )
    normal = cross / double[:, None]
    edge = along / length[..., None]
    conormal = np.cross(edge, normal[:, None])
    gradient = -conormal * (length / double[:, None])[..., None]
    neighbours, entries, carried = _adjacency(faces)
    across = normal[neighbours] + normal[:, None]
    folded = (neighbours >= 0) & (np.linalg.norm(across, axis=-1) < 1e-6)
    if folded.any():
        raise GeometryError(
            f"faces: {int(folded.any(1).argmax())} is folded back onto its neighbour; there the "
            "two are one sheet. Remove one of them."
        )
    at_vertex = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(at_vertex, faces[:, k], cross)
    size = np.linalg.norm(at_vertex, axis=-1, keepdims=True)
    at_vertex /= np.where(size > 0, size, 1.0)
    across[neighbours < 0] = 0
    across /= np.where(neighbours < 0, 1.0, np.linalg.norm(across, axis=-1))[..., None]
    walls = _walls(faces, corner, neighbours, conormal, at_vertex)
    return Triangles(
        *(
            torch.from_numpy(np.ascontiguousarray(value))
            for value in (
                vertices,
                faces,
                corner,
                corner.mean(1),
                gradient,
                double / 2,
                normal,
                conormal,
                edge,
                neighbours,
                entries,
                carried,
                across,
                walls[faces],
                at_vertex[faces],
            )
        )
    )


def _walls(faces: Array, corner: Array, neighbours: Array, conormal: Array, normal: Array) -> Array:
    """For every vertex `(V, 3, 3)` the projection onto what a flow along the boundary has not."""
    face, edge = np.nonzero(neighbours < 0)
    outward, angle = np.zeros_like(normal), np.zeros(len(normal))
    for k in (1, 2):
        np.add.at(outward, faces[face, (edge + k) % 3], conormal[face, edge])
    size = np.linalg.norm(outward, axis=-1, keepdims=True)
    outward /= np.where(size > 0, size, 1.0)
    for k in range(3):
        one, two = (corner[:, (k + i) % 3] - corner[:, k] for i in (1, 2))
        across = np.linalg.norm(np.cross(one, two), axis=-1)
        np.add.at(angle, faces[:, k], np.arctan2(across, (one * two).sum(-1)))
    ends = np.zeros(len(normal), dtype=bool)
    ends[faces[face, (edge + 1) % 3]] = True
    walls: Array = outward[:, :, None] * outward[:, None]
    into, around = (ends & (sign * (np.pi - angle) > _SMOOTH) for sign in (1, -1))
    walls[into] = np.eye(3) - normal[into, :, None] * normal[into, None]
    walls[around] = 0
    return walls


def _check(vertices: Array, faces: Array) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ShapeError(f"vertices: got shape {vertices.shape}; they are points (V, 3).")
    if faces.ndim != 2 or faces.shape[1] != 3 or len(faces) == 0:
        raise ShapeError(
            f"faces: got shape {faces.shape}; they are triangles (F, 3) of vertex numbers. Cut "
            "polygons into triangles first."
        )
    if not np.isfinite(vertices).all():
        raise GeometryError("vertices: some are NaN or infinite; repair the mesh.")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise GeometryError(
            f"faces: vertex numbers from {faces.min()} to {faces.max()}, and there are "
            f"{len(vertices)} vertices, counted from 0."
        )
    unused = len(vertices) - len(np.unique(faces))
    if unused:
        raise GeometryError(
            f"vertices: {unused} of {len(vertices)} belong to no face; functions on the mesh have "
            "no value there. Remove them and number the others anew."
        )


def _adjacency(faces: Array) -> tuple[Array, Array, Array]:
    """Neighbours, their edges, and where the shared corners are there."""
    count = len(faces)
    start, end = np.roll(faces, -1, 1).reshape(-1), np.roll(faces, -2, 1).reshape(-1)
    key = np.stack([np.minimum(start, end), np.maximum(start, end)], 1)
    _, which, size = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    which = which.reshape(-1)
    if size.max() > 2:
        one = key[np.flatnonzero(size[which] > 2)[0]]
        raise GeometryError(
            f"faces: the edge between vertices {one[0]} and {one[1]} has {size.max()} faces; on a "
            "surface it has one or two. Split the mesh there."
        )
    order = np.argsort(which, kind="stable")
    first = np.flatnonzero(np.diff(which[order], prepend=-1))
    pair = first[size == 2]
    a, b = order[pair], order[pair + 1]
    same = start[a] == start[b]
    if same.any():
        i = int(same.argmax())
        raise GeometryError(
            f"faces: {a[i] // 3} and {b[i] // 3} share an edge and disagree which side is up "
            f"({int(same.sum())} such pairs). Orient the faces alike; a surface that cannot be "
            "oriented, such as a Moebius strip, is not supported."
        )
    across = np.full(3 * count, -1)
    across[a], across[b] = b, a
    neighbours = np.where(across >= 0, across // 3, -1).reshape(count, 3)
    entries = np.where(across >= 0, across % 3, 0).reshape(count, 3)
    # The neighbour runs along the edge in the other direction.
    carried = np.stack([(entries + 2) % 3, (entries + 1) % 3], -1)
    return neighbours, entries, carried


def uniform_in_triangle(_: Tensor, u: Tensor) -> Tensor:
    """Barycentric coordinates `(n, 3)` of uniform points, from uniform numbers `(n, 4)`."""
    root = u[..., :1].sqrt()
    return torch.cat([1 - root, root * (1 - u[..., 1:2]), root * u[..., 1:2]], -1)


def normalised(found: Triangles) -> Array:
    """Vertices with the surface's centroid at the origin and its root mean square radius one."""
    share = found.areas / found.areas.sum()
    x = found.vertices - (share[:, None] * found.centres).sum(0)
    corner = x[found.faces]
    # The mean of |x|^2 over a triangle, whose coordinates have covariances (1 + [i = j]) / 12.
    square = (corner.square().sum((1, 2)) + corner.sum(1).square().sum(1)) / 12
    result: Array = (x / (share * square).sum().sqrt()).numpy()
    return result
