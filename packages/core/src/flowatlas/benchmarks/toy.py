"""`toy/*`, `so3/toy`, `hyperbolic/*` and `spd/*`: laws of known density.

The best possible NLL is then known too: that of the exact density.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from flowatlas.benchmarks.curved_pictures import DiscPicture, EllipsePicture
from flowatlas.benchmarks.pictures import Picture, PlanePicture, RotationPicture
from flowatlas.benchmarks.point_method import METHODS
from flowatlas.benchmarks.points import PointBenchmark
from flowatlas.benchmarks.problem import Problem, drawn_problem
from flowatlas.benchmarks.settings import PRESETS
from flowatlas.data import hyperbolic, rotations, spd, toy
from flowatlas.data.dataset import DataSet

__all__ = [
    "CHECKERBOARD",
    "EIGHT_GAUSSIANS",
    "LORENTZ",
    "POINCARE",
    "ROTATIONS",
    "SPD_THREE",
    "SPD_TWO",
    "TWO_MOONS",
]


def _load(seed: int, _: Path | None, *, data: DataSet, shape: tuple[int, ...]) -> Problem:
    assert data.law is not None
    return drawn_problem(data.space(), data.law(), shape, seed)


def _known(
    data: DataSet, shape: tuple[int, ...], methods: tuple[str, ...], picture: Picture
) -> PointBenchmark:
    return PointBenchmark(
        name=data.name,
        summary=f"{data.summary}; the density is known",
        data=f"{data.origin}: 50000 training, 4000 validation and 10000 test points",
        licence=data.licence,
        methods={name: METHODS[name] for name in methods},
        presets=PRESETS[data.name],
        load=partial(_load, data=data, shape=shape),
        picture=picture,
    )


_PLANE = ("condot", "condot-ot", "cosine")
TWO_MOONS = _known(toy.TWO_MOONS, (2,), _PLANE, PlanePicture(2.0))
EIGHT_GAUSSIANS = _known(toy.EIGHT_GAUSSIANS, (2,), _PLANE, PlanePicture(3.2))
CHECKERBOARD = _known(toy.CHECKERBOARD, (2,), _PLANE, PlanePicture(2.6))
ROTATIONS = _known(rotations.ROTATIONS, (3, 3), ("geodesic", "geodesic-ot"), RotationPicture())

_WRAPPED = ("geodesic-wrapped", "geodesic-wrapped-ot")
LORENTZ = _known(
    hyperbolic.LORENTZ,
    (3,),
    _WRAPPED,
    DiscPicture(hyperbolic.disc_points, hyperbolic.hyperboloid_points),
)
POINCARE = _known(hyperbolic.POINCARE, (2,), _WRAPPED, DiscPicture())
SPD_TWO = _known(spd.TWO, (2, 2), _WRAPPED, EllipsePicture())
SPD_THREE = _known(spd.THREE, (3, 3), _WRAPPED, EllipsePicture())
