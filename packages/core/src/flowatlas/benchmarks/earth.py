"""`earth/*`: events on the sphere.

The published numbers are on random splits of the whole files by seeds 0 to 4, as here (the splits
themselves differ). Many of their test points are copies of training points (77 % for volcano), so
the likelihood of the others is reported as well.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from flowatlas.benchmarks.contract import Published
from flowatlas.benchmarks.method import METHODS
from flowatlas.benchmarks.pictures import SpherePicture
from flowatlas.benchmarks.points import PointBenchmark
from flowatlas.benchmarks.problem import Problem, named_problem
from flowatlas.benchmarks.settings import PRESETS
from flowatlas.data.dataset import DataSet
from flowatlas.data.earth import EARTHQUAKE as EARTHQUAKE_DATA
from flowatlas.data.earth import FIRE as FIRE_DATA
from flowatlas.data.earth import FLOOD as FLOOD_DATA
from flowatlas.data.earth import VOLCANO as VOLCANO_DATA

__all__ = ["EARTHQUAKE", "FIRE", "FLOOD", "VOLCANO"]

_RFM = ("Riemannian flow matching", "Chen and Lipman, 2023, arXiv:2302.03660")
_RDM = ("Riemannian diffusion mixture", "Jo and Hwang, 2023, arXiv:2310.07216")
_TABLE = {
    "earth/volcano": ((-7.93, 1.67), (-6.61, 0.97)),
    "earth/earthquake": ((-0.28, 0.08), (-0.40, 0.05)),
    "earth/flood": ((0.42, 0.05), (0.43, 0.07)),
    "earth/fire": ((-1.86, 0.11), (-1.38, 0.05)),
}


def _load(seed: int, data_root: Path | None, *, name: str) -> Problem:
    return named_problem(name, seed, data_root, copies=True)


def _earth(data: DataSet) -> PointBenchmark:
    return PointBenchmark(
        name=data.name,
        summary=f"{data.summary}; density on the sphere",
        data=f"{data.name}, {data.origin}; split 80/10/10 by seed",
        licence=data.licence,
        methods={
            n: METHODS[n]
            for n in ("geodesic", "geodesic-ot", "geodesic-marginal", "geodesic-fitted")
        },
        presets=PRESETS[data.name],
        load=partial(_load, name=data.name),
        picture=SpherePicture(),
        compare=("kde_fixed", "kde_neighbour"),
        published=tuple(
            Published("nll", method, value, spread, reference)
            for (method, reference), (value, spread) in zip(
                (_RFM, _RDM), _TABLE[data.name], strict=True
            )
        ),
    )


VOLCANO = _earth(VOLCANO_DATA)
EARTHQUAKE = _earth(EARTHQUAKE_DATA)
FLOOD = _earth(FLOOD_DATA)
FIRE = _earth(FIRE_DATA)
