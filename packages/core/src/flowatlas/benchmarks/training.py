"""From a method, a preset and points to a trained flow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from flowatlas.benchmarks.baselines import fixed_bandwidth
from flowatlas.benchmarks.contract import Array, Task
from flowatlas.benchmarks.fitting import fit_network, load_fitted, loss_arrays
from flowatlas.benchmarks.metrics import negative_log_likelihood
from flowatlas.benchmarks.point_method import PointMethod
from flowatlas.benchmarks.point_preset import PointPreset
from flowatlas.benchmarks.wrapped_fit import wrapped_fit
from flowatlas.manifolds import Euclidean, FlatTorus, Manifold
from flowatlas.networks import MLP, Features, MultiScale, Periodic
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.sources import Source
from flowatlas.training import TensorData

__all__ = ["Trained", "build_network", "train_flow"]


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained flow.

    Attributes:
        field: the network with averaged weights, in evaluation mode.
        path: with its source.
        steps: that were taken.
        seconds: of training in this call, fitting a source included.
        losses: arrays of the loss curve: `loss_steps`, `loss`, `validation_steps`, `validation`.
        notes: choices that were made on validation points.
    """

    field: nn.Module
    path: ContinuousPath
    steps: int
    seconds: float
    losses: dict[str, Array]
    notes: dict[str, str]


def build_network(
    preset: PointPreset,
    method: PointMethod,
    manifold: Manifold,
    event_shape: tuple[int, ...],
    seed: int,
) -> MLP:
    """The network of a preset, its initial weights drawn from `seed`.

    Points of a torus are seen through sines and cosines of their multiples, others as coordinates,
    with random Fourier features beside them if the preset has scales.
    """
    features: Features | None = None
    if isinstance(manifold, FlatTorus):
        features = Periodic(harmonics=preset.harmonics)
    elif preset.scales:
        numbers = int(np.prod(event_shape))
        features = MultiScale(numbers, preset.scales, preset.scale_features, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MLP(
            event_shape,
            manifold=None if isinstance(manifold, Euclidean) else manifold,
            width=preset.width,
            depth=preset.depth,
            features=features,
            output="target" if method.prediction == "target" else "velocity",
        )


def train_flow(
    method: PointMethod,
    preset: PointPreset,
    manifold: Manifold,
    train: Tensor,
    validation: Tensor,
    *,
    seed: int,
    directory: Path,
    resume: bool = False,
    progress: bool = False,
) -> Trained:
    """Train, and choose among checkpoints by validation NLL.

    Args:
        method: path, source, coupling.
        preset: network, optimiser, budget.
        manifold: of the points.
        train: `(n, *point_shape)`.
        validation: `(m, *point_shape)`: decides the bandwidth of a fitted source and, where the
            preset has `select` above 1, which checkpoint is used.
        seed: of weights, batches, times and source samples.
        directory: for checkpoints and the loss log.
        resume: go on from there.
        progress: whether to draw a progress bar.

    Raises:
        ConfigError: a method that is not for the manifold, or a run to resume that had other
            settings.
        DataError: the directory cannot be written, or a checkpoint is corrupt.
    """
    notes: dict[str, str] = {}
    fitted: Source | None = None
    if method.source == "wrapped":
        wrapped = wrapped_fit(manifold, train)
        fitted = wrapped
        notes["source"] = f"wrapped normal, spread {wrapped.spread:.3g}"
    if method.source == "fitted":
        found = fixed_bandwidth(manifold, train, validation)
        fitted = found.density
        notes["source"] = f"kernel mixture, {found.setting}"
    path = method.build_path(manifold, fitted)
    event_shape = tuple(train.shape[1:])
    network = build_network(preset, method, manifold, event_shape, seed)
    data = TensorData(
        train.float(),
        validation[: preset.select_points].float(),
        batch_size=preset.batch,
        # Optimal transport pairs within a batch: the loss is to mean the same as in training.
        val_batch_size=preset.batch,
        seed=seed,
    )
    task = Task(
        method=method,
        preset=preset,
        seed=seed,
        directory=directory,
        resume=resume,
        progress=progress,
    )
    snapshots = _Snapshots(directory / "snapshots", preset)
    objective = method.build_objective(path, train.float())
    result = fit_network(network, objective, data, task, callbacks=[snapshots])
    candidates = snapshots.saved(result.step)
    candidates[result.step] = result.checkpoint
    # Weights are loaded into it: not every manifold can be made again from a file.
    network = build_network(preset, method, manifold, event_shape, seed)
    best, reason = _best(candidates, path, validation, preset, network)
    notes["checkpoint"] = reason
    field = load_fitted(candidates[best], preset, network)
    return Trained(field, path, result.step, result.seconds, loss_arrays(result.log), notes)


def _best(
    candidates: dict[int, Path],
    path: ContinuousPath,
    validation: Tensor,
    preset: PointPreset,
    network: nn.Module,
) -> tuple[int, str]:
    """The step with the lowest validation NLL, and that choice in words."""
    if len(candidates) == 1:
        step = next(iter(candidates))
        return step, f"the last one (step {step})"
    points = validation[: preset.select_points].float().to(preset.torch_device)
    nll = {}
    for step, file in candidates.items():
        field = load_fitted(file, preset, network)
        found = negative_log_likelihood(field, path, points, rtol=preset.rtol, atol=preset.atol)
        nll[step] = found.nll
    best = min(nll, key=lambda step: nll[step] if np.isfinite(nll[step]) else np.inf)
    table = ", ".join(f"{step}: {value:.3f}" for step, value in sorted(nll.items()))
    return best, f"step {best}, of lowest validation NLL ({table})"


class _Snapshots(pl.Callback):
    """Keeps the weights at evenly spaced steps, so that validation can choose among them."""

    def __init__(self, directory: Path, preset: PointPreset) -> None:
        self.directory = directory
        spacing = max(1, preset.steps // preset.select)
        self.steps = {spacing * i for i in range(1, preset.select)}

    def _file(self, step: int) -> Path:
        return self.directory / f"step-{step:08d}.safetensors"

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step in self.steps:
            self.directory.mkdir(parents=True, exist_ok=True)
            trainer.save_checkpoint(self._file(trainer.global_step), weights_only=True)

    def saved(self, last: int) -> dict[int, Path]:
        """Files by step, up to `last`."""
        return {
            s: self._file(s) for s in sorted(self.steps) if s <= last and self._file(s).exists()
        }
