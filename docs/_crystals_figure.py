"""Draws docs/figures/crystals*.png from a run of `molecules/perov-5`.

flowatlas bench run molecules/perov-5 --preset cpu --seed 0 --set max_seconds=none --output runs/molecules
python docs/_crystals_figure.py runs/molecules
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from flowatlas.plots import save
from flowatlas_molecules.benchmarks.perov import PEROV

RUN = "runs/molecules-perov-5/aligned-cpu-0/arrays.npz"
FIGURES = Path(__file__).parent / "figures"

with np.load(Path(sys.argv[1]) / RUN) as arrays:
    pictures = PEROV.figures(dict(arrays), "molecules/perov-5")
for name, picture in zip(("crystals", "crystals_matches"), pictures.values(), strict=False):
    save(picture, FIGURES / f"{name}.png", dpi=90)
