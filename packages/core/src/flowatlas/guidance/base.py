"""What guidance is, and one batched call of a network for several conditions."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from flowatlas._points import by_name, check_path, point_masks
from flowatlas.errors import ConfigError
from flowatlas.field import (
    CanonicalField,
    Condition,
    Field,
    Mask,
    call_field,
    null_condition,
)
from flowatlas.paths.base import StatePath
from flowatlas.state import State, batch_size

__all__ = ["Guidance", "Moment", "Scale", "Values"]

#: Canonical predictions by component; a lone one is named "x".
Values = Mapping[str, Tensor]
#: A strength for all components, or for some by name (the others are not guided).
Scale = float | Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Moment:
    """What a guidance is asked about.

    Attributes:
        x: the state, a tensor or a mapping.
        t: `(batch,)`.
        condition: as the sampler was given it.
        mask: of the points that exist, as given.
        fixed: masks of the points that are given.
    """

    x: State
    t: Tensor
    condition: Condition | None
    mask: Mask | None
    fixed: Any


class Guidance(CanonicalField):
    """A field made from fields by combining their canonical predictions.

    Velocities are combined as tangent vectors at the state, rates by their logarithms; raw
    predictions never are, for two rotations do not add up to one. What comes out is canonical too:
    samplers read it so, and guidances stack.

    ```python
    class Doubled(Guidance):                                   # twice as fast
        def guide(self, moment):
            (values,) = self.predict(self.field, moment, [moment.condition])
            return self.combined([values], [torch.full_like(moment.t, 2.0)])
    ```

    Args:
        field: any field, a guided one too.
        path: what it was trained on. A sampler's own path takes its place, so that a changed
            schedule is read as the sampler reads it.
    """

    def __init__(self, field: Field, path: StatePath) -> None:
        check_path(path)
        self.field = field
        self.path = path

    @abstractmethod
    def guide(self, moment: Moment) -> Values:
        """The guided predictions, by component."""

    def __call__(
        self,
        x: State,
        t: Tensor,
        condition: Condition | None = None,
        *,
        mask: Mask | None = None,
        fixed: Any = None,
    ) -> State:
        """Guided velocities and log-rates, in the form of the state."""
        values = self.guide(Moment(x, t, condition, mask, fixed))
        return values["x"] if isinstance(x, Tensor) else dict(values)

    def along(self, path: StatePath) -> Self:
        """The same guidance for another path over the same components."""
        changed = copy.copy(self)
        changed.path = path
        for name, value in vars(self).items():
            if isinstance(value, CanonicalField):
                setattr(changed, name, value.along(path))
        return changed

    def null_condition(self, condition: Condition) -> Condition:
        """The condition that says nothing, as the guided network defines it."""
        return null_condition(self.field, condition, "condition")

    def predict(
        self, field: Field, moment: Moment, conditions: Sequence[Condition | None]
    ) -> list[dict[str, Tensor]]:
        """Canonical predictions under several conditions, by one call on a larger batch.

        Args:
            field: to be called.
            moment: where.
            conditions: one for each prediction, of the same names and shapes.
        """
        count = len(conditions)
        x, t = _repeated(moment.x, count), moment.t.repeat(count)
        mask, fixed = _repeated(moment.mask, count), _repeated(moment.fixed, count)
        prediction = call_field(field, x, t, _joined(conditions), mask, fixed)
        if not isinstance(field, CanonicalField):
            prediction = self.path.canonical(prediction, x, t)
        batch = batch_size(moment.x)
        parts = {name: value.split(batch) for name, value in by_name(prediction).items()}
        return [{name: part[i] for name, part in parts.items()} for i in range(count)]

    def combined(self, values: Sequence[Values], weights: Sequence[Any]) -> dict[str, Tensor]:
        """Predictions added up with weights: `(batch,)` each, or mappings of such."""
        return {
            name: part.arithmetic.combine(
                [value[name] for value in values],
                [w[name] if isinstance(w, Mapping) else w for w in weights],
            )
            for name, part in self.path.components.items()
        }

    def inner(self, moment: Moment, a: Values, b: Values) -> dict[str, Tensor]:
        """Inner products over the points of each sample that exist, `(batch,)` by component."""
        exists = point_masks(self.path, moment.mask, moment.x) or {}
        state = by_name(moment.x)
        found = {}
        for name, part in self.path.components.items():
            value = part.arithmetic.inner(state[name], a[name], b[name])
            if name in exists:
                value = torch.where(exists[name], value, 0.0)
            found[name] = value.flatten(1).sum(1) if value.ndim > 1 else value
        return found

    def scales(self, scale: Scale, otherwise: float = 1.0) -> dict[str, float]:
        """A strength for every component; `otherwise` for those that a mapping leaves out.

        Raises:
            ConfigError: a component that the path does not have, or no number.
        """
        given = scale if isinstance(scale, Mapping) else dict.fromkeys(self.path.components, scale)
        unknown = sorted(set(given) - set(self.path.components))
        if unknown:
            raise ConfigError(
                f"scale: no component {unknown}; there are {sorted(self.path.components)}."
            )
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(
                    f"scale: got {value!r} for {name!r}; it is a number, or a mapping of such: "
                    "scale=3.0."
                )
        return {name: float(given.get(name, otherwise)) for name in self.path.components}


def needs_condition(moment: Moment) -> Condition:
    """The condition, or `ConfigError` where there is none."""
    if moment.condition is None:
        raise ConfigError(
            "condition: guidance pulls towards a condition, and none was given. Pass condition= to "
            "the sampler, or sample the network itself."
        )
    return moment.condition


def _repeated(value: Any, count: int) -> Any:
    if value is None or count == 1:
        return value
    if isinstance(value, Mapping):
        return {name: _repeated(one, count) for name, one in value.items()}
    return torch.cat([value] * count)


def _joined(conditions: Sequence[Condition | None]) -> Condition | None:
    first = conditions[0]
    if first is None or len(conditions) == 1:
        return first
    given = [one for one in conditions if one is not None]
    assert len(given) == len(conditions)
    for one in given:
        if set(one) != set(first):
            raise ConfigError(
                f"condition: null_condition returned the names {sorted(one)} for "
                f"{sorted(first)}; it must keep them."
            )
    return {name: torch.cat([one[name] for one in given]) for name in first}
