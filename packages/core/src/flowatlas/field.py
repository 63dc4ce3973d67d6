"""What a network is to the rest of the library: a callable of state and time."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from flowatlas.errors import CapabilityError, ShapeError

if TYPE_CHECKING:
    from flowatlas.paths.base import StatePath

__all__ = [
    "CanonicalField",
    "Condition",
    "Field",
    "Fixed",
    "Mask",
    "bound",
    "call_field",
    "check_condition",
    "null_condition",
]

#: One mapping of named tensors, each `(batch, ...)`.
Condition = Mapping[str, Tensor]
#: True where a point exists: `(batch, *points)`, or a mapping from components to such.
Mask = Tensor | Mapping[str, Tensor]
#: Which points are given, and their values: `(mask, value)`, or a mapping of such.
Fixed = tuple[Tensor, Tensor] | Mapping[str, tuple[Tensor, Tensor]]


class Field(Protocol):
    """Any callable `(x, t, condition=None) -> prediction`.

    `x` is the state, `t` is `(batch,)`. When the caller of an objective or a sampler passes
    `mask=` or `fixed=`, the field is called with them as keywords as well (`fixed` as the boolean
    masks alone, for the values are in the state already), so a network meant for padded data takes
    a keyword `mask`, and one meant for partial generation a keyword `fixed`.
    """

    # What follows x and t is left open to type checkers, so that a network may name only the
    # arguments it uses.
    def __call__(self, x: Any, t: Tensor, /, *args: Any, **kwargs: Any) -> Any: ...


class CanonicalField(ABC):
    """A field that returns canonical predictions, velocities or log-rates, of any path.

    Samplers ask it for them along their own path, and read them by `path.as_canonical()`.
    """

    @abstractmethod
    def along(self, path: StatePath) -> CanonicalField:
        """The same field for another path over the same components."""

    @abstractmethod
    def __call__(
        self,
        x: Any,
        t: Tensor,
        condition: Condition | None = None,
        *,
        mask: Mask | None = None,
        fixed: Any = None,
    ) -> Any:
        """Canonical predictions at the state x, a tensor or a mapping, and times `(batch,)`."""


def bound(field: Field, path: StatePath) -> tuple[Field, StatePath]:
    """The field along a path, and that path as it reads what the field returns."""
    if isinstance(field, CanonicalField):
        return field.along(path), path.as_canonical()
    return field, path


def call_field(
    field: Any,
    x: Any,
    t: Tensor,
    condition: Condition | None = None,
    mask: Mask | None = None,
    fixed: Any = None,
) -> Any:
    """Call `field` with those arguments that were given.

    Raises:
        ShapeError: it returns neither a tensor nor a mapping.
        CapabilityError: it does not take one of the arguments that were given.
    """
    given = {name: v for name, v in (("mask", mask), ("fixed", fixed)) if v is not None}
    positional = (x, t) if condition is None and not given else (x, t, condition)
    try:
        prediction = field(*positional, **given)
    except TypeError as error:
        refused = _refused(field, positional, given)
        if refused is None:
            raise
        raise CapabilityError(
            f"{refused}: given, but {_name(field)} does not take it. Leave it out, or write the "
            "model as model(x, t, condition=None, *, mask=None, fixed=None) with those that it "
            "uses."
        ) from error
    if not isinstance(prediction, Tensor) and not isinstance(prediction, Mapping):
        raise ShapeError(
            f"prediction: the model returned {type(prediction).__name__}; it must return a tensor "
            "(batch, *event), or a mapping of tensors for a ProductPath. Wrap a model that returns "
            "more in a function that picks its output."
        )
    return prediction


def _refused(field: Any, positional: tuple[Any, ...], given: Mapping[str, Any]) -> str | None:
    """The argument that the field's signature has no place for; None if it has one for all."""
    called = field.forward if isinstance(field, nn.Module) else field
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):
        return None
    tried: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [("x, t", positional[:2], {})]
    tried += [("condition", positional, {})] if len(positional) > 2 else []
    tried += [(name, positional, {name: value}) for name, value in given.items()]
    for name, places, names in tried:
        try:
            signature.bind(*places, **names)
        except TypeError:
            return name
    return None


def _name(field: Any) -> str:
    return getattr(field, "__name__", type(field).__name__)


def check_condition(condition: Any, batch: int) -> None:
    """Raise `ShapeError` unless it is a mapping of tensors with one row per sample."""
    if not isinstance(condition, Mapping):
        raise ShapeError(
            f"condition: got {type(condition).__name__}; it must be a mapping from names to "
            "tensors (batch, ...). Give it a name: condition={'label': y}."
        )
    for name, value in condition.items():
        if not isinstance(value, Tensor):
            raise ShapeError(
                f"condition[{name!r}]: got {type(value).__name__}; it must be a tensor with one "
                "row per sample. Use torch.as_tensor, or torch.full((batch,), value)."
            )
        if value.ndim == 0 or value.shape[0] != batch:
            raise ShapeError(
                f"condition[{name!r}]: got shape {tuple(value.shape)} for a batch of {batch}; its "
                "first axis is the batch. Expand a value that is common to all samples."
            )


def null_condition(
    model: Any, condition: Condition, argument: str = "condition_dropout"
) -> Condition:
    """The condition that says nothing, from `model.null_condition(condition)`.

    Wrappers (DDP, compiled modules) are looked through by their `module` attribute chain only
    where the wrapper itself has no such method.

    Raises:
        CapabilityError: if the model does not define one.
    """
    method = getattr(model, "null_condition", None)
    if method is None and getattr(model, "module", None) is not None:
        return null_condition(model.module, condition, argument)
    if method is None:
        raise CapabilityError(
            f"{argument}: {type(model).__name__} has no null_condition(condition) method; "
            "define one that returns the mapping of an unconditional sample."
        )
    result: Condition = method(condition)
    return result
