"""From a network's numbers to a prediction that belongs to the state."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._precision import full_precision
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds.base import Manifold

__all__ = ["GeometricHead", "Head", "TokenHead", "check_time"]

OUTPUTS = ("velocity", "target", "velocity_and_noise")


class Head(ABC):
    """One component of the state: its shapes, and how its prediction is read off.

    Attributes:
        event_shape: of one sample.
        points_shape: the axes of the event that count points.
        points: how many points there are.
        shape: of the prediction of one sample.
        out_features: how many numbers that takes.
        label: what error messages add to an argument's name, such as `['rotation']`.
    """

    def __init__(
        self, event_shape: Sequence[int], point_ndim: int, shape: Sequence[int], label: str
    ) -> None:
        self.event_shape = tuple(event_shape)
        self.points_shape = self.event_shape[: len(self.event_shape) - point_ndim]
        self.points = math.prod(self.points_shape)
        self.shape = tuple(shape)
        self.out_features = math.prod(self.shape)
        self.label = label

    @abstractmethod
    def finish(self, x: Tensor, out: Tensor, mask: Tensor | None) -> Tensor:
        """The prediction at `x` from the numbers `out`, `(batch, out_features)`.

        What is said of points that `mask` leaves out has no effect on the weights.
        """

    def check(self, x: Tensor) -> None:
        """Raise `ShapeError` unless `x` is a batch of events."""
        if x.ndim == 0 or tuple(x.shape[1:]) != self.event_shape:
            expected = ", ".join(["batch", *map(str, self.event_shape)])
            raise ShapeError(
                f"x{self.label}: got shape {tuple(x.shape)}; the network was built for "
                f"({expected}). Build it with event_shape={tuple(x.shape[1:])}, or reshape x."
            )

    def marks(self, fixed: Tensor | None, t: Tensor, expected: bool) -> Tensor:
        """Which points are given, as numbers `(batch, points)` for the network to see."""
        if not expected:
            raise ConfigError(
                f"fixed{self.label}: the network was not built to see which points are given. "
                "Build it with fixed=True, or leave fixed= out."
            )
        if fixed is None:
            return t.new_zeros(t.shape[0], self.points)
        marks = self.only(fixed, t.new_ones(t.shape[0], *self.points_shape), 0.0)
        return marks.reshape(t.shape[0], self.points)

    def only(self, mask: Tensor | None, x: Tensor, other: Tensor | float) -> Tensor:
        """`x` at the points of `mask`, and `other` elsewhere."""
        if mask is None:
            return x
        if tuple(mask.shape) != (x.shape[0], *self.points_shape):
            raise ShapeError(
                f"mask{self.label}: got shape {tuple(mask.shape)}; need "
                f"{(x.shape[0], *self.points_shape)}, one entry per point."
            )
        return torch.where(mask.view(mask.shape + (1,) * (x.ndim - mask.ndim)), x, other)


class GeometricHead(Head):
    """A tangent at x, or a point reached from x.

    Args:
        event_shape: of one sample.
        manifold: where its points live; flat space if None.
        output: `"velocity"`, a tangent at x; `"target"`, a point, reached from x by the exponential
            map. Without a manifold the numbers are returned as they are, whatever they mean.
            `"velocity_and_noise"` is two of them, `(batch, 2, *event)`, in flat space.
        label: see `Head`.

    Raises:
        ConfigError: unknown `output`; noise on a manifold.
        ShapeError: an event that the manifold's points do not fit.
    """

    def __init__(
        self, event_shape: Sequence[int], manifold: Manifold | None, output: str, label: str
    ) -> None:
        if output not in OUTPUTS:
            raise ConfigError(
                f"output{label}: got {output!r}; one of {OUTPUTS}. For noise and score, which live "
                "in flat space, leave manifold=None and output='velocity'."
            )
        event = tuple(event_shape)
        point_ndim = 1 if manifold is None else manifold.point_ndim
        if len(event) < point_ndim or min(event, default=1) < 1:
            raise ShapeError(
                f"event_shape{label}: got {event}; it needs at least {point_ndim} positive "
                "lengths, those of one point, and no batch axis."
            )
        shape = (2, *event) if output == "velocity_and_noise" else event
        if manifold is not None:
            if output == "velocity_and_noise":
                raise ConfigError(
                    f"output{label}: got {output!r} on {manifold!r}; bridges are in flat space. "
                    "Leave manifold=None."
                )
            manifold.check_shape(torch.empty(1, *event), f"event_shape{label}")
            split = len(event) - point_ndim
            shape = (*event[:split], *manifold.tangent_shape(event[split:]))
        super().__init__(event, point_ndim, shape, label)
        self.manifold = manifold
        self.output = output
        self.frame: tuple[int, ...] | None = None
        if manifold is not None and manifold.unbounded_scale:
            self.frame = tuple(manifold.noise_shape(torch.empty(1, *event))[1:])
            self.out_features = math.prod(self.frame)

    def finish(self, x: Tensor, out: Tensor, mask: Tensor | None) -> Tensor:
        if self.frame is not None:
            return self._in_frame(x, out.reshape(x.shape[0], *self.frame).to(x.dtype), mask)
        out = out.reshape(x.shape[0], *self.shape).to(x.dtype)
        # Before the geometry as well as after it: a point that does not exist may be NaN, and then
        # zero times NaN would reach the weights through the derivative.
        if self.output == "velocity_and_noise":
            return torch.stack([self.only(mask, half, 0.0) for half in out.unbind(1)], 1)
        out = self.only(mask, out, 0.0)
        if self.manifold is None:
            return out
        with full_precision(x):
            tangent = self.manifold.proju(x, out)
            if self.output == "target":
                return self.only(mask, self.manifold.expmap(x, tangent), x)
            return self.only(mask, tangent, 0.0)

    def _in_frame(self, x: Tensor, out: Tensor, mask: Tensor | None) -> Tensor:
        """The numbers as coordinates in an orthonormal frame at x: bounded ones are bounded speeds,
        so that the flow stays on a complete manifold however large or small its coordinates get."""
        assert self.manifold is not None
        out = self.only(mask, out, 0.0)
        with full_precision(x):
            tangent = self.manifold.tangent_from_noise(x, out)
            if self.output == "target":
                return self.only(mask, self.manifold.expmap(x, tangent), x)
            return self.only(mask, tangent, 0.0)


class TokenHead(Head):
    """Logits, `(batch, *event, vocab)`: every entry of the event is a point of its own."""

    def __init__(self, event_shape: Sequence[int], vocab: int, label: str) -> None:
        if vocab < 1:
            raise ConfigError(f"vocab{label}: got {vocab}; at least one word.")
        super().__init__(event_shape, 0, (*event_shape, vocab), label)
        self.vocab = vocab

    def finish(self, x: Tensor, out: Tensor, mask: Tensor | None) -> Tensor:
        return out.reshape(x.shape[0], *self.shape)


def check_time(t: Tensor, batch: int) -> None:
    """Raise `ShapeError` unless there is one time per sample."""
    if t.shape != (batch,):
        raise ShapeError(
            f"t: got shape {tuple(t.shape)} beside {batch} samples; need ({batch},). For a single "
            "time use torch.full((batch,), t)."
        )
