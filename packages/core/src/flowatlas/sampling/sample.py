"""Draw samples: from the source along the field, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

import torch
from torch import Tensor

from flowatlas._arguments import check_kind
from flowatlas._points import check_path, check_state
from flowatlas._random import Generators
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition, Field, Mask
from flowatlas.paths.base import StatePath
from flowatlas.paths.discrete import DiscretePath
from flowatlas.sampling._chunks import in_chunks
from flowatlas.sampling.integrate import follow
from flowatlas.sampling.replacement import Given
from flowatlas.solvers.base import Solver
from flowatlas.sources.base import Source
from flowatlas.state import State

__all__ = ["encode", "sample"]

Shape = Sequence[int] | Mapping[str, Sequence[int]]
Sources = Source | Mapping[str, Source]


def sample(
    field: Field,
    path: StatePath,
    *,
    shape: Shape | None = None,
    x_init: State | None = None,
    start: float = 0.0,
    end: float = 1.0,
    condition: Condition | None = None,
    mask: Mask | None = None,
    fixed: Given | None = None,
    solver: Solver,
    source: Sources | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    generator: Generators = None,
    chunk_size: int | None = None,
    enable_grad: bool = False,
    validate: bool = True,
) -> Any:
    """Samples of the flow at `end`, from the source or from `x_init` at `start`.

    Args:
        field: a trained network, a guided field, an exact flow.
        path: what it was trained on.
        shape: of the result, batch included; a mapping for mapping states.
        x_init: where to start instead of drawing from the source.
        start: time of `x_init`; later than 0 only with it.
        end: time to stop at.
        condition: mapping of tensors `(batch, ...)`.
        mask: True where a point exists, `(batch, *points)` or a mapping of such.
        fixed: `(mask, value)` of points to hold, a `Replacement` of points to noise along, or a
            mapping of such.
        solver: such as `Midpoint(steps=50)`.
        source: in place of the path's; a mapping of components for mapping states.
        dtype: of the source samples; torch's default if None.
        device: of the source samples.
        generator: one, or one per sample: then a sample does not depend on its batch.
        chunk_size: samples integrated at once; chosen to bound memory if None.
        enable_grad: whether gradients flow to the field, the condition and `x_init`.
        validate: whether to check that `x_init` is finite and on the manifold, and the samples
            finite.

    Returns:
        Tensor or mapping of `shape`.

    Raises:
        ConfigError: unless exactly one of `shape` and `x_init` is given; a late start without
            `x_init`; a path, solver or source that is none.
        ShapeError: a shape, state, condition, mask or prediction that does not fit.
        SolverError: samples are not finite, or the solver could not go on.

    Example:
        ```python
        x = sample(model, path, shape=(1024, 3), solver=Midpoint(steps=50))
        ```
    """
    if (shape is None) == (x_init is None):
        raise ConfigError("shape, x_init: give exactly one of them.")
    if x_init is None:
        if start != 0.0:
            raise ConfigError(
                f"start: got {start} without x_init; the source is the law at t = 0. Pass x_init=."
            )
        assert shape is not None
        drawn = draw_source(path, shape, source, generator, dtype, device)
    elif not (source is None and dtype is None and device is None):
        raise ConfigError(
            "source, dtype, device: they are about drawing x_0, and x_init was given. Leave them "
            "out, or pass shape instead of x_init."
        )
    return _moved(
        field,
        path,
        drawn if x_init is None else x_init,
        name="x_init",
        drawn=x_init is None,
        generator=generator,
        chunk_size=chunk_size,
        parts={"condition": condition, "mask": mask, "fixed": fixed},
        start=start,
        end=end,
        solver=solver,
        enable_grad=enable_grad,
        validate=validate,
    )


def _moved(
    field: Field,
    path: StatePath,
    x: State,
    *,
    name: str,
    generator: Generators,
    chunk_size: int | None,
    parts: Mapping[str, Any],
    **options: Any,
) -> Any:
    """Where `x` ends, chunk by chunk; `parts` are sliced with it."""
    check_state(path, x, name)

    def run(x: State, *, generator: Generators, **parts: Any) -> Any:
        return follow(field, path, x, name=name, generator=generator, **parts, **options).x

    return in_chunks(run, x, chunk_size, generator, **parts)


def draw_source(
    path: StatePath,
    shape: Shape,
    source: Sources | None,
    generator: Generators,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> Any:
    """x_0 of the given shape from the path's source, or from another."""
    check_path(path)
    if not isinstance(dtype, torch.dtype | None) or (dtype and not dtype.is_floating_point):
        raise ConfigError(f"dtype: got {dtype!r}; it must be floating-point: torch.float32.")
    names = path.components
    single = not isinstance(shape, Mapping)
    shapes = shape if isinstance(shape, Mapping) else {"x": shape}
    if set(shapes) != set(names):
        raise ShapeError(
            f"shape: got components {sorted(shapes)}; the path has {sorted(names)}. A lone path "
            "takes a tuple, a product a mapping of tuples."
        )
    sources = base_sources(path, source)
    x_0 = {}
    for name, component in names.items():
        # Tokens are integers, whatever the others are.
        kind = torch.int64 if isinstance(component, DiscretePath) else dtype
        x_0[name] = sources[name].sample(
            _sizes(shapes[name], "shape" if single else f"shape[{name!r}]"),
            generator=generator,
            dtype=kind,
            device=device,
        )
    return x_0["x"] if single else x_0


def _sizes(shape: Any, name: str) -> tuple[int, ...]:
    try:
        sizes = tuple(index(size) for size in shape)
    except TypeError:
        sizes = ()
    if not sizes or min(sizes) < 0:
        got = "a tensor" if isinstance(shape, Tensor) else repr(shape)
        raise ShapeError(
            f"{name}: got {got}; it must be a tuple of sizes with the batch first, such as (8, 3) "
            "for eight points of three coordinates."
        )
    return sizes


def base_sources(path: StatePath, source: Sources | None) -> dict[str, Source]:
    """The law of x_0 of each component: the path's, unless `source` names another.

    Raises:
        ConfigError: a component that the path does not have, or a source that is none.
    """
    others = source if isinstance(source, Mapping) else {"x": source}
    others = {name: one for name, one in others.items() if one is not None}
    unknown = sorted(set(others) - set(path.components))
    if unknown:
        raise ConfigError(f"source: no component {unknown}; there are {sorted(path.components)}.")
    for one in others.values():
        check_kind("source", one, Source, "Gaussian()")
    return {name: others.get(name, part.source) for name, part in path.components.items()}


def encode(
    field: Field,
    path: StatePath,
    x_1: State,
    *,
    start: float = 1.0,
    condition: Condition | None = None,
    mask: Mask | None = None,
    fixed: Given | None = None,
    solver: Solver,
    generator: Generators = None,
    chunk_size: int | None = None,
    enable_grad: bool = False,
    validate: bool = True,
) -> Any:
    """The x_0 that the flow takes to `x_1`: the inverse of `sample`.

    Tokens, and the noise of stochastic solvers, are drawn backward in time: what comes back is one
    of the x_0 that may have led to `x_1`.

    Args:
        x_1: `(batch, *event)`, or a mapping.
        start: the time at which `x_1` is taken to be: less than 1 for prediction kinds whose
            velocity is infinite at the data (`path.interval.end`).

    Returns:
        Tensor or mapping shaped as `x_1`. The other arguments are those of `sample`.
    """
    return _moved(
        field,
        path,
        x_1,
        name="x_1",
        generator=generator,
        chunk_size=chunk_size,
        parts={"condition": condition, "mask": mask, "fixed": fixed},
        start=start,
        end=0.0,
        solver=solver,
        enable_grad=enable_grad,
        validate=validate,
    )
