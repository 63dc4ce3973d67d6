r"""Draws docs/figures/crystals*.png from a short run of `molecules/perov-5`.

flowatlas bench run molecules/perov-5 --preset cpu --set steps=1500 samples=150 \
    curve_samples=40 max_seconds=none --output runs/molecules
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
    pictures = PEROV.figures(dict(arrays), "molecules/perov-5, 1500 steps")
for name, picture in zip(("crystals", "crystals_matches"), pictures.values(), strict=False):
    save(picture, FIGURES / f"{name}.png", dpi=90)
