"""A small U-Net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle, silu

from flowatlas.errors import ConfigError
from flowatlas.field import Condition
from flowatlas.networks import Classes, Pretrained, TimeEmbedding, Vector
from flowatlas_image.networks._spatial import Context, ImageChannels, check_event, check_images

__all__ = ["UNet"]

#: Numbers that are normalised together, at least.
_GROUP = 8


class UNet(Pretrained):
    r"""Convolutions at falling and rising resolution: a field of images `(batch, C, H, W)`.

    Each level has `blocks` residual blocks on the way down and as many on the way up, which see the
    level's features once more; half the resolution lies between levels. With `patch` above 1 the
    network works on squares of pixels as channels, so that no convolution runs at full resolution:
    on a CPU that is where the time goes. Blocks are scaled and shifted by a vector of t and the
    conditions. The output starts at zero, and so does the field.

    Args:
        event_shape: `(C, H, W)`, sides divisible by `patch * 2 ** (levels - 1)`.
        channels: of each level, finest first; multiples of 8.
        blocks: residual blocks of a level, each way.
        patch: side of the squares that become channels.
        attention: whether the coarsest level attends over all its places.
        context: length of the vector of t and conditions.
        time_embedding: what is seen of t.
        condition: the named conditions, as `Classes(count)` or `Vector(dim)`.
        images: conditions that are images, name to `(channels, height, width)`; NaN in a sample
            means that it is unknown.
        fixed: whether the network is told which pixels are given (see `fixed=` of objectives; the
            path then has `point_ndim=0`).

    Raises:
        ConfigError: a setting that is not allowed.
        ShapeError: sides that cannot be halved so often; at a call, inputs that do not fit.

    Reference: U-Net, Ronneberger et al., 2015, arXiv:1505.04597; blocks as in Denoising Diffusion
    Probabilistic Models, Ho et al., 2020, arXiv:2006.11239, here smaller, with scales beside the
    shifts (Dhariwal and Nichol, 2021, arXiv:2105.05233) and resolution halved by averages.

    Example:
        ```python
        from flowatlas_image import UNet

        model = UNet((1, 28, 28), channels=(32, 64), patch=2, condition={"label": Classes(10)})
        v = model(torch.randn(8, 1, 28, 28), torch.rand(8), {"label": torch.arange(8)})
        ```
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64, 64),
        blocks: int = 1,
        patch: int = 1,
        attention: bool = True,
        context: int = 128,
        time_embedding: TimeEmbedding | None = None,
        condition: Mapping[str, Classes | Vector] | None = None,
        images: Mapping[str, Sequence[int]] | None = None,
        fixed: bool = False,
    ) -> None:
        super().__init__()
        if not channels or any(width < _GROUP or width % _GROUP for width in channels):
            raise ConfigError(
                f"channels: got {tuple(channels)}; one number for each level, a multiple of "
                f"{_GROUP}."
            )
        for name, value in (("blocks", blocks), ("patch", patch), ("context", context)):
            if value < 1:
                raise ConfigError(f"{name}: got {value}; at least 1.")
        multiple = patch * 2 ** (len(channels) - 1)
        self.event = check_event(event_shape, multiple, "patch and number of levels")
        self.patch = patch
        self.images = ImageChannels(self.event, images, fixed)
        self.context = Context(context, time_embedding, condition)
        squares = patch**2
        seen = (self.event[0] + self.images.channels) * squares
        self.inputs = nn.Conv2d(seen, channels[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        last = channels[0]
        for width in channels:
            level = nn.ModuleList()
            for _ in range(blocks):
                level.append(_Block(last, width, context))
                last = width
            self.down.append(level)
        self.middle = _Attention(last) if attention else nn.Identity()
        for width in reversed(channels):
            level = nn.ModuleList()
            for _ in range(blocks):
                level.append(_Block(last + width, width, context))
                last = width
            self.up.append(level)
        self.norm = _norm(last)
        self.outputs = _zero(nn.Conv2d(last, self.event[0] * squares, 3, padding=1))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        condition: Condition | None = None,
        *,
        fixed: Tensor | None = None,
    ) -> Tensor:
        """Prediction at (x, t), shaped as `x`.

        Args:
            x: `(batch, C, H, W)`.
            t: `(batch,)`.
            condition: named conditions; what is left out is unknown.
            fixed: True where a number is given, shaped as `x`; needs `fixed=True` above.
        """
        check_images(x, t, self.event)
        images, others = self.images.split(condition)
        c = self.context(t, others, x.dtype)
        seen = torch.cat(self.images(x, images, fixed), 1)
        h = self.inputs(pixel_unshuffle(seen, self.patch))
        kept: list[Tensor] = []
        for i, level in enumerate(self.down):
            if i > 0:
                h = nn.functional.avg_pool2d(h, 2)
            for block in level:  # type: ignore[attr-defined]
                h = block(h, c)
                kept.append(h)
        h = self.middle(h)
        for i, level in enumerate(self.up):
            if i > 0:
                h = interpolate(h, scale_factor=2, mode="nearest")
            for block in level:  # type: ignore[attr-defined]
                h = block(torch.cat([h, kept.pop()], 1), c)
        return pixel_shuffle(self.outputs(silu(self.norm(h))), self.patch)

    def null_condition(self, condition: Condition) -> Condition:
        """`condition` with every value unknown, as condition dropout and guidance need it."""
        _, others = self.images.split(condition)
        return {**self.images.null(condition), **self.context.condition.null(others)}


class _Block(nn.Module):
    """Two convolutions, the second scaled and shifted by the context, around an identity."""

    def __init__(self, inner: int, outer: int, context: int) -> None:
        super().__init__()
        self.norm_in, self.norm_out = _norm(inner), _norm(outer)
        self.first = nn.Conv2d(inner, outer, 3, padding=1)
        self.second = _zero(nn.Conv2d(outer, outer, 3, padding=1))
        self.modulation = nn.Linear(context, 2 * outer)
        self.skip = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        z = self.first(silu(self.norm_in(h)))
        scale, shift = self.modulation(c)[..., None, None].chunk(2, 1)
        z = self.second(silu(self.norm_out(z) * (1 + scale) + shift))
        moved: Tensor = self.skip(h) + z
        return moved


class _Attention(nn.Module):
    """Every place attends to every other, around an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.into = nn.Conv2d(width, 3 * width, 1)
        self.out = _zero(nn.Conv2d(width, width, 1))

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.into(self.norm(h)).flatten(2).transpose(1, 2).chunk(3, -1)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        moved: Tensor = h + self.out(mixed.transpose(1, 2).reshape(h.shape))
        return moved


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, width // 16), width)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
