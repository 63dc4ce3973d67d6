"""A bidirectional transformer as a field over tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition
from flowatlas.networks._head import check_time
from flowatlas.networks.condition import ConditionEmbedding, ConditionKind
from flowatlas.networks.hub import Pretrained
from flowatlas.networks.time_embedding import FourierTimeEmbedding, TimeEmbedding
from flowatlas.networks.trunk import CONTEXT

__all__ = ["SequenceTransformer"]


class SequenceTransformer(Pretrained):
    r"""A transformer `(x, t, condition=None) -> logits` for sequences of tokens of any length.

    Every token sees all others. Positions enter as rotations of queries and keys, so that attention
    depends on their difference alone. An embedding e of time and conditions scales and shifts what
    each layer sees, and gates what it adds:

    $$h \leftarrow h + g \circ f((1 + s) \circ \operatorname{norm}(h) + b), \qquad
      (s, b, g) = W \operatorname{silu}(C e),$$

    with attention and a perceptron as f in turn. W and the layer of the logits start at zero: so do
    the logits, and every layer starts as the identity.

    Args:
        vocab: number of tokens that data can have; the mask of a `MixturePath`, whose id is
            `vocab`, is understood as well.
        width: of the vectors between layers; a multiple of `2 * heads`.
        depth: layers, each of attention and a perceptron of four times the width.
        heads: of the attention.
        window: how many tokens a convolution at the bottom sees, an odd number, 1 for none: what
            stands next to a token need not be found by attention, which takes long to learn it.
        time_embedding: what the network sees of t.
        condition: the named conditions, as `Classes(count)` or `Vector(dim)`.
        fixed: whether the network is told which tokens are given (see `fixed=` of objectives).

    Raises:
        ConfigError: sizes below 1, or a width that the heads do not divide.
        ShapeError: at a call, inputs that do not fit.

    Reference: Attention Is All You Need, Vaswani et al., 2017, arXiv:1706.03762; RoFormer, Su et
    al., 2021, arXiv:2104.09864, for rotations; Scalable Diffusion Models with Transformers, Peebles
    and Xie, 2022, arXiv:2212.09748, for gates that start at zero.

    Example:
        ```python
        path = MixturePath(vocab=27)
        model = SequenceTransformer(27, width=64, depth=2, heads=4)
        x = sample(model, path, shape=(4, 32), solver=TauLeaping(steps=8))
        ```
    """

    def __init__(
        self,
        vocab: int,
        *,
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
        window: int = 7,
        time_embedding: TimeEmbedding | None = None,
        condition: Mapping[str, ConditionKind] | None = None,
        fixed: bool = False,
    ) -> None:
        super().__init__()
        if min(vocab, depth, heads) < 1:
            raise ConfigError(
                f"vocab, depth, heads: got {vocab}, {depth}, {heads}; each must be at least 1."
            )
        if window < 1 or window % 2 == 0:
            raise ConfigError(
                f"window: got {window}; it must be odd, a token in the middle, and at least 1."
            )
        if width < 1 or width % (2 * heads):
            raise ConfigError(
                f"width: got {width} for {heads} heads; it must be a multiple of {2 * heads}, an "
                "even number for each head. Change width or heads."
            )
        self.vocab, self.head_width = vocab, width // heads
        self.time_embedding = FourierTimeEmbedding() if time_embedding is None else time_embedding
        self.condition = ConditionEmbedding({} if condition is None else condition, CONTEXT)
        self.tokens = nn.Embedding(vocab + 1, width)
        self.neighbours = (
            nn.Conv1d(width, width, window, padding=window // 2) if window > 1 else None
        )
        self.given = nn.Parameter(torch.zeros(width)) if fixed else None
        self.context = nn.Linear(self.time_embedding.dim + self.condition.dim, 2 * CONTEXT)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(depth))
        self.scale = nn.Linear(2 * CONTEXT, 2 * width)
        self.logits = nn.Linear(width, vocab)
        for layer in (self.scale, self.logits):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        condition: Condition | None = None,
        *,
        mask: Tensor | None = None,
        fixed: Tensor | None = None,
    ) -> Tensor:
        """Logits at (x, t), `(batch, length, vocab)`.

        Args:
            x: `(batch, length)`, integers from 0 to vocab, which is the mask.
            t: `(batch,)`.
            condition: named conditions; what is left out is unknown.
            mask: True where a token exists, `(batch, length)`; the others are not seen, whatever
                they hold, and their logits are zero.
            fixed: True where a token is given, `(batch, length)`; needs `fixed=True` above.
        """
        self._check(x, t, mask=mask, fixed=fixed)
        kind = self.logits.weight.dtype
        embedding = [self.time_embedding(t), *self.condition(condition, x.shape[0])]
        e = nn.functional.silu(self.context(torch.cat([part.to(kind) for part in embedding], -1)))
        seen = None
        if mask is not None:
            x = torch.where(mask, x, 0)
            # A sequence of none at all sees itself: attention to nothing need not be a number.
            seen = (mask | ~mask.any(1, keepdim=True))[:, None, None, :]
        h = self.tokens(x)
        if mask is not None:
            h = torch.where(mask.unsqueeze(-1), h, 0.0)
        if self.neighbours is not None:
            h = h + self.neighbours(h.mT).mT
        if fixed is not None:
            h = torch.where(fixed.unsqueeze(-1), h + self.given, h)
        turn = _turns(x.shape[1], self.head_width, h)
        for layer in self.layers:
            h = layer(h, e, turn, seen)
        scale, shift = self.scale(e).unsqueeze(1).chunk(2, -1)
        out: Tensor = self.logits(_normalised(h, scale, shift))
        return out if mask is None else torch.where(mask.unsqueeze(-1), out, 0.0)

    def null_condition(self, condition: Condition) -> Condition:
        """`condition` with every value unknown, as condition dropout and guidance need it."""
        return self.condition.null(condition)

    def _check(self, x: Tensor, t: Tensor, **masks: Tensor | None) -> None:
        if x.ndim != 2 or x.is_floating_point():
            raise ShapeError(
                f"x: got shape {tuple(x.shape)}, {x.dtype}; the network takes sequences of tokens, "
                "(batch, length) of integers. Flatten images and grids first."
            )
        check_time(t, x.shape[0])
        for name, mask in masks.items():
            if mask is not None and mask.shape != x.shape:
                raise ShapeError(
                    f"{name}: got shape {tuple(mask.shape)}; need {tuple(x.shape)}, one entry per "
                    "token."
                )
        if masks["fixed"] is not None and self.given is None:
            raise ConfigError(
                "fixed: the network was not built to see which tokens are given. Build it with "
                "fixed=True, or leave fixed= out."
            )


class _Layer(nn.Module):
    """Attention and a perceptron, each scaled, shifted and gated by the embedding."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.attention_in = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = nn.Linear(2 * CONTEXT, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self, h: Tensor, e: Tensor, turn: tuple[Tensor, Tensor], seen: Tensor | None
    ) -> Tensor:
        parts = self.modulation(e).unsqueeze(1).chunk(6, -1)
        scale, shift, gate = parts[:3]
        h = h + gate * self._attend(_normalised(h, scale, shift), turn, seen)
        scale, shift, gate = parts[3:]
        inner = nn.functional.gelu(self.up(_normalised(h, scale, shift)), approximate="tanh")
        moved: Tensor = h + gate * self.down(inner)
        return moved

    def _attend(self, z: Tensor, turn: tuple[Tensor, Tensor], seen: Tensor | None) -> Tensor:
        batch, length, width = z.shape
        split = self.attention_in(z).view(batch, length, 3, self.heads, self.head_width)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind()
        out = scaled_dot_product_attention(_turned(q, turn), _turned(k, turn), v, attn_mask=seen)
        mixed: Tensor = self.attention_out(out.transpose(1, 2).reshape(batch, length, width))
        return mixed


def _normalised(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift, layer_norm(h, h.shape[-1:]), 1 + scale)


def _turns(length: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines by which each position turns pairs of a head, `(length, width / 2)`.

    Angles are made in float64: those of far positions have no digits left in half precision.
    """
    frequency = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency)
    return angle.cos().to(like), angle.sin().to(like)


def _turned(a: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the pairs (i, i + width / 2) of the last axis."""
    cos, sin = turn
    first, second = a.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)
