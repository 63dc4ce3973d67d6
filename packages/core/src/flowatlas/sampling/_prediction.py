"""What a network must return to be integrated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from flowatlas._points import by_name
from flowatlas.errors import ShapeError
from flowatlas.paths.base import StatePath
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.paths.discrete import DiscretePath
from flowatlas.state import State

__all__ = ["check_prediction"]


def check_prediction(path: StatePath, prediction: Any, x: State) -> None:
    """Raise `ShapeError` unless each component is predicted in full: no broadcasting."""
    single = isinstance(x, Tensor)
    named = not single and isinstance(prediction, Mapping)
    if not single and not (named and set(path.components) <= set(prediction)):
        got = sorted(prediction) if named else type(prediction).__name__
        raise ShapeError(
            f"prediction: the model returned {got}; this path needs a mapping with the names "
            f"{sorted(path.components)}."
        )
    for name, component in path.components.items():
        value, output = (x, prediction) if single else (by_name(x)[name], prediction[name])
        assert isinstance(value, Tensor)
        label = "prediction" if single else f"prediction[{name!r}]"
        if not isinstance(output, Tensor):
            raise ShapeError(
                f"{label}: the model returned {type(output).__name__}; it must be a tensor."
            )
        if not isinstance(component, ContinuousPath):
            assert isinstance(component, DiscretePath)
            component.check_logits(output, value, label)
            continue
        shape = component.prediction_shape(value)
        if tuple(output.shape) != shape:
            raise ShapeError(
                f"{label}: the model returned shape {tuple(output.shape)}; "
                f"{component.prediction!r} prediction needs {shape}."
            )
