"""Training batches that are drawn, not stored, as a LightningDataModule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset

from flowatlas.errors import ConfigError
from flowatlas.training._keys import generator_for
from flowatlas.training._rows import Batch, Rows, Steps, as_it_is, position, take, validation

__all__ = ["DrawnData"]

#: Second part of the keys of batches; those of epochs, steps and validation samples are -1 or more.
_DRAWN = -4


class DrawnData(pl.LightningDataModule):
    """Training batches from a function of a generator, keyed by (seed, step), without end.

    For data that are augmented, mixed or simulated: no two batches are alike, and a run that is
    resumed at step k goes on with exactly the batch it would have had. Each process draws the
    whole batch and takes its rows of it.

    Args:
        draw: `(batch_size, generator)` to a batch: states `(n, *event)`, or a mapping with the
            batch keys of `FlowModule`, each `(n, ...)`. All that is random comes from the
            generator.
        val: as in `TensorData`; no validation if None.
        batch_size: of all processes together.
        val_batch_size: per process; does not change the validation loss.
        seed: of the batches.

    Raises:
        ConfigError: sizes below 1; a batch of another size than was asked for, at a step; unknown
            keys.
        ShapeError: parts of different lengths.
        GeometryError: NaN or infinity in the states.

    Example:
        ```python
        def draw(count, generator):
            return torch.randn(count, 2, generator=generator).sign()

        data = DrawnData(draw, batch_size=256)
        ```
    """

    def __init__(
        self,
        draw: Callable[[int, torch.Generator], Batch],
        val: Batch | None = None,
        *,
        batch_size: int = 256,
        val_batch_size: int = 4096,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or val_batch_size < 1:
            raise ConfigError(
                f"batch_size, val_batch_size: got {batch_size}, {val_batch_size}; both must be "
                "positive."
            )
        self.draw = draw
        self.val = None if val is None else Rows(val, "val")
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the trainer's step on, without end."""
        rank, world, start = position(self.trainer)
        if self.batch_size % world:
            raise ConfigError(
                f"batch_size: got {self.batch_size}, that of all processes together, which {world} "
                f"processes cannot share evenly. Use {self.batch_size // world * world or world}."
            )
        drawn = _Drawn(self.draw, self.batch_size, self.seed, slice(rank, None, world))
        return DataLoader(drawn, batch_sampler=Steps(start), collate_fn=as_it_is)

    def val_dataloader(self) -> Any:
        """This process's share of the validation data, in order; each sample once."""
        if self.val is None:
            return []
        return validation(self.val, self.val_batch_size, self.trainer)

    def state_dict(self) -> dict[str, Any]:
        """What the batches depend on."""
        return {"seed": self.seed, "batch_size": self.batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raise unless the batches will be those of the run that is resumed."""
        for name, now in self.state_dict().items():
            if state_dict.get(name) != now:
                raise ConfigError(
                    f"{name}: got {now}, but the run to resume has {state_dict.get(name)}, and "
                    "other batches would make it another run. Resume with the same settings, or "
                    "start a run of its own."
                )


class _Drawn(Dataset[Any]):
    """Batches by their step."""

    def __init__(
        self,
        draw: Callable[[int, torch.Generator], Batch],
        batch_size: int,
        seed: int,
        mine: slice,
    ) -> None:
        self.draw, self.batch_size, self.seed, self.mine = draw, batch_size, seed, mine

    def __getitem__(self, step: int) -> Any:
        return self.__getitems__([step])

    def __getitems__(self, steps: list[int]) -> Any:
        (step,) = steps
        found = Rows(self.draw(self.batch_size, generator_for(self.seed, _DRAWN, step)), "draw")
        if len(found) != self.batch_size:
            raise ConfigError(
                f"draw: got {len(found)} samples; asked for {self.batch_size}. Return as many as "
                "the first argument says."
            )
        return take(found.data, torch.arange(self.batch_size)[self.mine])
