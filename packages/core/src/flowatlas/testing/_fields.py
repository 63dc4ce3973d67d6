"""Conditional fields known in closed form, which also count how they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flowatlas.exact import ExactMixtureFlow, GaussianMixture
from flowatlas.paths import AffinePath
from flowatlas.schedulers import Scheduler

__all__ = ["STD", "Classes", "Constant", "affine", "centred", "labels"]

#: Spread of the data of every class.
STD = 0.5


class Classes:
    """Exact predictions for classes of Gaussians, the last label meaning none in particular.

    Args:
        means: `(classes, dim)`.
        null: the law without a condition.
        kind: of the predictions.
        scheduler: of the path.
    """

    def __init__(
        self, means: Tensor, null: GaussianMixture, kind: str, scheduler: Scheduler | None = None
    ) -> None:
        each = [
            GaussianMixture(torch.ones(1), mean.unsqueeze(0), stds=STD) for mean in means.double()
        ]
        self.flows = [ExactMixtureFlow(one, scheduler) for one in (*each, null)]
        self.kind = kind
        self.batches: list[int] = []

    def __call__(
        self, x: Tensor, t: Tensor, condition: Mapping[str, Tensor] | None = None, **_: Any
    ) -> Tensor:
        self.batches.append(len(x))
        none = len(self.flows) - 1
        label = t.new_full((len(t),), none).long() if condition is None else condition["label"]
        every = torch.stack([flow.prediction(self.kind)(x, t) for flow in self.flows])
        return every[label, torch.arange(len(x))]

    def null_condition(self, condition: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.full_like(y, len(self.flows) - 1) for name, y in condition.items()}


def centred(dim: int) -> GaussianMixture:
    """One Gaussian at the origin, as wide as every class."""
    return GaussianMixture(torch.ones(1), torch.zeros(1, dim), stds=STD)


def labels(batch: int, *values: int) -> dict[str, Tensor]:
    """One label for all samples, or several on an axis of their own."""
    y = torch.tensor(values).expand(batch, -1)
    return {"label": y[:, 0] if len(values) == 1 else y}


def affine(kind: str, scheduler: Scheduler | None = None) -> AffinePath:
    """The path that `Classes` is exact for."""
    return AffinePath(scheduler, prediction=kind)


class Constant:
    """Given predictions, one for each value of the label; the last is the null one."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self.batches: list[int] = []

    def __call__(
        self, x: Any, t: Tensor, condition: Mapping[str, Tensor] | None = None, **_: Any
    ) -> Any:
        self.batches.append(len(t))
        none = len(self.values) - 1
        label = [none] * len(t) if condition is None else condition["label"].tolist()
        first = self.values[0]
        if isinstance(first, Mapping):
            return {
                name: torch.stack([self.values[i][name] for i in label]).to(t.dtype)
                for name in first
            }
        return torch.stack([self.values[i] for i in label]).to(t.dtype)

    def null_condition(self, condition: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.full_like(y, len(self.values) - 1) for name, y in condition.items()}
