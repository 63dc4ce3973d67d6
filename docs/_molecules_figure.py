"""Draws docs/figures/molecules.png from a run of the demo of `molecules/backbone`.

flowatlas bench run molecules/backbone --preset demo --set max_seconds=none --output runs/molecules
python docs/_molecules_figure.py runs/molecules
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from flowatlas.plots import save
from flowatlas_molecules.benchmarks.backbone import BACKBONE

RUN = "runs/molecules-backbone/frames-demo-0/arrays.npz"

with np.load(Path(sys.argv[1]) / RUN) as arrays:
    pictures = BACKBONE.figures(dict(arrays), "molecules/backbone, demo")
save(next(iter(pictures.values())), Path(__file__).parent / "figures" / "molecules.png", dpi=90)
