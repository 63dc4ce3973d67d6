"""A flow and how it is trained, as a LightningModule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from flowatlas.errors import CapabilityError, ConfigError
from flowatlas.objectives import Draws, LossOutput
from flowatlas.state import State, batch_size, leading
from flowatlas.training._keys import generator_for, key
from flowatlas.training.ema import EMA
from flowatlas.training.optimizer import OptimizerSettings, can_fuse

__all__ = ["BATCH_KEYS", "FlowModule"]

#: What a batch that is not a lone state may hold. "index" numbers the samples of validation data.
BATCH_KEYS = ("x_1", "x_0", "condition", "mask", "fixed", "weight", "index")


class FlowModule(pl.LightningModule):
    """Model, objective, optimiser and average: all that Lightning's Trainer needs.

    Nothing random in a step depends on what came before it. Source samples, times and dropout of
    conditions are drawn by a generator keyed by (seed, step), for the global batch, of which each
    process takes the rows it has data for; so W processes have the gradients of one with the same
    global batch (under independent coupling: others pair within each process). The model's own
    randomness, such as dropout layers, is keyed by (seed, step, rank).

    The validation loss uses one fixed (t, x_0) per sample, keyed by its index, the same at every
    validation and for every batch size, and the averaged weights where there are any. It is logged
    as "val/loss", and by bin of t as "val/loss_t0" and so on.

    Batches are states, or mappings with the keys of `BATCH_KEYS`, of which only "x_1" must be
    there.

    Args:
        model: a field.
        objective: called as `objective(model, x_1, draws=..., ...)`; `FlowMatching` for one.
        optimizer: settings; the defaults if None.
        ema: of the model's weights; none if None.
        condition_dropout: probability of hiding a sample's condition, for guidance.
        compile: whether training calls a compiled model. Names of weights stay as they are.
        seed: of everything random.
        bins: how many bins of t the validation loss is split into.

    Raises:
        ConfigError: a setting outside its range; at a step, a batch with unknown keys.

    Example:
        ```python
        module = FlowModule(MLP((2,)), FlowMatching(AffinePath()), ema=EMA(0.999))
        fit(module, TensorData(x_1, batch_size=256), steps=2000, output_dir="runs/moons")
        ```
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Any,
        *,
        optimizer: OptimizerSettings | None = None,
        ema: EMA | None = None,
        condition_dropout: float = 0.0,
        compile: bool = False,
        seed: int = 0,
        bins: int = 5,
    ) -> None:
        super().__init__()
        if not 0 <= condition_dropout <= 1:
            raise ConfigError(f"condition_dropout: got {condition_dropout}; it must be in [0, 1].")
        if bins < 1:
            raise ConfigError(f"bins: got {bins}; at least 1.")
        self.model = model
        self.objective = objective
        self.optimizer_settings = OptimizerSettings() if optimizer is None else optimizer
        self.ema = ema
        self.condition_dropout = condition_dropout
        self.compile_model = compile
        self.seed = seed
        self.bins = bins
        self._val_seen = 0
        self._val_sums: Tensor | None = None

    def forward(self, x: Any, t: Tensor, condition: Any = None, **kwargs: Any) -> Any:
        """The model's prediction."""
        return self.model(x, t, condition, **kwargs)

    # Training.

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of one batch of this process."""
        x_1, given = unpack(batch)
        # Two batches of one optimiser step (gradient accumulation) have different batch_idx.
        device = leading(x_1).device
        generator = generator_for(self.seed, self.global_step, batch_idx, device=device)
        draws = self._draw(x_1, generator)
        seed_layers(key(self.seed, self.global_step, batch_idx, self.global_rank), device)
        output: LossOutput = self.objective(
            self.model,
            x_1,
            draws=draws,
            condition_dropout=self.condition_dropout if "condition" in given else 0.0,
            generator=generator,
            **given,
        )
        if self.trainer.loggers or self.trainer.progress_bar_callback is not None:
            self.log("train/loss", output.loss.detach(), prog_bar=True)
        return output.loss

    def _draw(self, x_1: State, generator: torch.Generator) -> Draws:
        """This process's rows of the draws for the global batch."""
        world = self.trainer.world_size
        draws: Draws = self.objective.draw(x_1, batch=batch_size(x_1) * world, generator=generator)
        return draws if world == 1 else draws.rows(slice(self.global_rank, None, world))

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule, stepped every step."""
        steps = self.trainer.max_steps
        if steps < 0:
            if self.optimizer_settings.schedule != "constant":
                raise ConfigError(
                    "schedule: a cosine needs the length of the run; give the Trainer max_steps=, "
                    "or use OptimizerSettings(schedule='constant')."
                )
            steps = 0
        fused = can_fuse(self.model, str(self.trainer.precision))
        optimizer, schedule = self.optimizer_settings.build(self.model, steps, fused=fused)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step of the optimiser, and of the average."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.model)

    def on_fit_start(self) -> None:
        if self.ema is not None:
            if not self.ema.weights:
                self.ema.start(self.model)
            self.ema.to(self.device)
        if self.compile_model:
            self.model.compile()

    def on_fit_end(self) -> None:
        # A compiled call would recompile for the batch sizes of sampling.
        self.model._compiled_call_impl = None

    # Validation.

    def on_validation_epoch_start(self) -> None:
        self._val_seen = 0
        self._val_sums = torch.zeros(2, self.bins, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add up the loss of one batch, by bin of t."""
        assert self._val_sums is not None
        output = self.validation_loss(batch)
        bin_of = (output.t * self.bins).long().clamp(0, self.bins - 1)
        loss = output.per_sample.double()
        self._val_sums[0].index_add_(0, bin_of, loss)
        self._val_sums[1].index_add_(0, bin_of, torch.ones_like(loss))

    def validation_loss(self, batch: Any) -> LossOutput:
        """The loss at the fixed (t, x_0) of each sample, with averaged weights if there are any."""
        x_1, given = unpack(batch)
        index = self._indices(batch, batch_size(x_1))
        generators = [generator_for(self.seed, -1, i, device=leading(x_1).device) for i in index]
        draws = self.objective.draw(x_1, generator=generators)
        with torch.no_grad():
            if self.ema is None or not self.ema.weights:
                return self._loss(x_1, draws, given)
            with self.ema.applied(self.model):
                return self._loss(x_1, draws, given)

    def _loss(self, x_1: State, draws: Draws, given: Mapping[str, Any]) -> LossOutput:
        output: LossOutput = self.objective(self.model, x_1, draws=draws, **given)
        return output

    def _indices(self, batch: Any, count: int) -> list[int]:
        if isinstance(batch, Mapping) and "index" in batch:
            return [int(i) for i in batch["index"].tolist()]
        first = self._val_seen
        self._val_seen += count
        return [(first + i) * self.trainer.world_size + self.global_rank for i in range(count)]

    def on_validation_epoch_end(self) -> None:
        assert self._val_sums is not None
        total, count = self.trainer.strategy.reduce(self._val_sums, reduce_op="sum")
        # Every process has the same values; the mean over them leaves them as they are.
        sync = self.trainer.world_size > 1
        self.log("val/loss", (total.sum() / count.sum()).float(), sync_dist=sync)
        for i, (loss, n) in enumerate(zip(total.tolist(), count.tolist(), strict=True)):
            if n > 0:
                self.log(f"val/loss_t{i}", loss / n, sync_dist=sync)

    # Checkpoints.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["flow"] = {"seed": self.seed, "network": getattr(self.model, "config", None)}
        if self.ema is not None:
            checkpoint["ema"] = self.ema.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        seed = checkpoint.get("flow", {}).get("seed", self.seed)
        if seed != self.seed:
            raise ConfigError(
                f"seed: got {self.seed}, but the checkpoint's run has {seed}; resume with that "
                "one, or start a run of its own."
            )
        if self.ema is not None:
            if "ema" not in checkpoint:
                raise ConfigError(
                    "ema: the checkpoint has no averaged weights to go on from. Resume with "
                    "ema=None, or start a run of its own."
                )
            self.ema.load_state_dict(checkpoint["ema"])

    @classmethod
    def load_from_checkpoint(cls, *args: Any, **kwargs: Any) -> Any:
        """Not supported: Lightning's implementation unpickles.

        Raises:
            CapabilityError: always; the message names the functions to use.
        """
        raise CapabilityError(
            "FlowModule.load_from_checkpoint would unpickle the file. Use "
            "flowatlas.training.load_network(path, weights='ema') for the network, or "
            "fit(..., resume=True) to go on with the run."
        )


def seed_layers(seed: int, device: torch.device) -> None:
    """Seed the generators that dropout and its like draw from.

    torch.manual_seed does it for every kind of device there might be, which takes a millisecond.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def unpack(batch: Any) -> tuple[State, dict[str, Any]]:
    """Data, and the keyword arguments of the objective, from a batch.

    Raises:
        ConfigError: a mapping with unknown keys.
    """
    if isinstance(batch, Tensor):
        return batch, {}
    if isinstance(batch, list | tuple) and len(batch) == 1 and isinstance(batch[0], Tensor):
        return batch[0], {}  # TensorDataset
    if not isinstance(batch, Mapping) or "x_1" not in batch:
        found = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
        raise ConfigError(
            f"batch: got {found}; it must be a tensor, or a mapping with 'x_1' and any of "
            f"{BATCH_KEYS[1:]}. A state that is a mapping goes under 'x_1'."
        )
    unknown = sorted(set(batch) - set(BATCH_KEYS))
    if unknown:
        raise ConfigError(f"batch: got unknown keys {unknown}; allowed are {BATCH_KEYS}.")
    given = {name: value for name, value in batch.items() if name not in ("x_1", "index")}
    return batch["x_1"], given
