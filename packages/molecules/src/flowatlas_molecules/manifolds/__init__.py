"""Manifolds of molecules, built on those of the core."""

from flowatlas_molecules.manifolds.backbone_frames import BackboneFrames as BackboneFrames
from flowatlas_molecules.manifolds.fractional_coordinates import (
    FractionalCoordinates as FractionalCoordinates,
)
from flowatlas_molecules.manifolds.lattice import Lattice as Lattice
from flowatlas_molecules.manifolds.lattice import LatticePrior as LatticePrior
from flowatlas_molecules.manifolds.residue_simplex import ResidueSimplex as ResidueSimplex
from flowatlas_molecules.manifolds.torsions import Torsions as Torsions
