"""`demo/*`: real data that ships inside dependencies."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from flowatlas.benchmarks.pictures import ImagePicture, SpherePicture
from flowatlas.benchmarks.point_method import METHODS
from flowatlas.benchmarks.points import PointBenchmark
from flowatlas.benchmarks.problem import Problem, named_problem
from flowatlas.benchmarks.settings import PRESETS
from flowatlas.data.packaged import CITIES as CITIES_DATA
from flowatlas.data.packaged import DIGITS as DIGITS_DATA
from flowatlas.data.splits import Split

__all__ = ["CITIES", "DIGITS", "PrincipalComponents"]

#: Components of the digits: nine tenths of their variance, and few enough for exact divergences.
COMPONENTS = 16


class PrincipalComponents:
    """Whitened coordinates along the directions of largest variance.

    Args:
        x: `(n, d)`, from which the directions are taken.
        count: how many.
    """

    def __init__(self, x: Tensor, count: int) -> None:
        self.mean = x.mean(0)
        _, scale, directions = torch.linalg.svd(x - self.mean, full_matrices=False)
        # Signs are fixed, or the coordinates would depend on the linear algebra library.
        largest = directions.abs().argmax(1, keepdim=True)
        directions = directions * directions.gather(1, largest).sign()
        self.directions = directions[:count]
        self.scale = scale[:count] / (len(x) - 1) ** 0.5

    def encode(self, x: Tensor) -> Tensor:
        """Coordinates `(n, count)` of data `(n, d)`."""
        z: Tensor = (x - self.mean) @ self.directions.T / self.scale
        return z

    def decode(self, z: Tensor) -> Tensor:
        """Data `(n, d)` of coordinates `(n, count)`."""
        x: Tensor = (z * self.scale) @ self.directions + self.mean
        return x


def _digits(seed: int, data_root: Path | None) -> Problem:
    problem = named_problem("demo/digits", seed, data_root, copies=False)
    parts = problem.split
    components = PrincipalComponents(parts.train, COMPONENTS)
    encoded = Split(*(components.encode(x) for x in (parts.train, parts.validation, parts.test)))
    return Problem(problem.manifold, encoded, decode=lambda z: components.decode(z).view(-1, 8, 8))


def _cities(seed: int, data_root: Path | None) -> Problem:
    return named_problem("demo/cities", seed, data_root, copies=False)


DIGITS = PointBenchmark(
    name="demo/digits",
    summary=f"handwritten digits, the first {COMPONENTS} principal components, whitened",
    data=f"{DIGITS_DATA.origin}; split 80/10/10 by seed, components of the training part",
    licence=DIGITS_DATA.licence,
    methods={name: METHODS[name] for name in ("condot", "condot-ot", "cosine")},
    presets=PRESETS["demo/digits"],
    load=_digits,
    picture=ImagePicture(),
    compare=("kde_fixed", "kde_neighbour", "gaussian"),
)

CITIES = PointBenchmark(
    name="demo/cities",
    summary="where cities of the world lie; density on the sphere",
    data=f"{CITIES_DATA.origin}, 100 000 inhabitants or more; split 80/10/10 by seed",
    licence=CITIES_DATA.licence,
    methods={name: METHODS[name] for name in ("geodesic", "geodesic-ot", "geodesic-fitted")},
    presets=PRESETS["demo/cities"],
    load=_cities,
    picture=SpherePicture("test cities"),
    compare=("kde_fixed", "kde_neighbour"),
)
