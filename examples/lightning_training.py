"""Training with a Lightning Trainer of your own: checkpoint, resume, and load the network.

`flowatlas.training.fit` sets up a Trainer for you. Here is what it takes to bring your own, with
your callbacks, loggers and strategies: the module, the data, and a checkpoint plugin in place of
pickles.

    python examples/lightning_training.py --output runs/lightning
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from flowatlas import AffinePath, Dopri5, FlowMatching, log_prob
from flowatlas.data import TwoMoons
from flowatlas.networks import MLP
from flowatlas.training import (
    EMA,
    FlowModule,
    OptimizerSettings,
    SafetensorsCheckpointIO,
    TensorData,
    load_network,
)


def trainer(steps: int, save_every: int, output: Path) -> pl.Trainer:
    """Nothing here is FlowAtlas' but the plugin, and the switch below it."""
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
    keep = ModelCheckpoint(
        output,
        filename="step-{step}",
        every_n_train_steps=save_every,
        save_top_k=-1,
        auto_insert_metric_name=False,
    )
    keep.FILE_EXTENSION = ".safetensors"
    return pl.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        plugins=[SafetensorsCheckpointIO()],
        use_distributed_sampler=False,  # TensorData shares batches out itself
        callbacks=[keep],
        val_check_interval=save_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        **quiet,
    )


def module() -> FlowModule:
    torch.manual_seed(0)  # of the weights
    model = MLP((2,), width=128, depth=3)
    settings = OptimizerSettings(lr=2e-3, schedule="constant")
    return FlowModule(model, FlowMatching(AffinePath()), optimizer=settings, ema=EMA(0.99), seed=0)


def main(steps: int, output: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    x_1 = TwoMoons().sample((10_000, 2), generator=generator).float()
    half = max(1, steps // 2)

    first = trainer(half, half, output)
    first.fit(module(), datamodule=TensorData(x_1[:9000], x_1[9000:], batch_size=256))
    file = output / f"step-{half}.safetensors"
    print(f"stopped at step {first.global_step}: {file.name}")

    # Another process, another day: the weights below are overwritten by those of the file.
    second = trainer(2 * half, half, output)
    data = TensorData(x_1[:9000], x_1[9000:], batch_size=256)
    second.fit(module(), datamodule=data, ckpt_path=str(file))
    loss = float(second.callback_metrics["val/loss"])
    print(f"went on to step {second.global_step}: validation loss {loss:.4f}")

    network = load_network(output / f"step-{2 * half}.safetensors", weights="ema")
    nats = log_prob(network, AffinePath(), x_1[9000:9300], solver=Dopri5()).mean()
    print(f"log density of points not trained on: {nats:.3f} nats")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="of training, in two halves")
    parser.add_argument("--output", type=Path, default=Path("runs/lightning"), help="directory")
    main(**vars(parser.parse_args()))
