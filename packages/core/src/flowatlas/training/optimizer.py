"""Optimiser and learning rate, as one setting."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from flowatlas.errors import ConfigError
from flowatlas.training.muon import MuonAdamW

__all__ = ["OptimizerSettings"]

ALGORITHMS = ("adamw", "muon")
SCHEDULES = ("cosine", "constant")
#: Matrices with a shorter side, such as heads of few outputs, are left to AdamW.
_SHORTEST_SIDE = 32


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """AdamW or Muon with a linear warm-up and then a cosine or a constant.

    Attributes:
        algorithm: `"adamw"`, or `"muon"`: Muon for matrices of at least 32 rows and columns, AdamW
            for everything else. Muon costs some time a step, and gets further in each where
            networks are wide and steps precise; learning rates are on the same scale.
        lr: highest learning rate.
        weight_decay: of matrices; vectors (biases, gains) are not decayed.
        betas: of AdamW.
        eps: of AdamW.
        warmup: steps until `lr` is reached.
        schedule: `"cosine"`, down to `final` times `lr` at the last step, or `"constant"`.
        final: see `schedule`.

    Raises:
        ConfigError: a value outside its range.
    """

    lr: float = 1e-3
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    warmup: int = 100
    schedule: str = "cosine"
    final: float = 0.0
    algorithm: str = "adamw"

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ConfigError(f"lr: got {self.lr}; it must be positive, such as 1e-3.")
        if not self.weight_decay >= 0:
            raise ConfigError(f"weight_decay: got {self.weight_decay}; it must be 0 or more.")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas: got {self.betas}; need two numbers in [0, 1).")
        if not self.eps > 0:
            raise ConfigError(f"eps: got {self.eps}; it must be positive.")
        if self.warmup < 0:
            raise ConfigError(f"warmup: got {self.warmup}; it counts steps, so 0 or more.")
        if self.algorithm not in ALGORITHMS:
            raise ConfigError(f"algorithm: got {self.algorithm!r}; one of {ALGORITHMS}.")
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"schedule: got {self.schedule!r}; one of {SCHEDULES}.")
        if not 0 <= self.final <= 1:
            raise ConfigError(f"final: got {self.final}; it is a fraction of lr, in [0, 1].")

    def factor(self, step: int, steps: int) -> float:
        """Learning rate of a step, counted from 0, of `steps`, as a fraction of `lr`."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "constant":
            return rise
        done = min(step / max(steps, 1), 1.0)
        return rise * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * done)))

    def build(self, model: nn.Module, steps: int, *, fused: bool) -> tuple[Optimizer, LambdaLR]:
        """The optimiser of the model's parameters, and its schedule over `steps`.

        Args:
            model: what to train.
            steps: length of the run; only the cosine reads it.
            fused: torch's one-kernel update, several times faster on a CPU.
        """
        trained = [p for p in model.parameters() if p.requires_grad]
        if not trained:
            raise ConfigError("model: none of its parameters requires a gradient.")
        matrices = [p for p in trained if self.algorithm == "muon" and _is_hidden(p)]
        rest = [p for p in trained if not any(p is other for other in matrices)]
        groups = [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        betas = (self.betas[0], self.betas[1])
        optimizer: Optimizer
        if matrices:
            optimizer = MuonAdamW(
                matrices,
                groups,
                lr=self.lr,
                weight_decay=self.weight_decay,
                betas=betas,
                eps=self.eps,
                fused=fused,
            )
        else:
            optimizer = AdamW(groups, lr=self.lr, betas=betas, eps=self.eps, fused=fused)
        return optimizer, LambdaLR(optimizer, lambda step: self.factor(step, steps))


def _is_hidden(parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and min(parameter.shape) >= _SHORTEST_SIDE


def can_fuse(model: nn.Module, precision: str) -> bool:
    """Whether torch's fused update can be used: not beside a gradient scaler, if gradients clip."""
    kinds = {p.device.type for p in model.parameters()}
    floating = all(p.is_floating_point() for p in model.parameters())
    return floating and kinds <= {"cpu", "cuda"} and precision != "16-mixed"
