"""Time as a vector that a network can tell apart."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError

__all__ = ["FourierTimeEmbedding", "TimeEmbedding"]


class TimeEmbedding(nn.Module, ABC):
    """A map from times `(batch,)` to vectors `(batch, dim)`.

    ```python
    class Raw(TimeEmbedding):
        dim = 1
        def forward(self, t):
            return t.unsqueeze(-1)
    ```

    Attributes:
        dim: length of the vectors.
    """

    dim: int

    @abstractmethod
    def forward(self, t: Tensor) -> Tensor:
        """Embed `t`, any shape, on a new last axis."""


class FourierTimeEmbedding(TimeEmbedding):
    r"""$(\cos 2\pi f_k t, \sin 2\pi f_k t)$ at frequencies in geometric progression.

    The lowest frequency, 1/4, turns by a right angle over the unit interval, so that no two times
    look alike; the highest one sets how fast the field may change with t. Solvers of high order
    need a field that is smooth in time: raise `max_frequency` only if the loss at the ends of the
    interval asks for it.

    Args:
        dim: length of the vector; even.
        max_frequency: the highest of the frequencies, in periods per unit of time.

    Raises:
        ConfigError: `dim` odd or less than 2, `max_frequency` below 1/4.

    Reference: Attention Is All You Need, Vaswani et al., 2017, arXiv:1706.03762, section 3.5. There
    the frequencies fall from 1 in integer positions; here t is in [0, 1].

    Example:
        ```python
        FourierTimeEmbedding(64)(torch.rand(8)).shape  # (8, 64)
        ```
    """

    frequencies: Tensor

    def __init__(self, dim: int = 64, max_frequency: float = 16.0) -> None:
        super().__init__()
        if dim < 2 or dim % 2:
            raise ConfigError(f"dim: got {dim}; it must be even and at least 2.")
        if not max_frequency >= 0.25:
            raise ConfigError(
                f"max_frequency: got {max_frequency}; it must be at least 0.25, the lowest."
            )
        self.dim = dim
        self.max_frequency = max_frequency
        low, high = math.log2(0.25), math.log2(max_frequency)
        frequencies = 2 * math.pi * torch.logspace(low, high, dim // 2, base=2, dtype=torch.float64)
        self.register_buffer("frequencies", frequencies.float(), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        angle = t.unsqueeze(-1) * self.frequencies.to(t.dtype)
        return torch.cat([torch.cos(angle), torch.sin(angle)], -1)

    def extra_repr(self) -> str:
        return f"{self.dim}, max_frequency={self.max_frequency}"
