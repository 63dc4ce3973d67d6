"""`torsion/*`: backbone angles on the 2-torus, on stand-in data.

The published numbers are on the Top500 sets, which these are not: they are shown for orientation
and marked as not comparable. NLL is in nats with respect to square radians, as theirs.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from flowatlas.benchmarks.contract import Published
from flowatlas.benchmarks.method import METHODS
from flowatlas.benchmarks.pictures import TorusPicture
from flowatlas.benchmarks.points import PointBenchmark
from flowatlas.benchmarks.problem import Problem, named_problem
from flowatlas.benchmarks.settings import PRESETS
from flowatlas.data.dataset import DataSet
from flowatlas.data.torsion import GENERAL as GENERAL_DATA
from flowatlas.data.torsion import GLYCINE as GLYCINE_DATA
from flowatlas.data.torsion import PREPRO as PREPRO_DATA
from flowatlas.data.torsion import PROLINE as PROLINE_DATA

__all__ = ["GENERAL", "GLYCINE", "PREPRO", "PROLINE"]

_RFM = ("Riemannian flow matching", "Chen and Lipman, 2023, arXiv:2302.03660")
_RDM = ("Riemannian diffusion mixture", "Jo and Hwang, 2023, arXiv:2310.07216")
_TABLE = {
    "torsion/general": ((1.01, 0.025), (1.04, 0.012)),
    "torsion/glycine": ((1.90, 0.055), (1.97, 0.012)),
    "torsion/proline": ((0.15, 0.027), (0.12, 0.011)),
    "torsion/prepro": ((1.18, 0.055), (1.24, 0.004)),
}


def _load(seed: int, data_root: Path | None, *, name: str) -> Problem:
    return named_problem(name, seed, data_root, copies=False)


def _torsion(data: DataSet) -> PointBenchmark:
    return PointBenchmark(
        name=data.name,
        summary=f"{data.summary}; density on the torus",
        data=f"{data.name}, a stand-in for Top500 from {data.origin}; split 80/10/10 by seed",
        licence=data.licence,
        methods={
            n: METHODS[n]
            for n in ("geodesic", "geodesic-ot", "geodesic-marginal", "geodesic-fitted")
        },
        presets=PRESETS[data.name],
        load=partial(_load, name=data.name),
        picture=TorusPicture(),
        compare=("kde_fixed", "kde_neighbour"),
        published=tuple(
            Published("nll", method, value, spread, reference, comparable=False, note="Top500 data")
            for (method, reference), (value, spread) in zip(
                (_RFM, _RDM), _TABLE[data.name], strict=True
            )
        ),
    )


GENERAL = _torsion(GENERAL_DATA)
GLYCINE = _torsion(GLYCINE_DATA)
PROLINE = _torsion(PROLINE_DATA)
PREPRO = _torsion(PREPRO_DATA)
