"""A small classifier, trained here: its features and its opinion of samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d, relu

from flowatlas.errors import ConfigError, ShapeError

__all__ = ["Classifier", "class_accuracy", "train_classifier"]

#: Images looked at together where no gradient is needed.
_CHUNK = 500
#: Training images that the scale of the features is measured on, at most.
_MEASURED = 10_000


class Classifier(nn.Module):
    """Two convolutions and two linear layers: images `(n, C, H, W)` in [-1, 1] to logits.

    Its features are what the last layer decides by, after the rectifier, over one number: the root
    mean square over training images and features of the distance from the mean. Their covariance
    over training images then has the trace `dim`, however large the weights have grown, so that
    distances between sets of features have a scale.

    Args:
        event_shape: `(C, H, W)`, sides of 4 or more.
        classes: how many.
        width: channels of the first convolution; the second has twice as many.
        dim: how many features there are.
    """

    def __init__(
        self, event_shape: Sequence[int], classes: int, *, width: int = 32, dim: int = 64
    ) -> None:
        super().__init__()
        if len(event_shape) != 3 or min(event_shape[1:]) < 4:
            raise ShapeError(
                f"event_shape: got {tuple(event_shape)}; need (channels, height, width) with "
                "sides of 4 or more."
            )
        channels, height, rows = event_shape
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.hidden = nn.Linear(2 * width * (height // 4) * (rows // 4), dim)
        self.outputs = nn.Linear(dim, classes)

        self.register_buffer("spread", torch.ones(()))

    def features(self, x: Tensor) -> Tensor:
        """Scaled features, `(n, dim)`."""
        return self._hidden(x) / self.get_buffer("spread")

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(n, classes)`."""
        logits: Tensor = self.outputs(self._hidden(x))
        return logits

    @torch.no_grad()
    def describe(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features `(n, dim)` and classes `(n,)` of many images, a part at a time."""
        hidden = self._hidden_of_many(x)
        return hidden / self.get_buffer("spread"), self.outputs(hidden).argmax(1)

    @torch.no_grad()
    def standardise(self, x: Tensor) -> None:
        """Take the scale of the features from images `(n, C, H, W)`, two or more."""
        spread = self._hidden_of_many(x).var(0).mean().sqrt()
        # Features that never vary are left as they are.
        self.get_buffer("spread").copy_(torch.where(spread > 0, spread, 1.0))

    def _hidden(self, x: Tensor) -> Tensor:
        h = max_pool2d(relu(self.first(x)), 2)
        h = max_pool2d(relu(self.second(h)), 2)
        return relu(self.hidden(h.flatten(1)))

    def _hidden_of_many(self, x: Tensor) -> Tensor:
        return torch.cat([self._hidden(part) for part in x.split(_CHUNK)])


def train_classifier(
    x: Tensor, labels: Tensor, classes: int, *, steps: int = 600, batch: int = 128, seed: int = 0
) -> Classifier:
    """A classifier of images, by AdamW with a learning rate that falls to zero.

    The scale of its features is that of the images it was trained on.

    Args:
        x: `(n, C, H, W)` in [-1, 1]; where it lies the classifier will be.
        labels: `(n,)`.
        classes: how many.
        steps: of the optimiser.
        batch: images a step.
        seed: of the weights and of the order.

    Raises:
        ConfigError: no steps, or a batch of none.
        ShapeError: images and labels that do not fit.
    """
    if steps < 1 or batch < 1:
        raise ConfigError(f"steps, batch: got {steps}, {batch}; both at least 1.")
    if x.ndim != 4 or labels.shape != x.shape[:1]:
        raise ShapeError(
            f"x, labels: got shapes {tuple(x.shape)} and {tuple(labels.shape)}; need "
            "(n, C, H, W) and (n,)."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier(x.shape[1:], classes).to(x.device)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        index = torch.randint(len(x), (batch,), generator=order).to(x.device)
        loss = cross_entropy(network(x[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.standardise(x[:: -(-len(x) // _MEASURED)])
    return network.eval().requires_grad_(False)


def class_accuracy(found: Tensor, wanted: Tensor) -> float:
    """Share of the classes found that are the classes wanted, both `(n,)`."""
    if found.shape != wanted.shape or found.numel() == 0:
        raise ShapeError(
            f"found, wanted: got shapes {tuple(found.shape)} and {tuple(wanted.shape)}; need one "
            "class per sample in both, and one sample or more."
        )
    return float((found == wanted).double().mean())
