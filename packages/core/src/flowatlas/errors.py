"""The exceptions FlowAtlas raises for input it cannot use.

Every message names the argument, the value received, what is allowed and the fix. All of them
derive from `FlowAtlasError` and from the built-in exception a Python user would expect, so
``except ValueError`` works too.
"""

from __future__ import annotations

__all__ = [
    "CapabilityError",
    "ConfigError",
    "DataError",
    "FlowAtlasError",
    "GeometryError",
    "IntervalError",
    "ShapeError",
    "SolverError",
]


class FlowAtlasError(Exception):
    """Base class of every error raised on purpose by FlowAtlas."""


class ShapeError(FlowAtlasError, ValueError):
    """A tensor has the wrong shape, or two tensors that must agree do not."""


class GeometryError(FlowAtlasError, ValueError):
    """A value is not finite or does not lie where it should; the residual is in the message."""


class IntervalError(FlowAtlasError, ValueError):
    """A time lies outside the interval on which the quantity asked for is finite."""


class CapabilityError(FlowAtlasError, NotImplementedError):
    """An object was asked for something it does not declare."""


class ConfigError(FlowAtlasError, ValueError):
    """A setting, name or key is unknown or contradicts another."""


class SolverError(FlowAtlasError, RuntimeError):
    """A solver could not go on, or came to NaN or infinity."""


class DataError(FlowAtlasError, ValueError):
    """A file is missing, truncated, corrupt, or not what its name says."""
