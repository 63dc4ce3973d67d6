"""A whole run in one call."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning_utilities.core.rank_zero import rank_zero_only
from torch import nn

from flowatlas._points import check_data
from flowatlas.errors import ConfigError, DataError
from flowatlas.objectives import FlowMatching
from flowatlas.training.callbacks import KeepCheckpoints, StopOnTime
from flowatlas.training.checkpoint import SafetensorsCheckpointIO, load_checkpoint, load_network
from flowatlas.training.data import TensorData
from flowatlas.training.drawn import DrawnData
from flowatlas.training.log import LossLog, read_log, truncate_log
from flowatlas.training.module import FlowModule
from flowatlas.training.progress import ProgressLine

__all__ = ["FitResult", "fit"]

CHECKPOINT, BEST, LOG = "checkpoint.safetensors", "best.safetensors", "losses.jsonl"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FitResult:
    """Where a run ended, and what it left.

    Attributes:
        step: last step taken.
        loss: training loss, mean of the last 100 steps; NaN if the log of a finished run is gone.
        val_loss: last validation loss; None without validation.
        best_val_loss: lowest validation loss; None without validation.
        seconds: wall time of this call.
        complete: whether all steps were taken (and the time was not over before).
        checkpoint: the file to resume from.
        best: the file with the weights of the lowest validation loss; None if none was kept.
        log: the loss curve; see `read_log`.
    """

    step: int
    loss: float
    val_loss: float | None
    best_val_loss: float | None
    seconds: float
    complete: bool
    checkpoint: Path
    best: Path | None
    log: Path

    def network(
        self,
        network: nn.Module | None = None,
        *,
        weights: str = "ema",
        best: bool = False,
    ) -> nn.Module:
        """The trained network; see `load_network`. With `best`, that of the lowest loss."""
        if best and self.best is None:
            raise ConfigError(
                "best: this run kept none; fit with validation data and keep_best=True."
            )
        path = self.best if best and self.best is not None else self.checkpoint
        return load_network(path, network, weights=weights)


def fit(
    module: FlowModule,
    data: pl.LightningDataModule,
    *,
    steps: int,
    output_dir: str | Path,
    val_every: int | None = None,
    checkpoint_every: int = 1000,
    keep_best: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    seed: int | None = None,
    gradient_clip: float | None = 1.0,
    accumulate: int = 1,
    accelerator: str = "auto",
    devices: int | str = 1,
    strategy: str = "auto",
    precision: Any = "32-true",
    max_seconds: float | None = None,
    progress: bool = True,
    trainer: Mapping[str, Any] | None = None,
) -> FitResult:
    """Train a flow, and leave a checkpoint, a loss log and perhaps the best weights in a directory.

    A run that was interrupted, however hard, and is resumed with the same arguments ends with the
    same weights and the same loss curve as one that was not, bit for bit on the same machine.

    Args:
        module: what to train.
        data: batches; `TensorData`, `DrawnData`, or a datamodule of your own (whose batches must
            be a function of the step for resumes to be exact).
        steps: length of the run; the learning rate's cosine spans it.
        output_dir: for `checkpoint.safetensors`, `best.safetensors` and `losses.jsonl`.
        val_every: steps between validations; only at the end if None.
        checkpoint_every: steps between checkpoints; the last step always has one.
        keep_best: whether the weights of the lowest validation loss are kept.
        resume: go on from the checkpoint in `output_dir`, or start if there is none.
        overwrite: replace a run that is there. Otherwise that is an error.
        seed: of module and data; theirs if None.
        gradient_clip: largest norm of the gradient; no clipping if None.
        accumulate: batches whose gradients make one step.
        accelerator: `"auto"`, `"cpu"`, `"gpu"`, ...: the Trainer's, as the next three.
        devices: how many, or which.
        strategy: how they work together.
        precision: `"32-true"`, `"bf16-mixed"`, `"64-true"`, ...
        max_seconds: stop, saved and validated, when this much time is over.
        progress: whether to draw a progress bar on standard error.
        trainer: further arguments of the Trainer; a list of "callbacks" is added to ours.

    Raises:
        ConfigError: settings that contradict each other or the run to resume.
        GeometryError: data that are not finite or off the manifold.
        DivergenceError: the loss is NaN.
        DataError: a file that cannot be read or written.
    """
    counts = {
        "steps": steps,
        "val_every": 1 if val_every is None else val_every,
        "checkpoint_every": checkpoint_every,
        "accumulate": accumulate,
    }
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"{name}: got {count}; it must be 1 or more.")
    directory = Path(output_dir)
    checkpoint, best, log = (directory / name for name in (CHECKPOINT, BEST, LOG))
    if seed is not None:
        module.seed = seed
        if isinstance(data, TensorData | DrawnData):
            data.seed = seed
    _check_values(module, data)
    go_on = resume and checkpoint.exists()
    # Processes that a strategy launches run this function from its beginning.
    if getattr(rank_zero_only, "rank", 0) == 0:
        _prepare(directory, go_on=go_on, replace=overwrite or resume)
    validates = not isinstance(data, TensorData | DrawnData) or data.val is not None
    extra = dict(trainer or {})
    callbacks: list[pl.Callback] = [
        StopOnTime(max_seconds),
        LossLog(log),
        KeepCheckpoints(checkpoint, checkpoint_every, best if keep_best and validates else None),
    ]
    callbacks += [ProgressLine()] if progress else []
    callbacks += extra.pop("callbacks", [])
    begin = time.monotonic()
    with _quiet():
        runner = pl.Trainer(
            **{
                "accelerator": accelerator,
                "devices": devices,
                "strategy": strategy,
                "precision": precision,
                "max_steps": steps,
                "max_epochs": -1,
                # In batches, not in steps.
                "val_check_interval": (val_every or steps) * accumulate,
                "accumulate_grad_batches": accumulate,
                "check_val_every_n_epoch": None,
                "limit_val_batches": None if validates else 0,
                "gradient_clip_val": gradient_clip,
                "callbacks": callbacks,
                "plugins": [SafetensorsCheckpointIO()],
                "use_distributed_sampler": False,
                "num_sanity_val_steps": 0,
                "logger": False,
                "enable_checkpointing": False,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "default_root_dir": str(directory),
                **extra,
            }
        )
        module.train()
        runner.fit(module, datamodule=data, ckpt_path=str(checkpoint) if go_on else None)
    if not checkpoint.exists():
        raise ConfigError("steps: training ended before its first checkpoint; it was interrupted.")
    return _result(checkpoint, best, log, steps, time.monotonic() - begin)


def _check_values(module: FlowModule, data: pl.LightningDataModule) -> None:
    """Raise for points off the manifold, where there is no padding."""
    if not isinstance(data, TensorData) or not isinstance(module.objective, FlowMatching):
        return
    for label, rows in (("train", data.train), ("val", data.val)):
        if rows is not None and rows.data.get("mask") is None:
            check_data(module.objective.path, rows.data["x_1"], label)


def _prepare(directory: Path, *, go_on: bool, replace: bool) -> None:
    """Make the directory, and bring its files to the state that the run starts from."""
    checkpoint, best, log = (directory / name for name in (CHECKPOINT, BEST, LOG))
    if go_on:
        step = int(load_checkpoint(checkpoint)["global_step"])
        _log.info("resuming from step %d of %s", step, checkpoint)
        truncate_log(log, step)
        return
    if checkpoint.exists() and not replace:
        raise ConfigError(
            f"output_dir: {directory} holds a run. Go on with it (resume=True), replace it "
            "(overwrite=True), or name another directory."
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in (checkpoint, best, log):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"output_dir: {directory} cannot be used ({error.strerror}). Name a directory that can "
            "be written."
        ) from error


def _result(checkpoint: Path, best: Path, log: Path, steps: int, seconds: float) -> FitResult:
    lines = read_log(log) if log.exists() else []
    losses = [line["loss"] for line in lines if "loss" in line]
    vals = [line["val_loss"] for line in lines if "val_loss" in line]
    # A log that was deleted between two runs takes its curve with it, not the result.
    step = lines[-1]["step"] if lines else int(load_checkpoint(checkpoint)["global_step"])
    return FitResult(
        step=step,
        loss=sum(losses[-100:]) / len(losses[-100:]) if losses else math.nan,
        val_loss=vals[-1] if vals else None,
        best_val_loss=min(vals) if vals else None,
        seconds=seconds,
        complete=step >= steps,
        checkpoint=checkpoint,
        best=best if best.exists() else None,
        log=log,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's greetings, tips and advice that does not apply here."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # Batches come from memory, not from workers.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        # Lightning's own use of torch's pytree.
        warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
