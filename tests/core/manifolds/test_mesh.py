"""Meshes: closest points, straight walks, fluxes through edges, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowatlas._autodiff import jvp
from flowatlas.couplings import MinibatchOT
from flowatlas.errors import CapabilityError, GeometryError, ShapeError
from flowatlas.manifolds import Mesh, Sphere
from flowatlas.paths import GeodesicPath

SPHERE = Mesh.icosphere(1)
SQUARE = Mesh.square(6)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(mesh: Mesh, n: int = 200, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return mesh.random_uniform((n, 3), generator=generator(seed), dtype=dtype)


def bent(x: Tensor, angle: float = 1.0) -> Tensor:
    """The plane folded along the line x = 1/2: an isometry."""
    beyond = (x[..., 0] - 0.5).clamp(min=0)
    return torch.stack(
        [
            x[..., 0].clamp(max=0.5) + beyond * math.cos(angle),
            x[..., 1],
            x[..., 2] + beyond * math.sin(angle),
        ],
        -1,
    )


ROOF = Mesh(bent(SQUARE.vertices), SQUARE.faces)


def dense_distance(x: Tensor, mesh: Mesh) -> Tensor:
    """Distance to every face by plane and segments, one point at a time."""
    corner = mesh.vertices[mesh.faces].numpy()
    found = []
    for p in x.numpy():
        best = math.inf
        for a, b, c in corner:
            normal = np.cross(b - a, c - a)
            normal /= np.linalg.norm(normal)
            q = p - ((p - a) @ normal) * normal
            sides = [np.cross(e - s, q - s) @ normal for s, e in ((a, b), (b, c), (c, a))]
            if min(sides) >= 0:
                best = min(best, float(abs((p - a) @ normal)))
            for s, e in ((a, b), (b, c), (c, a)):
                share = np.clip((p - s) @ (e - s) / ((e - s) @ (e - s)), 0, 1)
                best = min(best, float(np.linalg.norm(p - s - share * (e - s))))
        found.append(best)
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("mesh", [SPHERE, ROOF])
def test_the_closest_point_is_that_of_a_dense_search(mesh: Mesh) -> None:
    x = torch.cat([torch.randn(30, 3, generator=generator(), dtype=torch.float64), points(mesh, 5)])
    closest = mesh.projx(x)
    torch.testing.assert_close((x - closest).norm(dim=1), dense_distance(x, mesh))
    torch.testing.assert_close(mesh.projx(closest), closest)
    mesh.check_point(closest)
    with pytest.raises(GeometryError, match="lie off Mesh"):
        mesh.check_point(x)


def test_the_tree_of_boxes_finds_the_face_on_a_large_mesh() -> None:
    """Every leaf is reached: the middle of each face is found in that face."""
    mesh = Mesh.icosphere(4)
    face, barycentric = mesh.locate(mesh.vertices[mesh.faces].mean(1))
    assert (face == torch.arange(len(mesh.faces))).all()
    torch.testing.assert_close(barycentric, torch.full_like(barycentric, 1 / 3))


def test_the_derivative_of_the_closest_point_is_the_tangent_projection() -> None:
    x = points(SPHERE)
    v = torch.randn(x.shape, generator=generator(), dtype=x.dtype)
    torch.testing.assert_close(jvp(SPHERE.projx, (x,), (v,))[1], SPHERE.proju(x, v))


def test_tangents_lie_in_the_plane_of_the_face() -> None:
    x = points(SPHERE)
    corner = SPHERE.vertices[SPHERE.faces][SPHERE.locate(x)[0]]
    normal = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    u = SPHERE.proju(x, torch.randn(x.shape, generator=generator(), dtype=x.dtype))
    assert (u * normal).sum(-1).abs().max() < 1e-12
    torch.testing.assert_close(SPHERE.proju(x, u), u)
    basis = SPHERE.tangent_basis(x)
    torch.testing.assert_close(basis @ basis.mT, torch.eye(2, dtype=x.dtype).expand(len(x), 2, 2))
    assert (basis @ normal.unsqueeze(-1)).abs().max() < 1e-12
    assert SPHERE.dimension((3,)) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_walks_on_a_bent_square_are_straight_lines_of_the_flat_one(dtype: torch.dtype) -> None:
    """Across dozens of edges and the fold: an isometry carries straight lines to straight lines."""
    x, y = points(SQUARE, dtype=dtype), points(SQUARE, dtype=dtype, seed=1)
    u = y - x
    atol = 50 * torch.finfo(dtype).eps
    torch.testing.assert_close(SQUARE.expmap(x, u), y, atol=atol, rtol=0)
    start = bent(x)
    _, velocity = jvp(bent, (x,), (u,))
    torch.testing.assert_close(ROOF.expmap(start, velocity), bent(y), atol=atol, rtol=0)
    # What is tangent at the end comes back as the same vector of the flat square.
    w = torch.randn(x.shape, generator=generator(2), dtype=dtype) * torch.tensor([1, 1, 0])
    _, at_end = jvp(bent, (y,), (w,))
    _, at_start = jvp(bent, (x,), (w,))
    torch.testing.assert_close(
        ROOF.pullback(start, velocity, at_end), at_start, atol=10 * atol, rtol=0
    )


def test_walks_keep_their_length_and_come_back() -> None:
    x = points(SPHERE)
    u = SPHERE.random_tangent(x, generator=generator(1))
    y = SPHERE.expmap(x, u)
    basis = SPHERE.tangent_basis(x)
    found = SPHERE._walk(x, u, carried=True)
    back = torch.einsum("nmi,nmj,nj->ni", found.frame, basis, u)
    torch.testing.assert_close(back.norm(dim=1), u.norm(dim=1))
    torch.testing.assert_close(SPHERE.expmap(y, -back), x, atol=1e-10, rtol=0)
    torch.testing.assert_close(SPHERE.pullback(x, u, back), u)


def test_walks_on_finer_spheres_converge_to_great_circles() -> None:
    errors = []
    for subdivisions in (2, 4):
        mesh, sphere = Mesh.icosphere(subdivisions), Sphere()
        x = points(mesh)
        u = mesh.random_tangent(x, generator=generator(1))
        u = u / u.norm(dim=1, keepdim=True)
        pole = sphere.projx(x)
        goal = sphere.expmap(pole, sphere.proju(pole, u))
        errors.append((sphere.projx(mesh.expmap(x, u)) - goal).norm(dim=1).median())
    # Faces are four times smaller; the error is of second order.
    assert errors[1] < errors[0] / 8 < 0.01


def test_walks_slide_along_the_boundary_and_stop_in_its_corners() -> None:
    x = torch.tensor([[0.3, 0.31, 0.0], [0.3, 0.31, 0.0], [0.52, 0.9, 0.0]], dtype=torch.float64)
    u = torch.tensor([[2.0, 0.3, 0.0], [5.0, -7.0, 0.0], [-0.1, 1.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[1.0, 0.61, 0.0], [1.0, 0.0, 0.0], [0.42, 1.0, 0.0]])
    torch.testing.assert_close(SQUARE.expmap(x, u), expected.double())


def test_uniform_points_and_their_density() -> None:
    x = points(ROOF, 20_000)
    flat = points(SQUARE, 20_000)
    # The same seed on the same triangles, one of the meshes folded.
    torch.testing.assert_close(x, bent(flat))
    mean, spread = flat[:, :2].mean(0), (1 / 12 / len(flat)) ** 0.5
    assert (mean - 0.5).abs().max() < 5 * spread
    counts = torch.histc(flat[:, 0] * 36 // 1, 36, 0, 36)
    assert ((counts - 20_000 / 36) ** 2 / (20_000 / 36)).sum() < 35 + 6 * 70**0.5
    assert SPHERE.area == pytest.approx(float(SPHERE.tables(x).areas.sum()))
    torch.testing.assert_close(
        SPHERE.uniform_log_prob(x), torch.full_like(x[:, 0], -math.log(SPHERE.area))
    )


def test_points_do_not_depend_on_the_batch_or_the_dtype() -> None:
    seeds = [generator(seed) for seed in (3, 4, 5)]
    together = SPHERE.random_uniform((3, 2, 3), generator=seeds, dtype=torch.float64)
    alone = SPHERE.random_uniform((1, 2, 3), generator=generator(4), dtype=torch.float64)
    torch.testing.assert_close(together[1:2], alone)
    torch.testing.assert_close(points(SPHERE, dtype=torch.float32), points(SPHERE).float())
    x = together.float()
    assert SPHERE.expmap(x, 0.1 * SPHERE.random_tangent(x)).dtype == torch.float32


def on_both_sides(mesh: Mesh, share: float) -> tuple[Any, ...]:
    """Every inner edge: face, place and edge, seen from both of its faces."""
    tables = mesh._first
    face, edge = (tables.neighbours >= 0).nonzero().T
    rows = torch.arange(len(face))
    place = torch.zeros(len(face), 3, dtype=torch.float64)
    place[rows, (edge + 1) % 3], place[rows, (edge + 2) % 3] = share, 1 - share
    other = torch.zeros_like(place)
    carried = tables.carried[face, edge]
    other[rows, carried[:, 0]], other[rows, carried[:, 1]] = share, 1 - share
    beyond, entry = tables.neighbours[face, edge], tables.entries[face, edge]
    return (face, place, edge), (beyond, other, entry)


@pytest.mark.parametrize("mesh", [SPHERE, ROOF])
def test_conforming_fields_lose_nothing_at_edges(mesh: Mesh) -> None:
    tables = mesh._first
    one, two = on_both_sides(mesh, 0.3)
    x = mesh.points(*one[:2])
    torch.testing.assert_close(mesh.points(*two[:2]), x)
    u = torch.stack([x[:, 1] + 1, torch.sin(3 * x[:, 0]), x[:, 2] ** 2 - 0.7], -1)

    def flux(side: Any, conforming: bool) -> Tensor:
        face, place, edge = side
        normal = tables.normals[face]
        flat = u - (u * normal).sum(-1, keepdim=True) * normal
        v = mesh.conforming_at(face, place, u) if conforming else flat
        assert (v * normal).sum(-1).abs().max() < 1e-12
        return (v * tables.conormals[face, edge]).sum(-1)

    gap = flux(one, True) + flux(two, True)
    assert gap.abs().max() < 0.02
    assert (flux(one, False) + flux(two, False)).abs().max() > 0.1
    assert flux(one, True).abs().mean() > 0.1


def test_nothing_flows_out_at_the_boundary() -> None:
    tables = ROOF._first
    face, edge = (tables.neighbours < 0).nonzero().T
    place = torch.full((len(face), 3), 0.5, dtype=torch.float64)
    place[torch.arange(len(face)), edge] = 0
    u = torch.randn(len(face), 3, generator=generator(), dtype=torch.float64)
    v = ROOF.conforming_at(face, place, u)
    out = (v * tables.conormals[face, edge]).sum(-1)
    # The ridge meets the boundary at an angle: two edges at each of its ends have a bend there.
    assert out.abs().quantile(0.9) < 1e-12
    assert out.abs().max() < 0.05
    assert v.norm(dim=1).mean() > 0.3


def _used(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Without the vertices that no face has."""
    kept, number = faces.unique(return_inverse=True)
    return vertices[kept], number


def test_flows_along_walls_are_left_alone_and_those_into_them_fade_within_a_face() -> None:
    square = Mesh.square(4)
    x = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.25, 0.0], [0.6, 0.1, 0.0], [0.6, 0.05, 0.0]])
    face, place = square.locate(x.double())

    def along(u: list[float]) -> Tensor:
        tangent = torch.tensor(u, dtype=torch.float64).expand(4, 3)
        return square.along_walls(face, place, tangent)

    torch.testing.assert_close(along([1, 0, 0])[:, 0], torch.ones(4, dtype=torch.float64))
    fading = torch.tensor([1.0, 1.0, 0.4, 0.2], dtype=torch.float64)
    torch.testing.assert_close(along([0, -1, 0])[:, 1], -fading)
    corner = square.locate(torch.zeros(1, 3, dtype=torch.float64))
    assert (
        square.along_walls(*corner, torch.ones(1, 3, dtype=torch.float64))[:, :2].abs().max() == 0
    )


def test_normalised_meshes_have_unit_radius() -> None:
    mesh = Mesh(3 * ROOF.vertices + 7, ROOF.faces, normalise=True)
    x = points(mesh, 40_000)
    assert x.mean(0).abs().max() < 0.02
    assert float(x.square().sum(1).mean()) == pytest.approx(1, abs=0.02)


def test_what_a_mesh_cannot_do_says_so() -> None:
    x, y = points(SPHERE, 8), points(SPHERE, 8, seed=1)
    t = torch.full((8,), 0.5, dtype=torch.float64)
    for attempt in (
        lambda: SPHERE.logmap(x, y),
        lambda: SPHERE.dist(x, y),
        lambda: GeodesicPath(SPHERE).sample(x, y, t),
        lambda: MinibatchOT(SPHERE).pair(x, y),
    ):
        with pytest.raises(CapabilityError, match="SpectralPath"):
            attempt()


TRIANGLE: list[list[float]] = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        ([*TRIANGLE, [9.0, 9, 9]], [[0, 1, 2]], "belong to no face"),
        (TRIANGLE, [[0, 1, 3]], "counted from 0"),
        ([*TRIANGLE[:2], [2.0, 0, 0]], [[0, 1, 2]], "no area"),
        (TRIANGLE, [[0, 1, 1]], "belong to no face"),
        ([*TRIANGLE[:2], [math.nan, 0, 0]], [[0, 1, 2]], "NaN"),
        ([*TRIANGLE, [0.0, -1, 0], [0, 0, 1]], [[0, 1, 2], [1, 0, 3], [0, 1, 4]], "has 3 faces"),
        ([*TRIANGLE, [0.0, -1, 0]], [[0, 1, 2], [0, 1, 3]], "which side is up"),
        ([*TRIANGLE, [0.1, 0.9, 0]], [[0, 1, 2], [1, 0, 3]], "folded back"),
    ],
)
def test_what_is_no_surface_is_refused(vertices: Any, faces: Any, message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        Mesh(vertices, faces)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"vertices: got shape \(3, 2\)"):
        Mesh(np.zeros((3, 2)), [[0, 1, 2]])
    with pytest.raises(ShapeError, match=r"faces: got shape \(1, 4\)"):
        Mesh(TRIANGLE, [[0, 1, 2, 0]])
    with pytest.raises(ShapeError, match="integers"):
        Mesh(TRIANGLE, [[0.0, 1.0, 2.0]])
    with pytest.raises(ShapeError, match="3 coordinates"):
        SPHERE.check_point(torch.zeros(4, 2))
    with pytest.raises(ShapeError, match=r"\(batch, ..., 3\)"):
        SPHERE.random_uniform((4, 2))
