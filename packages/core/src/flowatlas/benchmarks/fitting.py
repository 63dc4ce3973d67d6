"""Training as every benchmark does it: network, objective, data, and the budget of a preset."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from torch import nn

from flowatlas.benchmarks.contract import Array, Task
from flowatlas.benchmarks.preset import Preset
from flowatlas.objectives import FlowMatching, MultiMarginal
from flowatlas.training import (
    EMA,
    FitResult,
    FlowModule,
    OptimizerSettings,
    fit,
    load_network,
    read_log,
)

__all__ = ["fit_network", "load_fitted", "loss_arrays"]


def fit_network(
    network: nn.Module,
    objective: FlowMatching | MultiMarginal,
    data: pl.LightningDataModule,
    task: Task[Any, Any],
    *,
    callbacks: Sequence[pl.Callback] = (),
    condition_dropout: float = 0.0,
) -> FitResult:
    """Train within the preset's budget; checkpoints and the loss log go to the task's directory.

    Args:
        network: to be trained, its initial weights in place.
        objective: what to regress.
        data: batches, such as `TensorData`.
        task: preset, seed, directory, whether to go on from a checkpoint there.
        callbacks: of Lightning's, beside those that `fit` has.
        condition_dropout: probability of hiding a sample's condition, for guidance.

    Raises:
        ConfigError: a run to resume that had other settings.
        DataError: the directory cannot be written, or a checkpoint is corrupt.
    """
    preset: Preset = task.preset
    module = FlowModule(
        network,
        objective,
        optimizer=OptimizerSettings(
            algorithm=preset.optimizer,
            lr=preset.lr,
            weight_decay=preset.weight_decay,
            warmup=preset.warmup,
        ),
        ema=EMA(preset.ema) if preset.ema > 0 else None,
        condition_dropout=condition_dropout,
        seed=task.seed,
    )
    with _interruptible():
        return fit(
            module,
            data,
            steps=preset.steps,
            output_dir=task.directory,
            val_every=max(1, preset.steps // 20),
            checkpoint_every=max(1, min(1000, preset.steps // 20)),
            resume=task.resume,
            overwrite=not task.resume,
            accelerator={"cuda": "gpu"}.get(preset.device, preset.device),
            max_seconds=preset.max_seconds,
            progress=task.progress,
            trainer={"callbacks": list(callbacks)},
        )


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


def load_fitted(file: Path, preset: Preset, network: nn.Module | None = None) -> nn.Module:
    """The network of a checkpoint with the weights that are scored, ready to be called.

    Args:
        file: of `FitResult.checkpoint`.
        preset: that it was trained by.
        network: to load into, for classes that cannot be made again from a file.
    """
    loaded = load_network(file, network, weights="ema" if preset.ema > 0 else "raw")
    return loaded.to(preset.torch_device).eval().requires_grad_(False)


def loss_arrays(log: Path) -> dict[str, Array]:
    """The loss curve, thinned to some thousand points.

    Returns:
        `loss_steps`, `loss`, `validation_steps`, `validation`.
    """
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
