"""`torsion/*`: backbone angles on the 2-torus, on stand-in data.

The published numbers are on the Top500 sets, which these are not: they are shown for orientation
and marked as not comparable. NLL is in nats with respect to square radians, as theirs.
"""

from __future__ import annotations

from functools import partial

from flowatlas.benchmarks.densities import density
from flowatlas.benchmarks.pictures import TorusPicture
from flowatlas.data.torsion import GENERAL as GENERAL_DATA
from flowatlas.data.torsion import GLYCINE as GLYCINE_DATA
from flowatlas.data.torsion import PREPRO as PREPRO_DATA
from flowatlas.data.torsion import PROLINE as PROLINE_DATA

__all__ = ["GENERAL", "GLYCINE", "PREPRO", "PROLINE"]

_torsion = partial(density, space="torus", picture=TorusPicture(), stand_in="Top500")
GENERAL = _torsion(GENERAL_DATA, flow_matching=(1.01, 0.025), diffusion_mixture=(1.04, 0.012))
GLYCINE = _torsion(GLYCINE_DATA, flow_matching=(1.90, 0.055), diffusion_mixture=(1.97, 0.012))
PROLINE = _torsion(PROLINE_DATA, flow_matching=(0.15, 0.027), diffusion_mixture=(0.12, 0.011))
PREPRO = _torsion(PREPRO_DATA, flow_matching=(1.18, 0.055), diffusion_mixture=(1.24, 0.004))
