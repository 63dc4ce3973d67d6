"""What is drawn from a trained flow of images, and how that is scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from flowatlas.benchmarks import Task
from flowatlas.benchmarks.contract import Array
from flowatlas_image.benchmarks.method import ImageMethod, ImagePreset
from flowatlas_image.benchmarks.scores import Judge
from flowatlas_image.data import ImageParts
from flowatlas_image.metrics import class_accuracy
from flowatlas_image.system import ImageSystem

__all__ = ["CURVES", "completion", "curves", "draw", "kept"]

#: Ways to sample a trained flow, which need no training of their own.
CURVES = ("guided", "plain", "midpoint")
#: Completions in the picture.
_SHOWN = 8

ImageTask = Task[ImageMethod, ImagePreset]


def draw(
    system: ImageSystem, labels: Tensor, task: ImageTask, method: ImageMethod, evaluations: int
) -> Tensor:
    """One image for each of the labels, in [-1, 1], where the labels are."""
    drawn = system.draw(
        len(labels),
        seed=task.seed + 1,
        solver=method.build_solver(evaluations),
        labels=labels,
        scale=method.scale,
    )
    return drawn.x_1.to(labels.device)


def curves(
    system: ImageSystem, labels: Tensor, judge: Judge, task: ImageTask, x: Tensor
) -> tuple[dict[str, Array], dict[str, float]]:
    """Quality against evaluations, sampled as the method says, without guidance, by midpoint.

    Args:
        system: to sample.
        labels: of the samples.
        judge: of the samples.
        task: method and preset.
        x: the samples that the method drew already.

    Returns:
        `curve_nfe` and `curve_KIND` for each of `CURVES`; metrics `fd_KIND_N`, `accuracy_KIND_N`.
    """
    method = task.method
    ways = (method, replace(method, scale=1.0), replace(method, solver="midpoint"))
    counts = [int(n) for n in task.preset.curve]
    seen = {_key(method, method.evaluations): judge.quick(x, labels)}
    metrics: dict[str, float] = {}
    arrays: dict[str, Array] = {"curve_nfe": np.array(counts)}
    for kind, way in zip(CURVES, ways, strict=True):
        values = []
        for n in counts:
            key = _key(way, n)
            if key not in seen:
                seen[key] = judge.quick(draw(system, labels, task, way, n), labels)
            metrics |= {f"{name}_{kind}_{n}": value for name, value in seen[key].items()}
            values.append(seen[key]["fd"])
        arrays[f"curve_{kind}"] = np.array(values)
    return arrays, metrics


def _key(method: ImageMethod, evaluations: int) -> tuple[str, float, int]:
    """What a draw depends on: one evaluation is a step of Euler's for every solver."""
    return method.solver if evaluations > 1 else "euler", method.scale, evaluations


def completion(
    system: ImageSystem, parts: ImageParts, judge: Judge, task: ImageTask
) -> tuple[dict[str, Array], dict[str, float]]:
    """Test images whose lower half is drawn anew, and whether they keep their class.

    Returns:
        `given` and `completed` for the picture; metrics `completion_accuracy` of the completions,
        of the whole images (`exact/`) and of those with an empty half (`blank/`).
    """
    order = torch.randperm(len(parts.test), generator=torch.Generator().manual_seed(0))
    test = parts.test.rows(order[: task.preset.completed])
    given = torch.zeros(test.pixels.shape, dtype=torch.bool)
    given[:, :, : given.shape[2] // 2] = True
    solver = task.method.build_solver(2 * task.method.evaluations)
    few = test.rows(torch.arange(_SHOWN))
    filled, *others = (
        system.complete(images, given[: len(images)], seed=task.seed + 2 + i, solver=solver).x_1
        for i, images in enumerate((test, few, few))
    )
    blank = torch.where(given, test.x_1, -1.0)
    return (
        {
            "given": kept(torch.stack([few.x_1, blank[:_SHOWN]])),
            "completed": kept(torch.stack([filled[:_SHOWN], *others])),
        },
        {
            f"{name}completion_accuracy": class_accuracy(
                judge.classifier.describe(x.to(judge.images.device))[1].cpu(), test.labels
            )
            for name, x in (("", filled), ("exact/", test.x_1), ("blank/", blank))
        },
    )


def kept(x: Tensor) -> Array:
    """As it is stored for pictures."""
    stored: Array = x.float().cpu().numpy().astype(np.float16)
    return stored
