"""`torsion/*`: angles of proteins on the 2-torus and the 6-torus, of RNA on the 7-torus.

The published numbers of the 2-tori are on the Top500 sets, which these are not: they are shown for
orientation and marked as not comparable. Those of RNA are on a set that has five rows more. NLL is
in nats with respect to radians, as theirs.
"""

from __future__ import annotations

from functools import partial

from flowatlas.benchmarks.densities import density
from flowatlas.benchmarks.pictures import AnglePairsPicture, TorusPicture
from flowatlas.data.rna import RNA as RNA_DATA
from flowatlas.data.sidechains import ARGININE as ARGININE_DATA
from flowatlas.data.sidechains import LYSINE as LYSINE_DATA
from flowatlas.data.torsion import GENERAL as GENERAL_DATA
from flowatlas.data.torsion import GLYCINE as GLYCINE_DATA
from flowatlas.data.torsion import PREPRO as PREPRO_DATA
from flowatlas.data.torsion import PROLINE as PROLINE_DATA

__all__ = ["GENERAL", "GLYCINE", "LYSINE", "PREPRO", "PROLINE", "RNA", "SIDECHAIN"]

_torsion = partial(density, space="torus", picture=TorusPicture(), stand_in="Top500")
GENERAL = _torsion(GENERAL_DATA, flow_matching=(1.01, 0.025), diffusion_mixture=(1.04, 0.012))
GLYCINE = _torsion(GLYCINE_DATA, flow_matching=(1.90, 0.055), diffusion_mixture=(1.97, 0.012))
PROLINE = _torsion(PROLINE_DATA, flow_matching=(0.15, 0.027), diffusion_mixture=(0.12, 0.011))
PREPRO = _torsion(PREPRO_DATA, flow_matching=(1.18, 0.055), diffusion_mixture=(1.24, 0.004))

_CHAIN = AnglePairsPicture(("phi", "psi", "chi1", "chi2", "chi3", "chi4"), ((0, 1), (2, 3), (4, 5)))
# Narrow wells in six or seven angles are made at the end of the flow; regression on all the points
# costs a pass over them for each sample.
_many = partial(density, copies=True, methods=("geodesic-late", "geodesic", "geodesic-marginal"))
SIDECHAIN = _many(ARGININE_DATA, space="6-torus", picture=_CHAIN)
LYSINE = _many(LYSINE_DATA, space="6-torus", picture=_CHAIN)
RNA = _many(
    RNA_DATA,
    space="7-torus",
    picture=AnglePairsPicture(
        ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "chi"), ((0, 2), (3, 6), (4, 5))
    ),
    flow_matching=(-5.20, 0.067),
    diffusion_mixture=(-3.70, 0.592),
)
