"""Gradients of functions of the state, as tangent vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from flowatlas._points import by_name
from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.field import Field
from flowatlas.guidance.base import Guidance, Moment, Scale, Values
from flowatlas.guidance.classifier_free import checked_interval, within
from flowatlas.paths.base import Path, StatePath
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.state import State

__all__ = ["GradientGuidance", "Strength"]

#: Factor of a gradient at times `(batch,)`, where the path has no formula of its own.
Strength = Callable[[Tensor], Tensor]


def pulls(guidance: Guidance, scale: Scale) -> dict[str, ContinuousPath]:
    """The continuous components that a scale names, or all of them.

    Raises:
        CapabilityError: it names tokens, or there is nothing else.
    """
    parts = guidance.path.components
    named = set(scale) if isinstance(scale, Mapping) else None
    for name, part in parts.items():
        if not isinstance(part, ContinuousPath) and named is not None and name in named:
            raise CapabilityError(
                f"scale: component {name!r} has tokens, and there is no gradient among them. Use "
                "TokenClassifier for it, and leave it out here."
            )
    found = {
        name: part
        for name, part in parts.items()
        if isinstance(part, ContinuousPath) and (named is None or name in named)
    }
    if not found:
        raise CapabilityError(
            "path: it has tokens alone, among which there is no gradient. Use TokenClassifier."
        )
    return found


class Pull:
    """What a gradient adds to the velocities of a path.

    Args:
        scale: of every component that is pulled, by name.
        strength: in place of the path's own formula.

    Raises:
        CapabilityError: a path without a formula and no `strength`, or with both.
    """

    def __init__(
        self, path: StatePath, scale: Mapping[str, float], strength: Strength | None
    ) -> None:
        self.scale, self.strength = dict(scale), strength
        self.earliest = 0.0
        for name in scale:
            part = path.components[name]
            if strength is None and part.tilts:
                self.earliest = max(self.earliest, part.tilt_start)
            elif strength is None or part.tilts:
                raise CapabilityError(_no_tilt(part) if strength is None else _no_strength(part))

    def added(
        self,
        path: StatePath,
        values: Values,
        gradients: Values,
        x: State,
        t: Tensor,
        inside: Tensor,
    ) -> dict[str, Tensor]:
        """`values`, pulled where `inside`, `(batch,)`."""
        pulled = dict(values)
        state = by_name(x)
        for name, w in self.scale.items():
            g = gradients[name]
            if self.strength is None:
                change = path.components[name].tilt(g, state[name], t)
            else:
                change = g * _expanded(self.strength(t), g)
            factor = torch.where(inside, w, 0.0).to(g.dtype)
            pulled[name] = values[name] + change * _expanded(factor, g)
        return pulled


class GradientGuidance(Guidance):
    """Velocities pulled along the gradient of a log likelihood; `log_tilt` says of which.

    Args:
        field: a network, conditional or not.
        path: what it was trained on.
        scale: of the gradient, for all continuous components or, by name, for some.
        strength: factor of the gradient, for paths without a formula.
        interval: times at which to guide.

    Raises:
        CapabilityError: a path without a formula and no `strength`, or with both; a scale for
            tokens.
        ConfigError: a scale for no component, an interval that is none.
    """

    #: What messages call the function that the user gave.
    argument = "log_likelihood"

    def __init__(
        self,
        field: Field,
        path: StatePath,
        scale: Scale,
        *,
        strength: Strength | None,
        interval: tuple[float, float],
    ) -> None:
        super().__init__(field, path)
        self.scale = {name: self.scales(scale)[name] for name in pulls(self, scale)}
        self.strength = strength
        self.interval = checked_interval(interval)
        Pull(path, self.scale, strength)

    @abstractmethod
    def log_tilt(self, x: State, t: Tensor, moment: Moment) -> tuple[Tensor, Values]:
        """The log likelihood, `(batch,)`, and the plain values if they were found on the way.

        Args:
            x: the state, of which gradients are wanted.
            t: times `(batch,)` at which the path knows what a gradient does.
            moment: everything else.
        """

    def guide(self, moment: Moment) -> Values:
        inside = within(moment.t, self.interval)
        if not bool(inside.any()):
            return self.plain(moment)
        pull = Pull(self.path, self.scale, self.strength)
        t = moment.t.clamp(min=pull.earliest)
        parts = pulls(self, self.scale)
        found, values = gradient(
            lambda x: self.log_tilt(x, t, moment), moment, parts, self.argument
        )
        return pull.added(self.path, values or self.plain(moment), found, moment.x, t, inside)

    def plain(self, moment: Moment) -> Values:
        """Values of the field alone."""
        return self.predict(self.field, moment, [moment.condition])[0]


def _no_tilt(part: Path) -> str:
    return (
        f"path: the velocity of {type(part).__name__} is no function of the score, so what a "
        "gradient adds to it is not known. Pass strength=, a function of t."
    )


def _no_strength(part: Path) -> str:
    return (
        f"strength: {type(part).__name__} knows what a gradient adds to its velocity. Leave it "
        "out, and use scale= to pull more or less."
    )


def gradient(
    function: Callable[[State], tuple[Tensor, Values]],
    moment: Moment,
    parts: Mapping[str, ContinuousPath],
    argument: str,
) -> tuple[dict[str, Tensor], Values]:
    """Gradients of a function of the state, by component, and what else it returned.

    Args:
        function: of the state, to `(batch,)` and whatever tensors else.
        moment: where.
        parts: the components with respect to which.
        argument: what the user knows the function as.

    Raises:
        ShapeError: the function returned another shape.
    """
    state = by_name(moment.x)

    def moved(u: dict[str, Tensor]) -> tuple[Tensor, Values]:
        new = {name: part.manifold.expmap(state[name], u[name]) for name, part in parts.items()}
        whole = {**state, **new}
        value, rest = function(whole["x"] if isinstance(moment.x, Tensor) else whole)
        if not isinstance(value, Tensor) or value.shape != moment.t.shape:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(
                f"{argument}: it returned {got}; need one number a sample, {tuple(moment.t.shape)}."
            )
        return value.sum(), rest

    still = {}
    for name, part in parts.items():
        x = state[name]
        point = part.manifold.point_shape_of(x)
        lead = x.shape[: x.ndim - len(point)]
        still[name] = x.new_zeros((*lead, *part.manifold.tangent_shape(point)))
    covectors, rest = torch.func.grad(moved, has_aux=True)(still)
    found = {name: parts[name].manifold.sharp(state[name], c) for name, c in covectors.items()}
    return found, rest


def _expanded(factor: Tensor, like: Tensor) -> Tensor:
    if factor.ndim != 1:
        raise ConfigError(
            f"strength: it returned shape {tuple(factor.shape)}; need one number for each time, "
            "(batch,)."
        )
    return factor.to(like.dtype).view(-1, *(1,) * (like.ndim - 1))
