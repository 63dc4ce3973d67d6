"""Vectors on a mesh whose flow loses nothing at edges."""

from __future__ import annotations

from torch import Tensor

from flowatlas.manifolds._triangles import Triangles

__all__ = ["conforming"]

#: What keeps the weights of edges, and so divergences, bounded at vertices.
_BLUNT = 0.01


def conforming(mesh: Triangles, face: Tensor, barycentric: Tensor, u: Tensor) -> Tensor:
    """Tangents whose flux through edges is continuous, walls aside; see `Mesh.conforming`."""
    n = (barycentric.unsqueeze(-1) * mesh.corner_normals[face]).sum(-2)
    n = n / n.norm(dim=-1, keepdim=True).clamp(min=0.1)
    u = u - (u * n).sum(-1, keepdim=True) * n
    near = barycentric.clamp(min=0)
    product = near.roll(1, -1) * near.roll(2, -1)
    weight = product / (product.sum(-1, keepdim=True) + _BLUNT)
    across = mesh.across[face]
    through = weight * (across * u.unsqueeze(-2)).sum(-1)
    u = u - (through.unsqueeze(-1) * across).sum(-2)
    normal = mesh.normals[face]
    return u - (u * normal).sum(-1, keepdim=True) * normal
