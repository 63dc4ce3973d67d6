"""Which samples make a batch: a pure function of the seed and the step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from flowatlas.errors import ConfigError
from flowatlas.training._keys import generator_for

__all__ = ["KeyedBatchSampler"]


class KeyedBatchSampler(Sampler[list[int]]):
    """Shuffled batches without end, of which any one can be had without those before it.

    The data are gone through again and again, in an order that is keyed by (seed, epoch). Batch k
    is entries `k * batch_size` to `(k + 1) * batch_size` of that endless row: every batch is full,
    none of the data is dropped, and a batch may reach into the next epoch. A run that is resumed at
    step k goes on with exactly the batch it would have had.

    Args:
        size: number of samples in the data.
        batch_size: of all processes together.
        seed: of the order.
        rank: which process this is; it gets entries `rank, rank + world, ...` of each batch.
        world: how many processes there are; must divide `batch_size`.
        start_step: first batch of the iteration.
        steps: number of the batch to stop before; without end if None.

    Raises:
        ConfigError: numbers that are not positive or do not fit.

    Example:
        ```python
        loader = DataLoader(data, batch_sampler=KeyedBatchSampler(len(data), 256, seed=0))
        ```
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int = 0,
        *,
        rank: int = 0,
        world: int = 1,
        start_step: int = 0,
        steps: int | None = None,
    ) -> None:
        if size < 1 or batch_size < 1:
            raise ConfigError(f"size, batch_size: got {size}, {batch_size}; both must be positive.")
        if world < 1 or not 0 <= rank < world:
            raise ConfigError(f"rank, world: got {rank}, {world}; need 0 <= rank < world.")
        if batch_size % world:
            raise ConfigError(
                f"batch_size: got {batch_size}, that of all processes together, which {world} "
                f"processes cannot share evenly. Use {batch_size // world * world or world}."
            )
        if start_step < 0:
            raise ConfigError(f"start_step: got {start_step}; it must be 0 or more.")
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.world = rank, world
        self.start_step, self.steps = start_step, steps
        self._epoch: tuple[int, Tensor] | None = None

    def indices(self, step: int) -> Tensor:
        """This process's part of batch `step`, `(batch_size / world,)` of int64."""
        position = step * self.batch_size
        end = position + self.batch_size
        parts = []
        while position < end:
            epoch, offset = divmod(position, self.size)
            part = self._order(epoch)[offset : offset + end - position]
            parts.append(part)
            position += len(part)
        return torch.cat(parts)[self.rank :: self.world]

    def __iter__(self) -> Iterator[list[int]]:
        step = self.start_step
        while self.steps is None or step < self.steps:
            yield self.indices(step).tolist()
            step += 1

    def _order(self, epoch: int) -> Tensor:
        if self._epoch is None or self._epoch[0] != epoch:
            generator = generator_for(self.seed, epoch)
            self._epoch = epoch, torch.randperm(self.size, generator=generator)
        return self._epoch[1]
