"""What a set of images is scored by, and what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.benchmarks.metrics import sliced_wasserstein
from flowatlas_image.data import LabelledImages
from flowatlas_image.metrics import Classifier, class_accuracy, frechet_distance, neighbours

__all__ = ["Judge", "class_gaussians"]

#: Added to the variance of every pixel, so that pixels that are always white have one.
_JITTER = 1e-3


@dataclass(frozen=True, slots=True)
class Judge:
    """A classifier, and the test images that samples are compared with.

    Attributes:
        classifier: trained on the training images.
        images: test images `(m, C, H, W)` in [-1, 1].
        features: of the test images.
    """

    classifier: Classifier
    images: Tensor
    features: Tensor

    @classmethod
    def of(cls, classifier: Classifier, test: LabelledImages) -> Judge:
        """The judge that compares with all of `test`."""
        images = test.x_1.to(next(classifier.parameters()).device)
        return cls(classifier, images, classifier.describe(images)[0])

    def quick(self, x: Tensor, labels: Tensor) -> dict[str, float]:
        """Class accuracy and Frechet distance alone."""
        features, found = self.classifier.describe(x)
        return {
            "accuracy": class_accuracy(found, labels),
            "fd": frechet_distance(features, self.features),
        }

    def scores(self, x: Tensor, labels: Tensor) -> dict[str, float]:
        """All numbers of images `x` that were to be of the classes `labels`."""
        features, found = self.classifier.describe(x)
        count = min(len(x), len(self.features))
        near = neighbours(self.features[:count], features[:count])
        directions = torch.Generator().manual_seed(0)
        return {
            "accuracy": class_accuracy(found, labels),
            "fd": frechet_distance(features, self.features),
            "swd": sliced_wasserstein(x.flatten(1), self.images.flatten(1), generator=directions),
            "precision": near.precision,
            "recall": near.recall,
            "density": near.density,
            "coverage": near.coverage,
        }


def class_gaussians(
    train: LabelledImages, labels: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Draws of one Gaussian for each class, fitted to its pixels, clamped to [-1, 1].

    Args:
        train: images of every class that is asked for.
        labels: `(n,)`: the class of each draw.
        generator: of the draws.

    Returns:
        `(n, C, H, W)` in float32.
    """
    shape = train.pixels.shape[1:]
    drawn = torch.empty(len(labels), *shape)
    for label in labels.unique().tolist():
        x = train.rows(train.labels == label).x_1.flatten(1).double()
        centred = x - x.mean(0)
        covariance = centred.mT @ centred / len(x)
        covariance.diagonal().add_(_JITTER)
        root = torch.linalg.cholesky(covariance)
        wanted = labels == label
        count = int(wanted.sum())
        noise = torch.randn(count, x.shape[1], generator=generator, dtype=torch.float64)
        drawn[wanted] = (x.mean(0) + noise @ root.mT).clamp(-1, 1).float().view(count, *shape)
    return drawn
