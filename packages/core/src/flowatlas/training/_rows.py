"""Rows of data that are tensors, and what serves them in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.training.module import BATCH_KEYS

__all__ = ["Batch", "Rows", "Steps", "as_it_is", "position", "take", "validation"]

#: A tensor, or nested mappings and tuples of tensors, all with the same first axis.
Batch = Any


class Rows(Dataset[Any]):
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
        return {**take(self.data, index), "index": index}


class Steps:
    """The numbers of the steps, one at a time, without end."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Any:
        return ([step] for step in count(self.start))


def position(trainer: pl.Trainer | None) -> tuple[int, int, int]:
    """Which process this is, how many there are, and the step that comes next.

    Raises:
        ConfigError: a Trainer that would split the batches once more.
    """
    if trainer is None:
        return 0, 1, 0
    if trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
        raise ConfigError(
            "use_distributed_sampler: the data split their batches among the processes "
            "themselves; pass use_distributed_sampler=False to the Trainer."
        )
    start = trainer.fit_loop.epoch_loop.batch_progress.total.ready
    return trainer.global_rank, trainer.world_size, start


def validation(rows: Rows, size: int, trainer: pl.Trainer | None) -> DataLoader[Any]:
    """This process's share of validation data, in order, in batches of `size`."""
    rank, world = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
    mine = list(range(rank, len(rows), world))
    batches = [mine[i : i + size] for i in range(0, len(mine), size)]
    return DataLoader(rows, batch_sampler=_Listed(batches), collate_fn=as_it_is)


class _Listed:
    """Batches of indices that are known beforehand."""

    def __init__(self, batches: list[list[int]]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def as_it_is(batch: Any) -> Any:
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


def take(data: Batch, index: Tensor) -> Any:
    if isinstance(data, Tensor):
        return data[index]
    if isinstance(data, tuple):
        return tuple(take(value, index) for value in data)
    return {key: take(value, index) for key, value in data.items()}


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
