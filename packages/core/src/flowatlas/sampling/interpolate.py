"""States between two states, by way of their codes at the source."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flowatlas._arguments import count
from flowatlas._points import by_name, check_state
from flowatlas.errors import CapabilityError, ShapeError
from flowatlas.field import Field
from flowatlas.paths.base import StatePath
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.sampling.sample import encode, sample
from flowatlas.solvers.base import Solver
from flowatlas.state import State

__all__ = ["interpolate"]


def interpolate(
    field: Field,
    path: StatePath,
    x: State,
    y: State,
    *,
    steps: int,
    solver: Solver,
    start: float = 1.0,
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
        start: as in `encode`; decoding ends at t = 1 all the same.
        options: condition, mask, fixed, chunk_size, enable_grad and validate, as in `sample`.

    Returns:
        `steps` states.

    Raises:
        ConfigError: fewer than two steps.
        ShapeError: `x` and `y` of different shapes, or no states of the path.
    """
    steps = count("steps", steps, least=2)
    for name, state in (("x", x), ("y", y)):
        check_state(path, state, name)
    shapes = [{k: tuple(v.shape) for k, v in by_name(state).items()} for state in (x, y)]
    if shapes[0] != shapes[1]:
        raise ShapeError(f"y: got shapes {shapes[1]} beside {shapes[0]} of x; they must be equal.")
    code_x = encode(field, path, x, start=start, solver=solver, **options)
    code_y = encode(field, path, y, start=start, solver=solver, **options)
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


def _between(path: StatePath, a: State, b: State, s: float) -> State:
    joined = {}
    for name, component in path.components.items():
        if not isinstance(component, ContinuousPath):
            raise CapabilityError(
                f"path: component {name!r} is discrete, and there are no tokens between tokens. "
                "Interpolate the continuous components alone."
            )
        joined[name] = _joined(component, by_name(a)[name], by_name(b)[name], s)
    return joined["x"] if isinstance(a, Tensor) else joined


def _joined(path: ContinuousPath, a: Tensor, b: Tensor, s: float) -> Tensor:
    x = path.manifold.expmap(a, s * path.manifold.logmap(a, b))
    if path.source.std is None:
        return x
    mean = path.source.mean
    axes = (1,) * (x.ndim - 1)
    norms = [(v - mean).flatten(1).norm(dim=1).view(-1, *axes) for v in (a, b, x)]
    wanted = (1 - s) * norms[0] + s * norms[1]
    result: Tensor = mean + (x - mean) * wanted / norms[2].clamp(min=1e-12)
    return result
