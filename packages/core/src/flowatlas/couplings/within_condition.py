"""Couplings that leave the source independent of the condition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._arguments import check_kind
from flowatlas._random import Generators
from flowatlas.couplings.base import Coupling
from flowatlas.errors import ConfigError
from flowatlas.field import Condition, Mask
from flowatlas.state import State, map_state

__all__ = ["WithinCondition"]


class WithinCondition(Coupling):
    r"""A coupling applied to the samples of each value of the condition by themselves.

    Whoever samples under the condition c draws $x_0$ from the source whatever c is. A coupling of
    the whole batch trains another law: optimal transport hands the noise on the left to the labels
    on the left, $p(x_0 | c) \ne p(x_0)$, and the flow of c is learned on the left half alone.
    Within a group of samples that share c it can only permute them, and $p(x_0 | c) = p(x_0)$.

    A condition that takes a new value in every sample, such as a number or an embedding, leaves
    groups of one, and nothing to couple; round it, or couple by a label.

    Args:
        coupling: what is done in each group.
        key: the entry of the condition that tells the groups, `(batch, ...)`; equal rows are one.

    Raises:
        ConfigError: `coupling` is none; when called, no condition or none of that name.

    Reference: the bias is described in The Curse of Conditions: Analyzing and Improving Optimal
    Transport for Conditional Flow-Based Generation, Cheng and Schwing, 2025, arXiv:2503.10636, who
    add a cost for unequal conditions; here it is infinite.

    Example:
        ```python
        coupling = WithinCondition(MinibatchOT(Euclidean()), "label")
        objective = FlowMatching(AffinePath(), coupling=coupling)
        loss = objective(model, x_1, condition={"label": label}).loss
        ```
    """

    def __init__(self, coupling: Coupling, key: str) -> None:
        check_kind("coupling", coupling, Coupling, "MinibatchOT(Euclidean())")
        self.coupling = coupling
        self.key = key
        self.independent = coupling.independent

    def couple(
        self,
        x_0: State,
        x_1: State,
        *,
        condition: Condition | None = None,
        mask: Mask | None = None,
        generator: Generators = None,
    ) -> State:
        value = self._value(condition)
        _, group = torch.unique(value, dim=0, return_inverse=True)
        order = group.argsort(stable=True)
        parts = []
        for rows in order.split(group.bincount().tolist()):
            part = self.coupling.couple(
                _rows(x_0, rows),
                _rows(x_1, rows),
                condition=None if condition is None else _named_rows(condition, rows),
                mask=None if mask is None else _rows(mask, rows),
                generator=_generators(generator, rows),
            )
            parts.append(part)
        back = order.argsort()
        return map_state(lambda *pieces: torch.cat(pieces)[back], *parts) if parts else x_0

    def _value(self, condition: Condition | None) -> Tensor:
        if condition is None or self.key not in condition:
            got = "none" if condition is None else f"the names {sorted(condition)}"
            raise ConfigError(
                f"condition: got {got}; WithinCondition groups by {self.key!r}. Pass "
                f"condition={{{self.key!r}: ...}} to the objective."
            )
        return condition[self.key]

    def __repr__(self) -> str:
        return f"WithinCondition({self.coupling!r}, {self.key!r})"


def _rows(x: State, rows: Tensor) -> State:
    return map_state(lambda a: a[rows], x)


def _named_rows(x: Condition, rows: Tensor) -> Condition:
    return {name: value[rows] for name, value in x.items()}


def _generators(generator: Generators, rows: Tensor) -> Generators:
    if isinstance(generator, Sequence):
        return [generator[i] for i in rows.tolist()]
    return generator
