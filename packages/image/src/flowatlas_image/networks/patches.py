"""Images as sequences of patches, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError

__all__ = ["PatchEmbedding", "from_patches", "positions", "to_patches"]


def to_patches(x: Tensor, patch: int) -> Tensor:
    """Squares of `patch` pixels, row by row: `(batch, C, H, W)` to `(batch, tokens, C patch^2)`."""
    return nn.functional.unfold(x, patch, stride=patch).transpose(1, 2)


def from_patches(tokens: Tensor, patch: int, size: tuple[int, int]) -> Tensor:
    """The inverse of `to_patches`, for images of `size` (height, width)."""
    return nn.functional.fold(tokens.transpose(1, 2), size, patch, stride=patch)


def positions(rows: int, columns: int, width: int) -> Tensor:
    r"""Sines and cosines of a patch's place, `(rows * columns, width)`.

    A quarter of the numbers each are $\sin(\omega_k r)$, $\cos(\omega_k r)$ of the row r and the
    same of the column, with $\omega_k = 10000^{-4k / \mathrm{width}}$.

    Raises:
        ConfigError: a width that four does not divide.

    Reference: Attention Is All You Need, Vaswani et al., 2017, arXiv:1706.03762, section 3.5; in
    two dimensions as in An Image is Worth 16x16 Words, Dosovitskiy et al., 2020, arXiv:2010.11929,
    appendix D, whose axes each have half of the numbers.
    """
    if width % 4:
        raise ConfigError(f"width: got {width}; positions in two dimensions need a multiple of 4.")
    count = width // 4
    frequency = 10_000.0 ** (-torch.arange(count, dtype=torch.float64) / count)

    def waves(places: int) -> Tensor:
        angle = torch.outer(torch.arange(places, dtype=torch.float64), frequency)
        return torch.cat([angle.sin(), angle.cos()], -1)

    row = waves(rows)[:, None].expand(rows, columns, -1)
    column = waves(columns)[None].expand(rows, columns, -1)
    return torch.cat([row, column], -1).flatten(0, 1).float()


class PatchEmbedding(nn.Module):
    """A linear map of each patch, and its place added: `(batch, C, H, W)` to tokens.

    Args:
        channels: of the images.
        size: height and width, divisible by `patch`.
        patch: side of a patch.
        width: of a token; a multiple of 4.

    Example:
        ```python
        from flowatlas_image.networks import PatchEmbedding

        tokens = PatchEmbedding(3, (32, 32), 4, 64)(torch.randn(8, 3, 32, 32))  # (8, 64, 64)
        ```
    """

    place: Tensor

    def __init__(self, channels: int, size: tuple[int, int], patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.linear = nn.Linear(channels * patch**2, width)
        place = positions(size[0] // patch, size[1] // patch, width)
        self.register_buffer("place", place, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, tokens, width)`."""
        tokens: Tensor = self.linear(to_patches(x, self.patch))
        return tokens + self.place.to(tokens.dtype)
