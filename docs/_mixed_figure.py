"""Draws docs/figures/mixed.png from a result of the benchmark `mixed/toy`.

flowatlas bench run mixed/toy --preset cpu --method mask --seed 0 --output runs/mixed
python docs/_mixed_figure.py runs/mixed
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from flowatlas.benchmarks.results import read
from flowatlas.plots import save
from flowatlas.plots.mixed import mixed_states

FIGURE = Path(__file__).with_name("figures") / "mixed.png"


def main(directory: Path) -> None:
    """Draws of the law above, samples of the flow below."""
    result = read(directory)[-1]
    with np.load(directory / str(result.arrays)) as arrays:
        made = mixed_states(dict(arrays), title="places and directions by their first token")
    print(save(made, FIGURE, dpi=110))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
