"""Draws docs/figures/upsampling.png from a result of the benchmark `pointcloud/upsampling`.

flowatlas bench run pointcloud/upsampling --preset cpu --seed 0 --output runs/clouds
python docs/_clouds_figure.py runs/clouds
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from flowatlas.benchmarks.results import read
from flowatlas.plots import save
from flowatlas_robotics.cloud_plots import clouds

FIGURE = Path(__file__).with_name("figures") / "upsampling.png"


def main(directory: Path) -> None:
    """What was given, midpoints, the flow and the surface, for the first held-out shapes."""
    result = read(directory)[-1]
    with np.load(directory / str(result.arrays)) as arrays:
        panels = {
            "given": arrays["sparse"],
            "interpolation": arrays["interpolated"],
            "flow": arrays["samples"],
            "surface": arrays["points"],
        }
    print(save(clouds(panels), FIGURE, dpi=110))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
