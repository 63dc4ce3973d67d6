"""The loss curve of a run, as JSON lines."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from flowatlas.errors import DataError, FlowAtlasError
from flowatlas.networks._files import read_bytes, write_bytes
from flowatlas.training.callbacks import stepped

__all__ = ["DivergenceError", "LossLog", "read_log", "truncate_log"]


class DivergenceError(FlowAtlasError, ArithmeticError):
    """A loss is NaN or infinite."""


class LossLog(pl.Callback):
    """Appends `{"step": n, "loss": ...}` for each step and `{"step": n, "val_loss": ...}`.

    Losses are kept on the device and written in blocks, each of which is a single append, so that a
    run that is killed leaves whole lines. With several processes the losses are means over them.

    Args:
        path: of the file.
        every: steps per block.

    Raises:
        DivergenceError: a loss that is not finite, at the end of its block.
        DataError: the file cannot be written.
    """

    def __init__(self, path: Path, every: int = 50) -> None:
        self.path = path
        self.every = every
        self._steps: list[int] = []
        self._losses: list[Tensor] = []
        self._parts: list[Tensor] = []

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._parts.append(outputs["loss"].detach())
        if not stepped(trainer):
            return
        self._steps.append(trainer.global_step)
        whole = self._parts[0] if len(self._parts) == 1 else torch.stack(self._parts).mean()
        self._losses.append(whole)
        self._parts = []
        if len(self._steps) >= self.every:
            self.flush(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.flush(trainer)
        if "val/loss" not in trainer.callback_metrics:
            return
        losses = {name: float(value) for name, value in trainer.callback_metrics.items()}
        line = {"step": trainer.global_step, "val_loss": losses["val/loss"]}
        bins = {name.rsplit("_t", 1)[1]: v for name, v in losses.items() if "val/loss_t" in name}
        self._append(trainer, [{**line, "val_loss_t": bins}])

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Before the file is written: a checkpoint never runs ahead of its curve, nor holds NaN.
        self.flush(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.flush(trainer)

    def flush(self, trainer: pl.Trainer) -> None:
        """Write what has been collected."""
        if not self._steps:
            return
        block = torch.stack(self._losses).float()
        if trainer.world_size > 1:
            block = trainer.strategy.reduce(block, reduce_op="mean")
        losses, steps = block.tolist(), self._steps
        self._steps, self._losses = [], []
        lines = [{"step": n, "loss": loss} for n, loss in zip(steps, losses, strict=True)]
        self._append(trainer, lines)
        for step, loss in zip(steps, losses, strict=True):
            if not math.isfinite(loss):
                raise DivergenceError(
                    f"loss: it is {loss} at step {step}. Lower the learning rate, clip gradients "
                    "(gradient_clip=1.0), or check the data's scale; the last checkpoint is intact."
                )

    def _append(self, trainer: pl.Trainer, lines: list[dict[str, Any]]) -> None:
        if trainer.is_global_zero:
            append(self.path, "".join(json.dumps(line) + "\n" for line in lines))


def append(path: Path, text: str) -> None:
    """Append `text` to a file in one write.

    Raises:
        DataError: it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            content = text.encode()
            if os.write(descriptor, content) != len(content):
                raise OSError(0, "not all of it fitted")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}). Free disk space, raise the file-size "
            "limit (ulimit -f) or correct the permissions, and resume: checkpoints are intact."
        ) from error


def read_log(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a loss log; a last line that was cut short is left out.

    Raises:
        DataError: the file cannot be read, or another line is not JSON.
    """
    content = read_bytes(Path(path), "loss log").decode(errors="replace")
    *whole, _ = content.split("\n")
    lines = []
    for number, line in enumerate(whole, 1):
        try:
            lines.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path}: line {number} is not JSON ({error}). Remove it.") from error
    return lines


def truncate_log(path: Path, step: int) -> None:
    """Drop what lies after `step`: the steps that a resumed run takes again."""
    if path.exists():
        kept = [line for line in read_log(path) if line["step"] <= step]
        write_bytes(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
