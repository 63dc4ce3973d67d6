"""The sets of images as the core's commands know them: points of flat space, without labels."""

from __future__ import annotations

from flowatlas_image.data.cifar10 import CIFAR10
from flowatlas_image.data.digits import DIGITS
from flowatlas_image.data.mnist import FASHION, MNIST

__all__ = ["CIFAR10_POINTS", "DIGITS_POINTS", "FASHION_POINTS", "MNIST_POINTS"]

CIFAR10_POINTS = CIFAR10.points
DIGITS_POINTS = DIGITS.points
FASHION_POINTS = FASHION.points
MNIST_POINTS = MNIST.points
