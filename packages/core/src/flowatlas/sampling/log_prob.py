"""Log density of a flow, by the instantaneous change of variables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowatlas._points import by_name, check_data, point_masks
from flowatlas._random import Generators
from flowatlas.errors import CapabilityError, IntervalError
from flowatlas.field import Condition, Field, Mask
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.euclidean import Euclidean
from flowatlas.manifolds.product import ProductManifold
from flowatlas.paths.base import ContinuousPath, StatePath, at_least_float32
from flowatlas.sampling._chunks import in_chunks
from flowatlas.sampling._dynamics import PathDynamics
from flowatlas.sampling.divergence import Divergence, Exact
from flowatlas.sampling.sample import Sources
from flowatlas.solvers.base import Dynamics, Solver
from flowatlas.sources.base import Source
from flowatlas.state import State, batch_size, leading

__all__ = ["log_prob", "sample_with_log_prob"]

LOG_DENSITY = "log_density"


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
        validate: whether to check that `x_1` is finite and on its manifold.

    Returns:
        `(batch,)`, in nats with respect to the manifold's volume.

    Raises:
        CapabilityError: a discrete component, or a source without a density.
        IntervalError: a prediction kind whose velocity is infinite at `start`.

    Reference: FFJORD, Grathwohl et al., 2018, arXiv:1810.01367, eq. 4; on manifolds, Neural
    Manifold Ordinary Differential Equations, Lou et al., 2020, arXiv:2006.10254, section 4.
    """
    sources = _sources(path, source)
    x_1 = at_least_float32(x_1)
    if validate:
        check_data(path, x_1, "x_1")
    edge = path.interval.end
    if start > edge:
        raise IntervalError(
            f"start: the velocity of this path is finite only up to t = {edge:g}, so there is no "
            f"density at t = {start:g}. Pass start={edge:g} for the density just before, or train "
            "with velocity prediction."
        )

    def run(x: State, *, generator: Generators, **parts: Any) -> Tensor:
        dynamics = _DensityDynamics(
            field, path, x, divergence or Exact(), generator, batch_size(x), **parts
        )
        state = dynamics.augmented(dynamics.flow.prepare(x))
        found = solver.solve(dynamics, state, [start, path.interval.start])
        x_0, gained = dynamics.split(found.x)
        return _source_log_prob(path, sources, x_0, parts["mask"]) + gained

    with torch.set_grad_enabled(enable_grad and torch.is_grad_enabled()):
        result: Tensor = in_chunks(run, x_1, chunk_size, generator, condition=condition, mask=mask)
    return result


def sample_with_log_prob(
    field: Field,
    path: StatePath,
    x_0: State,
    *,
    condition: Condition | None = None,
    mask: Mask | None = None,
    solver: Solver,
    divergence: Divergence | None = None,
    generator: Generators = None,
    enable_grad: bool = False,
) -> tuple[Any, Tensor]:
    """Samples with their log densities in one forward pass.

    Args:
        x_0: draws from the path's source, such as `path.draw(like)`.

    Returns:
        `x_1`, and its log density `(batch,)`. The other arguments are those of `log_prob`.
    """
    sources = _sources(path, None)
    x_0 = at_least_float32(x_0)
    if path.interval.end < 1.0:
        raise IntervalError(
            f"path: its velocity is finite only up to t = {path.interval.end:g}, so samples at "
            "t = 1 have no density by integration. Train with velocity prediction."
        )
    with torch.set_grad_enabled(enable_grad and torch.is_grad_enabled()):
        dynamics = _DensityDynamics(
            field,
            path,
            x_0,
            divergence or Exact(),
            generator,
            batch_size(x_0),
            condition=condition,
            mask=mask,
        )
        x_0 = dynamics.flow.prepare(x_0)
        base = _source_log_prob(path, sources, x_0, mask)
        found = solver.solve(dynamics, dynamics.augmented(x_0), [path.interval.start, 1.0])
        x_1, gained = dynamics.split(found.x)
        return x_1, base - gained


class _DensityDynamics(Dynamics):
    """A flow whose state has the accumulated divergence beside it."""

    def __init__(
        self,
        field: Field,
        path: StatePath,
        x: State,
        divergence: Divergence,
        generator: Generators,
        batch: int,
        *,
        condition: Condition | None,
        mask: Mask | None,
    ) -> None:
        self.flow = PathDynamics(field, path, x, condition=condition, mask=mask)
        self._manifolds: dict[str, Manifold] = {
            name: component.manifold
            for name, component in path.components.items()
            if isinstance(component, ContinuousPath)
        }
        self.manifold = ProductManifold(**self._manifolds, **{LOG_DENSITY: Euclidean(point_ndim=0)})
        self._single = isinstance(x, Tensor)
        self._divergence = divergence
        self._probe = divergence.probe(x, self._manifolds, generator)
        self._batch = batch

    def augmented(self, x: State) -> dict[str, Tensor]:
        """`x` with a zero log density."""
        zero = leading(x).new_zeros(self._batch)
        return {**by_name(x), LOG_DENSITY: zero}

    def split(self, state: dict[str, Tensor]) -> tuple[Any, Tensor]:
        """The state of the flow, and what has been accumulated."""
        x = {name: value for name, value in state.items() if name != LOG_DENSITY}
        return (x["x"] if self._single else x), state[LOG_DENSITY]

    def velocity(self, x: Any, t: Tensor) -> Any:
        point, _ = self.split(x)
        value, rate = self._divergence(
            lambda y: self.flow.velocity(y, t), point, self._manifolds, self._probe
        )
        return {**by_name(value), LOG_DENSITY: rate}

    def begin(self, x: Any, t: Tensor) -> Any:
        return self.velocity(x, t)

    def commit(self, x: Any, t: Tensor, s: Tensor) -> Any:
        return x

    def time(self, t: float) -> Tensor:
        return self.flow.time(t)

    def record(self, x: Any) -> Any:
        return x


def _sources(path: StatePath, source: Sources | None) -> dict[str, Source]:
    """The base law of each component, all with densities."""
    others = {"x": source} if isinstance(source, Source) else dict(source or {})
    sources = {}
    for name, component in path.components.items():
        if not isinstance(component, ContinuousPath):
            raise CapabilityError(
                f"{name}: {type(component).__name__} is discrete and has no density by "
                "integration; log_prob takes paths whose components are all continuous."
            )
        sources[name] = others.get(name) or component.source
        if not sources[name].has_density:
            raise CapabilityError(
                f"source: {type(sources[name]).__name__} (component {name!r}) has no density. "
                "Pass source= with one that has, such as Gaussian() or Uniform(manifold)."
            )
    return sources


def _source_log_prob(
    path: StatePath, sources: dict[str, Source], x_0: State, mask: Mask | None
) -> Tensor:
    exists = point_masks(path, mask, x_0)
    total: Any = 0.0
    for name, value in by_name(x_0).items():
        part = sources[name].log_prob(value)
        if exists is not None and name in exists:
            part = torch.where(exists[name], part, 0.0)
        total = total + (part.flatten(1).sum(1) if part.ndim > 1 else part)
    result: Tensor = total
    return result
