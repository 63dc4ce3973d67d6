"""Which x_0 meets which x_1."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from flowatlas._random import Generators
from flowatlas.state import State

__all__ = ["Coupling"]


class Coupling(ABC):
    """A rule that pairs the source samples of a batch with its data.

    It returns indices into `x_0`. Data, conditions and masks are never reordered.

    ```python
    class Reversed(Coupling):
        def pair(self, x_0, x_1, *, generator=None):
            return torch.arange(len(x_1) - 1, -1, -1)
    ```

    Attributes:
        independent: whether x_0 and x_1 are independent under the coupling. Score and noise
            prediction hold only then.
    """

    independent: bool = False

    @abstractmethod
    def pair(self, x_0: State, x_1: State, *, generator: Generators = None) -> Tensor | None:
        """Indices of the `x_0` that go with each `x_1`.

        Args:
            x_0: source samples, `(batch, *event)` or a mapping of such.
            x_1: data of the same shapes.
            generator: for couplings that draw.

        Returns:
            `(batch,)` of int64 on the device of `x_0`, or None for "as they are".
        """
