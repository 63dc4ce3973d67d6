"""The network by which a learned interpolant bends."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas.errors import ShapeError
from flowatlas.networks.hub import Pretrained
from flowatlas.networks.time_embedding import FourierTimeEmbedding
from flowatlas.networks.trunk import ResidualTrunk

__all__ = ["Interpolant"]


class Interpolant(Pretrained):
    r"""$\varphi(x_0, x_1, t)$, a residual perceptron that starts at zero.

    `MetricPath` adds $t (1 - t) \varphi$ to the straight line, so a new one is straight. Times are
    seen at frequencies of one period at most, and all layers are smooth: so are the curves.

    Args:
        event_shape: shape of one sample.
        width: of the hidden layers.
        depth: how many.
        max_frequency: of the embedding of t; more lets curves turn more often.

    Raises:
        ConfigError: `width` or `depth` below 1.
        ShapeError: at a call, ends that do not have the event's shape.

    Reference: Metric Flow Matching, Kapusniak et al., 2024, arXiv:2405.14780. The network is ours.

    Example:
        ```python
        interpolant = Interpolant((2,), width=64)
        path = MetricPath(interpolant)
        interpolant.save_pretrained("interpolant")
        path = MetricPath(Interpolant.from_pretrained("interpolant"))
        ```
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        width: int = 128,
        depth: int = 3,
        max_frequency: float = 1.0,
    ) -> None:
        super().__init__()
        self.event_shape = tuple(event_shape)
        numbers = torch.Size(self.event_shape).numel()
        self.time_embedding = FourierTimeEmbedding(16, max_frequency)
        self.trunk = ResidualTrunk(
            2 * numbers, self.time_embedding.dim, numbers, width=width, depth=depth
        )

    def forward(self, x_0: Tensor, x_1: Tensor, t: Tensor) -> Tensor:
        """The bend, `(batch, *event_shape)`.

        Args:
            x_0: `(batch, *event_shape)`.
            x_1: the same shape.
            t: `(batch,)`.
        """
        for name, x in (("x_0", x_0), ("x_1", x_1)):
            if tuple(x.shape[1:]) != self.event_shape:
                raise ShapeError(
                    f"{name}: got shape {tuple(x.shape)}; the interpolant was made for samples of "
                    f"shape {self.event_shape}, so it must be (batch, *{self.event_shape})."
                )
        seen = [x_0.flatten(1), x_1.flatten(1)]
        out: Tensor = self.trunk(seen, [self.time_embedding(t)])
        return out.to(x_0.dtype).view(x_0.shape)
