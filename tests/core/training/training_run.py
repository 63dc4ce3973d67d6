"""A small run in a process of its own, for tests that kill it, starve it or double it."""

from __future__ import annotations

import argparse
import os
import resource
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from flowatlas.networks import MLP, Classes
from flowatlas.networks._files import write_tensors
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath
from flowatlas.training import EMA, FitResult, FlowModule, OptimizerSettings, TensorData, fit


def build(algorithm: str = "adamw") -> tuple[FlowModule, TensorData]:
    """Module and data; an odd size, so that batches reach across epochs."""
    torch.manual_seed(0)
    model = MLP((2,), width=48, depth=3, condition={"label": Classes(3)})
    module = FlowModule(
        model,
        FlowMatching(AffinePath()),
        optimizer=OptimizerSettings(lr=2e-3, warmup=10, weight_decay=0.01, algorithm=algorithm),
        ema=EMA(0.95),
        condition_dropout=0.3,
        seed=5,
    )
    generator = torch.Generator().manual_seed(1)
    label = torch.randint(3, (301,), generator=generator)
    x = torch.randn(301, 2, generator=generator) * 0.4 + label[:, None]
    train = {"x_1": x[:250], "condition": {"label": label[:250]}}
    val = {"x_1": x[250:], "condition": {"label": label[250:]}}
    return module, TensorData(train, val, batch_size=64, seed=5)


class KillAt(pl.Callback):
    """kill -9, from within, in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class Gradients(pl.Callback):
    """Keeps the gradients of each step and writes them at the end."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.kept: dict[str, Tensor] = {}

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        assert isinstance(pl_module, FlowModule)
        for name, parameter in pl_module.model.named_parameters():
            assert parameter.grad is not None
            self.kept[f"{trainer.global_step}.{name}"] = parameter.grad.clone()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            write_tensors(self.path, self.kept)


def run(
    directory: str | Path,
    *,
    steps: int = 120,
    algorithm: str = "adamw",
    devices: int = 1,
    callbacks: Sequence[pl.Callback] = (),
    **settings: Any,
) -> FitResult:
    module, data = build(algorithm)
    return fit(
        module,
        data,
        steps=steps,
        val_every=30,
        checkpoint_every=20,
        output_dir=directory,
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        progress=False,
        trainer={"callbacks": list(callbacks)},
        **settings,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--file-size", type=int)
    parser.add_argument("--gradients", action="store_true")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--algorithm", default="adamw")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    callbacks: list[pl.Callback] = []
    if arguments.kill_at is not None:
        callbacks.append(KillAt(arguments.kill_at))
    if arguments.gradients:
        callbacks.append(Gradients(f"{arguments.directory}/gradients.safetensors"))
    if arguments.file_size:
        run(arguments.directory, steps=20)
        limit = arguments.file_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            run(arguments.directory, steps=120, resume=True)
        except Exception as error:
            print(type(error).__name__, error)
    else:
        run(
            arguments.directory,
            steps=arguments.steps,
            algorithm=arguments.algorithm,
            devices=arguments.devices,
            callbacks=callbacks,
            resume=True,
        )
