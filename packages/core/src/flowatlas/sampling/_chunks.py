"""Split a request over the batch so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from flowatlas._arguments import count
from flowatlas._points import by_name
from flowatlas._random import Generators
from flowatlas.errors import ShapeError
from flowatlas.sampling.replacement import Replacement
from flowatlas.state import State, batch_size

__all__ = ["in_chunks"]

#: Numbers of state that are integrated at once unless the user says otherwise: 64 MB of float32.
BUDGET = 2**24


def in_chunks(
    run: Callable[..., Any],
    x: State,
    chunk_size: int | None,
    generator: Generators,
    *,
    copies: int = 1,
    **parts: Any,
) -> Any:
    """Call `run(x, generator=..., **parts)` on slices of the batch and join the results.

    Args:
        run: returns a tensor or mapping with the batch first.
        x: the state.
        chunk_size: samples at once; as many as fit `BUDGET` if None.
        generator: a sequence is sliced with the batch.
        copies: how many copies of the state `run` differentiates at once.
        parts: tensors, tuples or mappings of tensors with the batch first, or None.
    """
    batch = batch_size(x)
    if chunk_size is None:
        size = sum(value.numel() for value in by_name(x).values()) // max(batch, 1)
        chunk_size = max(1, BUDGET // max(size * min(copies, size), 1))
    chunk_size = count("chunk_size", chunk_size)
    if batch <= chunk_size:
        return run(x, generator=generator, **parts)
    for name, part in parts.items():
        _check_batch(part, batch, name)
    results = [
        run(
            _rows(x, rows),
            generator=_generators(generator, rows),
            **{name: _rows(part, rows) for name, part in parts.items()},
        )
        for rows in _slices(batch, chunk_size)
    ]
    if isinstance(results[0], Tensor):
        return torch.cat(results)
    return {name: torch.cat([one[name] for one in results]) for name in results[0]}


def _check_batch(value: Any, batch: int, name: str) -> None:
    """Slicing must not hide a part that does not fit the whole."""
    if isinstance(value, Tensor):
        if value.ndim == 0 or value.shape[0] != batch:
            raise ShapeError(
                f"{name}: got shape {tuple(value.shape)} for a batch of {batch}; its first axis "
                "must be the batch."
            )
    elif isinstance(value, tuple):
        for one in value:
            _check_batch(one, batch, name)
    elif isinstance(value, Replacement):
        _check_batch((value.mask, value.value), batch, name)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            _check_batch(one, batch, f"{name}[{key!r}]")


def _slices(batch: int, size: int) -> Iterator[slice]:
    for start in range(0, batch, size):
        yield slice(start, min(start + size, batch))


def _rows(value: Any, rows: slice) -> Any:
    if isinstance(value, Tensor):
        return value[rows]
    if isinstance(value, tuple):
        return tuple(_rows(one, rows) for one in value)
    if isinstance(value, Replacement):
        return value.rows(rows)
    if isinstance(value, Mapping):
        return {name: _rows(one, rows) for name, one in value.items()}
    # None, or what is refused where it is used.
    return value


def _generators(generator: Generators, rows: slice) -> Generators:
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    return list(generator[rows])
