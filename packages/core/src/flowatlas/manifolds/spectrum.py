"""Eigenfunctions of the Laplacian of a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from flowatlas._arguments import count as whole
from flowatlas.errors import ConfigError, GeometryError
from flowatlas.manifolds._triangles import Triangles

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix

__all__ = ["Spectrum", "laplacian", "spectrum"]


@dataclass(frozen=True, slots=True)
class Spectrum:
    r"""Solutions of $-\Delta \phi_i = \lambda_i \phi_i$ (Neumann conditions at a boundary).

    The constant function, of eigenvalue zero, is left out.

    Attributes:
        eigenvalues: `(k,)`, from the least, float64.
        functions: `(V, k)`: values at the vertices, linear on faces; orthonormal:
            $\int \phi_i \phi_j = \delta_{ij}$.
    """

    eigenvalues: Tensor
    functions: Tensor


def laplacian(mesh: Triangles) -> tuple[csc_matrix, csc_matrix]:
    r"""Stiffness and mass of functions that are linear on faces.

    $$L_{ij} = \int \langle \nabla h_i, \nabla h_j \rangle, \qquad M_{ij} = \int h_i h_j,$$

    with h the hat functions of the vertices; the entries of L off the diagonal are the cotangents
    $-\tfrac12 (\cot \alpha + \cot \beta)$ of the angles opposite to the edge.

    Reference: Computing Discrete Minimal Surfaces and Their Conjugates, Pinkall and Polthier, 1993,
    for L; M is the mass matrix of linear finite elements.
    """
    # scipy takes as long to import as all of this package.
    from scipy.sparse import coo_matrix

    faces, area = mesh.faces.numpy(), mesh.areas.numpy()
    gradient = mesh.gradients.numpy()
    stiffness = np.einsum("nki,nli,n->nkl", gradient, gradient, area)
    mass = (area / 12)[:, None, None] * (1 + np.eye(3))
    row = np.repeat(faces, 3, 1).ravel()
    column = np.tile(faces, (1, 3)).ravel()
    size = (len(mesh.vertices),) * 2
    return tuple(coo_matrix((v.ravel(), (row, column)), size).tocsc() for v in (stiffness, mass))


def spectrum(mesh: Triangles, count: int) -> Spectrum:
    """The `count` eigenfunctions of least positive eigenvalue.

    Args:
        mesh: in float64 on the CPU.
        count: below the number of vertices.

    Raises:
        ConfigError: a count that is none, or more than the mesh has.
        GeometryError: a mesh of several pieces, which no eigenfunction connects.
    """
    from scipy.linalg import eigh
    from scipy.sparse.csgraph import connected_components
    from scipy.sparse.linalg import eigsh

    whole("count", count)
    vertices = len(mesh.vertices)
    if count >= vertices:
        raise ConfigError(
            f"count: got {count}; a mesh of {vertices} vertices has {vertices - 1} eigenfunctions "
            "beside the constant one. Ask for fewer, or refine the mesh."
        )
    stiffness, mass = laplacian(mesh)
    pieces = connected_components(mass, directed=False)[0]
    if pieces > 1:
        raise GeometryError(
            f"mesh: it has {pieces} pieces that do not touch, so no path leads across. "
            "Keep one of them."
        )
    if vertices <= max(200, 2 * count):
        values, functions = eigh(stiffness.toarray(), mass.toarray())
        values, functions = values[: count + 1], functions[:, : count + 1]
    else:
        # The matrix itself is singular: it is shifted by a little of its smallest eigenvalues.
        shift = -1.0 / float(mesh.areas.sum())
        start = np.random.default_rng(0).standard_normal(vertices)
        values, functions = eigsh(stiffness, count + 1, mass, sigma=shift, v0=start)
        order = np.argsort(values)
        values, functions = values[order], functions[:, order]
    values, functions = values[1:], functions[:, 1:]
    # Signs are fixed, or they would depend on the linear algebra library.
    largest = np.abs(functions).argmax(0)
    functions = functions * np.sign(functions[largest, np.arange(count)])
    return Spectrum(torch.from_numpy(values.copy()), torch.from_numpy(functions.copy()))
