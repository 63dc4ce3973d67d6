"""Encoders of what a policy sees: numbers by name, and clouds of points."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from flowatlas.errors import ConfigError

__all__ = ["CloudEncoder", "ObservationEncoder", "StateEncoder"]


class StateEncoder(nn.Module):
    """Numbers as they are.

    Args:
        size: how many.

    Attributes:
        features: as many.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.features = size

    def forward(self, state: Tensor) -> Tensor:
        """`(..., size)`."""
        return state


class CloudEncoder(nn.Module):
    r"""One vector of a whole cloud of points: $W \max_i \phi(p_i)$.

    The same perceptron $\phi$ sees each point, and the maximum over points knows neither their
    order nor how often each occurs; there may be any number of them. It does depend on where the
    cloud is, and on how it is turned: a policy has to know.

    Args:
        axes: of space, 2 or 3 mostly.
        width: of the layers of $\phi$, and length of the vector.
        depth: hidden layers of $\phi$.

    Raises:
        ConfigError: a setting below 1.

    Attributes:
        features: length of the vector.

    Reference: PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation, Qi et
    al., 2017, arXiv:1612.00593, without its learned transformations; 3D Diffusion Policy, Ze et
    al., 2024, arXiv:2403.03954, for a policy that sees by one.

    Example:
        ```python
        from flowatlas_robotics import CloudEncoder

        seen = CloudEncoder(3, width=32)(torch.randn(4, 2, 50, 3))
        assert seen.shape == (4, 2, 32)
        ```
    """

    def __init__(self, axes: int, *, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        for name, value in (("axes", axes), ("width", width), ("depth", depth)):
            if value < 1:
                raise ConfigError(f"{name}: got {value}; it must be 1 or more.")
        self.features = width
        sizes = [axes, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.out = nn.Linear(width, width)

    def forward(self, points: Tensor) -> Tensor:
        """`(..., features)` of `(..., points, axes)`."""
        h = points.to(self.out.weight.dtype)
        for layer in self.layers:
            h = silu(layer(h))
        seen: Tensor = self.out(h.amax(-2))
        return seen


class ObservationEncoder(nn.Module):
    """All that was seen, at all steps, as one vector.

    Args:
        steps: T_o, that are seen.
        states: how many numbers, by name.
        clouds: axes of clouds of points, by name.
        width: of the encoder of each cloud.

    Raises:
        ConfigError: nothing to see, a name that is both, a number below 1.

    Attributes:
        features: length of the vector.

    Example:
        ```python
        from flowatlas_robotics import ObservationEncoder

        encoder = ObservationEncoder(2, {"state": 4}, {"points": 3}, width=16)
        seen = {"state": torch.randn(5, 2, 4), "points": torch.randn(5, 2, 100, 3)}
        assert encoder(seen).shape == (5, 2 * (4 + 16))
        ```
    """

    def __init__(
        self,
        steps: int,
        states: Mapping[str, int],
        clouds: Mapping[str, int] | None = None,
        *,
        width: int = 64,
    ) -> None:
        super().__init__()
        clouds = clouds or {}
        sizes = [steps, *states.values(), *clouds.values()]
        if len(sizes) == 1 or min(sizes) < 1 or set(states) & set(clouds):
            raise ConfigError(
                f"steps, states, clouds: got {steps}, {dict(states)} and {dict(clouds)}; something "
                "must be seen, each name be of one kind, and each number be 1 or more."
            )
        self.names = (*states, *clouds)
        # A list, for the names of a dictionary of modules may not be those of its methods.
        self.encoders = nn.ModuleList(
            [
                *(StateEncoder(size) for size in states.values()),
                *(CloudEncoder(axes, width=width) for axes in clouds.values()),
            ]
        )
        one: int = sum(states.values()) + width * len(clouds)
        self.features = steps * one

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """`(batch, features)`.

        Args:
            observation: by name, `(batch, T_o, size)`, clouds `(batch, T_o, points, axes)`.
        """
        missing = sorted(set(self.names) - set(observation))
        if missing:
            raise ConfigError(
                f"observation: {missing} missing; got {sorted(observation)}. Pass all of "
                f"{sorted(self.names)}."
            )
        seen = [
            encoder(observation[name]).flatten(1)
            for name, encoder in zip(self.names, self.encoders, strict=True)
        ]
        return torch.cat(seen, 1)
