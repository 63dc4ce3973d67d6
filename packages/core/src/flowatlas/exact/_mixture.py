"""Checks and draws that every mixture needs."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas._random import Generators, rand
from flowatlas.errors import ConfigError, ShapeError

__all__ = ["broadcast_scales", "checked_means", "checked_weights", "choose"]


def checked_weights(weights: Tensor, dtype: torch.dtype) -> Tensor:
    """Normalised weights, `(components,)`.

    Raises:
        ShapeError: not a vector.
        ConfigError: a weight that is not positive and finite.
    """
    weights = torch.as_tensor(weights, dtype=torch.float64)
    if weights.ndim != 1 or weights.numel() == 0:
        raise ShapeError(
            f"weights: got shape {tuple(weights.shape)}; need (components,), one number each."
        )
    if not bool((weights > 0).all() & torch.isfinite(weights).all()):
        raise ConfigError(
            f"weights: got {weights.tolist()}; they must be positive and finite. Leave out "
            "components of weight zero."
        )
    return (weights / weights.sum()).to(dtype)


def checked_means(means: Tensor, components: int, dtype: torch.dtype) -> Tensor:
    """Means, `(components, dim)`.

    Raises:
        ShapeError: not one row per component.
        ConfigError: values that are not finite.
    """
    means = torch.as_tensor(means, dtype=torch.float64)
    if means.ndim != 2 or means.shape[0] != components or means.shape[1] == 0:
        raise ShapeError(
            f"means: got shape {tuple(means.shape)}; need ({components}, dim), one row per weight."
        )
    if not bool(torch.isfinite(means).all()):
        raise ConfigError("means: they contain NaN or infinity; every mean must be finite.")
    return means.to(dtype)


def broadcast_scales(
    value: Tensor | float, shape: tuple[int, ...], dtype: torch.dtype, name: str
) -> Tensor:
    """Positive scales: one number, one per component, or all of `shape`.

    Raises:
        ShapeError: another shape.
        ConfigError: a value that is not positive and finite.
    """
    scales = torch.as_tensor(value, dtype=torch.float64)
    if scales.ndim == 1 and scales.shape == shape[:1]:
        scales = scales.view(-1, *(1,) * (len(shape) - 1))
    elif scales.ndim and scales.shape != shape:
        allowed = f"({shape[0]},)" if len(shape) == 1 else f"({shape[0]},) or {shape}"
        raise ShapeError(
            f"{name}: got shape {tuple(scales.shape)}; need one number or a tensor of shape "
            f"{allowed}."
        )
    if not bool((scales > 0).all() & torch.isfinite(scales).all()):
        raise ConfigError(f"{name}: got {scales.tolist()}; they must be positive and finite.")
    return scales.expand(shape).to(dtype)


def choose(weights: Tensor, n: int, generator: Generators) -> Tensor:
    """Component of each of `n` draws, `(n,)`."""
    u = rand((n,), generator=generator, dtype=torch.float64, device=weights.device)
    edges = weights.to(torch.float64).cumsum(0)
    return torch.searchsorted(edges, u, right=True).clamp(max=weights.numel() - 1)
