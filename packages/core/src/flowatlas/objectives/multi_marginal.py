"""One flow through several marginals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowatlas._arguments import check_kind
from flowatlas._precision import at_least_float32
from flowatlas._random import Generators, rand
from flowatlas.couplings import Coupling
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition, Field
from flowatlas.objectives.base import Draws, LossOutput
from flowatlas.objectives.flow_matching import FlowMatching
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.state import time_dtype
from flowatlas.time_samplers import TimeSampler, UniformTime

__all__ = ["MultiMarginal"]


class MultiMarginal:
    r"""Regress one field on paths from each marginal to the next.

    Between the times $T_i$ and $T_{i+1} = T_i + \Delta_i$ of two neighbouring marginals a path of
    its own runs at its own time s in [0, 1]; at $T = T_i + s \Delta_i$ the field is to be
    $\dot x_s / \Delta_i$:

    $$L = \sum_i \Delta_i \, E_{s, (x_i, x_{i+1})}
      \left\| v_\theta(x_s, T_i + s \Delta_i) - \dot x_s / \Delta_i \right\|^2 / n.$$

    The flow of the minimiser takes each marginal to the next. It is integrated by any solver;
    a grid with the times of the marginals in it does not step over a kink.

    A batch is a tensor `(batch, marginals, *event)` of one point of each marginal in each row;
    which meet is for the coupling to say, segment by segment.

    Args:
        paths: one for each segment; velocity prediction. Their sources are not used.
        times: of the marginals, increasing from 0 to 1, one more than paths.
        coupling: of neighbouring marginals; the rows as they are if None.
        time_sampler: the law of s; uniform if None.

    Raises:
        ConfigError: times that do not increase from 0 to 1 or do not fit the paths, a path that
            does not predict velocities, arguments of another kind.

    Reference: Multi-marginal trajectories through pairs of neighbours are those of TrajectoryNet,
    Tong et al., 2020, arXiv:2002.04461, trained here by flow matching as in Metric Flow
    Matching, Kapusniak et al., 2024, arXiv:2405.14780.

    Example:
        ```python
        path = AffinePath()
        objective = MultiMarginal([path, path], times=(0.0, 0.3, 1.0), coupling=MinibatchOT(path))
        snapshots = torch.randn(64, 3, 2, generator=generator)
        objective(MLP((2,)), snapshots, generator=generator).loss.backward()
        ```
    """

    def __init__(
        self,
        paths: Sequence[ContinuousPath],
        times: Sequence[float],
        *,
        coupling: Coupling | None = None,
        time_sampler: TimeSampler | None = None,
    ) -> None:
        self.paths = tuple(paths)
        self.times = tuple(float(t) for t in times)
        for path in self.paths:
            check_kind("paths", path, ContinuousPath, "AffinePath()")
            if path.prediction != "velocity":
                raise ConfigError(
                    f"paths: one of them predicts {path.prediction!r}; a field that goes on from "
                    "one segment to the next is a velocity. Use prediction='velocity'."
                )
        steps = [b - a for a, b in zip(self.times[:-1], self.times[1:], strict=True)]
        whole = len(steps) > 0 and self.times[0] == 0.0 and self.times[-1] == 1.0
        if not whole or not all(step > 0 for step in steps):
            raise ConfigError(
                f"times: got {self.times}; they must increase from 0 to 1. Rescale them: "
                "(t - t[0]) / (t[-1] - t[0])."
            )
        if len(steps) != len(self.paths):
            raise ConfigError(
                f"paths: got {len(self.paths)} for {len(self.times)} times; there is one from each "
                f"time to the next. Pass {len(steps)}."
            )
        self.time_sampler = UniformTime() if time_sampler is None else time_sampler
        check_kind("time_sampler", self.time_sampler, TimeSampler, "UniformTime()")
        self.segments = tuple(FlowMatching(path, coupling=coupling) for path in self.paths)
        self.durations = tuple(steps)

    def draw(self, x_1: Tensor, *, batch: int | None = None, generator: Generators = None) -> Draws:
        """Times within the segments, and what the paths draw.

        Args:
            x_1: `(batch, marginals, *event)`.
            batch: how many; as many as `x_1` has if None.
            generator: one, or one per sample.
        """
        self._check(x_1)
        x = at_least_float32(x_1)
        assert isinstance(x, Tensor)
        count = len(x) if batch is None else batch
        t = self.time_sampler.sample(
            count, generator=generator, dtype=time_dtype(x.dtype), device=x.device
        )
        u = rand((count,), generator=generator, device=x.device)
        noise = {}
        for i, path in enumerate(self.paths):
            drawn = path.interpolation_noise(x[:, i], batch=batch, generator=generator)
            if drawn is not None:
                noise[str(i)] = drawn
        # Both ends are data: what stands for source samples only says how many there are.
        return Draws(x.new_zeros(count), t, u, noise)

    def __call__(
        self,
        model: Field,
        x_1: Tensor,
        *,
        draws: Draws | None = None,
        condition: Condition | None = None,
        weight: Tensor | None = None,
        condition_dropout: float = 0.0,
        generator: Generators = None,
        validate: bool = False,
    ) -> LossOutput:
        """Loss of `model` on rows of one point for each marginal.

        Args:
            model: called as `model(x, t)` at global times, with `condition` where given.
            x_1: `(batch, marginals, *event)`.
            draws: the result of an earlier `draw`, in place of drawing now.
            condition: mapping of tensors `(batch, ...)`, handed to the model.
            weight: `(batch,)` factors of the rows.
            condition_dropout: probability of replacing a row's condition by the model's null.
            generator: one, or one per sample.
            validate: whether to look at the values of the points.

        Returns:
            Its `t` is the time within each segment; `components` are the mean squared errors of
            the segments' velocities.

        Raises:
            ShapeError: another number of marginals.
        """
        self._check(x_1)
        if draws is None:
            draws = self.draw(x_1, generator=generator)
        loss = torch.zeros((), device=x_1.device)
        per_sample = torch.zeros((), device=x_1.device)
        components = {}
        for i, (segment, duration) in enumerate(zip(self.segments, self.durations, strict=True)):
            own = {"x": draws.noise[str(i)]} if str(i) in draws.noise else {}
            found = segment(
                _OnSegment(model, self.times[i], duration),
                x_1[:, i + 1],
                x_0=x_1[:, i],
                draws=Draws(x_1[:, i], draws.t, draws.u, own),
                condition=condition,
                weight=weight,
                condition_dropout=condition_dropout,
                generator=generator,
                validate=validate,
            )
            # Squared, the segment's velocities are duration^2 times those of the field.
            loss = loss + found.loss / duration
            per_sample = per_sample + found.per_sample / duration
            components[f"segment_{i}"] = found.loss.detach() / duration**2
        return LossOutput(loss, components, per_sample, draws.t)

    def _check(self, x_1: Tensor) -> None:
        count = len(self.times)
        if not isinstance(x_1, Tensor) or x_1.ndim < 3 or x_1.shape[1] != count:
            got = tuple(x_1.shape) if isinstance(x_1, Tensor) else type(x_1).__name__
            raise ShapeError(
                f"x_1: got {got}; need (batch, {count}, *event), one point of each of the {count} "
                "marginals in a row. Use torch.stack(points, dim=1)."
            )


class _OnSegment:
    """A field of global time as a field of the time of one segment."""

    def __init__(self, module: Any, start: float, duration: float) -> None:
        #: `null_condition` looks through this name.
        self.module = module
        self.start = start
        self.duration = duration

    def __call__(self, x: Any, t: Tensor, *args: Any, **kwargs: Any) -> Any:
        velocity = self.module(x, self.start + self.duration * t, *args, **kwargs)
        return self.duration * velocity
