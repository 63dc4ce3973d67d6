"""Benchmarks of molecules."""

from flowatlas_molecules.benchmarks.backbone import BackboneBenchmark as BackboneBenchmark
from flowatlas_molecules.benchmarks.backbone_settings import BackboneMethod as BackboneMethod
from flowatlas_molecules.benchmarks.backbone_settings import BackbonePreset as BackbonePreset
from flowatlas_molecules.benchmarks.crystal_settings import CrystalMethod as CrystalMethod
from flowatlas_molecules.benchmarks.crystal_settings import CrystalPreset as CrystalPreset
from flowatlas_molecules.benchmarks.perov import PerovBenchmark as PerovBenchmark
