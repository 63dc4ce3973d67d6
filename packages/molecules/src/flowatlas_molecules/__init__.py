"""Flow matching for molecules, proteins and crystals.

Manifolds of frames, torsions, residue types, fractional coordinates and lattices; protein backbones
in files, frames and torsions, with the flow that makes new ones; crystals in files and batches,
with the flow that predicts their structures. Networks are in `flowatlas_molecules.networks`, scores
in `flowatlas_molecules.metrics` and `flowatlas_molecules.crystal_metrics`, pictures in
`flowatlas_molecules.plots` and `flowatlas_molecules.crystal_plots`, and the benchmarks
`molecules/backbone` and `molecules/perov-5` in `flowatlas_molecules.benchmarks`.
"""

from importlib.metadata import version as _version

from flowatlas_molecules.backbone_flow import BackboneGeometry as BackboneGeometry
from flowatlas_molecules.backbone_flow import backbone_data as backbone_data
from flowatlas_molecules.backbone_flow import backbone_objective as backbone_objective
from flowatlas_molecules.backbone_flow import backbone_path as backbone_path
from flowatlas_molecules.backbone_flow import sample_backbones as sample_backbones
from flowatlas_molecules.backbone_system import BackboneSystem as BackboneSystem
from flowatlas_molecules.backbone_torsions import BackboneTorsions as BackboneTorsions
from flowatlas_molecules.backbone_torsions import backbone_torsions as backbone_torsions
from flowatlas_molecules.backbone_torsions import chain_from_torsions as chain_from_torsions
from flowatlas_molecules.chain_batches import ChainBatches as ChainBatches
from flowatlas_molecules.cif import CifFile as CifFile
from flowatlas_molecules.cif import crystal_of as crystal_of
from flowatlas_molecules.cif import read_cif as read_cif
from flowatlas_molecules.cif import reduce_crystal as reduce_crystal
from flowatlas_molecules.cif import structure_of as structure_of
from flowatlas_molecules.cif import write_cif as write_cif
from flowatlas_molecules.crystal_alignment import CrystalAlignment as CrystalAlignment
from flowatlas_molecules.crystal_flow import AntiAnnealing as AntiAnnealing
from flowatlas_molecules.crystal_flow import crystal_data as crystal_data
from flowatlas_molecules.crystal_flow import crystal_objective as crystal_objective
from flowatlas_molecules.crystal_flow import crystal_path as crystal_path
from flowatlas_molecules.crystal_flow import sample_crystals as sample_crystals
from flowatlas_molecules.crystal_sets import PEROVSKITES_TEST as PEROVSKITES_TEST
from flowatlas_molecules.crystal_sets import PEROVSKITES_VAL as PEROVSKITES_VAL
from flowatlas_molecules.crystal_sets import ideal_perovskites as ideal_perovskites
from flowatlas_molecules.crystal_sets import load_perovskites as load_perovskites
from flowatlas_molecules.crystal_sets import read_crystals as read_crystals
from flowatlas_molecules.crystal_system import CrystalSystem as CrystalSystem
from flowatlas_molecules.crystals import Crystal as Crystal
from flowatlas_molecules.crystals import PaddedCrystals as PaddedCrystals
from flowatlas_molecules.crystals import lattice_matrix as lattice_matrix
from flowatlas_molecules.crystals import pad_crystals as pad_crystals
from flowatlas_molecules.crystals import to_crystals as to_crystals
from flowatlas_molecules.dihedrals import dihedrals as dihedrals
from flowatlas_molecules.frames import atoms_from_frames as atoms_from_frames
from flowatlas_molecules.frames import connected as connected
from flowatlas_molecules.frames import frames_from_atoms as frames_from_atoms
from flowatlas_molecules.manifolds import BackboneFrames as BackboneFrames
from flowatlas_molecules.manifolds import FractionalCoordinates as FractionalCoordinates
from flowatlas_molecules.manifolds import Lattice as Lattice
from flowatlas_molecules.manifolds import LatticePrior as LatticePrior
from flowatlas_molecules.manifolds import ResidueSimplex as ResidueSimplex
from flowatlas_molecules.manifolds import Torsions as Torsions
from flowatlas_molecules.packaged import packaged_chains as packaged_chains
from flowatlas_molecules.proteins import ChainSplit as ChainSplit
from flowatlas_molecules.proteins import PaddedChains as PaddedChains
from flowatlas_molecules.proteins import load_chains as load_chains
from flowatlas_molecules.proteins import pad_chains as pad_chains
from flowatlas_molecules.proteins import split_by_cluster as split_by_cluster
from flowatlas_molecules.proteins import to_chains as to_chains
from flowatlas_molecules.residues import LETTERS as LETTERS
from flowatlas_molecules.residues import letters as letters
from flowatlas_molecules.residues import tokens as tokens
from flowatlas_molecules.structures import Backbone as Backbone
from flowatlas_molecules.structures import Structure as Structure
from flowatlas_molecules.structures import read_structure as read_structure
from flowatlas_molecules.structures import write_structure as write_structure

__version__ = _version("flowatlas-molecules")
