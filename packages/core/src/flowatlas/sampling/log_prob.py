"""Log density of a flow, by the instantaneous change of variables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowatlas._arguments import check_kind
from flowatlas._points import by_name, check_state, point_masks
from flowatlas._precision import at_least_float32
from flowatlas._random import Generators
from flowatlas.errors import CapabilityError, IntervalError, ShapeError
from flowatlas.field import Condition, Field, Mask
from flowatlas.paths.base import StatePath
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.sampling._chunks import in_chunks
from flowatlas.sampling._density_dynamics import LOG_DENSITY, DensityDynamics
from flowatlas.sampling._finite import check_finite
from flowatlas.sampling.divergence import Divergence, Exact
from flowatlas.sampling.sample import Sources, base_sources
from flowatlas.solvers.base import Solver
from flowatlas.sources.base import Source
from flowatlas.state import State

__all__ = ["log_prob", "sample_with_log_prob"]


def log_prob(
    field: Field,
    path: StatePath,
    x_1: State,
    *,
    condition: Condition | None = None,
    mask: Mask | None = None,
    solver: Solver,
    source: Sources | None = None,
    divergence: Divergence | None = None,
    generator: Generators = None,
    start: float = 1.0,
    chunk_size: int | None = None,
    enable_grad: bool = False,
    validate: bool = True,
) -> Tensor:
    r"""Log density of the flow at `x_1`.

    $$\log p_1(x_1) = \log p_0(x_0) - \int_0^1 \operatorname{div} v_t(x_t) \, dt$$

    along the trajectory that ends at x_1, integrated backward together with it.

    Args:
        field: a trained network, a guided field, an exact flow.
        path: what it was trained on; every component must be continuous.
        x_1: `(batch, *event)` or a mapping.
        condition: mapping of tensors `(batch, ...)`.
        mask: True where a point exists; padding has no part in the density.
        solver: such as `Dopri5(rtol=1e-6)`; it controls the error of the density too.
        source: in place of the path's.
        divergence: `Exact()` (the default) or `Hutchinson()`.
        generator: for the probes of `Hutchinson`; one, or one per sample.
        start: the time at which `x_1` is taken to be: less than 1 for prediction kinds whose
            velocity is infinite at the data.
        chunk_size: samples at once; chosen to bound memory if None.
        enable_grad: whether gradients flow to the field and `x_1`.
        validate: whether to check that `x_1` is finite and on its manifold, and what it is taken
            to finite.

    Returns:
        `(batch,)`, in nats with respect to the manifold's volume.

    Raises:
        CapabilityError: a discrete component, or a source without a density.
        IntervalError: a prediction kind whose velocity is infinite at `start`.
        ConfigError: a path, solver, source or divergence that is none.
        ShapeError: a state, condition, mask or prediction that does not fit.
        SolverError: x_0 or the divergence is not finite, or the solver could not go on.

    Reference: FFJORD, Grathwohl et al., 2018, arXiv:1810.01367, eq. 4; on manifolds, Neural
    Manifold Ordinary Differential Equations, Lou et al., 2020, arXiv:2006.10254, section 4.
    """
    check_state(path, x_1, "x_1")
    sources = _sources(path, source)
    x_1 = at_least_float32(x_1)
    divergence = Exact() if divergence is None else divergence
    _check_kinds(solver, divergence)
    interval = path.interval
    if not interval.start < start <= interval.end:
        raise IntervalError(
            f"start: got {start:g}, but there is a density only for t in ({interval.start:g}, "
            f"{interval.end:g}], where {_first_to_end(path)} is finite. Pass "
            f"start={interval.end:g}, or train with velocity prediction."
        )

    def run(x: State, *, generator: Generators, **parts: Any) -> Tensor:
        dynamics = DensityDynamics(field, path, x, divergence, generator, name="x_1", **parts)
        state = dynamics.augmented(dynamics.flow.prepare(x, validate))
        times = [start, interval.start]
        found = solver.solve(dynamics, state, times)
        if validate:
            check_finite(solver, times, [state, found.x])
        x_0, gained = dynamics.split(found.x)
        return _source_log_prob(path, sources, x_0, parts["mask"]) + gained

    with torch.set_grad_enabled(enable_grad and torch.is_grad_enabled()):
        result: Tensor = in_chunks(
            run,
            x_1,
            chunk_size,
            generator,
            copies=divergence.copies,
            condition=condition,
            mask=mask,
        )
    return result


def sample_with_log_prob(
    field: Field,
    path: StatePath,
    x_0: State,
    *,
    condition: Condition | None = None,
    mask: Mask | None = None,
    solver: Solver,
    source: Sources | None = None,
    divergence: Divergence | None = None,
    generator: Generators = None,
    chunk_size: int | None = None,
    enable_grad: bool = False,
    validate: bool = True,
) -> tuple[Any, Tensor]:
    """Samples with their log densities in one forward pass.

    Args:
        x_0: draws from the source, such as `path.draw(like)`.
        source: the law that `x_0` was drawn from, if not the path's.

    Returns:
        `x_1`, and its log density `(batch,)`. The other arguments are those of `log_prob`.

    Raises:
        CapabilityError: a discrete component, or a source without a density.
        IntervalError: a prediction kind whose velocity is infinite at the data.
        SolverError: x_1 or the divergence is not finite, or the solver could not go on.
    """
    check_state(path, x_0, "x_0")
    sources = _sources(path, source)
    x_0 = at_least_float32(x_0)
    divergence = Exact() if divergence is None else divergence
    _check_kinds(solver, divergence)
    if path.interval.end < 1.0:
        raise IntervalError(
            f"path: {_first_to_end(path)} is finite only up to t = "
            f"{path.interval.end:g}, so samples at t = 1 have no density by integration. Train "
            "with velocity prediction."
        )

    def run(x: State, *, generator: Generators, **parts: Any) -> dict[str, Tensor]:
        dynamics = DensityDynamics(field, path, x, divergence, generator, name="x_0", **parts)
        x = dynamics.flow.prepare(x, validate)
        base = _source_log_prob(path, sources, x, parts["mask"])
        state, times = dynamics.augmented(x), [path.interval.start, 1.0]
        found = solver.solve(dynamics, state, times)
        if validate:
            check_finite(solver, times, [state, found.x])
        return {**found.x, LOG_DENSITY: base - found.x[LOG_DENSITY]}

    with torch.set_grad_enabled(enable_grad and torch.is_grad_enabled()):
        found = in_chunks(
            run,
            x_0,
            chunk_size,
            generator,
            copies=divergence.copies,
            condition=condition,
            mask=mask,
        )
    value = found.pop(LOG_DENSITY)
    return (found["x"] if isinstance(x_0, Tensor) else found), value


def _first_to_end(path: StatePath) -> str:
    """The velocity that ceases to be finite first, for errors."""
    name, component = min(path.components.items(), key=lambda one: one[1].local_interval.end)
    if isinstance(path, ContinuousPath):
        return "its velocity"
    return f"the velocity of component {name!r} (a {type(component).__name__})"


def _check_kinds(solver: Solver, divergence: Divergence) -> None:
    check_kind("solver", solver, Solver, "Dopri5(rtol=1e-6)")
    check_kind("divergence", divergence, Divergence, "Hutchinson()")


def _sources(path: StatePath, source: Sources | None) -> dict[str, Source]:
    """The base law of each component, all with densities."""
    sources = base_sources(path, source)
    for name, component in path.components.items():
        if not isinstance(component, ContinuousPath):
            raise CapabilityError(
                f"{name}: {type(component).__name__} is discrete and has no density by "
                "integration; log_prob takes paths whose components are all continuous."
            )
        if not sources[name].has_density:
            raise CapabilityError(
                f"source: {type(sources[name]).__name__} (component {name!r}) has no density. "
                "Pass source= with one that has, such as Gaussian() or Uniform(manifold)."
            )
    return sources


def _source_log_prob(
    path: StatePath, sources: dict[str, Source], x_0: State, mask: Mask | None
) -> Tensor:
    exists = point_masks(path, mask, x_0) or {}
    total: Any = 0.0
    for name, value in by_name(x_0).items():
        part = sources[name].log_prob(value)
        if name in exists:
            if part.shape != exists[name].shape:
                raise ShapeError(
                    f"source: the log density of {sources[name]!r} (component {name!r}) has shape "
                    f"{tuple(part.shape)}; a mask needs {tuple(exists[name].shape)}, one entry per "
                    "point. Give the source the path's point_ndim."
                )
            part = torch.where(exists[name], part, 0.0)
        total = total + (part.flatten(1).sum(1) if part.ndim > 1 else part)
    result: Tensor = total
    return result
