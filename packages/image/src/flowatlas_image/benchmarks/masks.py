"""Parts of images that are given, for training networks that complete."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.errors import ConfigError

__all__ = ["given_pixels"]

#: Given strips take at least and at most this share of a side.
_LEAST, _MOST = 0.25, 0.75


def given_pixels(x: Tensor, share: float, *, generator: torch.Generator | None = None) -> Tensor:
    """Which pixels are given: a strip along one side of some images, and nothing of the others.

    The side is one of four, and the strip is a quarter to three quarters of the image wide, to
    whole pixels.

    Args:
        x: images `(n, C, H, W)`.
        share: probability that an image has a strip.
        generator: of the sides and widths, on the CPU.

    Returns:
        True where a pixel is given, shaped as `x`.

    Raises:
        ConfigError: a share that is no probability.

    Example:
        ```python
        from flowatlas_image.benchmarks.masks import given_pixels

        given = given_pixels(torch.zeros(8, 1, 28, 28), 0.5)
        ```
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"share: got {share}; it is a probability, from 0 to 1.")
    count, _, height, width = x.shape
    has, side, wide = torch.rand(count, 3, generator=generator).to(x.device).unbind(1)
    wide = _LEAST + (_MOST - _LEAST) * wide
    rows, columns = _middles(height, x.device), _middles(width, x.device)
    from_top, from_left = rows < wide[:, None], columns < wide[:, None]
    from_bottom, from_right = from_top.flip(1), from_left.flip(1)
    level = torch.where((side < 0.25)[:, None], from_top, from_bottom)
    upright = torch.where((side < 0.75)[:, None], from_left, from_right)
    chosen = torch.where((side < 0.5)[:, None, None], level[:, :, None], upright[:, None, :])
    chosen = chosen & (has < share)[:, None, None]
    return chosen.unsqueeze(1).expand(x.shape)


def _middles(count: int, device: torch.device) -> Tensor:
    """Middles of as many pixels along a side of length 1."""
    return (torch.arange(count, device=device) + 0.5) / count
