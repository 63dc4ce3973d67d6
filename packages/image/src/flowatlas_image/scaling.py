"""Between 8-bit pixels and the range [-1, 1] in which flows of images live."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.errors import GeometryError

__all__ = ["from_pixels", "to_pixels"]

_HALF = 127.5


def from_pixels(pixels: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Pixels 0..255 as numbers in [-1, 1]: x = p / 127.5 - 1.

    Args:
        pixels: uint8, any shape.
        dtype: of the result.

    Raises:
        GeometryError: the pixels are not uint8; numbers that were scaled already would be scaled
            twice.
    """
    if pixels.dtype != torch.uint8:
        raise GeometryError(
            f"pixels: got dtype {pixels.dtype}; allowed is torch.uint8, with values 0..255. "
            "Numbers in [0, 1] need no call of this function: use 2 * pixels - 1."
        )
    return pixels.to(dtype) / _HALF - 1


def to_pixels(x: Tensor) -> Tensor:
    """Numbers in [-1, 1] as pixels 0..255, rounded to the nearest; the inverse of `from_pixels`.

    What lies outside is clamped, as samples of a flow overshoot a little.

    Args:
        x: floating-point, any shape.

    Raises:
        GeometryError: an integer tensor, or NaN, which has no pixel.
    """
    if not x.is_floating_point():
        raise GeometryError(
            f"x: got dtype {x.dtype}; allowed are floating-point numbers in [-1, 1]. "
            "Pixels need no call of this function."
        )
    if torch.isnan(x).any():
        raise GeometryError(
            "x: contains NaN, which has no pixel. A field that diverges makes such samples: look "
            "at its loss, or take more steps."
        )
    # bfloat16 holds eight bits of a number: half of all pixels would be off by one.
    return ((x.float().clamp(-1, 1) + 1) * _HALF).round().to(torch.uint8)
