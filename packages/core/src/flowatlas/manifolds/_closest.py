"""The face closest to a point, by a tree of boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["BoxTree", "closest_on_triangles"]

Array = NDArray[Any]
#: Children of a box.
_ARITY = 8


@dataclass(frozen=True, slots=True)
class BoxTree:
    """Boxes around faces, around eight such boxes, and so on, up to at most eight.

    It is made of tensors and tensor operations, so that it works on an accelerator and inside the
    transformations of `torch.func`; a query takes some log F operations.

    Attributes:
        corners: `(n, 3, 3)`: the faces in the order of the tree, the last one repeated.
        faces: `(n,)`: their numbers.
        boxes: from the smallest to the largest, each `(m, 2, 3)`: lowest and highest coordinates.
    """

    corners: Tensor
    faces: Tensor
    boxes: tuple[Tensor, ...]

    @staticmethod
    def of(corners: Tensor) -> BoxTree:
        """The tree of triangles `(F, 3, 3)`."""
        order = _order(corners.mean(1).double().cpu().numpy())
        index = torch.from_numpy(order).to(corners.device)
        ordered = corners[index]
        boxes: list[Tensor] = []
        low, high = ordered.amin(1), ordered.amax(1)
        while len(low) > _ARITY or not boxes:
            low, high = _grouped(low).amin(1), _grouped(high).amax(1)
            boxes.append(torch.stack([low, high], 1))
        padding = len(boxes[0]) * _ARITY - len(index)
        index = torch.cat([index, index[-1:].expand(padding)])
        # A box beyond the last one is never looked into: it is infinitely far away.
        padded = [
            torch.cat([box, box.new_full((_extra(len(box)), 2, 3), torch.inf)]) for box in boxes
        ]
        return BoxTree(corners[index], index, tuple(padded))

    def query(self, x: Tensor) -> Tensor:
        """Number of the face closest to each of the points `(n, 3)`, the least of several."""
        rows = torch.arange(len(x), device=x.device)
        # Two formulae for one distance round differently.
        size = 8 * torch.finfo(x.dtype).eps * x.abs().amax(1)
        bound = self._near(x) * (1 + 1e-3) + size.square()
        top = self.boxes[-1]
        row, box = rows.repeat_interleave(len(top)), _children(rows * 0, len(top)).flatten()
        for level in range(len(self.boxes) - 1, -1, -1):
            gap = _gap(x[row], self.boxes[level][box])
            kept = (gap <= bound[row]).nonzero().squeeze(1)
            row, box = row[kept], box[kept]
            box = _children(box * _ARITY, _ARITY).flatten()
            row = row.repeat_interleave(_ARITY)
        gap = closest_on_triangles(x[row], self.corners[box])[1]
        least = bound.new_full((len(x),), torch.inf).scatter_reduce(0, row, gap, "amin")
        none = torch.iinfo(torch.int64).max
        candidate = torch.where(gap <= least[row], self.faces[box], none)
        return torch.full_like(rows, none).scatter_reduce(0, row, candidate, "amin")

    def _near(self, x: Tensor) -> Tensor:
        """Squared distance to some face close by: the closest box is followed down."""
        box = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        for level in range(len(self.boxes) - 1, -1, -1):
            inside = _children(box * _ARITY, _ARITY)
            gap = _gap(x.unsqueeze(1), self.boxes[level][inside])
            box = inside.gather(1, gap.argmin(1, keepdim=True)).squeeze(1)
        inside = _children(box * _ARITY, _ARITY)
        corners = self.corners[inside]
        gap = closest_on_triangles(x.unsqueeze(1).expand(-1, _ARITY, -1), corners)[1]
        return gap.amin(1)


def closest_on_triangles(x: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """Barycentric coordinates of the closest points, `(..., 3)`, and squared distances `(...)`.

    Args:
        x: `(..., 3)`.
        corners: `(..., 3, 3)`.
    """
    a, b, c = corners.unbind(-2)
    ab, ac, ax = b - a, c - a, x - a
    d, e, f = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    p, q = (ab * ax).sum(-1), (ac * ax).sum(-1)
    inverse = 1 / (d * f - e * e).clamp(min=torch.finfo(x.dtype).tiny)
    v, w = (f * p - e * q) * inverse, (d * q - e * p) * inverse
    inside = (v >= 0) & (w >= 0) & (v + w <= 1)
    zero = torch.zeros_like(v)
    s, r = (p / d).clamp(0, 1), (q / f).clamp(0, 1)
    m = ((q - e - p + d) / (d - 2 * e + f)).clamp(0, 1)
    found = torch.stack(
        [
            torch.stack([1 - v - w, v, w], -1),
            torch.stack([1 - s, s, zero], -1),
            torch.stack([1 - r, zero, r], -1),
            torch.stack([zero, 1 - m, m], -1),
        ],
        -2,
    )
    off = ax.unsqueeze(-2) - found[..., 1:2] * ab.unsqueeze(-2) - found[..., 2:] * ac.unsqueeze(-2)
    gap = off.square().sum(-1)
    # The projection to the plane counts where it falls inside.
    first = torch.where(inside, gap[..., 0], torch.inf)
    gap, which = torch.cat([first.unsqueeze(-1), gap[..., 1:]], -1).min(-1)
    index = which[..., None, None].expand(*which.shape, 1, 3)
    return found.gather(-2, index).squeeze(-2), gap


def _order(centres: Array) -> Array:
    """Faces in an order in which every run of `_ARITY` to some power is compact."""
    count = len(centres)
    leaf = _ARITY
    while leaf * _ARITY < count:
        leaf *= _ARITY

    def arrange(rows: Array, size: int) -> Array:
        if len(rows) <= _ARITY:
            return rows
        while size >= len(rows):
            size //= _ARITY
        # Cut into runs of `size`, a power of two more of them on each side of every cut.
        pieces = -(-len(rows) // size)
        if pieces == 1:
            return arrange(rows, size // _ARITY)
        spread = centres[rows].max(0) - centres[rows].min(0)
        rows = rows[np.argsort(centres[rows, spread.argmax()], kind="stable")]
        cut = size * (pieces // 2)
        return np.concatenate([arrange(rows[:cut], size), arrange(rows[cut:], size)])

    return arrange(np.arange(count), leaf)


def _extra(count: int) -> int:
    return -count % _ARITY


def _grouped(x: Tensor) -> Tensor:
    """Rows in groups of `_ARITY`, the last row repeated."""
    padding = x[-1:].expand(_extra(len(x)), *x.shape[1:])
    grouped: Tensor = torch.cat([x, padding]).unflatten(0, (-1, _ARITY))
    return grouped


def _children(first: Tensor, count: int) -> Tensor:
    found: Tensor = first.unsqueeze(-1) + torch.arange(count, device=first.device)
    return found


def _gap(x: Tensor, boxes: Tensor) -> Tensor:
    """Squared distances of points `(..., 3)` to boxes `(..., 2, 3)`."""
    low, high = boxes.unbind(-2)
    gap: Tensor = torch.maximum(low - x, x - high).clamp(min=0).square().sum(-1)
    return gap
