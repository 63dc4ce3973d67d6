"""Surfaces made of triangles."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from flowatlas._random import Generators, draw
from flowatlas.errors import CapabilityError, ShapeError
from flowatlas.manifolds import _shapes
from flowatlas.manifolds._closest import BoxTree, closest_on_triangles
from flowatlas.manifolds._flux import conforming
from flowatlas.manifolds._obj import read_obj
from flowatlas.manifolds._triangles import Triangles, normalised, triangles, uniform_in_triangle
from flowatlas.manifolds._walk import Walked, walk
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.capability import Capability
from flowatlas.manifolds.spectrum import Spectrum, spectrum

__all__ = ["Mesh"]


class Mesh(Manifold):
    r"""A triangle mesh in three dimensions, with or without boundary; points are `(..., 3)`.

    Inside a face the metric is that of its plane, and across an edge two faces unfold into one
    plane: the mesh is flat but for its vertices, where the curvature sits. `expmap` walks straight
    on the unfolded faces and slides along the boundary; `projx` is the closest point, found in a
    tree of boxes; solvers add their stages up in the unfolded plane, so that they keep their order
    inside a face.

    There is no `logmap` and no distance: shortest paths on a mesh are not unique beyond corners of
    the boundary and vertices of negative curvature, and finding them is a search. `SpectralPath`
    needs neither.

    A field made by `proju` loses mass at edges: what flows towards an edge in one face is not what
    leaves it in the next. `conforming` keeps it, and is what a network should end in (as
    `flowatlas.networks.SurfaceMLP` does).

    Args:
        vertices: `(V, 3)`.
        faces: `(F, 3)`, vertex numbers from 0, all oriented alike.
        normalise: move the centroid of the surface to the origin, and scale the root mean square of
            the distance to it to one.

    Raises:
        ShapeError: arrays of other shapes.
        GeometryError: unused vertices, faces without area, edges of more than two faces, faces
            that are not oriented alike.

    Reference: Straightest Geodesics on Polyhedral Surfaces, Polthier and Schmies, 1998, for the
    walk (which here goes past vertices on the side it comes to).

    Example:
        ```python
        mesh = Mesh.icosphere(3)
        x = mesh.random_uniform((8, 3), generator=generator)
        y = mesh.expmap(x, 0.1 * mesh.random_tangent(x, generator=generator))
        ```
    """

    codim = 1
    #: Not known: straight lines meet again behind every vertex of positive curvature.
    injectivity_radius = 0.0
    capabilities = frozenset({Capability.UNIFORM, Capability.TANGENT_BASIS})

    def __init__(
        self, vertices: ArrayLike | Tensor, faces: ArrayLike | Tensor, *, normalise: bool = False
    ) -> None:
        points, index = np.asarray(vertices, dtype=np.float64), np.asarray(faces)
        if not np.issubdtype(index.dtype, np.integer):
            raise ShapeError(f"faces: got dtype {index.dtype}; they are integers.")
        found = triangles(points, index.astype(np.int64))
        if normalise:
            found = triangles(normalised(found), index.astype(np.int64))
        self._tables = {(torch.float64, torch.device("cpu")): found}
        self._trees: dict[tuple[torch.dtype, torch.device], BoxTree] = {}
        self._spectra: dict[int, Spectrum] = {}
        self._cumulated = found.areas.cumsum(0)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, normalise: bool = False) -> Mesh:
        """The mesh of a Wavefront OBJ file.

        Args:
            path: of the file; only its `v` and `f` lines are read.
            normalise: as for `Mesh`.

        Raises:
            DataError: a file that cannot be read as OBJ.
            GeometryError: a mesh that is no surface.
        """
        return cls(*read_obj(path), normalise=normalise)

    @classmethod
    def icosphere(cls, subdivisions: int = 3) -> Mesh:
        """The unit sphere as an icosahedron whose faces are cut in four so many times."""
        return cls(*_shapes.icosphere(subdivisions))

    @classmethod
    def square(cls, cells: int = 16) -> Mesh:
        """The unit square in the plane z = 0, of `cells` x `cells` x 2 triangles."""
        return cls(*_shapes.square(cells))

    @property
    def vertices(self) -> Tensor:
        """`(V, 3)`, float64."""
        return self._first.vertices

    @property
    def faces(self) -> Tensor:
        """`(F, 3)`."""
        return self._first.faces

    @property
    def area(self) -> float:
        """Of the surface."""
        return float(self._cumulated[-1])

    @cached_property
    def has_boundary(self) -> bool:
        """Whether some edge has one face only."""
        return bool((self._first.neighbours < 0).any())

    @property
    def _first(self) -> Triangles:
        return self._tables[torch.float64, torch.device("cpu")]

    def tables(self, like: Tensor) -> Triangles:
        """Tables of faces and edges, with the dtype (float32 at least) and device of `like`."""
        dtype = like.dtype if like.element_size() >= 4 else torch.float32
        key = dtype, like.device
        if key not in self._tables:
            self._tables[key] = self._first.to(*key)
        return self._tables[key]

    def spectrum(self, count: int) -> Spectrum:
        """The first eigenfunctions of the Laplacian but for the constant one; kept once found.

        Args:
            count: how many, below the number of vertices.
        """
        if count not in self._spectra:
            self._spectra[count] = spectrum(self._first, count)
        return self._spectra[count]

    # Where a point is.

    def locate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Face `(...)` closest to x, and barycentric coordinates `(..., 3)` there.

        Coordinates are differentiable in x within the plane of the face; they are in [0, 1] for
        points that are projected onto the mesh, up to rounding.
        """
        mesh = self.tables(x)
        flat = x.detach().reshape(-1, 3).to(mesh.corners.dtype)
        with torch.no_grad():
            face = self._tree(flat).query(flat).view(x.shape[:-1])
        offset = (x - mesh.centres[face]).unsqueeze(-2)
        return face, (mesh.gradients[face] * offset).sum(-1) + 1 / 3

    def points(self, face: Tensor, barycentric: Tensor) -> Tensor:
        """Points `(..., 3)` with those barycentric coordinates."""
        return (barycentric.unsqueeze(-1) * self.tables(barycentric).corners[face]).sum(-2)

    def interpolate(self, values: Tensor, x: Tensor) -> Tensor:
        """A function of the vertices, linear on faces, at points.

        Args:
            values: `(V, ...)`.
            x: `(n, 3)`.
        """
        face, barycentric = self.locate(x)
        at_corners = values.to(barycentric.dtype)[self.tables(x).faces[face]]
        return torch.einsum("nk,nk...->n...", barycentric, at_corners)

    def _tree(self, like: Tensor) -> BoxTree:
        key = like.dtype, like.device
        if key not in self._trees:
            self._trees[key] = BoxTree.of(self.tables(like).corners)
        return self._trees[key]

    # The five maps.

    def projx(self, x: Tensor) -> Tensor:
        mesh = self.tables(x)
        face, _ = self.locate(x)
        fixed = x.detach()
        barycentric, _ = closest_on_triangles(fixed, mesh.corners[face])
        # The derivative is that of the projection to the plane of the face.
        move = x - fixed
        normal = mesh.normals[face]
        return self.points(face, barycentric) + move - (move * normal).sum(-1, True) * normal

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        normal = self.tables(x).normals[self.locate(x)[0]]
        return u - (u * normal).sum(-1, keepdim=True) * normal

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(-1)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        found = self._walk(x, u, carried=False)
        return self.points(found.face, found.barycentric).view_as(x)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        self._no_geodesics()

    def _no_geodesics(self) -> NoReturn:
        raise CapabilityError(
            f"{self!r} has no logmap and no geodesic distance: they would be a search. Train on "
            "SpectralPath(mesh), which needs neither, and pair independently."
        )

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        self._no_geodesics()

    # What solvers step with: the plane that the faces ahead unfold into.

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        return self.expmap(x, u)

    def pullback(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        basis = self.tangent_basis(x)
        frame = self._walk(x, u, carried=True).frame.view_as(basis)
        return torch.einsum("...mi,...mj,...j->...i", basis, frame, v)

    def _walk(self, x: Tensor, u: Tensor, *, carried: bool) -> Walked:
        mesh = self.tables(x)
        face, barycentric = self.locate(x)
        face, barycentric = face.reshape(-1), barycentric.reshape(-1, 3).clamp(min=0)
        basis = _basis(mesh, face)
        return walk(mesh, face, barycentric, u.reshape(-1, 3), basis if carried else basis[:, :0])

    def follow(self, face: Tensor, barycentric: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Faces and barycentric coordinates reached by walking: `expmap` for located points.

        Args:
            face: `(n,)`.
            barycentric: `(n, 3)`, in [0, 1].
            u: `(n, 3)`, tangents.
        """
        found = walk(self.tables(u), face, barycentric, u, u.new_zeros(len(u), 0, 3))
        return found.face, found.barycentric

    def conforming(self, x: Tensor, u: Tensor) -> Tensor:
        r"""Tangents at x whose flux through edges is continuous, nearly, from vectors of space.

        $$u' = P_f \Big(u_1 - \sum_k w_k \langle u_1, d_k \rangle d_k\Big), \qquad
          u_1 = u - \langle u, n \rangle n, \qquad
          w_k = \frac{\prod_{j \ne k} \lambda_j}{0.01 + \sum_i \prod_{j \ne i} \lambda_j}.$$

        n is the interpolated normal, which is continuous; $d_k$ halves the angle between the
        normals at edge k, where $w_k$ is close to one (0.96 at its middle) and the others are zero,
        so that what is left crosses the edge all but alike on both sides. Where u is continuous the
        flow keeps its mass, and $\operatorname{div} u'$ within faces is the divergence. Without
        the 0.01 both would be exact, and divergences infinite at vertices, which no solver
        resolves. Last, `along_walls` lets nothing cross the boundary.

        Args:
            x: `(..., 3)`.
            u: `(..., 3)`, such as the output of a network.
        """
        face, barycentric = self.locate(x)
        return self.conforming_at(face, barycentric, u)

    def conforming_at(self, face: Tensor, barycentric: Tensor, u: Tensor) -> Tensor:
        """As `conforming`, for points that are already located."""
        u = conforming(self.tables(barycentric), face, barycentric, u)
        return self.along_walls(face, barycentric, u)

    def along_walls(self, face: Tensor, barycentric: Tensor, u: Tensor) -> Tensor:
        r"""Tangents without what would cross the boundary.

        $$u' = u - \sum_k \lambda_k N_k u,$$

        with $N_k$ the projection, at a corner of the face that lies on the boundary, onto the way
        out, or onto all tangents where the boundary turns inward by more than 30 degrees. Both ends
        of a straight piece of boundary have the same way out, so that nothing at all crosses it; u'
        is as continuous as u, and its normal part grows from the wall within a row of faces. Where
        the boundary turns the other way nothing is taken away, for the flow would stand still
        around what it should go around; some of it runs into the wall there.

        Args:
            face: `(...)`.
            barycentric: `(..., 3)`.
            u: `(..., 3)`, tangents.
        """
        if not self.has_boundary:
            return u
        walls = self.tables(barycentric).walls[face]
        return u - torch.einsum("...k,...kij,...j->...i", barycentric.clamp(min=0), walls, u)

    # Measure.

    def random_uniform(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        return self.draw_points(
            shape,
            lambda u: torch.searchsorted(self._cumulated, u * self._cumulated[-1], right=True),
            uniform_in_triangle,
            generator=generator,
            dtype=dtype,
            device=device,
        )

    def draw_points(
        self,
        shape: Sequence[int],
        choose: Callable[[Tensor], Tensor],
        place: Callable[[Tensor, Tensor], Tensor],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Random points, made in float64 so that a seed gives the same ones in every dtype.

        Args:
            shape: `(batch, ..., 3)`.
            choose: from uniform numbers `(n,)` to faces.
            place: from faces `(n,)` and uniform numbers `(n, 4)` to barycentric coordinates.
            generator: one, or one per sample.
            dtype: of the result.
            device: of the result.
        """
        shape = tuple(shape)
        if len(shape) < 2 or shape[-1] != 3:
            raise ShapeError(f"shape: got {shape}; points of a mesh are (batch, ..., 3).")

        def rows(size: tuple[int, ...], g: torch.Generator | None) -> Tensor:
            where = None if g is None else g.device
            u = torch.rand(*size[:-1], 5, generator=g, dtype=torch.float64, device=where).cpu()
            face = choose(u[..., 0].contiguous()).clamp(max=len(self.faces) - 1)
            return self.points(face, place(face, u[..., 1:]))

        x = draw(rows, shape, generator)
        return x.to(dtype=dtype or torch.get_default_dtype(), device=device)

    def uniform_log_prob(self, x: Tensor) -> Tensor:
        return x.new_full(x.shape[:-1], -float(np.log(self.area)))

    def tangent_basis(self, x: Tensor) -> Tensor:
        return _basis(self.tables(x), self.locate(x)[0])

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        if x.ndim < 1 or x.shape[-1] != 3:
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; points of {self!r} have 3 coordinates."
            )

    def __repr__(self) -> str:
        return f"Mesh({len(self.vertices)} vertices, {len(self.faces)} faces)"


def _basis(mesh: Triangles, face: Tensor) -> Tensor:
    """Orthonormal tangents of faces, `(..., 2, 3)`."""
    return torch.stack([mesh.edges[face, 0], mesh.conormals[face, 0]], -2)
