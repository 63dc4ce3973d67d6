"""What is kept of a run to draw it, and how it is drawn, for each kind of space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from flowatlas.benchmarks.metrics import log_density
from flowatlas.benchmarks.problem import Problem
from flowatlas.data.earth import unit_vectors
from flowatlas.sampling import integrate
from flowatlas.solvers import RK4, Midpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flowatlas.benchmarks.point_system import PointSystem

__all__ = [
    "AnglePairsPicture",
    "ImagePicture",
    "Picture",
    "PlanePicture",
    "RotationPicture",
    "SpherePicture",
    "TorusPicture",
]

Array = NDArray[Any]
#: Test points and samples that are kept.
_KEPT = 4000


class Picture(ABC):
    """One kind of picture: which arrays it needs, and the figure made of them.

    ```python
    class Dots(Picture):
        def arrays(self, system, problem, samples):
            return {"samples": samples.numpy()}
        def figure(self, arrays, title):
            return scatter(arrays["samples"], title)
    ```
    """

    @abstractmethod
    def arrays(self, system: PointSystem, problem: Problem, samples: Tensor) -> dict[str, Array]:
        """What is to be kept of a run, small."""

    @abstractmethod
    def figure(self, arrays: Mapping[str, Array], title: str) -> Figure:
        """The picture, from those arrays."""


def kept(x: Tensor) -> Array:
    kept: Array = x[:_KEPT].float().cpu().numpy()
    return kept


def on_cells(system: PointSystem, points: Array) -> Array:
    """Log density of the flow at points `(rows, columns, *point_shape)`."""
    x = torch.from_numpy(points).float().flatten(0, 1)
    device = next(system.field.parameters()).device
    # Far from the data a field may be stiff; a picture does not need it resolved there.
    value = log_density(system.field, system.path, x.to(device), solver=RK4(steps=16))
    cells: Array = value.float().cpu().numpy().reshape(points.shape[:2])
    return cells


class SpherePicture(Picture):
    """Maps of the density and of samples."""

    def __init__(self, points_label: str = "test points") -> None:
        self.points_label = points_label

    def arrays(self, system: PointSystem, problem: Problem, samples: Tensor) -> dict[str, Array]:
        from flowatlas.plots.globe import grid

        latitude, longitude = (torch.from_numpy(angle) for angle in grid())
        cells = unit_vectors(latitude, longitude).numpy()
        return {
            "points": kept(problem.split.test),
            "samples": kept(samples),
            "log_density": on_cells(system, cells),
        }

    def figure(self, arrays: Mapping[str, Array], title: str) -> Figure:
        from flowatlas.plots import globe

        return globe(
            points=arrays["points"],
            samples=arrays["samples"],
            log_density=arrays["log_density"],
            title=title,
            points_label=self.points_label,
        )


class TorusPicture(Picture):
    """Ramachandran plots of data, samples and density."""

    def arrays(self, system: PointSystem, problem: Problem, samples: Tensor) -> dict[str, Array]:
        from flowatlas.plots.ramachandran import angle_grid

        return {
            "points": kept(problem.split.test),
            "samples": kept(samples),
            "log_density": on_cells(system, angle_grid(72)),
        }

    def figure(self, arrays: Mapping[str, Array], title: str) -> Figure:
        from flowatlas.plots import ramachandran

        return ramachandran(
            points=arrays["points"],
            samples=arrays["samples"],
            log_density=arrays["log_density"],
            title=title,
        )


class AnglePairsPicture(Picture):
    """Data and samples of a torus of many angles, a few pairs of them at a time.

    Args:
        names: of the angles.
        pairs: which two are shown together.
    """

    def __init__(self, names: tuple[str, ...], pairs: tuple[tuple[int, int], ...]) -> None:
        self.names, self.pairs = names, pairs

    def arrays(self, system: PointSystem, problem: Problem, samples: Tensor) -> dict[str, Array]:
        return {"points": kept(problem.split.test), "samples": kept(samples)}

    def figure(self, arrays: Mapping[str, Array], title: str) -> Figure:
        from flowatlas.plots import angle_pairs

        return angle_pairs(
            points=arrays["points"],
            samples=arrays["samples"],
            names=self.names,
            pairs=self.pairs,
            title=title,
        )


class PlanePicture(Picture):
    """Data, trajectories, samples and density of the plane.

    Args:
        half: half width of the square that is shown.
    """

    def __init__(self, half: float) -> None:
        self.half = half

    def arrays(self, system: PointSystem, problem: Problem, samples: Tensor) -> dict[str, Array]:
        from flowatlas.plots.plane import plane_grid

        device = next(system.field.parameters()).device
        x_0 = system.path.source.sample(
            (150, 2), generator=torch.Generator().manual_seed(0), dtype=torch.float32
        ).to(device)
        times = [i / 24 for i in range(1, 24)]
        moved = integrate(system.field, system.path, x_0, solver=Midpoint(steps=48), times=times)
        return {
            "points": kept(problem.split.test),
            "samples": kept(samples),
            "trajectories": torch.stack(moved.x_t).float().cpu().numpy(),
            "log_density": on_cells(system, plane_grid(self.half, 64)),
        }

    def figure(self, arrays: Mapping[str, Array], title: str) -> Figure:
        from flowatlas.plots import plane

        return plane(
            points=arrays["points"],
            samples=arrays["samples"],
            trajectories=arrays["trajectories"],
            log_density=arrays["log_density"],
            half=self.half,
            title=title,
        )


class RotationPicture(Picture):
    """Maps of an axis, coloured by the turn about it."""

    def arrays(self, system: PointSystem, problem: Problem, samples: Tensor) -> dict[str, Array]:
        return {"points": kept(problem.split.test), "samples": kept(samples)}

    def figure(self, arrays: Mapping[str, Array], title: str) -> Figure:
        from flowatlas.plots import rotations

        return rotations(points=arrays["points"], samples=arrays["samples"], title=title)


class ImagePicture(Picture):
    """Rows of small images."""

    def arrays(self, system: PointSystem, problem: Problem, samples: Tensor) -> dict[str, Array]:
        assert problem.decode is not None
        return {
            "points": kept(problem.decode(problem.split.test[:100])),
            "samples": kept(problem.decode(samples[:100].double().cpu())),
        }

    def figure(self, arrays: Mapping[str, Array], title: str) -> Figure:
        from flowatlas.plots import image_rows

        return image_rows(points=arrays["points"], samples=arrays["samples"], title=title)
