"""Data in memory as a LightningDataModule with keyed batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import count
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from flowatlas._arguments import check_kind
from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.state import State, map_state
from flowatlas.training._keys import generator_for
from flowatlas.training.module import BATCH_KEYS
from flowatlas.training.pools import PairedPools
from flowatlas.training.sampler import KeyedBatchSampler

__all__ = ["TensorData"]

#: A tensor, or nested mappings and tuples of tensors, all with the same first axis.
Batch = Any

#: Second parts of the keys of pools; those of epochs, steps and validation samples are -1 or more.
_TRAIN_POOLS, _VAL_POOLS = -2, -3


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
        pools: couple source samples with the data of several batches, and serve them as "x_0".

    Raises:
        ShapeError: parts of different lengths, or none at all.
        GeometryError: NaN or infinity in the states.
        ConfigError: unknown keys; pools of data that have an "x_0".
    """

    def __init__(
        self,
        train: Batch,
        val: Batch | None = None,
        *,
        batch_size: int = 256,
        val_batch_size: int = 4096,
        seed: int = 0,
        pools: PairedPools | None = None,
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
        if pools is not None:
            check_kind("pools", pools, PairedPools, "PairedPools(path, coupling, batches=8)")
        self.pools = pools

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
        if self.pools is not None:
            served = _Pooled(self.train, self.pools, self.batch_size, self.seed, rank, world)
            return DataLoader(served, batch_sampler=_Steps(start), collate_fn=_as_it_is)
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
        return DataLoader(self._val_rows, batch_sampler=_Listed(batches), collate_fn=_as_it_is)

    @cached_property
    def _val_rows(self) -> _Rows:
        """The validation data, with source samples if there are pools: the same at every time."""
        assert self.val is not None
        if self.pools is None:
            return self.val
        size = self.batch_size * self.pools.batches
        parts = []
        for i, rows in enumerate(torch.arange(len(self.val)).split(size)):
            generator = generator_for(self.seed, _VAL_POOLS, i)
            parts.append(self.pools.draw(_rows(self.val.data, rows), generator=generator))
        x_0 = map_state(lambda *pieces: torch.cat(pieces), *parts)
        return _Rows({**self.val.data, "x_0": x_0}, "val")

    def state_dict(self) -> dict[str, Any]:
        """What the order of the batches depends on."""
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "size": len(self.train),
            "pools": None if self.pools is None else self.pools.batches,
        }

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


class _Pooled(Dataset[Any]):
    """Batches by their step, with the source samples of their pool.

    Every process makes the whole pool and takes its rows of it.
    """

    def __init__(
        self, rows: _Rows, pools: PairedPools, batch_size: int, seed: int, rank: int, world: int
    ) -> None:
        self.rows, self.pools, self.seed = rows, pools, seed
        self.order = KeyedBatchSampler(len(rows), batch_size, seed)
        # Checks that the processes can share a batch.
        KeyedBatchSampler(len(rows), batch_size, seed, rank=rank, world=world)
        self.mine = slice(rank, None, world)
        self._pool: tuple[int, State] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, step: int) -> Any:
        return self.__getitems__([step])

    def __getitems__(self, steps: Sequence[int]) -> Any:
        (step,) = steps
        pool, place = divmod(step, self.pools.batches)
        size = self.order.batch_size
        x_0 = map_state(lambda a: a[place * size :][:size][self.mine], self._source(pool))
        index = self.order.indices(step)[self.mine]
        return {**self.rows.__getitems__(index.tolist()), "x_0": x_0}

    def _source(self, pool: int) -> State:
        if self._pool is None or self._pool[0] != pool:
            first = pool * self.pools.batches
            steps = range(first, first + self.pools.batches)
            index = torch.cat([self.order.indices(step) for step in steps])
            generator = generator_for(self.seed, _TRAIN_POOLS, pool)
            drawn = self.pools.draw(_rows(self.rows.data, index), generator=generator)
            self._pool = pool, drawn
        return self._pool[1]


class _Steps:
    """The numbers of the steps, one at a time, without end."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Any:
        return ([step] for step in count(self.start))


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
