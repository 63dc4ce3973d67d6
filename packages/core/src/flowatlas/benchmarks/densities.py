"""What benchmarks of densities on manifolds share: methods, baselines, published likelihoods."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from flowatlas.benchmarks.contract import Published
from flowatlas.benchmarks.pictures import Picture
from flowatlas.benchmarks.point_method import METHODS
from flowatlas.benchmarks.points import PointBenchmark
from flowatlas.benchmarks.problem import Problem, named_problem
from flowatlas.benchmarks.settings import PRESETS
from flowatlas.data.dataset import DataSet

__all__ = ["Row", "density"]

#: Mean and standard deviation of a published test NLL.
Row = tuple[float, float]

METHODS_OF_DENSITIES = ("geodesic", "geodesic-ot", "geodesic-marginal", "geodesic-fitted")


def density(
    data: DataSet,
    space: str,
    picture: Picture,
    *,
    flow_matching: Row | None = None,
    diffusion_mixture: Row | None = None,
    copies: bool = False,
    stand_in: str | None = None,
    methods: tuple[str, ...] = METHODS_OF_DENSITIES,
) -> PointBenchmark:
    """The density of a named data set.

    Args:
        data: the set.
        space: where it lies, in words.
        picture: what is drawn.
        flow_matching: published by Chen and Lipman, if it was.
        diffusion_mixture: published by Jo and Hwang, if it was.
        copies: whether some test points are copies of training points.
        stand_in: the set of the publications, if it is not this one; then the rows are for
            orientation, and marked as not comparable.
        methods: names, the default first.
    """
    published = (
        ("Riemannian flow matching", flow_matching, "Chen and Lipman, 2023, arXiv:2302.03660"),
        ("Riemannian diffusion mixture", diffusion_mixture, "Jo and Hwang, 2023, arXiv:2310.07216"),
    )
    origin = data.origin if stand_in is None else f"a stand-in for {stand_in} from {data.origin}"
    return PointBenchmark(
        name=data.name,
        summary=f"{data.summary}; density on the {space}",
        data=f"{data.name}, {origin}; split 80/10/10 by seed",
        licence=data.licence,
        methods={name: METHODS[name] for name in methods},
        presets=PRESETS[data.name],
        load=partial(_load, name=data.name, copies=copies),
        picture=picture,
        compare=("kde_fixed", "kde_neighbour"),
        published=tuple(
            Published(
                "nll",
                method,
                *row,
                reference,
                comparable=stand_in is None,
                note="" if stand_in is None else f"{stand_in} data",
            )
            for method, row, reference in published
            if row is not None
        ),
    )


def _load(seed: int, data_root: Path | None, *, name: str, copies: bool) -> Problem:
    return named_problem(name, seed, data_root, copies=copies)
