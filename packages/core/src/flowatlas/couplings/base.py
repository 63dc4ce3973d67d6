"""Which x_0 meets which x_1."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from flowatlas._random import Generators
from flowatlas.field import Condition, Mask
from flowatlas.state import State, map_state

__all__ = ["Coupling", "Pairing"]


class Coupling(ABC):
    """A rule that says which source sample goes with which data.

    Data, conditions and masks are never reordered: what comes back is `x_0`. A rule that reorders
    the samples of a batch is a `Pairing`; this class is for those that move points within a sample,
    or look at conditions and masks.

    ```python
    class Mirrored(Coupling):
        def couple(self, x_0, x_1, *, condition=None, mask=None, generator=None):
            nearer = (x_0 * x_1).flatten(1).sum(1) < 0
            return torch.where(nearer.view(-1, *(1,) * (x_0.ndim - 1)), -x_0, x_0)
    ```

    Attributes:
        independent: whether x_0 and x_1 are independent under the coupling. Score and noise
            prediction hold only then.
    """

    independent: bool = False

    @abstractmethod
    def couple(
        self,
        x_0: State,
        x_1: State,
        *,
        condition: Condition | None = None,
        mask: Mask | None = None,
        generator: Generators = None,
    ) -> State:
        """The `x_0` that goes with each `x_1`.

        Args:
            x_0: source samples, `(batch, *event)` or a mapping of such.
            x_1: data of the same shapes.
            condition: of the data.
            mask: which points of the data there are to move: those that exist and are not given.
            generator: for couplings that draw.

        Returns:
            A state of the shapes of `x_0`.
        """


class Pairing(Coupling):
    """A coupling that reorders whole samples: it returns indices into `x_0`.

    ```python
    class Reversed(Pairing):
        def pair(self, x_0, x_1, *, generator=None):
            return torch.arange(len(x_1) - 1, -1, -1)
    ```
    """

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

    def couple(
        self,
        x_0: State,
        x_1: State,
        *,
        condition: Condition | None = None,
        mask: Mask | None = None,
        generator: Generators = None,
    ) -> State:
        index = self.pair(x_0, x_1, generator=generator)
        return x_0 if index is None else map_state(lambda a: a[index], x_0)
