"""Conditional flow matching on any path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flowatlas._arguments import check_kind
from flowatlas._points import (
    by_name,
    check_data,
    check_path,
    check_state,
    check_tokens,
    fill_padding,
    fixed_masks,
    free_points,
    hold,
    masked_mean,
    point_masks,
)
from flowatlas._precision import at_least_float32
from flowatlas._random import Generators, rand
from flowatlas.couplings import Coupling, Independent, Paired
from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.field import (
    Condition,
    Field,
    Fixed,
    Mask,
    call_field,
    check_condition,
    null_condition,
)
from flowatlas.objectives.base import Draws, LossOutput
from flowatlas.paths.base import PathSample, StatePath
from flowatlas.state import State, batch_size, leading, time_dtype
from flowatlas.time_samplers import TimeSampler, UniformTime

__all__ = ["FlowMatching", "Regularizer"]

#: `(path_sample, prediction) -> (batch,)`: an addition to the per-sample loss.
Regularizer = Callable[[PathSample, Any], Tensor]


class FlowMatching:
    r"""Regress a field on the conditional velocity of a path.

    $$L = E_{t,\, (x_0, x_1)} \, w(t) \, \| v_\theta(x_t, t) - \dot x_t \|^2_{x_t} / n$$

    with t from `time_sampler`, $(x_0, x_1)$ from `coupling`, and $x_t$ from `path`, which also owns
    the norm, the dimension n and what the network predicts. The minimiser is the marginal velocity
    $E[\dot x_t \mid x_t]$, whose flow takes the source to the data.

    Points are averaged within a sample, over those that exist and are not fixed; samples are
    averaged over the batch; components are added up by their weights.

    Args:
        path: of the whole state.
        coupling: which x_0 meets which x_1; independent if None.
        time_sampler: the law of t; uniform if None.
        regularizers: functions of the path sample and the prediction, added per sample. Where there
            is padding the sample's `exists` tells.
        marginal: the marginal velocity itself, `(x_t, t)` to a tangent, where it is known, such as
            `EmpiricalFlow` of the training points. It replaces the conditional velocity as what is
            regressed on: the minimiser is the same, without the noise of single pairs.

    Raises:
        CapabilityError: score or noise prediction, or a marginal velocity, with a coupling that is
            not independent.
        ConfigError: a marginal velocity for a path that predicts something else, or for a product;
            a path, coupling or time sampler that is none.

    Reference: Flow Matching for Generative Modeling, Lipman et al., 2022, arXiv:2210.02747, eq. 9
    and 14; on manifolds, Chen and Lipman, 2023, arXiv:2302.03660, eq. 11. Here the squared norm is
    divided by the dimension.

    Example:
        ```python
        objective = FlowMatching(AffinePath())
        loss = objective(model, x_1, generator=generator).loss
        loss.backward()
        ```
    """

    def __init__(
        self,
        path: StatePath,
        *,
        coupling: Coupling | None = None,
        time_sampler: TimeSampler | None = None,
        regularizers: Sequence[Regularizer] = (),
        marginal: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.path = path
        self.coupling = Independent() if coupling is None else coupling
        self.time_sampler = UniformTime() if time_sampler is None else time_sampler
        check_path(path)
        check_kind("coupling", self.coupling, Coupling, "Independent()")
        check_kind("time_sampler", self.time_sampler, TimeSampler, "UniformTime()")
        if not isinstance(regularizers, Iterable):
            raise ConfigError(
                f"regularizers: got {type(regularizers).__name__}; it takes a list of them: "
                "[regularizer]."
            )
        self.regularizers = tuple(regularizers)
        self.marginal = marginal
        if marginal is not None:
            self._check_marginal()
        for name, component in path.components.items():
            kind = getattr(component, "prediction", None)
            if kind in ("noise", "score") and not self.coupling.independent:
                raise CapabilityError(
                    f"coupling: {type(self.coupling).__name__} makes x_0 depend on x_1, and then "
                    f"{kind!r} prediction (component {name!r}) is not what its formula says. Use "
                    "Independent(), or predict 'velocity' or 'target'."
                )

    def _check_marginal(self) -> None:
        if not self.coupling.independent:
            raise CapabilityError(
                f"marginal: the velocity of a set of points is that of independent pairs, and "
                f"{type(self.coupling).__name__} makes others. Use Independent()."
            )
        if getattr(self.path, "prediction", None) != "velocity":
            raise ConfigError(
                "marginal: it replaces the velocity of a path on one space; this path is a product "
                "or predicts something else. Use prediction='velocity'."
            )

    def draw(self, x_1: State, *, batch: int | None = None, generator: Generators = None) -> Draws:
        """Source samples, times and dropout numbers for data shaped as `x_1`.

        Args:
            x_1: gives event shapes, dtype and device.
            batch: how many samples; as many as `x_1` has if None.
            generator: one, or one per sample.
        """
        # A bfloat16 x_0 would lie on a grid of a few hundred values.
        x_1 = at_least_float32(x_1)
        like = leading(x_1)
        count = batch_size(x_1) if batch is None else batch
        kind = time_dtype(like.dtype)
        t = self.time_sampler.sample(count, generator=generator, dtype=kind, device=like.device)
        x_0 = self.path.draw(x_1, batch=count, generator=generator)
        u = rand((count,), generator=generator, device=like.device)
        noise = self.path.draw_noise(x_1, batch=batch, generator=generator)
        return Draws(x_0, t, u, noise)

    def __call__(
        self,
        model: Field,
        x_1: State,
        *,
        x_0: State | None = None,
        t: Tensor | None = None,
        draws: Draws | None = None,
        condition: Condition | None = None,
        mask: Mask | None = None,
        fixed: Fixed | None = None,
        weight: Tensor | None = None,
        condition_dropout: float = 0.0,
        generator: Generators = None,
        validate: bool = False,
    ) -> LossOutput:
        """Loss of `model` on a batch of data.

        Args:
            model: called as `model(x_t, t)`, with `condition`, `mask` and `fixed` where given.
            x_1: data, `(batch, *event)` or a mapping.
            x_0: source samples; drawn from the path's source if None.
            t: `(batch,)`; drawn from the time sampler if None. On paths that declare
                `pointwise_times` it may be `(batch, *points)`, and reaches the model as it is.
            draws: the result of an earlier `draw`, in place of drawing now.
            condition: mapping of tensors `(batch, ...)`, handed to the model.
            mask: True where a point exists, `(batch, *points)` or a mapping of such. Padding may
                hold anything, NaN too: the network sees valid points there.
            fixed: `(mask, value)` of the points that are given, or a mapping of such. They enter
                x_t clean and have no loss.
            weight: `(batch,)` factors of the samples.
            condition_dropout: probability of replacing a sample's condition by the model's null.
            generator: one, or one per sample, which makes each sample's loss independent of the
                batch.
            validate: whether to look at the values of x_0, x_1 and t: finite, on the manifold.
                Tokens are looked at in any case on the CPU.

        Raises:
            ShapeError: shapes that do not fit, or a batch of none.
            GeometryError: with `validate`, data that is not finite or off the manifold.
            ConfigError: a paired coupling without `x_0`, or a dropout that is no probability.
        """
        check_state(self.path, x_1, "x_1")
        if batch_size(x_1) == 0:
            raise ShapeError(
                "x_1: got a batch of 0 samples, which has no mean loss; pass one sample or more. "
                "Skip empty batches, or correct the filter that left none."
            )
        if not 0 <= condition_dropout <= 1:
            raise ConfigError(
                f"condition_dropout: got {condition_dropout}; it is a probability, from 0 to 1."
            )
        if x_0 is not None:
            check_state(self.path, x_0, "x_0")
        x_1 = at_least_float32(x_1)
        if x_0 is None and draws is None and isinstance(self.coupling, Paired):
            raise ConfigError("x_0: Paired() needs the source samples; pass x_0=.")
        if condition is not None:
            check_condition(condition, batch_size(x_1))
        if draws is None and (x_0 is None or t is None or condition_dropout > 0):
            draws = self.draw(x_1, generator=generator)
        drawn = x_0 is None
        if x_0 is None:
            assert draws is not None
            x_0 = draws.x_0
        x_0 = at_least_float32(x_0)
        _check_alike(x_0, x_1)
        exists = point_masks(self.path, mask, x_1)
        if exists is not None:
            x_1, x_0 = self._without_padding(x_1, x_0, exists, drawn)
        # Looking at tokens is free beside their logits; on an accelerator it is a synchronisation.
        if validate or leading(x_1).device.type == "cpu":
            check_tokens(self.path, x_1, "x_1", exists, data=True)
        if validate:
            check_data(self.path, x_1, "x_1", exists)
            check_data(self.path, x_0, "x_0", exists)
        if t is None:
            assert draws is not None
            t = draws.t
            # Times of our own making need no check, but a schedule may diverge at its very end.
            if self.path.t_min > 0 or self.path.t_max < 1:
                t = t.clamp(self.path.t_min, self.path.t_max)
        else:
            _check_tensor(t, "t", "one time per sample. Use torch.full((batch,), t)")
            validate = True
        given = fixed_masks(self.path, fixed, x_1)
        x_0 = self.coupling.couple(
            x_0,
            x_1,
            condition=condition,
            mask=_alone(free_points(exists, given), x_1),
            generator=generator,
        )

        noise = None if draws is None else draws.noise
        sample = self.path.sample(x_0, x_1, t, noise=noise, generator=generator, validate=validate)
        if self.marginal is not None:
            assert isinstance(sample.x_t, Tensor)
            sample = replace(sample, dx_t=self.marginal(sample.x_t, t))
        if given is not None:
            sample = hold(self.path, sample, fixed)
        if exists is not None and self.regularizers:
            sample = replace(sample, exists=exists)
        if condition is not None and condition_dropout > 0:
            assert draws is not None
            condition = _dropped(model, condition, draws.u < condition_dropout)
        prediction = call_field(model, sample.x_t, t, condition, mask, _alone(given, x_1))
        return self._reduce(sample, prediction, exists, given, weight)

    def _without_padding(
        self, x_1: State, x_0: State, exists: Mapping[str, Tensor], drawn: bool
    ) -> tuple[State, State]:
        """Both ends with valid points in the padding."""
        if drawn:
            return fill_padding(self.path, x_1, exists, x_0), x_0
        blank = torch.Generator(device=leading(x_1).device).manual_seed(0)
        filler = self.path.draw(x_1, generator=blank)
        return (
            fill_padding(self.path, x_1, exists, filler),
            fill_padding(self.path, x_0, exists, filler),
        )

    def _reduce(
        self,
        sample: PathSample,
        prediction: Any,
        exists: Mapping[str, Tensor] | None,
        given: Mapping[str, Tensor] | None,
        weight: Tensor | None,
    ) -> LossOutput:
        per_sample: Tensor | None = None
        components = {}
        for name, point_loss in self.path.losses(prediction, sample).items():
            value = masked_mean(point_loss, name, exists, given)
            components[name] = value.detach().mean()
            share = self.path.components[name].weight
            value = value if share == 1.0 else share * value
            per_sample = value if per_sample is None else per_sample + value
        assert per_sample is not None
        for regularizer in self.regularizers:
            per_sample = per_sample + regularizer(sample, prediction)
        if weight is not None:
            _check_tensor(weight, "weight", "one factor per sample. Use torch.as_tensor")
            if weight.shape != per_sample.shape:
                raise ShapeError(
                    f"weight: got shape {tuple(weight.shape)}; need {tuple(per_sample.shape)}, one "
                    "factor per sample."
                )
            per_sample = per_sample * weight
        return LossOutput(per_sample.mean(), components, per_sample.detach(), sample.t)


def _check_tensor(value: Any, name: str, fix: str) -> None:
    if not isinstance(value, Tensor):
        raise ShapeError(
            f"{name}: got {type(value).__name__}; it must be a tensor (batch,), {fix}."
        )


def _check_alike(x_0: State, x_1: State) -> None:
    """Raise `ShapeError` unless the two ends fit: couplings and masks come before the path does."""
    ends, others = by_name(x_1), by_name(x_0)
    for name, value in ends.items():
        if name not in others:
            raise ShapeError(f"x_0: no component {name!r}; it has {sorted(others)}.")
        if others[name].shape != value.shape:
            raise ShapeError(
                f"x_0: got shape {tuple(others[name].shape)} beside x_1 of shape "
                f"{tuple(value.shape)}; they must be equal. Draw x_0 with path.draw(x_1)."
            )


def _dropped(model: Field, condition: Condition, drop: Tensor) -> Condition:
    null = null_condition(model, condition)
    return {
        name: torch.where(drop.view(-1, *(1,) * (value.ndim - 1)), null[name], value)
        for name, value in condition.items()
    }


def _alone(masks: Mapping[str, Tensor] | None, x_1: State) -> Any:
    """Masks as fields and couplings see them: a tensor for tensor states."""
    return masks["x"] if masks is not None and isinstance(x_1, Tensor) else masks
