"""Random draws from one generator, or from one generator per sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError

__all__ = ["Generators", "check_floating", "draw", "draw_noise", "rand", "randint", "randn"]

#: None (the global generator), one generator, or one per sample of the batch.
Generators = torch.Generator | Sequence[torch.Generator] | None


def draw(
    fn: Callable[[tuple[int, ...], torch.Generator | None], Tensor],
    shape: Sequence[int],
    generator: Generators,
) -> Tensor:
    """Draw a tensor of `shape` by `fn(shape, generator)`, by rows if there is one generator each.

    Args:
        fn: called with a shape whose first axis is the batch, and a generator or None.
        shape: `(batch, *event)`.
        generator: with a sequence, row `i` comes from `generator[i]` alone, so that a sample does
            not depend on the batch it is drawn in.

    Raises:
        ConfigError: `generator` is something else, such as a seed.
        ShapeError: if the sequence's length is not the batch size.
    """
    shape = tuple(shape)
    if generator is None or isinstance(generator, torch.Generator):
        return fn(shape, generator)
    if not isinstance(generator, Sequence):
        raise ConfigError(
            f"generator: got {type(generator).__name__}; pass a torch.Generator, or a sequence of "
            "them, one per sample. Use torch.Generator().manual_seed(seed) for a seed."
        )
    if len(generator) != shape[0]:
        raise ShapeError(
            f"generator: got {len(generator)} generators for a batch of {shape[0]}; pass one "
            "torch.Generator, or exactly one per sample."
        )
    if not generator:
        return fn(shape, None)
    return torch.cat([fn((1, *shape[1:]), one) for one in generator])


def _device(
    generator: torch.Generator | None, device: torch.device | str | None
) -> torch.device | None:
    """Where to draw: on the generator's device, since torch refuses any other."""
    if generator is not None:
        return generator.device
    return None if device is None else torch.device(device)


def check_floating(dtype: torch.dtype | None) -> None:
    """Raise `ConfigError` if continuous draws are wanted as integers, such as tokens."""
    if dtype is not None and not dtype.is_floating_point:
        raise ConfigError(
            f"dtype: got {dtype}; draws from a continuous law are floating-point. For tokens use a "
            "source of tokens, such as Mask() or UniformTokens()."
        )


def randn(
    shape: Sequence[int],
    *,
    generator: Generators = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Standard normal draws; as `torch.randn`, with per-sample generators."""
    check_floating(dtype)
    return draw(
        lambda s, g: torch.randn(s, generator=g, dtype=dtype, device=_device(g, device)),
        shape,
        generator,
    ).to(device=device)


def rand(
    shape: Sequence[int],
    *,
    generator: Generators = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Uniform draws on [0, 1); as `torch.rand`, with per-sample generators."""
    check_floating(dtype)
    return draw(
        lambda s, g: torch.rand(s, generator=g, dtype=dtype, device=_device(g, device)),
        shape,
        generator,
    ).to(device=device)


def randint(
    high: int,
    shape: Sequence[int],
    *,
    generator: Generators = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Uniform integers in [0, high); as `torch.randint`, with per-sample generators."""
    return draw(
        lambda s, g: torch.randint(high, s, generator=g, device=_device(g, device)),
        shape,
        generator,
    ).to(device=device)


def draw_noise(
    shape: Sequence[int], like: Tensor, generator: Generators, rademacher: bool
) -> Tensor:
    """Independent numbers of mean zero and variance one: signs, or normal draws."""
    if rademacher:
        signs = randint(2, shape, generator=generator, device=like.device)
        return signs.to(like.dtype) * 2 - 1
    return randn(shape, generator=generator, dtype=like.dtype, device=like.device)
