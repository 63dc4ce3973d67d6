"""Projections and pictures."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowatlas import plots
from flowatlas.errors import CapabilityError
from flowatlas.plots.globe import grid, mollweide, orthographic
from flowatlas.plots.rotations import axis_and_turn
from flowatlas.plots.style import refine

RNG = np.random.default_rng(0)


def sphere(n: int) -> Any:
    x = RNG.normal(size=(n, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_mollweide_keeps_areas() -> None:
    # The Jacobian of the projection over that of the sphere is constant, by finite differences.
    latitude = RNG.uniform(-85, 85, 200)
    longitude = RNG.uniform(-175, 175, 200)
    step = 1e-3
    x, y = mollweide(latitude, longitude)
    x_lat, y_lat = mollweide(latitude + step, longitude)
    x_lon, y_lon = mollweide(latitude, longitude + step)
    scale = np.deg2rad(step)
    area = np.abs((x_lat - x) * (y_lon - y) - (x_lon - x) * (y_lat - y)) / scale**2
    np.testing.assert_allclose(
        area / np.cos(np.deg2rad(latitude)), 2 * math.pi / (4 * math.pi), rtol=2e-3
    )


def test_mollweide_fills_its_ellipse_up_to_the_poles() -> None:
    x, y = mollweide(
        np.array([90.0, -90.0, 0.0, 0.0, 89.99]), np.array([0.0, 10.0, 180.0, -180.0, 180.0])
    )
    np.testing.assert_allclose(x[:4], [0, 0, 2, -2], atol=1e-6)
    np.testing.assert_allclose(y[:4], [1, -1, 0, 0], atol=1e-6)
    assert (x[4] / 2) ** 2 + y[4] ** 2 <= 1 + 1e-9


def test_orthographic_is_the_view_from_far_away() -> None:
    x, y = orthographic(
        np.array([20.0, -20.0, 110.0 - 90]), np.array([30.0, 210.0, 30.0]), (20.0, 30.0)
    )
    np.testing.assert_allclose([x[0], y[0]], [0, 0], atol=1e-12)
    assert np.isnan(x[1])
    latitude, longitude = grid()
    u, v = orthographic(latitude, longitude, (10.0, 50.0))
    assert np.nanmax(u**2 + v**2) <= 1 + 1e-9
    assert np.isnan(u).mean() == pytest.approx(0.5, abs=0.02)


def test_axis_and_turn_tell_a_rotation() -> None:
    matrices = np.linalg.qr(RNG.normal(size=(100, 3, 3)))[0]
    matrices[np.linalg.det(matrices) < 0, :, 0] *= -1
    axis, turn = axis_and_turn(matrices)
    diagonal = np.ones(3) / math.sqrt(3)
    np.testing.assert_allclose(axis, matrices @ diagonal, atol=1e-12)
    # A further turn about the image of the diagonal adds to the turn.
    angle = 0.7
    cross = np.zeros((100, 3, 3))
    for i, (a, b) in enumerate([(1, 2), (2, 0), (0, 1)]):
        cross[:, b, a], cross[:, a, b] = axis[:, i], -axis[:, i]
    more = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    new_axis, new_turn = axis_and_turn(more @ matrices)
    np.testing.assert_allclose(new_axis, axis, atol=1e-12)
    gap = (new_turn - turn - angle + math.pi) % (2 * math.pi) - math.pi
    np.testing.assert_allclose(gap, 0, atol=1e-9)


def test_refinement_keeps_linear_functions_and_wraps() -> None:
    rows = np.arange(8.0)[:, None] * np.ones((1, 6))
    fine = refine(rows, 4, wrap=(False, True))
    assert fine.shape == (32, 24)
    np.testing.assert_allclose(np.diff(fine[4:-4, 0]), 0.25)
    angle = 2 * math.pi * (np.arange(24) + 0.5) / 24
    waves = refine(np.ones((4, 1)) * np.cos(angle), 3, wrap=(False, True))
    exact = np.cos(2 * math.pi * (np.arange(72) + 0.5) / 72)
    np.testing.assert_allclose(waves[0], exact, atol=0.01)


def _globe() -> Any:
    return plots.globe(log_density=np.full((60, 120), -2.0), points=sphere(9), samples=sphere(9))


def _ramachandran() -> Any:
    angles = RNG.uniform(0, 2 * math.pi, (20, 2))
    return plots.ramachandran(log_density=np.zeros((30, 30)), points=angles, samples=angles)


def _plane() -> Any:
    x = RNG.normal(size=(20, 2))
    return plots.plane(
        points=x,
        samples=x,
        trajectories=RNG.normal(size=(5, 20, 2)),
        log_density=RNG.normal(size=(20, 20)),
        half=3.0,
    )


def _nfe() -> Any:
    nfe = np.array([2, 4, 8])
    return plots.nfe_curve({"euler": (nfe, np.array([0.1, 0.01, -0.001]))}, floor=0.001)


def _loss() -> Any:
    return plots.loss_curve(
        np.arange(500), RNG.random(500), validation=(np.array([9]), np.array([1.0]))
    )


def _rotations() -> Any:
    matrices = np.broadcast_to(np.eye(3), (5, 3, 3))
    return plots.rotations(points=matrices, samples=matrices)


def _images() -> Any:
    return plots.image_rows(points=RNG.random((60, 8, 8)), samples=RNG.random((7, 8, 8)))


@pytest.mark.parametrize("make", [_globe, _ramachandran, _plane, _nfe, _loss, _rotations, _images])
def test_pictures_are_small_pngs_that_are_not_blank(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    from PIL import Image

    content = plots.png(make(), dpi=80)
    assert len(content) < 200_000
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    assert min(pixels.shape) > 150
    assert 0.002 < (pixels < 250).mean() < 0.95
    path = plots.save(make(), tmp_path / "deep" / "picture.svg")
    assert path.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("space", "shape"),
    [("Sphere", (3,)), ("SO3", (3, 3)), ("FlatTorus", (2,)), ("Euclidean", (5,))],
)
def test_points_of_every_space_that_has_a_picture(space: str, shape: tuple[int, ...]) -> None:
    x = np.broadcast_to(np.eye(3), (4, 3, 3)) if space == "SO3" else sphere(4)
    if space in ("FlatTorus", "Euclidean"):
        x = RNG.random((4, *shape))
    assert len(plots.png(plots.point_cloud(x, space, title="points"), dpi=60)) > 1000


def test_spaces_without_a_picture_are_an_error() -> None:
    with pytest.raises(CapabilityError, match="no picture"):
        plots.point_cloud(np.zeros((3, 4)), "Lorentz")


def test_nothing_is_left_of_the_style() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.png(_loss(), dpi=40)
    assert dict(matplotlib.rcParams) == before
