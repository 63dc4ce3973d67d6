"""From an interpolation of few points to many points of the surface, by a flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowatlas.couplings import Paired
from flowatlas.errors import ConfigError
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath
from flowatlas.sampling import sample
from flowatlas.solvers import Euler, Solver
from flowatlas_robotics.clouds.interpolation import check_factor, interpolate
from flowatlas_robotics.clouds.metrics import assignment
from flowatlas_robotics.clouds.neighbours import check_cloud, spacing

__all__ = ["UpsamplingFlow", "aligned"]


def aligned(x_0: Tensor, x_1: Tensor) -> Tensor:
    """The points of x_1 in the order in which those of x_0 reach them with the least work.

    Clouds have no order, so that any will do for the data; this one makes the straight lines short
    and keeps them from crossing.

    Args:
        x_0: `(batch, n, 3)`.
        x_1: `(batch, n, 3)`.
    """
    return x_1.gather(1, assignment(x_0, x_1).unsqueeze(-1).expand_as(x_1))


@dataclass(frozen=True)
class UpsamplingFlow:
    r"""Straight paths from jittered interpolations to points of the surface.

    $x_0 = I(s) + \eta \varepsilon$ with the interpolation I of the sparse cloud s, and $x_1$ the
    dense cloud in the order of the least work from $x_0$. Clouds are centred at the mean of s, and
    their unit is the spacing of s: clouds of other sizes and densities look alike.

    Args:
        network: a field with the condition `"sparse"`, such as `PointUpsampler`.
        jitter: $\eta$, in units of the spacing.

    Raises:
        ConfigError: a jitter below zero.

    Reference: the same kind of flow, from midpoints and with an alignment by assignment, is in
    PUFM, Liu et al., 2025, arXiv:2501.14713 (from memory); network and data are ours.

    Example:
        ```python
        from flowatlas_robotics.clouds import PointUpsampler, UpsamplingFlow

        flow = UpsamplingFlow(PointUpsampler(width=16, depth=1))
        dense = flow.upsample(torch.randn(2, 32, 3), factor=4)
        ```
    """

    network: nn.Module
    jitter: float = 0.005

    def __post_init__(self) -> None:
        if not self.jitter >= 0:
            raise ConfigError(f"jitter: got {self.jitter}; 0 or more.")

    @property
    def path(self) -> AffinePath:
        """Straight lines, a point of a cloud each."""
        return AffinePath()

    @property
    def objective(self) -> FlowMatching:
        """What the network is trained by, on rows of `pairs`."""
        return FlowMatching(self.path, coupling=Paired())

    def pairs(
        self,
        sparse: Tensor,
        dense: Tensor,
        *,
        align: bool = True,
        generator: torch.Generator | None = None,
    ) -> dict[str, Any]:
        """What the network is trained on: `x_0`, `x_1` and the condition, as `TensorData` takes it.

        Args:
            sparse: `(batch, n, 3)`.
            dense: `(batch, m, 3)` of the same surfaces, m a multiple of n.
            align: whether x_1 has the order of the least work, or a random one.
            generator: of the jitter and of random orders.

        Raises:
            ShapeError: clouds that do not fit.
        """
        factor = check_factor(sparse, dense)
        centre, unit = _frame(sparse)
        given, x_1 = (sparse - centre) / unit, (dense - centre) / unit
        x_0 = self._start(given, factor, generator)
        return {
            "x_0": x_0,
            "x_1": aligned(x_0, x_1) if align else _shuffled(x_1, generator),
            "condition": {"sparse": given},
        }

    def upsample(
        self,
        sparse: Tensor,
        factor: int = 4,
        *,
        solver: Solver | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """As many points of the surface that sparse ones tell of, `(batch, factor * n, 3)`.

        Args:
            sparse: `(batch, n, 3)`, in any unit.
            factor: how many times as many; the network is best at what it was trained for.
            solver: two steps of Euler's method if None.
            generator: of the jitter.

        Raises:
            ShapeError: what is given is no batch of clouds, or has too few points.
            ConfigError: a factor that is not allowed.
        """
        check_cloud(sparse, "sparse", 2)
        centre, unit = _frame(sparse)
        given = (sparse - centre) / unit
        x: Tensor = sample(
            self.network,
            self.path,
            x_init=self._start(given, factor, generator),
            condition={"sparse": given},
            solver=Euler(2) if solver is None else solver,
        )
        return x * unit + centre

    def _start(self, given: Tensor, factor: int, generator: torch.Generator | None) -> Tensor:
        x = interpolate(given, factor, neighbours=max(8, 2 * (factor - 1)))
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        return x + self.jitter * noise


def _shuffled(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Each cloud in a random order: even selections begin with the points farthest apart."""
    order = torch.rand(x.shape[:2], generator=generator).argsort(1).to(x.device)
    return x.gather(1, order.unsqueeze(-1).expand_as(x))


def _frame(sparse: Tensor) -> tuple[Tensor, Tensor]:
    """The centre and the spacing of each cloud, `(batch, 1, 3)` and `(batch, 1, 1)`."""
    return sparse.mean(1, keepdim=True), spacing(sparse).view(-1, 1, 1)
