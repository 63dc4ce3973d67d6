"""A field and a path as what solvers follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flowatlas._points import (
    by_name,
    check_data,
    fill_padding,
    fixed_masks,
    impose,
    point_masks,
)
from flowatlas._random import Generators, randn
from flowatlas.errors import CapabilityError
from flowatlas.field import Condition, Field, Mask, bound, call_field, check_condition
from flowatlas.paths._leap_length import leap_end
from flowatlas.paths.base import StatePath
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.paths.discrete import DiscretePath
from flowatlas.paths.mixture import MixturePath
from flowatlas.sampling._prediction import check_prediction
from flowatlas.sampling.replacement import Given, Replaced, split_given
from flowatlas.solvers.base import Dynamics
from flowatlas.state import State, batch_size, leading, time_dtype

__all__ = ["PathDynamics"]


class PathDynamics(Dynamics):
    """The velocity of `path` under `field`, with padding and fixed points at rest.

    Solvers see the continuous components; discrete ones are kept here, frozen during a step, and
    jump from the first stage's prediction when it is committed.

    Args:
        name: what the caller's user knows `x` as, for errors.
        others: as for `integrate`.

    Raises:
        ShapeError: a state, condition, mask or prediction that does not fit.
    """

    def __init__(
        self,
        field: Field,
        path: StatePath,
        x: State,
        *,
        name: str = "x",
        condition: Condition | None = None,
        mask: Mask | None = None,
        fixed: Given | None = None,
        generator: Generators = None,
    ) -> None:
        if condition is not None:
            check_condition(condition, batch_size(x))
        self._name = name
        self.field, self.path = field, path = bound(field, path)
        self.manifold = path.manifold
        self.condition, self.mask = condition, mask
        self.fixed, replaced = split_given(fixed)
        self.generator = generator
        self.nfe = 0
        self._batch = batch_size(x)
        like = leading(x)
        self._time_dtype, self._device = time_dtype(like.dtype), like.device
        self._given = fixed_masks(path, self.fixed, x)
        self.replaced = Replaced(path, replaced, x, generator) if replaced else None
        self.moving = _moving(point_masks(path, mask, x), self._given)
        if self.replaced is not None:
            self.moving = _moving(self.moving, self.replaced.masks)
        self._single = isinstance(x, Tensor)
        components = path.components
        self._jumping = {k: p for k, p in components.items() if isinstance(p, DiscretePath)}
        self.tokens = {name: by_name(x)[name] for name in self._jumping}
        self.reusable = not self._jumping
        self._still = len(self._jumping) == len(components)
        self._first: Any = None
        self._latest: Any = None

    def continuous(self, x: State) -> Any:
        """The part of the state that solvers see: an empty mapping for tokens alone."""
        if isinstance(x, Tensor):
            return {} if self._jumping else x
        return {name: value for name, value in x.items() if name not in self._jumping}

    def record(self, x: Any) -> Any:
        if not self._jumping:
            return x
        return self.tokens["x"] if self._single else {**x, **self.tokens}

    def time(self, t: float) -> Tensor:
        return torch.full((self._batch,), t, dtype=self._time_dtype, device=self._device)

    def predict(self, x: Any, t: Tensor) -> Any:
        """The network's output at the whole state."""
        self.nfe += 1
        given: Any = self._given
        if given is not None and self._single:
            given = given["x"]
        whole = self.record(x)
        prediction = call_field(self.field, whole, t, self.condition, self.mask, given)
        check_prediction(self.path, prediction, whole)
        self._latest = prediction
        return prediction

    def begin(self, x: Any, t: Tensor) -> Any:
        x = self._replaced(x, t)
        prediction = self.predict(x, t)
        if self._jumping:
            self._first = {"x": prediction} if self._single else prediction
        return self._velocity(x, t, prediction)

    def velocity(self, x: Any, t: Tensor) -> Any:
        x = self._replaced(x, t)
        return self._velocity(x, t, self.predict(x, t))

    def _replaced(self, x: Any, t: Tensor) -> Any:
        """The continuous part with what is noised along where it is at time t."""
        replaced = self.replaced
        if replaced is None:
            return x
        if isinstance(x, Tensor):
            return replaced.replace("x", x, t)
        return {name: replaced.replace(name, value, t) for name, value in x.items()}

    def _velocity(self, x: Any, t: Tensor, prediction: Any) -> Any:
        if self._still:
            return {}
        velocity = self.path.velocity(self.record(x), t, prediction)
        if self.moving is not None:
            velocity = self._masked(velocity, 0.0)
        if self.replaced is None:
            return velocity
        if isinstance(velocity, Tensor):
            return self.replaced.velocity("x", velocity, t)
        return {name: self.replaced.velocity(name, u, t) for name, u in velocity.items()}

    def _masked(self, x: Any, otherwise: Any) -> Any:
        """`x` where points move, `otherwise` (a number or a state) elsewhere."""

        def one(name: str, value: Tensor) -> Tensor:
            other = otherwise if isinstance(otherwise, float) else by_name(otherwise)[name]
            return self._at_rest(name, value, other)

        if isinstance(x, Tensor):
            return one("x", x)
        return {name: one(name, value) for name, value in x.items()}

    def _at_rest(self, name: str, value: Tensor, other: float | Tensor) -> Tensor:
        """`value` where points of a component move, `other` elsewhere."""
        if self.moving is None or name not in self.moving:
            return value
        keep = self.moving[name]
        return torch.where(keep.view(keep.shape + (1,) * (value.ndim - keep.ndim)), value, other)

    def scores(self, x: Any, t: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        values = by_name(x)
        latest = {"x": self._latest} if self._single else self._latest
        return {
            name: self._at_rest(
                name, self._diffusing(name).score(values[name], t, latest[name]), 0.0
            )
            for name in names
        }

    def noise_levels(self, t: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        return {name: self._diffusing(name).noise_level(t) for name in names}

    def noise(self, x: Any, names: Sequence[str]) -> dict[str, Tensor]:
        drawn = {}
        for name in names:
            like = by_name(x)[name]
            z = randn(like.shape, generator=self.generator, dtype=like.dtype, device=like.device)
            drawn[name] = self._at_rest(name, z, 0.0)
        return drawn

    def _diffusing(self, name: str) -> ContinuousPath:
        path = self.path.components[name]
        assert isinstance(path, ContinuousPath)
        return path

    def commit(self, x: Any, t: Tensor, s: Tensor) -> Any:
        if self._jumping:
            self._jump(t, s, self._first)
        return self._replaced(x, s)

    def renoise(self, x: Any, t: Tensor, s: Tensor) -> Any:
        whole = by_name(self.record(x))
        back: dict[str, Tensor] = {}
        for name, path in self.path.components.items():
            value = path.renoise(whole[name], t, s, generator=self.generator)
            if self.moving is not None and name in self.moving:
                keep = self.moving[name]
                keep = keep.view(keep.shape + (1,) * (value.ndim - keep.ndim))
                value = torch.where(keep, value, whole[name])
            back[name] = value
        if self.replaced is not None:
            self.replaced.draw()
            back = {name: self.replaced.replace(name, value, s) for name, value in back.items()}
        self.tokens = {name: back[name] for name in self._jumping}
        if self._single:
            return self.continuous(back["x"])
        return self.continuous(back)

    def leap_end(self, t: Tensor, end: Tensor, share: float) -> Tensor:
        for name, path in self._jumping.items():
            if not isinstance(path, MixturePath):
                raise CapabilityError(
                    f"solver: how many tokens a leap changes is not known for component {name!r}, "
                    f"a {type(path).__name__}. Use TauLeaping(steps)."
                )
            moving = None if self.moving is None else self.moving.get(name)
            tokens, prediction = self.tokens[name], self._first[name]
            end = leap_end(path, tokens, t, end, prediction, share, moving)
        return end

    def _jump(self, t: Tensor, s: Tensor, prediction: Any) -> None:
        if t.numel() == 0:
            return
        least, most = (bound.item() for bound in torch.aminmax(s - t))
        all_moved, back = least > 0 or most < 0, least < 0
        jumped: dict[str, Tensor] = {}
        for name, path in self._jumping.items():
            old, logits = self.tokens[name], prediction[name]
            jump = path.jump_back if back else path.jump
            if all_moved:
                new = jump(old, t, s, logits, generator=self.generator)
            else:
                # Samples whose adaptive step was refused have not moved, and draw nothing.
                rows = (t != s).nonzero().squeeze(1)
                new = old.clone()
                new[rows] = jump(
                    old[rows], t[rows], s[rows], logits[rows], generator=self._generators(rows)
                )
            keep = None if self.moving is None else self.moving.get(name)
            new = new if keep is None else torch.where(keep, new, old)
            jumped[name] = new if self.replaced is None else self.replaced.replace(name, new, s)
        self.tokens = jumped

    def _generators(self, rows: Tensor) -> Generators:
        if self.generator is None or isinstance(self.generator, torch.Generator):
            return self.generator
        return [self.generator[i] for i in rows.tolist()]

    def finish(self, x: Any, t: float, s: float) -> Any:
        """The last step, from the edge of the interval: conditional, to the predicted x_1."""
        now, then = self.time(t), self.time(s)
        prediction = self.predict(x, now)
        moved: dict[str, Tensor] = {}
        for name, path in self.path.components.items():
            if isinstance(path, ContinuousPath):
                value = by_name(x)[name]
                output = prediction if self._single else prediction[name]
                output = output.to(value.dtype)
                moved[name] = path.conditional_step(
                    value, now, then, output, generator=self.generator
                )
        result: Any = moved["x"] if self._single else moved
        if self.moving is not None:
            result = self._masked(result, x)
        if self._jumping:
            self._jump(now, then, prediction)
        return self._replaced(result, then)

    def prepare(self, x: State, validate: bool, start: float = 0.0) -> State:
        """`x` with given points where they are and padding at valid points, checked if asked.

        Padding is often zeros, which are on few manifolds; a NaN born there could spread through
        attention.
        """
        exists = point_masks(self.path, self.mask, x)
        if exists is not None:
            blank = torch.Generator(device=leading(x).device).manual_seed(0)
            x = fill_padding(self.path, x, exists, self.path.draw(x, generator=blank))
        x = self.impose(x)
        if self.replaced is not None:
            t = self.time(start)
            given = {name: self.replaced.replace(name, v, t) for name, v in by_name(x).items()}
            x = given["x"] if self._single else given
        if validate:
            check_data(self.path, x, self._name, exists)
        self.tokens = {name: by_name(x)[name] for name in self._jumping}
        return x

    def impose(self, x: State) -> State:
        """`x` with fixed points at exactly their values, which rounding may have moved."""
        return x if self.fixed is None else impose(self.path, x, self.fixed)


def _moving(
    exists: Mapping[str, Tensor] | None, given: Mapping[str, Tensor] | None
) -> dict[str, Tensor] | None:
    """Points that exist and are not fixed, per component; None if that is all of them."""
    if exists is None and given is None:
        return None
    moving = dict(exists or {})
    for name, mask in (given or {}).items():
        moving[name] = moving[name] & ~mask if name in moving else ~mask
    return moving
