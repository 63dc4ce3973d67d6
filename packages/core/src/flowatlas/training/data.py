"""Data in memory as a LightningDataModule with keyed batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.training.module import BATCH_KEYS
from flowatlas.training.sampler import KeyedBatchSampler

__all__ = ["TensorData"]

#: A tensor, or nested mappings and tuples of tensors, all with the same first axis.
Batch = Any


class TensorData(pl.LightningDataModule):
    """Training and validation data that are tensors, served in batches keyed by (seed, step).

    A batch is made by indexing, without going through single samples. With a Trainer of your own
    pass `use_distributed_sampler=False`: the batches are split among processes here.

    Args:
        train: states `(n, *event)`, a mapping with the batch keys of `FlowModule` ("x_1" and any of
            "x_0", "condition", "mask", "fixed", "weight"), each `(n, ...)`. A state that is a
            mapping goes under "x_1".
        val: of the same form; no validation if None.
        batch_size: of all processes together.
        val_batch_size: per process; does not change the validation loss.
        seed: of the order.

    Raises:
        ShapeError: parts of different lengths, or none at all.
        GeometryError: NaN or infinity in the states.
        ConfigError: unknown keys.
    """

    def __init__(
        self,
        train: Batch,
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
        self.train = _Rows(train, "train")
        self.val = None if val is None else _Rows(val, "val")
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the trainer's step on, without end."""
        trainer = self.trainer
        rank, world, start = 0, 1, 0
        if trainer is not None:
            rank, world = trainer.global_rank, trainer.world_size
            start = trainer.fit_loop.epoch_loop.batch_progress.total.ready
            if world > 1 and trainer._accelerator_connector.use_distributed_sampler:
                raise ConfigError(
                    "use_distributed_sampler: TensorData splits its batches among the processes "
                    "itself; pass use_distributed_sampler=False to the Trainer."
                )
        sampler = KeyedBatchSampler(
            len(self.train), self.batch_size, self.seed, rank=rank, world=world, start_step=start
        )
        return DataLoader(self.train, batch_sampler=sampler, collate_fn=_as_it_is)

    def val_dataloader(self) -> Any:
        """This process's share of the validation data, in order; each sample once."""
        if self.val is None:
            return []
        trainer = self.trainer
        rank, world = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        rows = list(range(rank, len(self.val), world))
        batches = [
            rows[i : i + self.val_batch_size] for i in range(0, len(rows), self.val_batch_size)
        ]
        return DataLoader(self.val, batch_sampler=_Listed(batches), collate_fn=_as_it_is)

    def state_dict(self) -> dict[str, Any]:
        """What the order of the batches depends on."""
        return {"seed": self.seed, "batch_size": self.batch_size, "size": len(self.train)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raise unless the batches will be those of the run that is resumed."""
        for name, now in self.state_dict().items():
            if state_dict.get(name) != now:
                raise ConfigError(
                    f"{name}: got {now}, but the run to resume has {state_dict.get(name)}, and "
                    "other batches would make it another run. Resume with the same data and "
                    "settings, or start a run of its own."
                )


class _Rows(Dataset[Any]):
    """Batches of rows, and the number of each row."""

    def __init__(self, data: Batch, label: str) -> None:
        self.data: dict[str, Any] = dict(data) if isinstance(data, Mapping) else {"x_1": data}
        unknown = sorted(set(self.data) - set(BATCH_KEYS) | {"index"} & set(self.data))
        if unknown or "x_1" not in self.data:
            raise ConfigError(
                f"{label}: got keys {sorted(self.data)}; need 'x_1' and allow {BATCH_KEYS[1:-1]}. "
                "A state that is a mapping goes under 'x_1'."
            )
        sizes = {name: len(value) for name, value in _leaves(self.data, label)}
        if len(set(sizes.values())) != 1 or 0 in sizes.values():
            raise ShapeError(f"{label}: parts must have one and the same length, got {sizes}.")
        self.size = next(iter(sizes.values()))
        for key in ("x_1", "x_0"):
            for name, value in _leaves(self.data.get(key, {}), f"{label}[{key!r}]"):
                _check_finite(name, value, self.data.get("mask"))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Any:
        index = torch.as_tensor(indices)
        return {**_rows(self.data, index), "index": index}


class _Listed:
    """Batches of indices that are known beforehand."""

    def __init__(self, batches: list[list[int]]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _as_it_is(batch: Any) -> Any:
    return batch


def _leaves(data: Batch, name: str) -> list[tuple[str, Tensor]]:
    if isinstance(data, Tensor):
        if data.ndim == 0:
            raise ShapeError(f"{name}: got a 0-d tensor; the first axis counts samples.")
        return [(name, data)]
    if isinstance(data, Mapping):
        return [leaf for key, v in data.items() for leaf in _leaves(v, f"{name}[{key!r}]")]
    if isinstance(data, tuple):
        return [leaf for i, v in enumerate(data) for leaf in _leaves(v, f"{name}[{i}]")]
    raise ConfigError(
        f"{name}: got {type(data).__name__}; it must be a tensor. Use torch.as_tensor."
    )


def _rows(data: Batch, index: Tensor) -> Any:
    if isinstance(data, Tensor):
        return data[index]
    if isinstance(data, tuple):
        return tuple(_rows(value, index) for value in data)
    return {key: _rows(value, index) for key, value in data.items()}


def _check_finite(name: str, value: Tensor, mask: Any) -> None:
    """Raise for NaN and infinity; where there is a mask, padding may hold anything."""
    if mask is not None or not value.is_floating_point():
        return
    finite = torch.isfinite(value)
    if not finite.all():
        bad = int((~finite.flatten(1).all(1)).sum()) if value.ndim > 1 else int((~finite).sum())
        raise GeometryError(
            f"{name}: {bad} of {len(value)} samples contain NaN or infinity; remove or impute them."
        )
