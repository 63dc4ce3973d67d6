"""States checked, and masks and fixed points in one form: by component, `(batch, *points)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowatlas._arguments import check_kind
from flowatlas.errors import GeometryError, ShapeError
from flowatlas.field import Fixed, Mask
from flowatlas.paths._checks import check_tensor
from flowatlas.paths.base import Path, PathSample, StatePath
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.paths.discrete import DiscretePath
from flowatlas.state import State

__all__ = [
    "by_name",
    "check_data",
    "check_path",
    "check_state",
    "check_tokens",
    "fill_padding",
    "fixed_masks",
    "free_points",
    "hold",
    "impose",
    "masked_mean",
    "point_masks",
]


def by_name(state: State) -> Mapping[str, Tensor]:
    """A state as a mapping; a lone tensor is named "x"."""
    return {"x": state} if isinstance(state, Tensor) else state


def check_path(path: Any) -> None:
    """Raise `ConfigError` unless `path` is one: field and path are easily swapped."""
    check_kind("path", path, StatePath, "AffinePath()")


def check_state(path: StatePath, x: Any, name: str) -> None:
    """Raise `ShapeError` unless `x` has the path's components, one batch, and points in each."""
    check_path(path)
    if isinstance(path, Path):
        if not isinstance(x, Tensor):
            raise ShapeError(
                f"{name}: got a {type(x).__name__}; a lone {type(path).__name__} takes a tensor "
                "(batch, *event). Mappings are for ProductPath, arrays need torch.as_tensor."
            )
    elif not isinstance(x, Mapping) or set(x) != set(path.components):
        got = f"the names {sorted(x)}" if isinstance(x, Mapping) else f"a {type(x).__name__}"
        raise ShapeError(
            f"{name}: got {got}; the path takes a mapping with the names {sorted(path.components)}."
        )
    values = {"x": x} if isinstance(x, Tensor) else x
    for key, component in path.components.items():
        label, value = name if isinstance(x, Tensor) else f"{name}[{key!r}]", values[key]
        if not isinstance(value, Tensor):
            raise ShapeError(
                f"{label}: got a {type(value).__name__}; it must be a tensor. Use torch.as_tensor."
            )
        if isinstance(component, ContinuousPath):
            component.manifold.check_shape(value, label)
            check_tensor(value, label)
        elif isinstance(component, DiscretePath):
            component.check_kind(value, label)
        if value.ndim < 1 + component.point_ndim:
            raise ShapeError(
                f"{label}: got shape {tuple(value.shape)}; a state has a batch axis and then at "
                f"least {component.point_ndim} axes for its points. Use {label}.unsqueeze(0) for a "
                f"batch of one, {label}.unsqueeze(-1) for scalar data."
            )
    sizes = {key: tuple(value.shape) for key, value in values.items()}
    if len({shape[0] for shape in sizes.values()}) > 1:
        raise ShapeError(f"{name}: components must share their batch size, got shapes {sizes}.")


def check_data(
    path: StatePath, x: State, name: str, exists: Mapping[str, Tensor] | None = None
) -> None:
    """Raise unless `x` is finite and on its manifolds, and its tokens in their vocabularies.

    Args:
        exists: which tokens count.
    """
    missing = sorted(set(path.components) - set(by_name(x)))
    if missing:
        raise ShapeError(f"{name}: components missing: {missing}; it has {sorted(by_name(x))}.")
    for key, component in path.components.items():
        if isinstance(component, ContinuousPath):
            label = name if isinstance(x, Tensor) else f"{name}[{key!r}]"
            component.manifold.check_point(by_name(x)[key], label)
    check_tokens(path, x, name, exists)


def check_tokens(
    path: StatePath,
    x: State,
    name: str,
    exists: Mapping[str, Tensor] | None = None,
    *,
    data: bool = False,
) -> None:
    """Raise unless tokens are in their vocabularies; those of data are not the mask."""
    for key, component in path.components.items():
        if isinstance(component, DiscretePath):
            label = name if isinstance(x, Tensor) else f"{name}[{key!r}]"
            where = None if exists is None else exists.get(key)
            component.check_tokens(by_name(x)[key], label, data=data, exists=where)


def _points_shape(path: StatePath, x: State, name: str) -> tuple[int, ...]:
    value = by_name(x)[name]
    return tuple(value.shape[: value.ndim - path.components[name].point_ndim])


def _check_mask(mask: Any, shape: tuple[int, ...], label: str) -> Tensor:
    if not isinstance(mask, Tensor):
        raise ShapeError(
            f"{label}: got {type(mask).__name__}; it must be a bool tensor of shape {shape}. Use "
            "torch.as_tensor."
        )
    if mask.dtype != torch.bool:
        raise ShapeError(f"{label}: got dtype {mask.dtype}; it must be bool. Use {label} != 0.")
    if mask.shape != shape:
        raise ShapeError(
            f"{label}: got shape {tuple(mask.shape)}; need {shape}, one entry per point."
        )
    return mask


def point_masks(path: StatePath, mask: Mask | None, x: State) -> Mapping[str, Tensor] | None:
    """Existence masks per component. One tensor for a mapping state is for every component."""
    if mask is None:
        return None
    masks = {name: mask for name in by_name(x)} if isinstance(mask, Tensor) else mask
    _check_names(masks, x, "mask")
    return {
        name: _check_mask(one, _points_shape(path, x, name), f"mask[{name!r}]")
        for name, one in masks.items()
    }


def fixed_masks(path: StatePath, fixed: Fixed | None, x: State) -> Mapping[str, Tensor] | None:
    """Which points of which component are given."""
    if fixed is None:
        return None
    pairs = {"x": fixed} if isinstance(fixed, tuple) else fixed
    _check_names(pairs, x, "fixed")
    masks = {}
    for name, pair in pairs.items():
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], Tensor)):
            raise ShapeError(
                f"fixed[{name!r}]: got {type(pair).__name__}; it must be a pair (mask, value) of "
                "tensors: which points are given, and a state that holds them. A Replacement is "
                "for sampling, with fields that were trained without fixed points."
            )
        mask, value = pair
        expected = by_name(x)[name].shape
        if value.shape != expected:
            raise ShapeError(
                f"fixed[{name!r}]: the value has shape {tuple(value.shape)}; need "
                f"{tuple(expected)}, that of the state. Only its masked points are read."
            )
        masks[name] = _check_mask(mask, _points_shape(path, x, name), f"fixed[{name!r}] mask")
        component = path.components[name]
        if isinstance(component, DiscretePath):
            component.check_tokens(value, f"fixed[{name!r}]", exists=masks[name])
        if value.is_floating_point() and not torch.isfinite(value[mask]).all():
            raise GeometryError(
                f"fixed[{name!r}]: the values to hold contain NaN or infinity; correct them or "
                "leave those points out of the mask."
            )
    return masks


def free_points(
    exists: Mapping[str, Tensor] | None, given: Mapping[str, Tensor] | None
) -> Mapping[str, Tensor] | None:
    """Which points of which component exist and are not given; all of those without an entry."""
    if given is None:
        return exists
    if exists is None:
        return {name: ~mask for name, mask in given.items()}
    free = {name: mask & ~given[name] for name, mask in exists.items() if name in given}
    return {**{name: ~mask for name, mask in given.items()}, **exists, **free}


def _check_names(named: Any, x: State, label: str) -> None:
    if not isinstance(named, Mapping):
        raise ShapeError(
            f"{label}: got {type(named).__name__}; it must be for points of the components "
            f"{sorted(by_name(x))}: a mapping, or for a lone path a "
            f"{'bool tensor' if label == 'mask' else 'tuple (mask, value)'}."
        )
    unknown = sorted(set(named) - set(by_name(x)))
    if unknown:
        raise ShapeError(f"{label}: no component {unknown}; the state has {sorted(by_name(x))}.")


def fill_padding(path: StatePath, x: State, exists: Mapping[str, Tensor], filler: State) -> State:
    """`x` with the points of `filler` where none exist, in its continuous components.

    Padding is often zeros or NaN, which are on few manifolds, and a NaN born there reaches the
    gradients even though its loss is left out. Tokens stay, for a filler's may be no data; those
    that are no tokens at all, such as -1, become 0, for networks look them up.
    """
    filled = {}
    for name, value in by_name(x).items():
        component = path.components[name]
        if name not in exists:
            filled[name] = value
        elif isinstance(component, DiscretePath):
            filled[name] = _valid(component, value, exists[name])
        else:
            filled[name] = torch.where(_over(exists[name], value), value, by_name(filler)[name])
    return filled["x"] if isinstance(x, Tensor) else filled


def _valid(path: DiscretePath, x: Tensor, exists: Tensor) -> Tensor:
    if path.states is None:
        return x
    return torch.where(exists | ((x >= 0) & (x < path.states)), x, 0)


def _over(mask: Tensor, x: Tensor) -> Tensor:
    """A mask of points as a mask of the numbers of `x`."""
    return mask.view(mask.shape + (1,) * (x.ndim - mask.ndim))


def impose(path: StatePath, x: State, fixed: Fixed) -> State:
    """`x` with its fixed points at their values."""
    if isinstance(x, Tensor):
        assert isinstance(fixed, tuple)
        return _replace(x, *fixed)
    assert isinstance(fixed, Mapping)
    return {name: _replace(v, *fixed[name]) if name in fixed else v for name, v in x.items()}


def _replace(x: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    return torch.where(_over(mask, x), value.to(x.dtype), x)


def hold(path: StatePath, sample: PathSample, fixed: Fixed | None) -> PathSample:
    """The path sample with fixed points clean."""
    assert fixed is not None
    return dataclasses.replace(sample, x_t=impose(path, sample.x_t, fixed))


def masked_mean(
    point_loss: Tensor,
    name: str,
    exists: Mapping[str, Tensor] | None,
    given: Mapping[str, Tensor] | None,
) -> Tensor:
    """Mean over the points of each sample that exist and are not fixed, `(batch,)`."""
    keep = None if exists is None else exists.get(name)
    if given is not None and name in given:
        keep = ~given[name] if keep is None else keep & ~given[name]
    if keep is None:
        return point_loss.flatten(1).mean(1) if point_loss.ndim > 1 else point_loss
    # where, not a product: padding may hold NaN.
    total = torch.where(keep, point_loss, 0.0)
    if keep.ndim == 1:
        return total
    return total.flatten(1).sum(1) / keep.flatten(1).sum(1).clamp(min=1)
