"""How large and how long: the settings that a preset fixes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from flowatlas.benchmarks.config import require

__all__ = ["PRESET_NAMES", "Preset"]

#: Seconds, about five minutes on one core, and up to half an hour on an accelerator.
PRESET_NAMES = ("demo", "cpu", "gpu")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Optimiser, budget and machine of one run; each kind of benchmark adds its own settings.

    Attributes:
        batch: samples per step.
        optimizer: `"adamw"` or `"muon"`.
        lr: peak learning rate; a cosine takes it to zero.
        warmup: steps of linear warm-up.
        weight_decay: of the optimizer.
        steps: optimiser steps.
        max_seconds: training stops at the next check after that, None for no limit.
        ema: decay of the averaged weights, which are the ones scored.
        samples: how many samples are drawn and compared.
        threads: of the CPU; None leaves PyTorch's default.
        device: `"cpu"`, `"cuda"`, or `"auto"`: an accelerator where there is one.
    """

    batch: int
    optimizer: str = "adamw"
    lr: float
    warmup: int = 100
    weight_decay: float = 0.0
    steps: int
    max_seconds: float | None = None
    ema: float = 0.999
    samples: int = 4096
    threads: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("batch", "steps", "samples"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.lr > 0, "lr", self.lr, "positive")
        for name in ("warmup", "weight_decay"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(0 <= self.ema < 1, "ema", self.ema, "in [0, 1)")
        require(
            self.max_seconds is None or self.max_seconds > 0,
            "max_seconds",
            self.max_seconds,
            "positive, or none for no limit",
        )
        require(
            self.threads is None or self.threads >= 1,
            "threads",
            self.threads,
            "1 or more, or none for the default",
        )
        require(self.optimizer in ("adamw", "muon"), "optimizer", self.optimizer, "adamw or muon")
        require(self.device in ("cpu", "cuda", "auto"), "device", self.device, "cpu, cuda or auto")

    @property
    def torch_device(self) -> torch.device:
        """Where networks run: the accelerator if it is wanted and there is one."""
        cuda = self.device != "cpu" and torch.cuda.is_available()
        return torch.device("cuda" if cuda else "cpu")
