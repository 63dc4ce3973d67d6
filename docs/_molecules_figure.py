"""Draws docs/figures/molecules.png and molecules_cpu.png from runs of `molecules/backbone`.

flowatlas bench run molecules/backbone --preset demo --set max_seconds=none --output runs/molecules
flowatlas bench run molecules/backbone --preset cpu --output runs/molecules
python docs/_molecules_figure.py runs/molecules
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from flowatlas.plots import save
from flowatlas_molecules.benchmarks.backbone import BACKBONE

FIGURES = Path(__file__).parent / "figures"

for preset, name in (("demo", "molecules.png"), ("cpu", "molecules_cpu.png")):
    run = Path(sys.argv[1]) / f"runs/molecules-backbone/frames-{preset}-0/arrays.npz"
    with np.load(run) as arrays:
        pictures = BACKBONE.figures(dict(arrays), f"molecules/backbone, {preset}")
    save(next(iter(pictures.values())), FIGURES / name, dpi=90)
