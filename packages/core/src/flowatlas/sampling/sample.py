"""Draw samples: from the source along the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flowatlas._random import Generators
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition, Field, Fixed, Mask
from flowatlas.paths.base import StatePath
from flowatlas.sampling._chunks import in_chunks
from flowatlas.sampling.integrate import integrate
from flowatlas.solvers.base import Solver
from flowatlas.sources.base import Source
from flowatlas.state import State

__all__ = ["encode", "interpolate", "sample"]

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
    fixed: Fixed | None = None,
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
        fixed: `(mask, value)` of points to hold, or a mapping of such.
        solver: such as `Midpoint(steps=50)`.
        source: in place of the path's; a mapping of components for mapping states.
        dtype: of the source samples; torch's default if None.
        device: of the source samples.
        generator: one, or one per sample: then a sample does not depend on its batch.
        chunk_size: samples integrated at once; chosen to bound memory if None.
        enable_grad: whether gradients flow to the field, the condition and `x_init`.
        validate: whether to check `x_init`.

    Returns:
        Tensor or mapping of `shape`.

    Raises:
        ConfigError: unless exactly one of `shape` and `x_init` is given; a late start without
            `x_init`.

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
        x_init = draw_source(path, shape, source, generator, dtype, device)
        validate = False

    def run(x: State, *, generator: Generators, **parts: Any) -> Any:
        return integrate(
            field,
            path,
            x,
            start=start,
            end=end,
            solver=solver,
            generator=generator,
            enable_grad=enable_grad,
            validate=validate,
            **parts,
        ).x

    return in_chunks(
        run, x_init, chunk_size, generator, condition=condition, mask=mask, fixed=fixed
    )


def draw_source(
    path: StatePath,
    shape: Shape,
    source: Sources | None,
    generator: Generators,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> Any:
    """x_0 of the given shape from the path's source, or from another."""
    names = path.components
    single = not isinstance(shape, Mapping)
    shapes = shape if isinstance(shape, Mapping) else {"x": shape}
    if set(shapes) != set(names):
        raise ShapeError(
            f"shape: got components {sorted(shapes)}; the path has {sorted(names)}. A lone path "
            "takes a tuple, a product a mapping of tuples."
        )
    others = {"x": source} if isinstance(source, Source) else dict(source or {})
    if set(others) - set(names):
        raise ConfigError(f"source: no component {sorted(set(others) - set(names))} in the path.")
    x_0 = {
        name: (others.get(name) or component.source).sample(
            tuple(shapes[name]), generator=generator, dtype=dtype, device=device
        )
        for name, component in names.items()
    }
    return x_0["x"] if single else x_0


def encode(field: Field, path: StatePath, x_1: State, *, solver: Solver, **options: Any) -> Any:
    """The x_0 that the flow takes to `x_1`: `sample` run backward, with the same options."""
    return sample(field, path, x_init=x_1, start=1.0, end=0.0, solver=solver, **options)


def interpolate(
    field: Field,
    path: StatePath,
    x: State,
    y: State,
    *,
    steps: int,
    solver: Solver,
    **options: Any,
) -> list[Any]:
    """States between `x` and `y`: encode both, join the codes, decode.

    Codes are joined by geodesics of the source's space. For a Gaussian source in flat space the
    joined codes are rescaled to keep the norm interpolated, since a straight line would pass
    through lengths that the source never has.

    Args:
        field: a trained field.
        path: what it was trained on.
        x: `(batch, *event)` at t = 1.
        y: the same shape.
        steps: number of states, both ends included; at least 2.
        solver: used in both directions.
        options: of `sample`.

    Returns:
        `steps` states.
    """
    if steps < 2:
        raise ConfigError(f"steps: got {steps}; at least 2, for the two ends.")
    code_x = encode(field, path, x, solver=solver, **options)
    code_y = encode(field, path, y, solver=solver, **options)
    return [
        sample(
            field,
            path,
            x_init=_between(path, code_x, code_y, i / (steps - 1)),
            solver=solver,
            **options,
        )
        for i in range(steps)
    ]


def _between(path: StatePath, a: Any, b: Any, s: float) -> Any:
    if not isinstance(a, Tensor):
        return {
            name: _between(path.components[name], a[name], b[name], s)  # type: ignore[arg-type]
            for name in a
        }
    manifold = path.manifold
    x = manifold.expmap(a, s * manifold.logmap(a, b))
    component = path.components["x"]
    if component.source.std is None:
        return x
    norms = [v.flatten(1).norm(dim=1).view(-1, *(1,) * (v.ndim - 1)) for v in (a, b, x)]
    return x * ((1 - s) * norms[0] + s * norms[1]) / norms[2].clamp(min=1e-12)
