"""Handwritten digits of 8 x 8 pixels, which ship inside scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flowatlas.errors import DataError
from flowatlas_image.data.image_set import ImageSet
from flowatlas_image.data.labelled import ImageParts, LabelledImages

__all__ = ["DIGITS"]

#: The package's set is the test part of the UCI set, without a division of its own.
_TRAIN = 1297
_DIVISION = 0


def _read(_: Path | None) -> ImageParts:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            "image/digits: this set ships inside the package scikit-learn, which is not installed. "
            "Run: pip install scikit-learn   (or: pip install 'flowatlas-image[bench]')"
        ) from error
    found = load_digits()
    # Counts of 0 to 16 ink dots, spread over the range of a byte.
    pixels = np.round(np.asarray(found.images) * (255 / 16)).astype(np.uint8)
    labels = torch.from_numpy(np.asarray(found.target, dtype=np.int64))
    whole = LabelledImages(torch.from_numpy(pixels).unsqueeze(1), labels)
    train, test = whole.divided(_TRAIN, _DIVISION)
    return ImageParts(train, test, tuple(str(digit) for digit in range(10)))


#: Handwritten digits of 8 x 8 pixels, which ship inside scikit-learn.
DIGITS = ImageSet(
    name="image/digits",
    summary="1797 handwritten digits, grey, 8 x 8 pixels; divided 1297 to 500 at random, once",
    read=_read,
    origin="package scikit-learn (UCI optical recognition of handwritten digits)",
    licence="CC BY 4.0 (UCI); BSD-3-Clause (package)",
)
