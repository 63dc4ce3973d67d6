"""What guidance combines: velocities and log-rates, and the little arithmetic both need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowatlas.errors import CapabilityError

if TYPE_CHECKING:
    from flowatlas.manifolds.base import Manifold

__all__ = ["Canonical", "LogRates", "Probabilities", "Velocities"]


class Canonical(ABC):
    """The arithmetic of one component's canonical predictions.

    ```python
    class Flat(Canonical):
        def combine(self, values, weights): ...    # the weighted sum
        def scaled(self, value, factor): ...       # `factor` times as fast
        def mean(self, values, weights): ...       # of what they move, or how often they jump
        def inner(self, x, a, b): ...              # (batch, *points)
    ```
    """

    @abstractmethod
    def combine(self, values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        """Predictions added up with weights, `(batch,)` each, whose sum is one."""

    @abstractmethod
    def mean(self, values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        """The mean velocity, or the logarithm of the mean rates; weights as for `combine`."""

    @abstractmethod
    def scaled(self, value: Tensor, factor: Tensor) -> Tensor:
        """A prediction that moves or jumps `factor`, `(batch,)`, times as fast; zero stops it."""

    @abstractmethod
    def inner(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Inner product of two predictions at x, `(batch, *points)`."""


class Velocities(Canonical):
    """Tangent vectors, with the metric of their manifold."""

    def __init__(self, manifold: Manifold) -> None:
        self.manifold = manifold

    def combine(self, values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        return _sum(values, weights)

    def mean(self, values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        return _sum(values, weights)

    def scaled(self, value: Tensor, factor: Tensor) -> Tensor:
        return value * _expanded(factor, value)

    def inner(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return self.manifold.inner(x, a, b)


class LogRates(Canonical):
    """Logarithms of rates: they are combined as such, and compared as rates."""

    def combine(self, values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        """The weighted sum; a jump that any term of positive weight forbids stays forbidden.

        One that only terms of negative weight forbid is weighed by the others alone, in place of an
        infinite rate.
        """
        total: Tensor | None = None
        for value, weight in zip(values, weights, strict=True):
            w = _expanded(weight, value)
            # Zero times infinity is nothing, and minus infinity is not to become plus infinity.
            term = torch.where((w <= 0) & value.isneginf(), 0.0, w * value)
            total = term if total is None else total + term
        assert total is not None
        return total

    def mean(self, values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        terms = [self.scaled(value, w) for value, w in zip(values, weights, strict=True)]
        return torch.stack(terms).logsumexp(0)

    def scaled(self, value: Tensor, factor: Tensor) -> Tensor:
        return value + _expanded(factor.clamp(min=0).log(), value)

    def inner(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return (a + b).exp().sum(-1)


class Probabilities(Canonical):
    """Weights of conditional velocities, in which the velocity of a Dirichlet path is linear."""

    def combine(self, values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        return _sum(values, weights)

    def mean(self, values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        return _sum(values, weights)

    def scaled(self, value: Tensor, factor: Tensor) -> Tensor:
        raise CapabilityError(self._message("other than one in sum"))

    def inner(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        raise CapabilityError(self._message("by the norm of their velocities"))

    @staticmethod
    def _message(how: str) -> str:
        return (
            f"path: the probabilities of a Dirichlet path cannot be weighed {how}. Use "
            "ClassifierFree without rescale, Autoguidance or Composition."
        )


def _sum(values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    total = values[0] * _expanded(weights[0], values[0])
    for value, weight in zip(values[1:], weights[1:], strict=True):
        total = total + value * _expanded(weight, value)
    return total


def _expanded(weight: Tensor, like: Tensor) -> Tensor:
    return weight.to(like.dtype).view(-1, *(1,) * (like.ndim - 1))
