"""A trained flow of images with classes, which writes PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.guidance import ClassifierFree
from flowatlas.networks import from_pretrained
from flowatlas.paths import AffinePath
from flowatlas.sampling import Replacement, sample
from flowatlas.solvers import Solver
from flowatlas.system import System
from flowatlas_image.data import LabelledImages, write_png
from flowatlas_image.networks import DiT, UNet
from flowatlas_image.scaling import to_pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ImageSystem"]

_NETWORK = "network"
#: Images sampled at once.
_CHUNK = 250
#: Images in a row of the sheet.
_COLUMNS = 10


@dataclass(frozen=True, kw_only=True)
class ImageSystem(System[LabelledImages]):
    """Network, classes, guidance and solver of a flow of images.

    Attributes:
        network: trained with the condition `"label"`, in evaluation mode.
        classes: what each label means.
        scale: of classifier-free guidance; none at 1.
        solver_name: `"euler"`, `"midpoint"` or another of `named_solver`.
        steps: of the solver.

    Raises:
        ConfigError: no classes, or a scale below 0.

    Example:
        ```python
        from flowatlas.networks import Classes
        from flowatlas_image import ImageSystem, UNet

        # A network that is not trained here.
        network = UNet((1, 8, 8), channels=(8,), condition={"label": Classes(2)})
        system = ImageSystem(network=network, classes=("cat", "dog"), steps=2)
        files = system.write("samples", count=4, seed=0)
        dogs = system.draw(3, labels=[1, 1, 1]).pixels
        ```
    """

    name = "image"
    default_count = 40

    network: UNet | DiT
    classes: tuple[str, ...]
    scale: float = 1.5
    solver_name: str = "euler"
    steps: int = 10

    def __post_init__(self) -> None:
        if not self.classes:
            raise ConfigError("classes: got none; name at least one.")
        if not self.scale >= 0:
            raise ConfigError(f"scale: got {self.scale}; 0 or more, 1 for no guidance.")

    @property
    def path(self) -> AffinePath:
        """Straight lines; every number of an image is a point of its own."""
        return AffinePath(point_ndim=0)

    @property
    def default_solver(self) -> tuple[str, int]:
        return self.solver_name, self.steps

    def draw(
        self,
        count: int,
        *,
        seed: int = 0,
        solver: Solver | None = None,
        labels: Sequence[int] | Tensor | None = None,
        scale: float | None = None,
    ) -> LabelledImages:
        """New images.

        Args:
            count: how many.
            seed: of the noise.
            solver: `default_solver` if None.
            labels: the class of each; all classes in turn if None.
            scale: of the guidance; that of the system if None.

        Raises:
            ConfigError: labels that are not as many, or no classes of this system.
        """
        wanted = torch.arange(count) % len(self.classes) if labels is None else labels
        wanted = torch.as_tensor(wanted, dtype=torch.int64).cpu()
        if (
            wanted.shape != (count,)
            or int(wanted.min()) < 0
            or int(wanted.max()) >= len(self.classes)
        ):
            raise ConfigError(
                f"labels: got shape {tuple(wanted.shape)} for {count} images; need one each, "
                f"from 0 to {len(self.classes) - 1}."
            )
        device = self._device
        x: Tensor = sample(
            ClassifierFree(self.network, self.path, scale=self.scale if scale is None else scale),
            self.path,
            shape=(count, *self.network.event),
            condition={"label": wanted.to(device)},
            solver=self.solver() if solver is None else solver,
            device=device,
            generator=self._generator(seed),
            chunk_size=_CHUNK,
        )
        return LabelledImages(to_pixels(x).cpu(), wanted)

    def complete(
        self,
        images: LabelledImages,
        given: Tensor,
        *,
        seed: int = 0,
        solver: Solver | None = None,
    ) -> LabelledImages:
        """Images whose pixels are kept where `given`, the others drawn; no class is told.

        A network that was built to see which pixels are given is told them; others are sampled with
        `Replacement`.

        Args:
            images: of which a part is kept.
            given: True where a number is kept, shaped as the pixels.
            seed: of the noise.
            solver: `default_solver` if None.
        """
        device = self._device
        x_1, mask = images.x_1.to(device), given.to(device)
        x: Tensor = sample(
            self.network,
            self.path,
            shape=tuple(x_1.shape),
            fixed=(mask, x_1) if self.network.images.fixed else Replacement(mask, x_1),
            solver=self.solver() if solver is None else solver,
            device=device,
            generator=self._generator(seed),
            chunk_size=_CHUNK,
        )
        return LabelledImages(to_pixels(x).cpu(), images.labels)

    def export(self, samples: LabelledImages, output: Path) -> tuple[Path, ...]:
        """A PNG file for each image, `000_CLASS.png`, and all of them in `sheet.png`."""
        from flowatlas_image.plots import sheet

        names = [self.classes[i].replace("/", "-").replace(" ", "-") for i in samples.labels]
        single = [
            write_png(pixels, output / f"{i:03d}_{name}.png")
            for i, (pixels, name) in enumerate(zip(samples.pixels, names, strict=True))
        ]
        whole = torch.from_numpy(sheet(samples.x_1.numpy(), _COLUMNS)).permute(2, 0, 1)
        return (*single, write_png(to_pixels(2 * whole - 1), output / "sheet.png"))

    def figure(self, samples: LabelledImages, title: str) -> Figure:
        from flowatlas_image.plots import image_sheet

        return image_sheet(samples.x_1.numpy(), _COLUMNS, title=title)

    def save_parts(self, directory: Path) -> dict[str, Any]:
        self.network.save_pretrained(directory / _NETWORK)
        return {
            "classes": list(self.classes),
            "scale": self.scale,
            "solver_name": self.solver_name,
            "steps": self.steps,
        }

    @classmethod
    def load_parts(cls, directory: Path, stored: Mapping[str, Any]) -> ImageSystem:
        network = from_pretrained(directory / _NETWORK).requires_grad_(False)
        if not isinstance(network, UNet | DiT):
            raise ConfigError(
                f"{directory / _NETWORK}: holds a {type(network).__name__}; a flow of images needs "
                "a UNet or a DiT."
            )
        return cls(
            network=network,
            classes=tuple(str(name) for name in stored["classes"]),
            scale=float(stored["scale"]),
            solver_name=str(stored["solver_name"]),
            steps=int(stored["steps"]),
        )

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(device=self._device).manual_seed(seed)
