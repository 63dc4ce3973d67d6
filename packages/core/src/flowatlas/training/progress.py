"""What a user sees of a run: one line of progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

__all__ = ["ProgressLine", "progress_line"]


class ProgressLine(pl.Callback):
    """A bar with steps, steps per second, time left, and the losses.

    Args:
        every: seconds between updates; reading a loss waits for an accelerator.
        console: where to draw; standard error if None.
    """

    def __init__(self, every: float = 0.2, console: Console | None = None) -> None:
        self.every = every
        self.console = console
        self._progress: Progress | None = None
        self._last = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]} loss {task.fields[loss]} val {task.fields[val]}"),
            console=self.console or Console(stderr=True),
        )
        self._task = self._progress.add_task(
            "train",
            total=trainer.max_steps,
            completed=trainer.global_step,
            rate="",
            loss="",
            val="",
        )
        self._begin = time.monotonic()
        self._first = trainer.global_step
        self._progress.start()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        now = time.monotonic()
        if self._progress is None or now - self._last < self.every:
            return
        self._last = now
        rate = (trainer.global_step - self._first) / max(now - self._begin, 1e-9)
        self._progress.update(
            self._task,
            completed=trainer.global_step,
            rate=f"{rate:.0f}/s",
            loss=f"{outputs['loss'].item():.4f}",
        )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._progress is not None and "val/loss" in trainer.callback_metrics:
            value = trainer.callback_metrics["val/loss"].item()
            self._progress.update(self._task, val=f"{value:.4f}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=trainer.global_step)
        self._stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


@contextmanager
def progress_line(label: str, total: int, shown: bool) -> Iterator[Callable[[Tensor], None]]:
    """A bar for a loop of one's own: a function to call after each step with its loss.

    Args:
        label: in front of the bar.
        total: steps.
        shown: whether to draw anything; on standard error.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]}"),
        console=Console(stderr=True),
        disable=not shown,
    )
    last = 0.0
    with bar:
        task = bar.add_task(label, total=total, loss="")

        def advance(loss: Tensor) -> None:
            nonlocal last
            # Reading a loss waits for an accelerator.
            if shown and time.monotonic() - last > 0.2:
                last = time.monotonic()
                bar.update(task, loss=f"{loss.item():.4f}")
            bar.advance(task)

        yield advance
