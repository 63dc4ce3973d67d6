"""Clouds of points against closed forms, brute force and their symmetries."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu

from flowatlas.errors import ConfigError, DataError, ShapeError
from flowatlas.solvers import Euler
from flowatlas_robotics.clouds import (
    PointUpsampler,
    Surface,
    UpsamplingFlow,
    aligned,
    chamfer_distance,
    earth_movers_distance,
    farthest_points,
    interpolate,
    nearest,
    random_surface,
    read_points,
    read_surface,
    spacing,
    surface_distance,
    write_points,
)
from flowatlas_robotics.clouds.vectors import Arrows, Neighbourhood, VectorConvolution

N = TypeVar("N", bound=torch.nn.Module)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shuffled(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(3))


def awake(network: N) -> N:
    """With weights where the network begins with zeros, so that something can go wrong."""
    with torch.no_grad():
        for i, weight in enumerate(network.parameters()):
            weight.copy_(0.3 * normal(*weight.shape, seed=i))
    return network


def test_neighbours_on_a_line() -> None:
    x = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [7, 0, 0]]])
    assert nearest(x, x, 2)[0].tolist() == [[0, 1], [1, 0], [2, 1], [3, 2]]
    assert farthest_points(x, 4)[0].tolist() == [0, 3, 2, 1]
    # Nearest others are 1, 1, 2 and 4 away.
    assert float(spacing(x)) == pytest.approx(2.0)
    far = x + 1e4
    assert nearest(far, far, 2).equal(nearest(x, x, 2))


def test_distances_by_hand() -> None:
    x = torch.tensor([[[0.0, 0, 0], [2, 0, 0]]])
    y = torch.tensor([[[0.0, 1, 0], [0, 2, 0]]])
    # To the nearest: 1 and 5 squared there, 1 and 4 back.
    assert float(chamfer_distance(x, y)) == pytest.approx(3 + 2.5)
    # Bijections cost 1 + sqrt 8 and 2 + sqrt 5, in means over two points.
    assert float(earth_movers_distance(x, y)) == pytest.approx((1 + math.sqrt(8)) / 2)
    assert float(surface_distance(x, y)) == pytest.approx((1 + math.sqrt(5)) / 2)


def test_earth_movers_distance_is_the_least_over_all_bijections() -> None:
    x, y = normal(3, 5, 3), normal(3, 5, 3, seed=1)
    costs = torch.stack(
        [(x - y[:, list(order)]).norm(dim=-1).mean(1) for order in permutations(range(5))]
    )
    assert torch.allclose(earth_movers_distance(x, y), costs.amin(0), atol=1e-6)
    squares = torch.stack(
        [(x - y[:, list(order)]).square().sum((1, 2)) for order in permutations(range(5))]
    )
    assert torch.allclose((x - aligned(x, y)).square().sum((1, 2)), squares.amin(0), atol=1e-5)


def test_farthest_points_are_spread() -> None:
    """Every point is within the last selected one's distance: a covering that is a packing too."""
    x = normal(2, 200, 3)
    chosen = x.gather(1, farthest_points(x, 20).unsqueeze(-1).expand(-1, -1, 3))
    apart = torch.cdist(chosen, chosen) + torch.diag_embed(torch.full((2, 20), torch.inf))
    reach = torch.cdist(x, chosen).amin(2).amax(1)
    assert bool((reach <= apart.amin((1, 2)) + 1e-6).all())


def test_midpoints_of_neighbours() -> None:
    """Three points on a line have the two midpoints of neighbours, and that of the outer two."""
    x = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [3, 0, 0]]])
    made = interpolate(x, 2, neighbours=2)
    assert made.shape == (1, 6, 3)
    assert sorted(made[0, :, 0].tolist()) == [0.0, 0.5, 1.0, 1.5, 2.0, 3.0]
    # The last has a midpoint with its neighbour, whose neighbour is another.
    lonely = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [10, 0, 0]]])
    assert interpolate(lonely, 1, neighbours=1)[0, :, 0].tolist() == [0, 10, 5.5]
    sparse = normal(2, 40, 3)
    dense = interpolate(sparse, 4)
    # All are different, and in the hull of what was given.
    assert float(spacing(dense).min()) > 0
    alone = torch.cdist(dense, dense) + torch.diag_embed(torch.full((2, 160), torch.inf))
    assert float(alone.min()) > 0
    assert bool((dense.amax(1) <= sparse.amax(1)).all())


def test_symmetries_of_the_upsampler() -> None:
    network = awake(PointUpsampler(16, 2, 2, 4, 6)).double()
    x, sparse = normal(2, 24, 3).double(), normal(2, 12, 3, seed=1).double()
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    v = network(x, t, {"sparse": sparse})
    order, given = shuffled(24), shuffled(12)
    again = network(x[:, order], t, {"sparse": sparse[:, given]})
    assert torch.allclose(again, v[:, order], atol=1e-9)
    assert torch.allclose(network(x + 5, t, {"sparse": sparse + 5}), v, atol=1e-9)
    # Turned, and turned and mirrored.
    turn = torch.linalg.qr(normal(3, 3, seed=2).double())[0]
    for motion in (turn, -turn):
        turned = network(x @ motion.mT, t, {"sparse": sparse @ motion.mT})
        assert torch.allclose(turned, v @ motion.mT, atol=1e-9)
    # It depends on all it is told.
    assert not torch.allclose(network(x, t, {"sparse": sparse @ turn.mT}), v, atol=1e-2)
    assert not torch.allclose(network(x, 1 - t, {"sparse": sparse}), v, atol=1e-2)
    assert not torch.allclose(network(2 * x, t, {"sparse": 2 * sparse}), 2 * v, atol=1e-2)
    alone = network(x[:, :12], t, {"sparse": sparse})
    assert not torch.allclose(alone, v[:, :12], atol=1e-2)
    single = network(x[:1], t[:1], {"sparse": sparse[:1]})
    assert torch.allclose(single, v[:1], atol=1e-9)


def test_long_arrows_do_not_make_longer_ones() -> None:
    """Products of arrows in every layer would grow as a power of a power."""
    layer = awake(VectorConvolution(4, 3))
    near = Neighbourhood.of(normal(1, 6, 3), normal(1, 6, 3), 2)
    h, u = normal(1, 6, 4), normal(1, 6, 3, 3, seed=1)
    short, long, longer = (
        layer(Arrows(h, size * u), Arrows(h, size * u), near) for size in (1.0, 1e3, 1e6)
    )
    assert not torch.allclose(short.vectors, long.vectors, atol=1e-2)
    assert torch.allclose(long.vectors, longer.vectors, atol=1e-3)
    assert torch.allclose(long.scalars, longer.scalars, atol=1e-3)


def test_the_upsampler_from_its_parts() -> None:
    """Sparse points hear from each other twice; one moving point hears from both, and is scaled."""
    network = awake(PointUpsampler(6, 1, 2, 3, 4)).double()
    x, sparse, t = normal(1, 5, 3).double(), normal(1, 4, 3, seed=1).double(), torch.tensor([0.25])
    around = Neighbourhood.of(sparse, sparse, 3)
    none = Arrows(torch.zeros(1, 4, 6).double(), torch.zeros(1, 4, 3, 4).double())
    once = network.encoder[0](none, none, around)
    more = network.encoder[1](once, once, around)
    known = Arrows(once.scalars + more.scalars, once.vectors + more.vectors)
    e = silu(network.time(network.time_embedding(t.double())))
    h, u = e[:, None].expand(1, 5, 6), torch.zeros(1, 5, 3, 4).double()
    heard = network.given[0](Arrows(h, u), known, Neighbourhood.of(x, sparse, 3))
    h, u = (h + heard.scalars) * (1 + network.scales(e)), heard.vectors
    among = network.moving[0](Arrows(h, u), Arrows(h, u), Neighbourhood.of(x, x, 3))
    h, u = h + among.scalars, u + among.vectors
    expected = torch.einsum("bnic,bnc->bni", u, network.outputs(silu(h)))
    assert torch.allclose(network(x, t.double(), {"sparse": sparse}), expected, atol=1e-9)


def test_the_field_is_zero_at_first() -> None:
    network, sparse = PointUpsampler(16, 1), normal(2, 12, 3)
    assert not network.scales(normal(2, 16)).any()
    assert torch.equal(network(sparse, torch.rand(2), {"sparse": sparse}), torch.zeros(2, 12, 3))
    # It is so for want of the last layer alone: what comes before is not nothing.
    torch.nn.init.ones_(network.outputs.weight)
    assert float(network(sparse, torch.rand(2), {"sparse": sparse}).detach().abs().max()) > 1e-3


def test_stray_points_have_no_say_for_being_far() -> None:
    x = torch.cat([normal(1, 12, 3), torch.tensor([[[1e3, 0, 0]]])], 1)
    near = Neighbourhood.of(x, x, 4)
    assert float(near.apart.norm(dim=-1).max()) <= 3
    assert bool((near.directions.norm(dim=-1) <= 1).all())
    # What is near is as it is: to second order.
    close = Neighbourhood.of(x[:, :1], x[:, :1] + 0.01, 1)
    assert torch.allclose(close.apart, torch.full((1, 1, 1, 3), 0.01), rtol=1e-3, atol=0)


def test_a_convolution_by_hand() -> None:
    """One neighbour, two channels, weights that make every term of the formula another number."""
    layer = awake(VectorConvolution(3, 2)).double()
    draws = [normal(1, 1, *shape, seed=i).double() for i, shape in enumerate([(3,), (3, 2)] * 2)]
    point, other = Arrows(draws[0], draws[1]), Arrows(draws[2], draws[3])
    x, y = torch.zeros(1, 1, 3).double(), torch.tensor([[[0.3, -0.4, 1.2]]]).double()
    found = layer(point, other, Neighbourhood.of(x, y, 1))
    h, u, g, w = (draw[0, 0] for draw in draws)
    u, w = (arrows / math.sqrt(1 + float(arrows.square().sum()) / 2) for arrows in (u, w))
    r, far = y[0, 0], 1.3
    bumps = torch.tensor([math.exp(-4 * (far - 3 * i / 7) ** 2) for i in range(8)]).double()
    ahead = r / (far + 0.1)
    e = silu(layer.own(h) + layer.other(g) + layer.place(torch.cat([bumps, ahead @ u, ahead @ w])))
    gates = layer.gates(e)
    m = (r / math.sqrt(1 + far**2 / 9)).outer(gates[:2]) + w * gates[2:]
    arrows = layer.mix(torch.cat([u, m], 1))
    p, q = arrows[:, :2], arrows[:, 2:]
    new = layer.out(torch.cat([e, e])) + layer.product((p * q).sum(0))
    assert torch.allclose(found.scalars[0, 0], new, atol=1e-5)
    assert torch.allclose(found.vectors[0, 0], q * layer.scale(silu(new)), atol=1e-5)


def test_convolutions_take_maxima_and_means() -> None:
    """Of two neighbours with the same arrows, the mean one and the larger of each number count."""
    layer = awake(VectorConvolution(3, 2)).double()
    x = torch.zeros(1, 1, 3).double()
    y = torch.tensor([[[1.0, 0, 0], [0, 2, 0]]]).double()
    none = Arrows(torch.zeros(1, 2, 3).double(), torch.zeros(1, 2, 3, 2).double())
    own = Arrows(none.scalars[:, :1], none.vectors[:, :1])
    edges = []
    layer.gates.register_forward_pre_hook(lambda _, given: edges.append(given[0]))
    heard = []
    layer.out.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    layer(own, none, Neighbourhood.of(x, y, 2))
    assert edges[0].shape == (1, 1, 2, 3)
    assert torch.equal(heard[0], torch.cat([edges[0].amax(2), edges[0].mean(2)], -1))


def test_gradients_are_finite() -> None:
    """A point is its own neighbour, at distance 0, where a norm has no gradient."""
    network = awake(PointUpsampler(8, 1, 1, 4))
    x = normal(1, 8, 3).requires_grad_()
    network(x, torch.zeros(1), {"sparse": x.detach()}).square().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)


def test_upsampler_is_saved_and_loaded(tmp_path: Path) -> None:
    network = awake(PointUpsampler(8, 1, 1, 4)).eval()
    network.save_pretrained(tmp_path)
    x, t, condition = normal(1, 8, 3), torch.rand(1), {"sparse": normal(1, 6, 3, seed=2)}
    again = PointUpsampler.from_pretrained(tmp_path)
    assert torch.equal(again(x, t, condition), network(x, t, condition))


def test_the_exact_field_of_one_shape_is_reached() -> None:
    """A flow whose network is the constant x_1 - x_0 ends at the dense points, in any unit."""
    sparse, dense = 3 * normal(1, 12, 3) + 7, 3 * normal(1, 24, 3, seed=1) + 7
    flow = UpsamplingFlow(PointUpsampler(8, 1), jitter=0.2)
    rows = flow.pairs(sparse, dense, generator=torch.Generator().manual_seed(5))
    x_0, x_1 = rows["x_0"], rows["x_1"]

    class Straight(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor, condition: object) -> Tensor:
            velocity: Tensor = x_1 - x_0
            return velocity

    known = UpsamplingFlow(Straight(), jitter=0.2)
    found = known.upsample(sparse, 2, solver=Euler(3), generator=torch.Generator().manual_seed(5))
    assert torch.allclose(chamfer_distance(found, dense), torch.zeros(1), atol=1e-8)
    # In units of the spacing, around the mean of what is given.
    given = rows["condition"]["sparse"]
    assert float(spacing(given)) == pytest.approx(1, rel=1e-5)
    assert torch.allclose(given.mean(1), torch.zeros(1, 3), atol=1e-5)
    # The loss of the exact field is zero; in another order it is not.
    loss = flow.objective(Straight(), x_1, x_0=x_0, condition=rows["condition"]).loss
    assert float(loss) == pytest.approx(0, abs=1e-10)
    rows = flow.pairs(sparse, dense, align=False, generator=torch.Generator().manual_seed(5))
    # The same points, in an order that has nothing to do with theirs.
    assert sorted(rows["x_1"][0].tolist()) == sorted(x_1[0].tolist())
    plain = (dense - sparse.mean(1, keepdim=True)) / spacing(sparse)
    assert not torch.allclose(rows["x_1"], x_1) and not torch.allclose(rows["x_1"], plain)


def test_starts_are_jittered_interpolations() -> None:
    """Noise of the deviation that was asked for; dense points are in order for these starts."""
    sparse, dense = normal(2, 40, 3), normal(2, 160, 3, seed=1)
    flow = UpsamplingFlow(PointUpsampler(8, 1), jitter=2.0)
    rows = flow.pairs(sparse, dense, generator=torch.Generator().manual_seed(5))
    noise = (rows["x_0"] - interpolate(rows["condition"]["sparse"])) / 2
    # 960 numbers: four standard errors of their mean and their deviation.
    assert abs(float(noise.mean())) < 4 / math.sqrt(960)
    assert float(noise.std()) == pytest.approx(1, abs=4 / math.sqrt(2 * 960))
    assert torch.equal(aligned(rows["x_0"], rows["x_1"]), rows["x_1"])
    plain = UpsamplingFlow(flow.network, jitter=0.0).pairs(sparse, dense)
    assert torch.equal(plain["x_0"], interpolate(rows["condition"]["sparse"]))


def test_results_follow_the_unit() -> None:
    """Twice as large, exactly: so is what is made of it."""
    flow = UpsamplingFlow(awake(PointUpsampler(8, 1, 1, 4)))
    sparse = normal(2, 20, 3)
    made, larger = (
        flow.upsample(x, 3, solver=Euler(2), generator=torch.Generator().manual_seed(0))
        for x in (sparse, 2 * sparse)
    )
    assert made.shape == (2, 60, 3)
    assert torch.allclose(2 * made, larger, atol=1e-4)
    assert flow.upsample(sparse, 7).shape == (2, 140, 3)


def test_points_of_a_surface_are_uniform() -> None:
    """Two triangles of areas 1 and 3: shares, means and the plane they lie in."""
    corners = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [0, 1, 0]], [[0, 0, 5], [3, 0, 5], [0, 2, 5]]])
    surface = Surface(corners)
    assert surface.areas.tolist() == pytest.approx([1, 3])
    x = surface.sample(20_000, generator=torch.Generator().manual_seed(0))
    upper = x[:, 2] == 5
    # Five standard errors of a share of 3/4 of 20000, and of means with deviations below 0.75.
    assert abs(float(upper.float().mean()) - 0.75) < 0.016
    assert torch.allclose(x[upper].mean(0), corners[1].mean(0), atol=0.031)
    assert torch.allclose(x[~upper].mean(0), corners[0].mean(0), atol=0.035)
    assert bool((x[upper, 0] / 3 + x[upper, 1] / 2 <= 1 + 1e-5).all())
    ball = surface.normalised().sample(20_000, generator=torch.Generator().manual_seed(1))
    assert ball.mean(0).abs().max() < 0.04
    assert float(ball.square().sum(1).mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("seed", range(6))
def test_random_shapes(seed: int) -> None:
    surface = random_surface(seed)
    x = surface.sample(4000, generator=torch.Generator().manual_seed(0))
    # Standard errors of means of deviations below 1 are below 0.016.
    assert x.mean(0).abs().max() < 0.08
    assert float(x.square().sum(1).mean()) == pytest.approx(1, abs=0.08)
    assert torch.equal(random_surface(seed).corners, surface.corners)
    assert not torch.equal(random_surface(seed + 1).corners, surface.corners)
    # Solid, no plate: some extent in every direction.
    assert float(torch.linalg.eigvalsh(x.mT.cov())[0].sqrt()) > 0.1


def test_a_ball_is_among_the_shapes() -> None:
    """With exponents 1 and no stretch a superquadric is the unit sphere: the exact area."""
    from flowatlas_robotics.clouds.shapes import _power, _triangles, _turned

    u = torch.linspace(-math.pi, math.pi, 97)
    v = u / 2
    sphere = Surface(_triangles(_turned(_power(v.cos(), 1.0), _power(v.sin(), 1.0), u, 1.0)))
    # A grid of 96 cells cuts off a part of order (2 pi / 96)^2.
    assert float(sphere.areas.sum()) == pytest.approx(4 * math.pi, rel=4e-3)
    # All of it, not one octant eight times.
    assert torch.allclose(sphere.corners.flatten(0, 1).amin(0), -torch.ones(3), atol=1e-5)
    assert torch.allclose(sphere.normalised().corners, sphere.corners, atol=5e-3)


def test_cells_are_covered_once() -> None:
    """Random points are in exactly one of the triangles of a grid of squares."""
    from flowatlas_robotics.clouds.shapes import _triangles

    rows, columns = torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij")
    corners = _triangles(torch.stack([rows, columns, 0 * rows], -1))[..., :2]
    assert corners.shape == (12, 3, 2)
    x = torch.rand(500, 1, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([2.0, 3.0])
    a, b, c = corners.unbind(1)

    def side(p: Tensor, q: Tensor) -> Tensor:
        return (q - p)[:, 0] * (x - p)[..., 1] - (q - p)[:, 1] * (x - p)[..., 0]

    sides = torch.stack([side(a, b), side(b, c), side(c, a)])
    inside = (sides > 0).all(0) | (sides < 0).all(0)
    assert bool((inside.sum(1) == 1).all())


def test_clouds_as_files(tmp_path: Path) -> None:
    x = normal(7, 3)
    for name in ("a.ply", "b.xyz"):
        path = write_points(x, tmp_path / "new" / name)
        assert torch.allclose(read_points(path), x, rtol=1e-6)
    assert (tmp_path / "new" / "a.ply").read_text().startswith("ply\nformat ascii 1.0\n")
    (tmp_path / "c.obj").write_text("# a cloud\nv 1 2 3\nvn 0 0 1\nv 4 5 6 1\nf 1 2 1\n")
    assert read_points(tmp_path / "c.obj").tolist() == [[1, 2, 3], [4, 5, 6]]
    coloured = (
        (tmp_path / "new" / "a.ply")
        .read_text()
        .replace("end_header", "property uchar red\nelement face 1\nend_header")
    )
    (tmp_path / "d.ply").write_text(coloured + "3 0 1 2\n")
    assert torch.allclose(read_points(tmp_path / "d.ply"), x, rtol=1e-6)


def test_meshes_from_files(tmp_path: Path) -> None:
    import numpy as np

    corners = np.arange(18, dtype=np.float32).reshape(2, 3, 3) ** 2
    kind = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    body = np.zeros(2, kind)
    body["corners"] = corners
    whole = b"solid no text".ljust(80) + (2).to_bytes(4, "little") + body.tobytes()
    (tmp_path / "a.stl").write_bytes(whole)
    assert read_surface(tmp_path / "a.stl").corners.tolist() == corners.tolist()
    (tmp_path / "b.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nf 1 2 4 3\n")
    assert float(read_surface(tmp_path / "b.obj").areas.sum()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.stl", b"x" * 50, "no header, which is no whole binary STL"),
        ("a.stl", bytes(80) + (3).to_bytes(4, "little") + bytes(70), "3 triangles in its header"),
        ("a.stl", bytes(80) + (1).to_bytes(4, "little") + bytes(52), "1 triangles in its header"),
        ("a.stl", b"solid text\n" * 20, "no whole binary STL"),
        ("a.obj", b"v 0 0 0\nv 1 0", "line 2"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nf 1 2 3\n", "a face names vertex 3"),
        ("a.obj", b"v 0 0 0\n", "no faces"),
        ("a.obj", b"v 0 0 0\nv 1 1 1\nv 2 2 2\nf 1 2 3\n", "no area"),
        ("a.obj", b"\xff\xfe\x00", "no text"),
        ("a.off", b"OFF", "must end in"),
    ],
)
def test_broken_meshes_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as error:
        read_surface(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


PLY = (
    "ply\nformat ascii 1.0\nelement vertex 2\n"
    "property float x\nproperty float y\nproperty float z\nend_header\n"
)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.ply", PLY + "0 0 0\n", "2 vertices in its header and 1 in the file"),
        ("a.ply", PLY + "0 0 0\n1 1\n", "holds no points"),
        ("a.ply", "ply\nformat binary_little_endian 1.0\nend_header\n", "no PLY file of text"),
        ("a.ply", "nothing", "no PLY file of text"),
        ("a.ply", PLY.replace("float x", "float y", 1) + "0 0 0\n1 1 1\n", "with x, y, z"),
        ("a.ply", PLY.replace("vertex 2", "vertex two") + "0 0 0\n1 1 1\n", "with x, y, z"),
        ("a.ply", PLY.replace("element", "element camera 1\nelement") + "0 0 0\n", "first element"),
        ("a.xyz", "1 2 3\n1 x 3\n", "holds no points"),
        ("a.xyz", "1 2 3\n1 nan 3\n", "three finite numbers"),
        ("a.xyz", "", "holds no points"),
        ("a.obj", "f 1 2 3\n", "holds no points"),
        ("a.txt", "1 2 3", "must end in"),
    ],
)
def test_broken_clouds_are_named(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=words) as error:
        read_points(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read, name in ((read_points, "a.ply"), (read_surface, "a.obj"), (read_surface, "a.stl")):
        with pytest.raises(DataError, match="cannot be read"):
            read(tmp_path / name)
    with pytest.raises(DataError, match=r"must end in \.ply"):
        write_points(normal(2, 3), tmp_path / "a.pcd")


def test_inputs_are_checked() -> None:
    x = normal(1, 10, 3)
    with pytest.raises(ShapeError, match="batch of one"):
        chamfer_distance(x[0], x[0])
    with pytest.raises(ShapeError, match="as many points"):
        earth_movers_distance(x, x[:, :5])
    with pytest.raises(ShapeError, match="10 points; need 11"):
        nearest(x, x, 11)
    with pytest.raises(ShapeError, match="holds NaN"):
        spacing(x / 0 * 0)
    with pytest.raises(ShapeError, match="no two different points"):
        spacing(torch.zeros(1, 4, 3))
    with pytest.raises(ConfigError, match="factor: got 0"):
        interpolate(x, 0)
    with pytest.raises(ConfigError, match="neighbours: got 2"):
        interpolate(x, 4, neighbours=2)
    with pytest.raises(ConfigError, match="at least 6 are needed"):
        interpolate(x, 4, neighbours=5)
    with pytest.raises(ShapeError, match="whole number of times"):
        UpsamplingFlow(PointUpsampler(8, 1)).pairs(x, normal(1, 15, 3))
    with pytest.raises(ConfigError, match="jitter: got -1"):
        UpsamplingFlow(PointUpsampler(8, 1), jitter=-1)
    with pytest.raises(ConfigError, match="condition: got nothing"):
        PointUpsampler(8, 1)(x, torch.zeros(1))
    with pytest.raises(ShapeError, match="x, t, sparse"):
        PointUpsampler(8, 1)(x, torch.zeros(2), {"sparse": x})
    with pytest.raises(ConfigError, match="depth: got 0"):
        PointUpsampler(8, 0)
    with pytest.raises(ConfigError, match="channels: got 0"):
        PointUpsampler(8, channels=0)
    with pytest.raises(ConfigError, match="width: got 0"):
        PointUpsampler(0)
    with pytest.raises(ShapeError, match="points: got shape"):
        write_points(x, "a.ply")
    with pytest.raises(ShapeError, match="no area"):
        Surface(torch.zeros(1, 3, 3))
