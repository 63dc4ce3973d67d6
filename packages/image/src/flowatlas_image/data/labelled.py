"""Images with classes, in two parts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import DataError, ShapeError
from flowatlas_image.scaling import from_pixels

__all__ = ["ImageParts", "LabelledImages"]


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Pixels and the class of each image.

    Attributes:
        pixels: uint8 `(n, C, H, W)`.
        labels: int64 `(n,)`.
    """

    pixels: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4:
            raise ShapeError(
                f"pixels: got shape {tuple(self.pixels.shape)}, {self.pixels.dtype}; need uint8 "
                "(n, channels, height, width). Grey images have one channel: unsqueeze(1)."
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.pixels.shape[:1]:
            raise ShapeError(
                f"labels: got shape {tuple(self.labels.shape)}, {self.labels.dtype} beside "
                f"{len(self.pixels)} images; need int64, one label per image."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def x_1(self) -> Tensor:
        """The images in [-1, 1], float32: what a flow is trained on."""
        return from_pixels(self.pixels)

    def rows(self, index: Tensor) -> LabelledImages:
        """Some of them."""
        return LabelledImages(self.pixels[index], self.labels[index])

    def divided(self, count: int, seed: int) -> tuple[LabelledImages, LabelledImages]:
        """The first `count` of a random order, and the others.

        Files are often sorted by class, so that their first rows are no random part.

        Raises:
            DataError: one of the two would be empty.
        """
        if not 0 < count < len(self):
            raise DataError(
                f"count: got {count} of {len(self)} images; both parts need images: from 1 to "
                f"{len(self) - 1}."
            )
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.rows(order[:count]), self.rows(order[count:])


@dataclass(frozen=True, slots=True)
class ImageParts:
    """The published division of a set.

    Attributes:
        train: to learn from; validation images are taken out of these.
        test: for the final number.
        classes: what each label means.
    """

    train: LabelledImages
    test: LabelledImages
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, part in (("train", self.train), ("test", self.test)):
            if len(part) == 0:
                raise DataError(f"{name}: holds no images. Restore the original file.")
            low, high = int(part.labels.min()), int(part.labels.max())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"{name}: labels go from {low} to {high}, but there are {len(self.classes)} "
                    "classes. Restore the original file."
                )

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train.pixels.shape[1:]
        return channels, height, width
