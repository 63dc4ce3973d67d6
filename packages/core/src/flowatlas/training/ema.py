"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError, DataError

__all__ = ["EMA"]


class EMA:
    r"""$\bar\theta \leftarrow d_n \bar\theta + (1 - d_n) \theta$ after each step.

    $d_n = \min(d, (1 + n) / (10 + n))$ with n the number of averaged steps, so that early weights
    are forgotten early; without warm-up $d_n = d$. Up to `update_after` the average is a copy of
    the weights. Parameters and floating-point buffers of the model are held in at least float32
    (in half precision an average with d near 1 stands still); buffers are copied, not averaged.

    Args:
        decay: d, in [0, 1).
        warmup: whether d_n starts small.
        update_after: steps before averaging begins.

    Raises:
        ConfigError: a decay outside [0, 1), a negative `update_after`.

    Reference: the warm-up is that of TensorFlow's ExponentialMovingAverage.

    Example:
        ```python
        ema = EMA(0.999)
        ema.start(model)
        for batch in loader:
            step(model, batch)
            ema.update(model)
        with ema.applied(model):
            x = sample(model, path, shape=(64, 2), solver=Midpoint(steps=20))
        ```
    """

    def __init__(self, decay: float = 0.999, *, warmup: bool = True, update_after: int = 0) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"decay: got {decay}; it must be in [0, 1), such as 0.999.")
        if update_after < 0:
            raise ConfigError(f"update_after: got {update_after}; it must be 0 or more.")
        self.decay, self.warmup, self.update_after = decay, warmup, update_after
        self.steps = 0
        self.weights: dict[str, Tensor] = {}

    def start(self, model: nn.Module) -> None:
        """Begin from the weights as they are."""
        self.steps = 0
        self.weights = {
            name: value.detach().to(_at_least_float32(value.dtype), copy=True)
            for name, value in model.state_dict().items()
        }

    def decay_at(self, step: int) -> float:
        """d_n of the given step, counted from 1; zero where the weights are copied."""
        n = step - self.update_after
        if n <= 0:
            return 0.0
        return min(self.decay, (1 + n) / (10 + n)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        decay = self.decay_at(self.steps)
        averaged: list[Tensor] = []
        new: list[Tensor] = []
        for name, value in model.named_parameters(remove_duplicate=False):
            averaged.append(self._held(name))
            new.append(value.detach())
        if decay == 0.0:
            torch._foreach_copy_(averaged, new)
        else:
            new = [v.to(a.dtype) for a, v in zip(averaged, new, strict=True)]
            torch._foreach_lerp_(averaged, new, 1 - decay)
        for name, buffer in _buffers(model):
            self._held(name).copy_(buffer)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Within the context the model has the averaged weights; after it, its own again."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.copy_to(model)
        try:
            yield
        finally:
            _copy(model, own)

    def copy_to(self, model: nn.Module) -> None:
        """Give the model the averaged weights for good."""
        _copy(model, {name: self._held(name) for name in model.state_dict()})

    def to(self, device: torch.device) -> None:
        """Move the average to `device`."""
        self.weights = {name: value.to(device) for name, value in self.weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on exactly."""
        return {"steps": self.steps, "weights": dict(self.weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.steps = int(state["steps"])
        self.weights = {name: value.clone() for name, value in state["weights"].items()}

    def _held(self, name: str) -> Tensor:
        if name not in self.weights:
            raise DataError(
                f"EMA: it holds no weights called {name!r}; it was started with another model, or "
                "not at all. Call ema.start(model) once the model is complete."
            )
        return self.weights[name]

    def __repr__(self) -> str:
        return f"EMA({self.decay}, warmup={self.warmup}, update_after={self.update_after})"


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def _buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The buffers that are part of the state."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, value in model.state_dict().items():
        if name not in parameters:
            yield name, value


@torch.no_grad()
def _copy(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    for name, value in model.state_dict().items():
        value.copy_(weights[name])
