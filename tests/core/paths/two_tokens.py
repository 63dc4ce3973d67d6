"""The smallest discrete path: two tokens behind a mask. It exists to test the mixed contract."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from flowatlas._random import Generators, rand
from flowatlas.paths import DiscretePath, PathSample
from flowatlas.sources import Source
from flowatlas.state import broadcast_time

MASK = 2


class AllMasked(Source):
    """Every token is masked."""

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        return torch.full(tuple(shape), MASK, dtype=torch.int64, device=device)


class TwoTokenMaskPath(DiscretePath):
    """Tokens 0 and 1 appear from behind the mask, each at a uniform time.

    The network predicts logits `(batch, *points, 2)`; the loss is the cross-entropy of the tokens
    that are masked. Between t and s a masked token appears with probability (s - t) / (1 - t).
    """

    prediction = "logits"

    def __init__(self, weight: float = 1.0) -> None:
        self.source = AllMasked()
        self.weight = weight

    def interpolate(
        self, x_0: Tensor, x_1: Tensor, t: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, None]:
        assert noise is not None
        return torch.where(noise < broadcast_time(t, x_1), x_1, x_0), None

    def point_loss(self, prediction: Tensor, sample: PathSample) -> Tensor:
        x_1, x_t = sample.x_1, sample.x_t
        assert isinstance(x_1, Tensor) and isinstance(x_t, Tensor)
        loss = cross_entropy(prediction.movedim(-1, 1), x_1, reduction="none")
        return torch.where(x_t == MASK, loss, 0.0)

    def jump(
        self, x: Tensor, t: Tensor, s: Tensor, prediction: Tensor, *, generator: Generators = None
    ) -> Tensor:
        chance = broadcast_time((s - t) / (1 - t), x)
        # Both are drawn for every token, so that the draws do not depend on the state.
        appears = rand(x.shape, generator=generator, device=x.device) < chance
        is_one = torch.sigmoid(prediction[..., 1] - prediction[..., 0])
        token = (rand(x.shape, generator=generator, device=x.device) < is_one).to(x.dtype)
        return torch.where((x == MASK) & appears, token, x)
