"""Draws a figure of docs/packages/image.md from a result of a benchmark `image/*`.

flowatlas bench run image/digits --preset demo --seed 0 --output runs/images
python docs/_image_figure.py runs/images
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from flowatlas.benchmarks.results import read
from flowatlas.plots import save
from flowatlas_image.plots import class_grid, completions

FIGURES = Path(__file__).with_name("figures")


def main(directory: Path) -> None:
    """Samples by class, and completions, of the last result in the directory."""
    result = read(directory)[-1]
    name = result.benchmark.replace("/", "_")
    with np.load(directory / str(result.arrays)) as found:
        arrays = dict(found)
    title = f"{result.benchmark}, {result.method}, {result.nfe} evaluations"
    columns = arrays["given"].shape[1]
    grid = class_grid(
        points=arrays["points"], samples=arrays["samples"], columns=columns, title=title
    )
    print(save(grid, FIGURES / f"{name}.png", dpi=110))
    filled = completions(arrays["given"], arrays["completed"], title="completions")
    print(save(filled, FIGURES / f"{name}_completed.png", dpi=110))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
