"""Benchmarks of molecules."""

from flowatlas_molecules.benchmarks.backbone import BackboneBenchmark as BackboneBenchmark
from flowatlas_molecules.benchmarks.backbone import BackboneMethod as BackboneMethod
from flowatlas_molecules.benchmarks.backbone import BackbonePreset as BackbonePreset
