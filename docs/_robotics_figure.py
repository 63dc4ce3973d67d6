"""Draws the pictures of routes from results of `robotics/avoidance` and `-points`.

flowatlas bench run robotics/avoidance --preset demo --seed 0 --output runs/robotics
python docs/_robotics_figure.py runs/robotics
flowatlas bench run robotics/avoidance-points --preset cpu --seed 0 --output runs/points
python docs/_robotics_figure.py runs/points
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from flowatlas.benchmarks.results import read
from flowatlas.plots import save
from flowatlas_robotics.benchmarks.avoidance import AVOIDANCE
from flowatlas_robotics.benchmarks.avoidance_points import AVOIDANCE_POINTS

FIGURES = {
    AVOIDANCE.name: (AVOIDANCE, "robotics_routes.png"),
    AVOIDANCE_POINTS.name: (AVOIDANCE_POINTS, "robotics_points.png"),
}


def main(directory: Path) -> None:
    """Demonstrations, the flow and its rivals of the last result, side by side."""
    result = read(directory)[-1]
    benchmark, name = FIGURES[result.benchmark]
    with np.load(directory / str(result.arrays)) as arrays:
        made = next(iter(benchmark.figures(arrays, "").values()))
    print(save(made, Path(__file__).with_name("figures") / name, dpi=110))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
