"""Flow matching for molecules, proteins and crystals.

Here now: the manifold of torsion angles, found by the name `torsions`, and `dihedrals`, which reads
such angles off coordinates. To come: backbone frames, residue types, lattices, networks and
benchmarks.
"""

from importlib.metadata import version as _version

from flowatlas_molecules.dihedrals import dihedrals as dihedrals
from flowatlas_molecules.manifolds import Torsions as Torsions

__version__ = _version("flowatlas-molecules")
