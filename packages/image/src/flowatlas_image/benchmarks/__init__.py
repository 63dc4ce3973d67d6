"""Benchmarks `image/*`."""

from flowatlas_image.benchmarks.classes import ImageBenchmark as ImageBenchmark
from flowatlas_image.benchmarks.method import IMAGE_METHODS as IMAGE_METHODS
from flowatlas_image.benchmarks.method import ImageMethod as ImageMethod
from flowatlas_image.benchmarks.method import ImagePreset as ImagePreset
