"""What objectives draw, and what they return."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from flowatlas.paths.base import Noise
from flowatlas.state import State, map_state

__all__ = ["Draws", "LossOutput"]


@dataclass(frozen=True, slots=True)
class LossOutput:
    """A loss and what it is made of.

    Attributes:
        loss: scalar, the one to differentiate.
        components: mean loss of each component before its weight; detached.
        per_sample: `(batch,)`, weighted sum of the components; detached.
        t: `(batch,)`, the times drawn: for the loss by bin of t.
    """

    loss: Tensor
    components: dict[str, Tensor]
    per_sample: Tensor
    t: Tensor


@dataclass(frozen=True, slots=True)
class Draws:
    """The random part of one loss evaluation, so that it can be repeated or split among ranks.

    Attributes:
        x_0: source samples, before the coupling.
        t: `(batch,)`.
        u: `(batch,)` uniform numbers that decide whose condition is dropped.
        noise: what the path draws beside x_0, by component; empty for most paths.
    """

    x_0: State
    t: Tensor
    u: Tensor
    noise: Noise = field(default_factory=dict)

    def rows(self, index: Tensor | slice) -> Draws:
        """The draws of some samples."""
        noise = {name: value[index] for name, value in self.noise.items()}
        return Draws(map_state(lambda a: a[index], self.x_0), self.t[index], self.u[index], noise)
