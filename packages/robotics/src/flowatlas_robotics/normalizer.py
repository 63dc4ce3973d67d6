"""Scales of observations and actions, stored with the policy that was trained on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError, GeometryError, ShapeError

__all__ = ["Normalizer"]

#: Below this half range or standard deviation a dimension is a constant, in units of the data.
CONSTANT = 1e-4
KINDS = ("limits", "standard")


class Normalizer(nn.Module):
    r"""$z = (x - c) / s$ for each dimension of each named quantity, and back.

    With `"limits"`, c is the middle of the data and s half their range, so that z fills [-1, 1];
    with `"standard"`, mean and standard deviation. Where the data do not vary, s = 1: noise of a
    sensor that was still is not blown up, and z is zero on the data. Scales are buffers, so they
    are saved and moved with the policy.

    Of a cloud of points all points have the same c and s, and s is one number for all axes, the
    largest half range or the root mean square of the deviations: shapes are not distorted.

    Args:
        sizes: number of dimensions by name; of clouds, their axes.
        kind: `"limits"` or `"standard"`.
        clouds: which of the names are clouds.

    Raises:
        ConfigError: another kind, no names or such as are no identifiers, sizes below 1, unknown
            clouds; at a call, a name that it does not have, or scales that were never fitted.

    Example:
        ```python
        from flowatlas_robotics import Normalizer

        normalizer = Normalizer({"state": 2})
        normalizer.fit({"state": torch.tensor([[0.0, 5.0], [10.0, 5.0]])})
        assert normalizer.normalize("state", torch.tensor([10.0, 5.0])).tolist() == [1.0, 0.0]
        ```
    """

    fitted: Tensor

    def __init__(
        self, sizes: Mapping[str, int], kind: str = "limits", clouds: Collection[str] = ()
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ConfigError(f"kind: got {kind!r}; allowed are {' and '.join(KINDS)}.")
        if not sizes or min(sizes.values()) < 1:
            raise ConfigError(f"sizes: got {dict(sizes)}; it names at least one, each 1 or more.")
        odd = [name for name in sizes if not name.isidentifier()]
        if odd or not set(clouds) <= set(sizes):
            raise ConfigError(
                f"sizes, clouds: got {list(sizes)} and {list(clouds)}; names must be identifiers, "
                "and clouds be among them."
            )
        self.sizes, self.kind, self.clouds = dict(sizes), kind, frozenset(clouds)
        self.register_buffer("fitted", torch.tensor(False))
        for name, size in sizes.items():
            self.register_buffer(f"center_{name}", torch.zeros(size))
            self.register_buffer(f"scale_{name}", torch.ones(size))

    @torch.no_grad()
    def fit(self, data: Mapping[str, Tensor]) -> None:
        """Choose the scales.

        Args:
            data: by name, `(..., size)`, of clouds `(..., points, axes)`; all names of the
                normaliser and no other.

        Raises:
            ConfigError: names that are missing or unknown.
            ShapeError: no rows, or another size.
            GeometryError: NaN or infinity.
        """
        if set(data) != set(self.sizes):
            raise ConfigError(
                f"data: got {sorted(data)}; it must have exactly the names {sorted(self.sizes)}."
            )
        for name, value in data.items():
            self._check_size(name, value)
            rows = value.detach().double().flatten(0, -2) if value.ndim > 1 else value[:0]
            if not len(rows):
                raise ShapeError(f"data[{name!r}]: got shape {tuple(value.shape)}, without rows.")
            if not torch.isfinite(rows).all():
                raise GeometryError(
                    f"data[{name!r}]: contains NaN or infinity. Leave those rows out."
                )
            if self.kind == "limits":
                low, high = rows.amin(0), rows.amax(0)
                center, scale = (low + high) / 2, (high - low) / 2
            else:
                center, scale = rows.mean(0), rows.std(0, correction=0)
            if name in self.clouds:
                one = scale.amax() if self.kind == "limits" else scale.square().mean().sqrt()
                scale = one.expand_as(scale)
            # A constant's mean may differ from it in the last bit.
            center = torch.where(scale < CONSTANT, rows[0], center)
            self.get_buffer(f"center_{name}").copy_(center)
            self.get_buffer(f"scale_{name}").copy_(torch.where(scale < CONSTANT, 1.0, scale))
        self.fitted.fill_(True)

    def normalize(self, name: str, x: Tensor) -> Tensor:
        """z of x, `(..., size)`."""
        center, scale = self._scales(name, x)
        return (x - center) / scale

    def denormalize(self, name: str, z: Tensor) -> Tensor:
        """x of z, `(..., size)`."""
        center, scale = self._scales(name, z)
        return z * scale + center

    def _scales(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        if name not in self.sizes:
            raise ConfigError(
                f"name: the normaliser has no {name!r}; it has {', '.join(sorted(self.sizes))}."
            )
        if not self.fitted:
            raise ConfigError(
                "normalizer: it was never fitted, so its scales mean nothing. Call fit on the "
                "training data, or load a policy that was saved after training."
            )
        self._check_size(name, x)
        return self.get_buffer(f"center_{name}").to(x), self.get_buffer(f"scale_{name}").to(x)

    def _check_size(self, name: str, x: Tensor) -> None:
        if x.ndim < 1 or x.shape[-1] != self.sizes[name] or not x.is_floating_point():
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}, {x.dtype}; it must be "
                f"(..., {self.sizes[name]}) of floating-point numbers."
            )

    def extra_repr(self) -> str:
        clouds = f", clouds={sorted(self.clouds)}" if self.clouds else ""
        return f"{self.sizes}, kind={self.kind!r}{clouds}"
