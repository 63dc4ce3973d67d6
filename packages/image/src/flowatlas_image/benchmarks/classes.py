"""`image/*`: class-conditional flows of small images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from flowatlas.benchmarks import Fitted, Metric, Outcome, SystemBenchmark, Task, closeness
from flowatlas.benchmarks.contract import Array
from flowatlas.networks import Classes
from flowatlas.objectives import FlowMatching
from flowatlas.solvers import Solver
from flowatlas_image.benchmarks.flow import CURVES, completion, curves, draw, kept
from flowatlas_image.benchmarks.masks import given_pixels
from flowatlas_image.benchmarks.method import ImageMethod, ImagePreset
from flowatlas_image.benchmarks.scores import Judge, class_gaussians
from flowatlas_image.data import ImageParts, ImageSet, LabelledImages
from flowatlas_image.metrics import class_accuracy, train_classifier
from flowatlas_image.networks import UNet
from flowatlas_image.system import ImageSystem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ImageBenchmark"]

ImageTask = Task[ImageMethod, ImagePreset]
#: Training images that are kept for the validation loss, at most; a tenth of a small set.
_WATCHED = 1000
#: Columns of the picture of classes, and images in that of completion.
_SHOWN = 8


@dataclass(frozen=True)
class ImageBenchmark(SystemBenchmark[ImageMethod, ImagePreset, ImageSystem]):
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
    measure: str = "root of: FD-clf of as many training images, over that of the samples"
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
        "here on the training images, scaled to a mean variance of 1 there: FD-clf is no FID, and "
        "is comparable only within a table. "
        "Classes of the samples are those of test images. Class accuracy is the classifier's "
        "opinion, which it has of test images as the row of training images says. Completions "
        "have the lower half filled in without being told the class: by a network that was trained "
        "with given pixels, or by Replacement."
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "baselines", dict(self.baselines))

    def train(self, task: ImageTask) -> Fitted[ImageSystem]:
        # Lightning takes seconds to import, and lists of benchmarks do not need it.
        from flowatlas.benchmarks.fitting import fit_network, load_fitted, loss_arrays
        from flowatlas.training import TensorData

        preset, method = task.preset, task.method
        parts = self.images.load(task.data_root)
        watched, train = parts.train.divided(min(_WATCHED, len(parts.train) // 10), task.seed)
        network = _network(parts, task)
        system = ImageSystem(
            network=network,
            classes=parts.classes,
            scale=method.scale,
            solver_name=method.solver,
            steps=method.steps(method.evaluations),
        )
        data = TensorData(
            _rows(train, task),
            _rows(watched, task),
            batch_size=preset.batch,
            # Optimal transport pairs within a batch: the loss is to mean the same as in training.
            val_batch_size=preset.batch,
            seed=task.seed,
        )
        objective = FlowMatching(system.path, coupling=method.build_coupling())
        result = fit_network(network, objective, data, task, condition_dropout=method.dropout)
        trained = load_fitted(result.checkpoint, preset, _network(parts, task))
        assert isinstance(trained, UNet)
        return Fitted(
            system=replace(system, network=trained),
            steps=result.step,
            seconds=result.seconds,
            losses=loss_arrays(result.log),
        )

    def score(self, fitted: Fitted[ImageSystem], task: ImageTask) -> Outcome:
        method, system = task.method, fitted.system
        parts, judge, labels = self._measured(task)
        x = draw(system, labels, task, method, method.evaluations)
        quality, metrics = curves(system, labels, judge, task, x)
        completed, found = completion(system, parts, judge, task)
        metrics |= {**judge.scores(x, labels), **_baselines(parts, judge, labels), **found}
        metrics |= {"seconds_training": fitted.seconds, "steps": float(fitted.steps)}
        metrics["parameters"] = float(sum(p.numel() for p in system.network.parameters()))
        rows = _by_class(labels, len(parts.classes))
        test_rows = _by_class(parts.test.labels, len(parts.classes))
        return Outcome(
            metrics=metrics,
            nfe=method.nfe,
            arrays={
                **quality,
                **fitted.losses,
                **completed,
                "curve_floor": np.array(metrics["exact/fd"]),
                "samples": kept(x[rows]),
                "points": kept(parts.test.x_1[test_rows]),
            },
        )

    @property
    def couplings(self) -> Mapping[str, str]:
        return {"independent": "guided", "optimal transport": "ot"}

    def judge(self, task: ImageTask) -> Callable[[ImageSystem, Solver], float]:
        parts, judge, labels = self._measured(task)
        real = _training_images(parts, len(labels), torch.Generator().manual_seed(0))
        floor = judge.quick(real.x_1.to(labels.device), real.labels)["fd"]

        def judged(system: ImageSystem, solver: Solver) -> float:
            drawn = system.draw(len(labels), seed=task.seed + 1, solver=solver, labels=labels)
            return closeness(judge.quick(drawn.x_1.to(labels.device), labels)["fd"], floor)

        return judged

    def _measured(self, task: ImageTask) -> tuple[ImageParts, Judge, Tensor]:
        """The set, a classifier of it as a judge, and the labels that samples are to have."""
        parts = self.images.load(task.data_root)
        device = task.preset.torch_device
        classifier = train_classifier(
            parts.train.x_1.to(device),
            parts.train.labels.to(device),
            len(parts.classes),
            steps=task.preset.classifier_steps,
        )
        # Classes as often as in the test set, which is what samples are compared with.
        generator = torch.Generator().manual_seed(task.seed)
        order = torch.randint(len(parts.test), (task.preset.samples,), generator=generator)
        return parts, Judge.of(classifier, parts.test), parts.test.labels[order].to(device)

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
                {kind: (arrays["curve_nfe"], arrays[f"curve_{kind}"]) for kind in CURVES},
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


def _rows(images: LabelledImages, task: ImageTask) -> dict[str, Any]:
    """Images, classes, and the pixels that are given where the method says so."""
    x_1 = images.x_1
    rows: dict[str, Any] = {"x_1": x_1, "condition": {"label": images.labels}}
    if task.method.given > 0:
        generator = torch.Generator().manual_seed(task.seed)
        rows["fixed"] = given_pixels(x_1, task.method.given, generator=generator), x_1
    return rows


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
            fixed=task.method.given > 0,
        )


def _training_images(parts: ImageParts, count: int, generator: torch.Generator) -> LabelledImages:
    order = torch.randperm(len(parts.train), generator=generator)
    return parts.train.rows(order[:count])


def _baselines(parts: ImageParts, judge: Judge, labels: Tensor) -> dict[str, float]:
    """Scores of training images, and of draws of Gaussians."""
    generator = torch.Generator().manual_seed(0)
    real = _training_images(parts, len(labels), generator)
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
