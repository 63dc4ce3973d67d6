"""The benchmarks of images, and how large and how long each preset is."""

from __future__ import annotations

from dataclasses import replace

from flowatlas_image.benchmarks.classes import ImageBenchmark
from flowatlas_image.benchmarks.method import IMAGE_METHODS, ImagePreset
from flowatlas_image.data import cifar10, digits, image_set, mnist

__all__ = ["CIFAR10", "DIGITS", "FASHION", "MNIST"]

# Nothing runs at full resolution: squares of 2 x 2 pixels are channels. On a core of 2024 a step
# takes a fifth of a second.
_CPU = ImagePreset(
    width=48,
    levels=2,
    patch=2,
    batch=64,
    lr=2e-3,
    weight_decay=0.01,
    steps=1200,
    max_seconds=540.0,
    ema=0.99,
    samples=2000,
    threads=1,
)
_GPU = replace(
    _CPU,
    width=64,
    levels=3,
    patch=1,
    blocks=2,
    batch=256,
    lr=1e-3,
    steps=30_000,
    max_seconds=1500.0,
    ema=0.999,
    samples=10_000,
    curve=(1, 2, 4, 10, 20, 50),
    classifier_steps=4000,
    threads=None,
    device="auto",
)
_DEMO = replace(
    _CPU,
    width=32,
    patch=1,
    warmup=30,
    steps=400,
    max_seconds=15.0,
    ema=0.97,
    samples=500,
    curve=(1, 2, 4, 10),
    classifier_steps=300,
    completed=100,
)


def _benchmark(images: image_set.ImageSet, presets: dict[str, ImagePreset]) -> ImageBenchmark:
    return ImageBenchmark(
        name=images.name,
        summary=images.summary,
        data=images.origin,
        licence=images.licence,
        methods=IMAGE_METHODS,
        presets=presets,
        images=images,
    )


DIGITS = _benchmark(
    digits.DIGITS, {"demo": _DEMO, "cpu": replace(_DEMO, steps=1500, ema=0.99, max_seconds=300.0)}
)
MNIST = _benchmark(mnist.MNIST, {"cpu": _CPU, "gpu": replace(_GPU, levels=2)})
FASHION = _benchmark(mnist.FASHION, {"cpu": _CPU, "gpu": replace(_GPU, levels=2)})
CIFAR10 = _benchmark(cifar10.CIFAR10, {"gpu": replace(_GPU, width=128, levels=3)})
