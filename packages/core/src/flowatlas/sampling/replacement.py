"""Given points for fields that were not trained with them: noised along, and replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowatlas._points import by_name, fixed_masks
from flowatlas._precision import full_precision
from flowatlas._random import Generators
from flowatlas.field import Fixed
from flowatlas.paths.base import StatePath
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.state import State, broadcast_time

__all__ = ["Given", "Replaced", "Replacement", "split_given"]


@dataclass(frozen=True, eq=False)
class Replacement:
    r"""Given points that a field sees as it saw all points in training: as noisy as the time says.

    In place of a pair `(mask, value)` in `fixed=`. At time t the given points are those of the
    path, $x_t = \mathrm{path}(x_0, \mathrm{value}, t)$ with an $x_0$ drawn from the source, and
    they move along it; the field is not told that they are given. At t = 1 they are exactly at
    their values.

    For components and points that are independent of the others this is exact. Otherwise it is
    not: the others see $x_t$ of the given points, which says less than $x_1$ does, so that they
    come out between their marginal law and the conditional one. Going back and forth
    (`Resampling`) brings them to the conditional one. A field that was trained with `fixed` needs
    neither.

    Attributes:
        mask: True where a point is given, `(batch, *points)`.
        value: of the shape of the state; only its masked points are read.

    Reference: RePaint: Inpainting using Denoising Diffusion Probabilistic Models, Lugmayr et al.,
    2022, arXiv:2201.09865. Their given points have new noise at every step; here it is drawn
    anew only when time goes back, so that steps may be adaptive and of any order.

    Example:
        ```python
        known = torch.zeros(64, dtype=torch.bool)
        known[:8] = True
        x = sample(
            model, AffinePath(), shape=(64, 2), fixed=Replacement(known, x_1), solver=Heun(steps=20)
        )
        ```
    """

    mask: Tensor
    value: Tensor

    def rows(self, index: slice) -> Replacement:
        """That of some samples."""
        return Replacement(self.mask[index], self.value[index])


#: Points that are given, clean or noised along: `(mask, value)`, a `Replacement`, or a mapping.
Given = tuple[Tensor, Tensor] | Replacement | Mapping[str, tuple[Tensor, Tensor] | Replacement]


def split_given(given: Any) -> tuple[Fixed | None, dict[str, Replacement]]:
    """What is held clean, in its own form, and what is replaced, by component."""
    if given is None or isinstance(given, tuple):
        return given, {}
    if isinstance(given, Replacement):
        return None, {"x": given}
    if not isinstance(given, Mapping):
        return given, {}  # refused where masks are looked at
    held = {k: one for k, one in given.items() if not isinstance(one, Replacement)}
    replaced = {k: one for k, one in given.items() if isinstance(one, Replacement)}
    return (held if held or not replaced else None), replaced


class Replaced:
    """The given points of one integration: where they are at any time.

    Args:
        path: of the whole state.
        given: by component.
        x: the state, for its shapes.
        generator: of their x_0; one, or one per sample.

    Raises:
        ShapeError: a mask or value that does not fit.
        GeometryError: values that are not finite or off their manifold.
    """

    def __init__(
        self,
        path: StatePath,
        given: Mapping[str, Replacement],
        x: State,
        generator: Generators,
    ) -> None:
        pairs = {name: (one.mask, one.value) for name, one in given.items()}
        self.masks = fixed_masks(path, pairs, x) or {}
        self._paths = {name: path.components[name].as_sampled() for name in given}
        self._generator = generator
        self._values = {
            name: self._valid(name, one.value.to(by_name(x)[name]), self.masks[name])
            for name, one in given.items()
        }
        self.draw()

    def _valid(self, name: str, value: Tensor, mask: Tensor) -> Tensor:
        """The values, with valid points where none are given."""
        path = self._paths[name]
        if not isinstance(path, ContinuousPath):
            return torch.where(mask, value, 0)
        blank = torch.Generator(device=value.device).manual_seed(0)
        filler = path.source.sample(
            value.shape, generator=blank, dtype=value.dtype, device=value.device
        )
        value = torch.where(_over(mask, value), value, filler)
        path.manifold.check_point(value, f"fixed[{name!r}] value")
        return value

    def draw(self) -> None:
        """Take another x_0."""
        self._x_0 = {
            name: self._paths[name].source.sample(
                value.shape, generator=self._generator, dtype=value.dtype, device=value.device
            )
            for name, value in self._values.items()
        }
        self._noise = {
            name: self._paths[name].interpolation_noise(value, generator=self._generator)
            for name, value in self._values.items()
        }

    def replace(self, name: str, x: Tensor, t: Tensor) -> Tensor:
        """The component `x` with its given points where they are at time t, `(batch,)`."""
        if name not in self._paths:
            return x
        value = self._values[name]
        x_t, _ = self._interpolated(name, t)
        x_t = torch.where(broadcast_time(t >= 1, x_t), value, x_t)
        return torch.where(_over(self.masks[name], x), x_t.to(x.dtype), x)

    def velocity(self, name: str, u: Tensor, t: Tensor) -> Tensor:
        """The velocity `u` with that of the given points, or with `u` where it may be infinite."""
        velocity = self._interpolated(name, t)[1] if name in self._paths else None
        if velocity is None:
            return u
        return torch.where(_over(self.masks[name], u), velocity.to(u.dtype), u)

    def _interpolated(self, name: str, t: Tensor) -> tuple[Tensor, Tensor | None]:
        path, value = self._paths[name], self._values[name]
        with full_precision(value):
            return path.interpolate(self._x_0[name], value, t, self._noise[name])


def _over(mask: Tensor, x: Tensor) -> Tensor:
    """A mask of points as a mask of the numbers of `x`."""
    return mask.view(mask.shape + (1,) * (x.ndim - mask.ndim))
