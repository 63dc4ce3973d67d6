"""What every network of images shares: shapes, vectors of time and condition, extra channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition
from flowatlas.networks import Classes, FourierTimeEmbedding, TimeEmbedding, Vector
from flowatlas.networks.condition import ConditionEmbedding

__all__ = ["Context", "ImageChannels", "check_event", "check_images"]


def check_event(event_shape: Sequence[int], multiple: int, argument: str) -> tuple[int, int, int]:
    """`event_shape` as `(channels, height, width)`, sides divisible by `multiple`.

    Raises:
        ShapeError: it is no such shape; the message says which `argument` sets the multiple.
    """
    event = tuple(event_shape)
    if len(event) != 3 or min(event) < 1:
        raise ShapeError(
            f"event_shape: got {event}; it must be (channels, height, width), all positive. "
            "Grey images have one channel: x.unsqueeze(1)."
        )
    if event[1] % multiple or event[2] % multiple:
        raise ShapeError(
            f"event_shape: got sides {event[1]} x {event[2]}; with this {argument} both must be "
            f"divisible by {multiple}. Pad the images, or choose another {argument}."
        )
    return event[0], event[1], event[2]


def check_images(x: Tensor, t: Tensor, event: tuple[int, int, int]) -> None:
    """Raise `ShapeError` unless `x` is a batch of images and `t` has one time for each."""
    if tuple(x.shape[1:]) != event or x.ndim != 4:
        raise ShapeError(
            f"x: got shape {tuple(x.shape)}; the network was built for (batch, "
            f"{', '.join(map(str, event))}). Build it with event_shape={tuple(x.shape[1:])}, or "
            "reshape x."
        )
    if t.shape != (x.shape[0],):
        raise ShapeError(
            f"t: got shape {tuple(t.shape)} beside {x.shape[0]} samples; need ({x.shape[0]},). For "
            "a single time use torch.full((batch,), t)."
        )


class Context(nn.Module):
    r"""One vector a sample for all layers: $c = \operatorname{silu}(W_2 \operatorname{silu}(W_1
    [e(t), e(\mathrm{condition})]))$.

    Args:
        width: length of the vector.
        time_embedding: what is seen of t.
        kinds: the named conditions, as `Classes(count)` or `Vector(dim)`.
    """

    def __init__(
        self,
        width: int,
        time_embedding: TimeEmbedding | None,
        kinds: Mapping[str, Classes | Vector] | None,
    ) -> None:
        super().__init__()
        self.time_embedding = FourierTimeEmbedding() if time_embedding is None else time_embedding
        self.condition = ConditionEmbedding({} if kinds is None else kinds, width)
        self.first = nn.Linear(self.time_embedding.dim + self.condition.dim, width)
        self.second = nn.Linear(width, width)

    def forward(self, t: Tensor, condition: Condition, dtype: torch.dtype) -> Tensor:
        """`(batch, width)`."""
        # Conditions are embedded in the precision of their weights, t in its own.
        parts = [self.time_embedding(t).to(dtype), *self.condition(condition, t.shape[0])]
        vector: Tensor = silu(self.second(silu(self.first(torch.cat(parts, -1)))))
        return vector


class ImageChannels(nn.Module):
    """Images that a network is given beside the state, as channels of its input.

    A condition `name` of shape `(channels, height, width)` is brought to the size of the state by
    repeating pixels where it is smaller, with one more channel that is 1 where the condition is
    known. NaN anywhere in a sample's condition means that it is unknown: its channels are zero, as
    are those of a condition that the caller leaves out. With `fixed` there is one channel more for
    each of the state's, which is 1 where the state is given.

    Args:
        event: of the state.
        shapes: of the image conditions, by name.
        fixed: whether the network is told which pixels are given.

    Attributes:
        channels: how many there are.
    """

    def __init__(
        self,
        event: tuple[int, int, int],
        shapes: Mapping[str, Sequence[int]] | None,
        fixed: bool,
    ) -> None:
        super().__init__()
        self.event, self.fixed = event, fixed
        self.shapes = {name: tuple(shape) for name, shape in (shapes or {}).items()}
        for name, shape in self.shapes.items():
            if len(shape) != 3 or min(shape) < 1 or event[1] % shape[1] or event[2] % shape[2]:
                raise ShapeError(
                    f"images[{name!r}]: got {shape}; it must be (channels, height, width) with "
                    f"sides that divide those of the state, {event[1]} x {event[2]}. Resize the "
                    "condition."
                )
        self.channels = sum(shape[0] + 1 for shape in self.shapes.values())
        self.channels += event[0] if fixed else 0

    def null(self, condition: Condition) -> dict[str, Tensor]:
        """The image conditions of `condition`, every one unknown."""
        return {
            name: torch.full_like(value, torch.nan)
            for name, value in condition.items()
            if name in self.shapes
        }

    def split(self, condition: Condition | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The image conditions, and the others."""
        given = {} if condition is None else dict(condition)
        images = {name: given.pop(name) for name in self.shapes if name in given}
        return images, given

    def forward(
        self, x: Tensor, images: Mapping[str, Tensor], fixed: Tensor | None
    ) -> list[Tensor]:
        """The state, and the channels beside it."""
        seen = [x]
        for name, shape in self.shapes.items():
            seen += self._condition(name, shape, images.get(name), x)
        if fixed is not None and not self.fixed:
            raise ConfigError(
                "fixed: the network was not built to see which pixels are given. Build it with "
                "fixed=True, or hold the pixels with Replacement(mask, value)."
            )
        if self.fixed:
            if fixed is not None and fixed.shape != x.shape:
                raise ShapeError(
                    f"fixed: got shape {tuple(fixed.shape)}; need {tuple(x.shape)}, one entry per "
                    "number of the image. Use a path with point_ndim=0, and expand the mask over "
                    "the channels."
                )
            seen.append(torch.zeros_like(x) if fixed is None else fixed.to(x.dtype))
        return seen

    def _condition(
        self, name: str, shape: tuple[int, ...], value: Tensor | None, x: Tensor
    ) -> list[Tensor]:
        batch, _, height, width = x.shape
        if value is None:
            return [x.new_zeros(batch, shape[0] + 1, height, width)]
        if tuple(value.shape) != (batch, *shape):
            raise ShapeError(
                f"condition[{name!r}]: got shape {tuple(value.shape)}; need {(batch, *shape)}."
            )
        known = ~value.flatten(1).isnan().any(1).view(-1, 1, 1, 1)
        value = torch.where(known, value.to(x.dtype), 0.0)
        large = interpolate(value, size=(height, width), mode="nearest")
        return [large, known.to(x.dtype).expand(batch, 1, height, width)]
