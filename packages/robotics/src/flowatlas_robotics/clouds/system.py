"""A trained flow from few points to many, which writes PLY files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.manifolds import SO3
from flowatlas.solvers import Solver
from flowatlas.system import System
from flowatlas_robotics.clouds.draws import even_clouds
from flowatlas_robotics.clouds.files import write_points
from flowatlas_robotics.clouds.flow import UpsamplingFlow
from flowatlas_robotics.clouds.shapes import FIRST_HELD_OUT, random_surface
from flowatlas_robotics.clouds.upsampler import PointUpsampler

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["UpsampledClouds", "UpsamplingSystem"]

_NETWORK = "network"
#: Clouds upsampled together, and rows of the picture.
_CHUNK, _SHOWN = 8, 4


@dataclass(frozen=True)
class UpsampledClouds:
    """What was given and what was made of it.

    Attributes:
        sparse: `(n, s, 3)`.
        dense: `(n, f s, 3)`.
    """

    sparse: Tensor
    dense: Tensor


@dataclass(frozen=True, kw_only=True)
class UpsamplingSystem(System[UpsampledClouds]):
    """Network, jitter and solver of a flow that upsamples clouds.

    Attributes:
        network: trained, in evaluation mode.
        jitter: as of `UpsamplingFlow`.
        sparse: points of the clouds that it was trained on.
        factor: how many times as many it makes.
        steps: of Euler's method.

    Raises:
        ConfigError: no points, or a factor below 1.

    Example:
        ```python
        from flowatlas_robotics.clouds import PointUpsampler, UpsamplingSystem, read_points

        # A network that is not trained here.
        system = UpsamplingSystem(network=PointUpsampler(width=8, depth=1), sparse=32, steps=2)
        files = system.write("clouds", count=2, seed=0)
        mine = read_points(files[0]).unsqueeze(0)
        dense = system.upsample(mine)
        ```
    """

    name = "upsampling"

    network: PointUpsampler
    jitter: float = 0.005
    sparse: int = 128
    factor: int = 4
    steps: int = 2

    def __post_init__(self) -> None:
        for name in ("sparse", "factor"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: got {getattr(self, name)}; 1 or more.")

    @property
    def flow(self) -> UpsamplingFlow:
        """The network with its path."""
        return UpsamplingFlow(self.network, jitter=self.jitter)

    @property
    def default_solver(self) -> tuple[str, int]:
        return "euler", self.steps

    def upsample(self, sparse: Tensor, *, seed: int = 0, solver: Solver | None = None) -> Tensor:
        """`factor` times as many points of the surfaces that sparse clouds tell of, on the CPU.

        Args:
            sparse: `(n, s, 3)`, in any unit.
            seed: of the jitter.
            solver: `default_solver` if None.
        """
        chosen = self.solver() if solver is None else solver
        device = next(self.network.parameters()).device
        generator = torch.Generator().manual_seed(seed)
        made = [
            self.flow.upsample(part.to(device), self.factor, solver=chosen, generator=generator)
            for part in sparse.split(_CHUNK)
        ]
        return torch.cat(made).cpu()

    def draw(self, count: int, *, seed: int = 0, solver: Solver | None = None) -> UpsampledClouds:
        """Sparse clouds of random shapes that nothing was trained on, upsampled.

        Args:
            count: how many.
            seed: of the shapes, of their points and of the jitter.
            solver: `default_solver` if None.
        """
        generator = torch.Generator().manual_seed(seed)
        first = FIRST_HELD_OUT + seed * count
        shapes = [random_surface(first + i) for i in range(count)]
        turns = SO3().random_uniform((count, 3, 3), generator=generator, dtype=torch.float32)
        sparse = even_clouds(shapes, turns, self.sparse, generator=generator)
        return UpsampledClouds(sparse, self.upsample(sparse, seed=seed + 1, solver=solver))

    def export(self, samples: UpsampledClouds, output: Path) -> tuple[Path, ...]:
        """`000_sparse.ply` and `000_dense.ply`, and so on."""
        return tuple(
            write_points(points, output / f"{i:03d}_{kind}.ply")
            for i, pair in enumerate(zip(samples.sparse, samples.dense, strict=True))
            for kind, points in zip(("sparse", "dense"), pair, strict=True)
        )

    def figure(self, samples: UpsampledClouds, title: str) -> Figure:
        from flowatlas_robotics.cloud_plots import clouds

        shown = slice(0, _SHOWN)
        panels = {"given": samples.sparse[shown].numpy(), "flow": samples.dense[shown].numpy()}
        return clouds(panels, title=title)

    def save_parts(self, directory: Path) -> dict[str, Any]:
        self.network.save_pretrained(directory / _NETWORK)
        return {
            "jitter": self.jitter,
            "sparse": self.sparse,
            "factor": self.factor,
            "steps": self.steps,
        }

    @classmethod
    def load_parts(cls, directory: Path, stored: Mapping[str, Any]) -> UpsamplingSystem:
        return cls(
            network=PointUpsampler.from_pretrained(directory / _NETWORK).requires_grad_(False),
            jitter=float(stored["jitter"]),
            sparse=int(stored["sparse"]),
            factor=int(stored["factor"]),
            steps=int(stored["steps"]),
        )
