"""Data in memory as a LightningDataModule with keyed batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset

from flowatlas._arguments import check_kind
from flowatlas.errors import ConfigError
from flowatlas.state import State, map_state
from flowatlas.training._keys import generator_for
from flowatlas.training._rows import Batch, Rows, Steps, as_it_is, position, take, validation
from flowatlas.training.pools import PairedPools
from flowatlas.training.sampler import KeyedBatchSampler

__all__ = ["TensorData"]

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
        self.train = Rows(train, "train")
        self.val = None if val is None else Rows(val, "val")
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size
        self.seed = seed
        if pools is not None:
            check_kind("pools", pools, PairedPools, "PairedPools(path, coupling, batches=8)")
        self.pools = pools

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the trainer's step on, without end."""
        rank, world, start = position(self.trainer)
        if self.pools is not None:
            served = _Pooled(self.train, self.pools, self.batch_size, self.seed, rank, world)
            return DataLoader(served, batch_sampler=Steps(start), collate_fn=as_it_is)
        sampler = KeyedBatchSampler(
            len(self.train), self.batch_size, self.seed, rank=rank, world=world, start_step=start
        )
        return DataLoader(self.train, batch_sampler=sampler, collate_fn=as_it_is)

    def val_dataloader(self) -> Any:
        """This process's share of the validation data, in order; each sample once."""
        if self.val is None:
            return []
        return validation(self._val_rows, self.val_batch_size, self.trainer)

    @cached_property
    def _val_rows(self) -> Rows:
        """The validation data, with source samples if there are pools: the same at every time."""
        assert self.val is not None
        if self.pools is None:
            return self.val
        size = self.batch_size * self.pools.batches
        parts = []
        for i, rows in enumerate(torch.arange(len(self.val)).split(size)):
            generator = generator_for(self.seed, _VAL_POOLS, i)
            parts.append(self.pools.draw(take(self.val.data, rows), generator=generator))
        x_0 = map_state(lambda *pieces: torch.cat(pieces), *parts)
        return Rows({**self.val.data, "x_0": x_0}, "val")

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


class _Pooled(Dataset[Any]):
    """Batches by their step, with the source samples of their pool.

    Every process makes the whole pool and takes its rows of it.
    """

    def __init__(
        self, rows: Rows, pools: PairedPools, batch_size: int, seed: int, rank: int, world: int
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
            drawn = self.pools.draw(take(self.rows.data, index), generator=generator)
            self._pool = pool, drawn
        return self._pool[1]
