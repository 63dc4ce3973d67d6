"""From a method, a preset and points to a trained flow."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flowatlas.benchmarks.baselines import fixed_bandwidth
from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.metrics import negative_log_likelihood
from flowatlas.benchmarks.preset import Preset
from flowatlas.manifolds import Euclidean, FlatTorus, Manifold
from flowatlas.networks import MLP, Features, MultiScale, Periodic
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.training import (
    EMA,
    FlowModule,
    OptimizerSettings,
    TensorData,
    fit,
    load_network,
    read_log,
)

__all__ = ["Trained", "build_network", "train_flow"]

Array = NDArray[Any]


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
    preset: Preset, method: Method, manifold: Manifold, event_shape: tuple[int, ...], seed: int
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
    method: Method,
    preset: Preset,
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
    fitted = None
    if method.source == "fitted":
        found = fixed_bandwidth(manifold, train, validation)
        fitted = found.density
        notes["source"] = f"kernel mixture, {found.setting}"
    path = method.build_path(manifold, fitted)
    event_shape = tuple(train.shape[1:])
    network = build_network(preset, method, manifold, event_shape, seed)
    module = FlowModule(
        network,
        method.build_objective(path, train.float()),
        optimizer=OptimizerSettings(
            algorithm=preset.optimizer,
            lr=preset.lr,
            weight_decay=preset.weight_decay,
            warmup=preset.warmup,
        ),
        ema=EMA(preset.ema) if preset.ema > 0 else None,
        seed=seed,
    )
    data = TensorData(
        train.float(),
        validation[: preset.select_points].float(),
        batch_size=preset.batch,
        # Optimal transport pairs within a batch: the loss is to mean the same as in training.
        val_batch_size=preset.batch,
        seed=seed,
    )
    snapshots = _Snapshots(directory / "snapshots", preset)
    with _interruptible():
        result = fit(
            module,
            data,
            steps=preset.steps,
            output_dir=directory,
            val_every=max(1, preset.steps // 20),
            checkpoint_every=max(1, min(1000, preset.steps // 20)),
            resume=resume,
            overwrite=not resume,
            accelerator={"cuda": "gpu"}.get(preset.device, preset.device),
            max_seconds=preset.max_seconds,
            progress=progress,
            trainer={"callbacks": [snapshots]},
        )
    device = torch.device("cpu")
    if preset.device != "cpu" and torch.cuda.is_available():
        device = torch.device("cuda")
    candidates = snapshots.saved(result.step)
    candidates[result.step] = result.checkpoint
    best, reason = _best(candidates, path, validation, preset, device)
    notes["checkpoint"] = reason
    field = _load(candidates[best], preset, device)
    return Trained(field, path, result.step, result.seconds, _losses(result.log), notes)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let an interruption through, which Lightning turns into the end of the process."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from stop


def _best(
    candidates: dict[int, Path],
    path: ContinuousPath,
    validation: Tensor,
    preset: Preset,
    device: torch.device,
) -> tuple[int, str]:
    """The step with the lowest validation NLL, and that choice in words."""
    if len(candidates) == 1:
        step = next(iter(candidates))
        return step, f"the last one (step {step})"
    points = validation[: preset.select_points].float().to(device)
    nll = {}
    for step, file in candidates.items():
        field = _load(file, preset, device)
        found = negative_log_likelihood(field, path, points, rtol=preset.rtol, atol=preset.atol)
        nll[step] = found.nll
    best = min(nll, key=lambda step: nll[step] if np.isfinite(nll[step]) else np.inf)
    table = ", ".join(f"{step}: {value:.3f}" for step, value in sorted(nll.items()))
    return best, f"step {best}, of lowest validation NLL ({table})"


def _load(file: Path, preset: Preset, device: torch.device) -> nn.Module:
    """The network of a checkpoint, ready to be called."""
    network = load_network(file, weights="ema" if preset.ema > 0 else "raw")
    return network.to(device).eval().requires_grad_(False)


class _Snapshots(pl.Callback):
    """Keeps the weights at evenly spaced steps, so that validation can choose among them."""

    def __init__(self, directory: Path, preset: Preset) -> None:
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


def _losses(log: Path) -> dict[str, Array]:
    """The loss curve, thinned to some thousand points."""
    lines = read_log(log)
    train = np.array([(line["step"], line["loss"]) for line in lines if "loss" in line])
    val = np.array([(line["step"], line["val_loss"]) for line in lines if "val_loss" in line])
    train, val = train.reshape(-1, 2), val.reshape(-1, 2)
    train = train[:: max(1, len(train) // 2000)]
    return {
        "loss_steps": train[:, 0],
        "loss": train[:, 1],
        "validation_steps": val[:, 0],
        "validation": val[:, 1],
    }
