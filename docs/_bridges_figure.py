"""Draws docs/figures/bridge_lineage.png and bridge_lidar.png from results of the benchmarks.

flowatlas bench run bridge/lineage --method metric-land --preset cpu --output runs/bridges
flowatlas bench run bridge/lidar --method metric-rbf --preset cpu --output runs/bridges
python docs/_bridges_figure.py runs/bridges
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from flowatlas.benchmarks.cells import LINEAGE
from flowatlas.benchmarks.lidar import LIDAR
from flowatlas.plots import save

FIGURES = Path(__file__).with_name("figures")
#: Benchmark, method, the picture of the run, and the file.
DRAWN = (
    (LINEAGE, "metric-land", "trajectories over the cells", "bridge_lineage"),
    (LIDAR, "metric-rbf", "trajectories over the terrain", "bridge_lidar"),
)


def main(directory: Path) -> None:
    """The pictures of seed 0."""
    for benchmark, method, caption, file in DRAWN:
        run = f"runs/{benchmark.name.replace('/', '-')}/{method}-cpu-0"
        with np.load(directory / run / "arrays.npz") as arrays:
            made = benchmark.figures(dict(arrays), f"{benchmark.name}, {method}")[caption]
        print(save(made, FIGURES / f"{file}.png", dpi=110))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
