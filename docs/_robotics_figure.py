"""Draws docs/figures/robotics_routes.png from a result of the benchmark `robotics/avoidance`.

flowatlas bench run robotics/avoidance --preset demo --seed 0 --output runs/robotics
python docs/_robotics_figure.py runs/robotics
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from flowatlas.benchmarks.results import read
from flowatlas.plots import save
from flowatlas_robotics.plots import routes

FIGURE = Path(__file__).with_name("figures") / "robotics_routes.png"


def main(directory: Path) -> None:
    """Demonstrations, the flow and the regression, side by side."""
    result = read(directory)[-1]
    with np.load(directory / str(result.arrays)) as arrays:
        panels = {
            "demonstrations": arrays["demonstrations"],
            "flow": arrays["flow"],
            "least squares": arrays["regression"],
        }
    print(save(routes(panels), FIGURE, dpi=110))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
