"""A trained flow of images with classes: what is drawn from it, and how that is scored."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from flowatlas.benchmarks import Task
from flowatlas.benchmarks.contract import Array
from flowatlas.guidance import ClassifierFree
from flowatlas.paths import AffinePath
from flowatlas.sampling import Replacement, sample
from flowatlas_image.benchmarks.method import ImageMethod, ImagePreset
from flowatlas_image.benchmarks.scores import Judge
from flowatlas_image.data import ImageParts
from flowatlas_image.metrics import class_accuracy

__all__ = ["CURVES", "Flow", "completion", "curves"]

#: Ways to sample a trained flow, which need no training of their own.
CURVES = ("guided", "plain", "midpoint")
#: Images sampled at once.
_CHUNK = 250
#: Completions in the picture.
_SHOWN = 8


@dataclass(frozen=True)
class Flow:
    """A trained field, and the classes that its samples are to have.

    Attributes:
        field: with averaged weights.
        path: that it was trained on.
        parts: the data.
        task: method, preset and seed.
        labels: one for each sample: those of test images, drawn with replacement.
    """

    field: nn.Module
    path: AffinePath
    parts: ImageParts
    task: Task[ImageMethod, ImagePreset]
    labels: Tensor

    @classmethod
    def of(
        cls,
        field: nn.Module,
        path: AffinePath,
        parts: ImageParts,
        task: Task[ImageMethod, ImagePreset],
    ) -> Flow:
        """The flow whose samples have classes as often as the test images."""
        generator = torch.Generator().manual_seed(task.seed)
        order = torch.randint(len(parts.test), (task.preset.samples,), generator=generator)
        labels = parts.test.labels[order].to(task.preset.torch_device)
        return cls(field, path, parts, task, labels)

    def draw(self, evaluations: int, method: ImageMethod) -> Tensor:
        """One image for each of the labels, in [-1, 1]."""
        x: Tensor = sample(
            ClassifierFree(self.field, self.path, scale=method.scale),
            self.path,
            shape=(len(self.labels), *self.parts.event_shape),
            condition={"label": self.labels},
            solver=method.build_solver(evaluations),
            device=self.labels.device,
            generator=self._generator(1),
            chunk_size=_CHUNK,
        )
        return x.clamp(-1, 1)

    def complete(self, x_1: Tensor, given: Tensor, draw: int) -> Tensor:
        """Images whose entries are kept where `given`, the others drawn; no class is told.

        A field that was trained with given pixels is told them; others are sampled with
        `Replacement`.
        """
        method = self.task.method
        x: Tensor = sample(
            self.field,
            self.path,
            shape=tuple(x_1.shape),
            fixed=(given, x_1) if method.given > 0 else Replacement(given, x_1),
            solver=method.build_solver(2 * method.evaluations),
            device=self.labels.device,
            generator=self._generator(2 + draw),
            chunk_size=_CHUNK,
        )
        return x.clamp(-1, 1)

    def _generator(self, offset: int) -> torch.Generator:
        return torch.Generator(device=self.labels.device).manual_seed(self.task.seed + offset)


def curves(flow: Flow, judge: Judge, x: Tensor) -> tuple[dict[str, Array], dict[str, float]]:
    """Quality against evaluations, sampled as the method says, without guidance, by midpoint.

    Args:
        flow: to sample.
        judge: of the samples.
        x: the samples that the method drew already.

    Returns:
        `curve_nfe` and `curve_KIND` for each of `CURVES`; metrics `fd_KIND_N`, `accuracy_KIND_N`.
    """
    method = flow.task.method
    ways = (method, replace(method, scale=1.0), replace(method, solver="midpoint"))
    counts = [int(n) for n in flow.task.preset.curve]
    seen = {_key(method, method.evaluations): judge.quick(x, flow.labels)}
    metrics: dict[str, float] = {}
    arrays: dict[str, Array] = {"curve_nfe": np.array(counts)}
    for kind, way in zip(CURVES, ways, strict=True):
        values = []
        for n in counts:
            key = _key(way, n)
            if key not in seen:
                seen[key] = judge.quick(flow.draw(n, way), flow.labels)
            metrics |= {f"{name}_{kind}_{n}": value for name, value in seen[key].items()}
            values.append(seen[key]["fd"])
        arrays[f"curve_{kind}"] = np.array(values)
    return arrays, metrics


def _key(method: ImageMethod, evaluations: int) -> tuple[str, float, int]:
    """What a draw depends on: one evaluation is a step of Euler's for every solver."""
    return method.solver if evaluations > 1 else "euler", method.scale, evaluations


def completion(flow: Flow, judge: Judge) -> tuple[dict[str, Array], dict[str, float]]:
    """Test images whose lower half is drawn anew, and whether they keep their class.

    Returns:
        `given` and `completed` for the picture; metrics `completion_accuracy` of the completions,
        of the whole images (`exact/`) and of those with an empty half (`blank/`).
    """
    order = torch.randperm(len(flow.parts.test), generator=torch.Generator().manual_seed(0))
    test = flow.parts.test.rows(order[: flow.task.preset.completed])
    device = flow.labels.device
    x_1, labels = test.x_1.to(device), test.labels.to(device)
    given = torch.zeros_like(x_1, dtype=torch.bool)
    given[:, :, : x_1.shape[2] // 2] = True
    filled = flow.complete(x_1, given, 0)
    blank = torch.where(given, x_1, -1.0)
    shown = [filled[:_SHOWN], *(flow.complete(x_1[:_SHOWN], given[:_SHOWN], i) for i in (1, 2))]
    return (
        {
            "given": kept(torch.stack([x_1[:_SHOWN], blank[:_SHOWN]])),
            "completed": kept(torch.stack(shown)),
        },
        {
            f"{name}completion_accuracy": class_accuracy(judge.classifier.describe(x)[1], labels)
            for name, x in (("", filled), ("exact/", x_1), ("blank/", blank))
        },
    )


def kept(x: Tensor) -> Array:
    """As it is stored for pictures."""
    stored: Array = x.float().cpu().numpy().astype(np.float16)
    return stored
