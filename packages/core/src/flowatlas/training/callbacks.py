"""When a run is saved, and when it stops."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

__all__ = ["KeepCheckpoints", "StopOnTime", "stepped"]


def stepped(trainer: pl.Trainer) -> bool:
    """Whether the batch that just ended brought a step, rather than gradients to add to."""
    return not trainer.fit_loop.epoch_loop._should_accumulate()


class KeepCheckpoints(pl.Callback):
    """Saves the whole run every so many steps and at its end, and the best weights beside it.

    If a validation is due at the same step, the run is saved after it, so that a resumed run has
    its result too. Where the validation loss is lowest so far, the weights alone (raw and averaged)
    are saved to `best`.

    Args:
        path: of the checkpoint of the run.
        every: steps between checkpoints.
        best: of the best weights; None to keep none.
    """

    def __init__(self, path: Path, every: int, best: Path | None) -> None:
        self.path, self.every, self.best = path, every, best
        self.best_loss = math.inf
        self._after_validation = False

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        due = trainer.global_step % self.every == 0 or trainer.should_stop
        if not due or not stepped(trainer):
            return
        every = trainer.val_check_batch
        self._after_validation = trainer.enable_validation and (
            trainer.should_stop or (every is not None and (batch_idx + 1) % every == 0)
        )
        if not self._after_validation:
            trainer.save_checkpoint(self.path)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics.get("val/loss", math.inf))
        if self.best is not None and loss < self.best_loss:
            self.best_loss = loss
            trainer.save_checkpoint(self.best, weights_only=True)
        if self._after_validation:
            self._after_validation = False
            trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        return {"best_loss": self.best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_loss = state_dict["best_loss"]


class StopOnTime(pl.Callback):
    """Ends a run at its last step, or when its time is over; either way with a validation.

    The learning rate follows the steps that were planned: time is a guard, no part of the schedule.

    Args:
        max_seconds: of training; no limit if None.
        every: steps between looks at the clock, which all processes must take together.
    """

    def __init__(self, max_seconds: float | None, every: int = 10) -> None:
        self.max_seconds, self.every = max_seconds, every

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if not stepped(trainer):
            return
        if trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True
        elif self.max_seconds is not None and trainer.global_step % self.every == 0:
            over = time.monotonic() - self._begin > self.max_seconds
            if trainer.strategy.reduce_boolean_decision(over, all=False):
                trainer.should_stop = True
