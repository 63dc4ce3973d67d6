"""Pictures of the hyperbolic plane and of positive definite matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowatlas.benchmarks.pictures import Array, Picture, kept, on_cells
from flowatlas.benchmarks.problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flowatlas.benchmarks.point_system import PointSystem

__all__ = ["DiscPicture", "EllipsePicture"]


def _same(x: Tensor) -> Tensor:
    return x


class DiscPicture(Picture):
    """Data, samples and densities in the Poincare disc.

    Args:
        to_disc: from stored points to those of the disc.
        from_disc: back.
    """

    def __init__(
        self,
        to_disc: Callable[[Tensor], Tensor] = _same,
        from_disc: Callable[[Tensor], Tensor] = _same,
    ) -> None:
        self.to_disc, self.from_disc = to_disc, from_disc

    def arrays(self, system: PointSystem, problem: Problem, samples: Tensor) -> dict[str, Array]:
        from flowatlas.plots.disc import disc_grid

        grid, points = torch.from_numpy(disc_grid(64)), self.to_disc(problem.split.test)
        cells = self.from_disc(grid)
        assert problem.law is not None
        exact = problem.law.log_prob(cells.flatten(0, 1)).view(cells.shape[:2])
        # Beyond the data the field is that of no training point, and may lead to infinity.
        near = grid.norm(dim=-1) <= points.norm(dim=-1).max()
        log_density = torch.full(near.shape, -torch.inf)
        found = on_cells(system, cells[near].unsqueeze(0).numpy())
        log_density[near] = torch.from_numpy(found[0])
        return {
            "points": kept(points),
            "samples": kept(self.to_disc(samples)),
            "log_density": log_density.numpy(),
            "exact_log_density": exact.float().numpy(),
        }

    def figure(self, arrays: Mapping[str, Array], title: str) -> Figure:
        from flowatlas.plots import disc

        return disc(
            points=arrays["points"],
            samples=arrays["samples"],
            log_density=arrays["log_density"],
            exact_log_density=arrays["exact_log_density"],
            title=title,
        )


class EllipsePicture(Picture):
    """Matrices as the ellipses of their first two rows and columns, and as points of a cone."""

    def arrays(self, system: PointSystem, problem: Problem, samples: Tensor) -> dict[str, Array]:
        return {"points": kept(problem.split.test), "samples": kept(samples)}

    def figure(self, arrays: Mapping[str, Array], title: str) -> Figure:
        from flowatlas.plots import ellipses

        return ellipses(points=arrays["points"], samples=arrays["samples"], title=title)
