"""A diffusion transformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

from flowatlas.errors import ConfigError
from flowatlas.field import Condition
from flowatlas.networks import Classes, Pretrained, TimeEmbedding, Vector
from flowatlas_image.networks._spatial import Context, ImageChannels, check_event, check_images
from flowatlas_image.networks.patches import PatchEmbedding, from_patches

__all__ = ["DiT"]


class DiT(Pretrained):
    r"""A transformer over patches: a field of images `(batch, C, H, W)`.

    In each block attention and a perceptron, both around an identity, are scaled, shifted and gated
    by a vector c of t and the conditions ("adaLN-zero"): $h \leftarrow h + g(c) \, f((1 + s(c))
    \operatorname{norm}(h) + b(c))$. All s, b, g and the output start at zero: every block is the
    identity at first, and the field is zero.

    Args:
        event_shape: `(C, H, W)`, sides divisible by `patch`.
        patch: side of a patch; the cost of a call falls with its square.
        width: of a token; a multiple of 4 and of `heads`.
        depth: blocks.
        heads: of the attention.
        context: length of the vector of t and conditions.
        time_embedding: what is seen of t.
        condition: the named conditions, as `Classes(count)` or `Vector(dim)`.
        images: conditions that are images, name to `(channels, height, width)`.
        fixed: whether the network is told which pixels are given.

    Raises:
        ConfigError: a setting that is not allowed.
        ShapeError: sides that the patch does not divide; at a call, inputs that do not fit.

    Reference: Scalable Diffusion Models with Transformers, Peebles and Xie, 2022,
    arXiv:2212.09748, section 3.2 and figure 3.

    Example:
        ```python
        from flowatlas_image import DiT

        model = DiT((1, 28, 28), patch=4, width=64, depth=2, condition={"label": Classes(10)})
        v = model(torch.randn(8, 1, 28, 28), torch.rand(8), {"label": torch.arange(8)})
        ```
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        patch: int = 2,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        context: int = 128,
        time_embedding: TimeEmbedding | None = None,
        condition: Mapping[str, Classes | Vector] | None = None,
        images: Mapping[str, Sequence[int]] | None = None,
        fixed: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (
            ("patch", patch),
            ("width", width),
            ("depth", depth),
            ("heads", heads),
            ("context", context),
        ):
            if value < 1:
                raise ConfigError(f"{name}: got {value}; at least 1.")
        if width % heads:
            raise ConfigError(f"heads: got {heads}; it must divide the width, {width}.")
        self.event = check_event(event_shape, patch, "patch")
        self.patch = patch
        self.images = ImageChannels(self.event, images, fixed)
        self.context = Context(context, time_embedding, condition)
        channels = self.event[0] + self.images.channels
        self.inputs = PatchEmbedding(channels, self.event[1:], patch, width)
        self.blocks = nn.ModuleList(_Block(width, heads, context) for _ in range(depth))
        self.modulation = _zero(nn.Linear(context, 2 * width))
        self.outputs = _zero(nn.Linear(width, self.event[0] * patch**2))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        condition: Condition | None = None,
        *,
        fixed: Tensor | None = None,
    ) -> Tensor:
        """Prediction at (x, t), shaped as `x`; arguments as those of `UNet`."""
        check_images(x, t, self.event)
        images, others = self.images.split(condition)
        c = self.context(t, others, x.dtype)
        h = self.inputs(torch.cat(self.images(x, images, fixed), 1))
        for block in self.blocks:
            h = block(h, c)
        scale, shift = self.modulation(c).unsqueeze(1).chunk(2, -1)
        return from_patches(self.outputs(_scaled(h, scale, shift)), self.patch, self.event[1:])

    def null_condition(self, condition: Condition) -> Condition:
        """`condition` with every value unknown, as condition dropout and guidance need it."""
        _, others = self.images.split(condition)
        return {**self.images.null(condition), **self.context.condition.null(others)}


class _Block(nn.Module):
    """Attention and a perceptron, each scaled, shifted and gated by the context."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = _zero(nn.Linear(context, 6 * width))

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        parts = self.modulation(c).unsqueeze(1).chunk(6, -1)
        scale, shift, gate = parts[:3]
        h = h + gate * self._attend(_scaled(h, scale, shift))
        scale, shift, gate = parts[3:]
        moved: Tensor = h + gate * self.down(
            gelu(self.up(_scaled(h, scale, shift)), approximate="tanh")
        )
        return moved

    def _attend(self, z: Tensor) -> Tensor:
        batch, length, width = z.shape
        split = self.into(z).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind()
        mixed = scaled_dot_product_attention(q, k, v).transpose(1, 2)
        attended: Tensor = self.out(mixed.reshape(batch, length, width))
        return attended


def _scaled(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift, layer_norm(h, h.shape[-1:]), 1 + scale)


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
