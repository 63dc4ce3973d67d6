"""Draws docs/figures/simplex.png from results of the benchmark `simplex/toy`.

for m in dirichlet fisher-rao linear; do
  flowatlas bench run simplex/toy --preset cpu --method $m --seed 0 --output runs/simplex
done
python docs/_simplex_figure.py runs/simplex
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from flowatlas.benchmarks.results import read
from flowatlas.plots import kl_curve, save

FIGURE = Path(__file__).with_name("figures") / "simplex.png"


def main(directory: Path) -> None:
    """One line a path, with the floor and the guess."""
    results = read(directory)
    arrays = {one.method: np.load(directory / str(one.arrays)) for one in results}
    first = next(iter(arrays.values()))
    sizes = first["sizes"]
    made = kl_curve(
        {name: (sizes, found["kl"]) for name, found in arrays.items()},
        floor=(sizes, first["exact"]),
        guess=(sizes, first["uniform"]),
        title="sampled tokens against their law",
    )
    print(save(made, FIGURE))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
