"""`image/*`: class-conditional flows of small images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from flowatlas.benchmarks import Benchmark, Metric, Outcome, Task
from flowatlas.benchmarks.contract import Array
from flowatlas.guidance import ClassifierFree
from flowatlas.networks import Classes
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath
from flowatlas.sampling import Replacement, sample
from flowatlas_image.benchmarks.method import ImageMethod, ImagePreset
from flowatlas_image.benchmarks.scores import Judge, class_gaussians
from flowatlas_image.data import ImageParts, ImageSet
from flowatlas_image.metrics import class_accuracy, train_classifier
from flowatlas_image.networks import UNet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ImageBenchmark"]

ImageTask = Task[ImageMethod, ImagePreset]
#: Training images that are kept for the validation loss, at most; a tenth of a small set.
_WATCHED = 1000
#: Columns of the picture of classes, and images in that of completion.
_SHOWN = 8
#: Images sampled at once.
_CHUNK = 250


@dataclass(frozen=True)
class ImageBenchmark(Benchmark[ImageMethod, ImagePreset]):
    """Train a class-conditional U-Net; score its samples and its completions beside test images.

    Attributes:
        images: the set.
        The others are those of `Benchmark`.
    """

    name: str
    summary: str
    data: str
    licence: str
    methods: Mapping[str, ImageMethod]
    presets: Mapping[str, ImagePreset]
    images: ImageSet
    metrics: tuple[Metric, ...] = (
        Metric("fd", "FD-clf"),
        Metric("accuracy", "class accuracy", "higher"),
        Metric("swd", "sliced Wasserstein"),
        Metric("precision", "precision", "higher"),
        Metric("recall", "recall", "higher"),
        Metric("density", "density", "higher"),
        Metric("coverage", "coverage", "higher"),
        Metric("completion_accuracy", "class kept in completions", "higher"),
        Metric("seconds_training", "training, s", "", 0),
    )
    baselines: Mapping[str, str] = (  # type: ignore[assignment]
        ("exact", "as many training images"),
        ("gaussian", "a Gaussian for each class"),
        ("blank", "the lower half left empty"),
    )
    protocol: str = (
        "Samples are compared with the test images in the features of a small classifier trained "
        "here on the training images: FD-clf is no FID, and is comparable only within a table. "
        "Classes of the samples are those of test images. Class accuracy is the classifier's "
        "opinion, which it has of test images as the row of training images says. Completions "
        "have the lower half filled in by Replacement, without being told the class."
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "baselines", dict(self.baselines))

    def run(self, task: ImageTask) -> Outcome:
        # Lightning takes seconds to import, and lists of benchmarks do not need it.
        from flowatlas.benchmarks.fitting import fit_network, load_fitted, loss_arrays
        from flowatlas.training import TensorData

        preset, method = task.preset, task.method
        parts = self.images.load(task.data_root)
        watched, train = parts.train.divided(min(_WATCHED, len(parts.train) // 10), task.seed)
        path = AffinePath(point_ndim=0)
        objective = FlowMatching(path, coupling=method.build_coupling())
        data = TensorData(
            {"x_1": train.x_1, "condition": {"label": train.labels}},
            {"x_1": watched.x_1, "condition": {"label": watched.labels}},
            batch_size=preset.batch,
            # Optimal transport pairs within a batch: the loss is to mean the same as in training.
            val_batch_size=preset.batch,
            seed=task.seed,
        )
        result = fit_network(
            _network(parts, task), objective, data, task, condition_dropout=method.dropout
        )
        field = load_fitted(result.checkpoint, preset, _network(parts, task))
        device = preset.torch_device
        classifier = train_classifier(
            parts.train.x_1.to(device),
            parts.train.labels.to(device),
            len(parts.classes),
            steps=preset.classifier_steps,
        )
        judge = Judge.of(classifier, parts.test)
        flow = _Flow(field, path, parts, task)
        x = flow.draw(method.evaluations, method.scale)
        curves, metrics = _curves(flow, judge, x)
        completion, completed = _completion(flow, judge)
        metrics |= {**judge.scores(x, flow.labels), **_baselines(parts, judge, flow.labels)}
        metrics |= {"seconds_training": result.seconds, "steps": float(result.step)}
        metrics |= completed | {"parameters": float(sum(p.numel() for p in field.parameters()))}
        rows = _by_class(flow.labels, len(parts.classes))
        test_rows = _by_class(parts.test.labels, len(parts.classes))
        return Outcome(
            metrics=metrics,
            nfe=method.nfe,
            arrays={
                **curves,
                **loss_arrays(result.log),
                **completion,
                "curve_floor": np.array(metrics["exact/fd"]),
                "samples": _kept(x[rows]),
                "points": _kept(parts.test.x_1[test_rows]),
            },
        )

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import loss_curve, nfe_curve
        from flowatlas_image.plots import class_grid, completions

        made = {
            "test images and samples, a class in each row": class_grid(
                points=arrays["points"], samples=arrays["samples"], columns=_SHOWN, title=title
            ),
            "completions: image, what is given, three draws": completions(
                arrays["given"], arrays["completed"], title=title
            ),
        }
        if len(arrays["curve_nfe"]):
            made["FD-clf against evaluations"] = nfe_curve(
                {
                    "guided": (arrays["curve_nfe"], arrays["curve_guided"]),
                    "plain": (arrays["curve_nfe"], arrays["curve_plain"]),
                },
                floor=float(arrays["curve_floor"]),
                label="FD-clf to test images",
                title=title,
            )
        made["loss"] = loss_curve(
            arrays["loss_steps"],
            arrays["loss"],
            validation=(arrays["validation_steps"], arrays["validation"]),
            title=title,
        )
        return made


def _network(parts: ImageParts, task: ImageTask) -> UNet:
    preset = task.preset
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        return UNet(
            parts.event_shape,
            channels=preset.channels,
            blocks=preset.blocks,
            patch=preset.patch,
            condition={"label": Classes(len(parts.classes))},
        )


class _Flow:
    """A trained field, and the classes that its samples are to have."""

    def __init__(
        self, field: nn.Module, path: AffinePath, parts: ImageParts, task: ImageTask
    ) -> None:
        self.field, self.path, self.parts, self.task = field, path, parts, task
        self.device = task.preset.torch_device
        # Classes as often as in the test set, which is what samples are compared with.
        order = torch.randint(
            len(parts.test),
            (task.preset.samples,),
            generator=torch.Generator().manual_seed(task.seed),
        )
        self.labels = parts.test.labels[order].to(self.device)

    def draw(self, evaluations: int, scale: float) -> Tensor:
        """One image for each of the labels, in [-1, 1] but for overshoot."""
        x: Tensor = sample(
            ClassifierFree(self.field, self.path, scale=scale),
            self.path,
            shape=(len(self.labels), *self.parts.event_shape),
            condition={"label": self.labels},
            solver=self.task.method.build_solver(evaluations),
            device=self.device,
            generator=torch.Generator(device=self.device).manual_seed(self.task.seed + 1),
            chunk_size=_CHUNK,
        )
        return x.clamp(-1, 1)

    def complete(self, x_1: Tensor, given: Tensor, draw: int) -> Tensor:
        """Images whose entries are kept where `given`, the others drawn; no class is told."""
        x: Tensor = sample(
            self.field,
            self.path,
            shape=tuple(x_1.shape),
            fixed=Replacement(given, x_1),
            solver=self.task.method.build_solver(2 * self.task.method.evaluations),
            device=self.device,
            generator=torch.Generator(device=self.device).manual_seed(self.task.seed + 2 + draw),
            chunk_size=_CHUNK,
        )
        return x.clamp(-1, 1)


def _curves(flow: _Flow, judge: Judge, x: Tensor) -> tuple[dict[str, Array], dict[str, float]]:
    """Quality against evaluations, guided as the method says and plain."""
    method = flow.task.method
    counts = [int(n) for n in flow.task.preset.curve]
    metrics: dict[str, float] = {}
    values: dict[str, list[float]] = {"guided": [], "plain": []}
    for key, scale in (("guided", method.scale), ("plain", 1.0)):
        for n in counts:
            if key == "plain" and method.scale == 1.0:
                found = {name: metrics[f"{name}_guided_{n}"] for name in ("fd", "accuracy")}
            else:
                known = n == method.evaluations and scale == method.scale
                found = judge.quick(x if known else flow.draw(n, scale), flow.labels)
            metrics |= {f"{name}_{key}_{n}": value for name, value in found.items()}
            values[key].append(found["fd"])
    arrays: dict[str, Array] = {f"curve_{key}": np.array(v) for key, v in values.items()}
    return {"curve_nfe": np.array(counts), **arrays}, metrics


def _completion(flow: _Flow, judge: Judge) -> tuple[dict[str, Array], dict[str, float]]:
    """Test images whose lower half is drawn anew, and whether they keep their class."""
    order = torch.randperm(len(flow.parts.test), generator=torch.Generator().manual_seed(0))
    test = flow.parts.test.rows(order[: flow.task.preset.completed])
    x_1, labels = test.x_1.to(flow.device), test.labels.to(flow.device)
    given = torch.zeros_like(x_1, dtype=torch.bool)
    given[:, :, : x_1.shape[2] // 2] = True
    filled = flow.complete(x_1, given, 0)
    blank = torch.where(given, x_1, -1.0)
    shown = [filled[:_SHOWN], *(flow.complete(x_1[:_SHOWN], given[:_SHOWN], i) for i in (1, 2))]
    return (
        {
            "given": _kept(torch.stack([x_1[:_SHOWN], blank[:_SHOWN]])),
            "completed": _kept(torch.stack(shown)),
        },
        {
            f"{name}completion_accuracy": class_accuracy(judge.classifier.describe(x)[1], labels)
            for name, x in (("", filled), ("exact/", x_1), ("blank/", blank))
        },
    )


def _baselines(parts: ImageParts, judge: Judge, labels: Tensor) -> dict[str, float]:
    """Scores of training images, and of draws of Gaussians."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(parts.train), generator=generator)[: len(labels)]
    real = parts.train.rows(order)
    device = labels.device
    drawn = class_gaussians(parts.train, labels.cpu(), generator).to(device)
    found: dict[str, Any] = {
        "exact": judge.scores(real.x_1.to(device), real.labels.to(device)),
        "gaussian": judge.scores(drawn, labels),
    }
    # Training images are known to the classifier; its opinion of the test images is the floor.
    seen = judge.classifier.describe(judge.images)[1].cpu()
    found["exact"]["accuracy"] = class_accuracy(seen, parts.test.labels)
    return {f"{name}/{key}": v for name, values in found.items() for key, v in values.items()}


def _by_class(labels: Tensor, classes: int) -> Tensor:
    """The first few images of each class, class by class; the last repeated where there are few."""
    rows = []
    for label in range(classes):
        found = torch.nonzero(labels.cpu() == label).flatten()
        if len(found) == 0:
            found = torch.zeros(1, dtype=torch.int64)
        rows.append(found[torch.arange(_SHOWN).clamp(max=len(found) - 1)])
    return torch.cat(rows)


def _kept(x: Tensor) -> Array:
    kept: Array = x.float().cpu().numpy().astype(np.float16)
    return kept
