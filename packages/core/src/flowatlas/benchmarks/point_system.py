"""A trained flow of points: the network, its path, and what was done to the data."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from flowatlas import plugins
from flowatlas.benchmarks.config import changed, settings
from flowatlas.benchmarks.point_method import METHODS, PointMethod
from flowatlas.data.kernel_mixture import KernelMixture
from flowatlas.data.point_file import write_points
from flowatlas.errors import ConfigError, DataError
from flowatlas.manifolds import Manifold
from flowatlas.networks import Pretrained, from_pretrained
from flowatlas.networks._config import decode, encode
from flowatlas.networks._files import write_bytes
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.sampling import sample
from flowatlas.solvers import Solver
from flowatlas.sources import Source, WrappedNormal
from flowatlas.system import System

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PointSystem", "check_manifold"]

NETWORK, SOURCE = "network", "source.npz"


def check_manifold(manifold: Manifold) -> dict[str, Any]:
    """The manifold as JSON, from which the same is made again.

    Raises:
        ConfigError: it cannot be: its class has no name to find it by, or an argument is lost.
    """
    described: dict[str, Any] = encode(manifold, "manifold")
    try:
        again = decode(described, "manifold")
    except ConfigError:
        again = None
    if type(again) is not type(manifold) or encode(again, "manifold") != described:
        raise ConfigError(
            f"manifold: {manifold!r} cannot be saved, for a file does not say how to make it. "
            f"Declare its class in the entry-point group {plugins.MANIFOLDS!r}, and keep each "
            "argument of its constructor as the attribute of that name."
        )
    return described


@dataclass(frozen=True, kw_only=True)
class PointSystem(System[Tensor]):
    """What sampling and scoring points need.

    Attributes:
        field: the trained network.
        path: with its source.
        method: that made it.
        manifold: where the points live.
        event_shape: of one point.
        mean: subtracted from data in flat space, `event_shape`; zeros elsewhere.
        scale: that such data were divided by; ones elsewhere.
        about: where the data came from and how training went, for people.
    """

    name = "points"
    default_output = "samples.npy"
    default_count = 1000

    field: nn.Module
    path: ContinuousPath
    method: PointMethod
    manifold: Manifold
    event_shape: tuple[int, ...]
    mean: Tensor
    scale: Tensor
    about: dict[str, Any]

    def encode(self, x: Tensor) -> Tensor:
        """Data as the network sees them, in float32."""
        return ((x - self.mean) / self.scale).float()

    def decode(self, x: Tensor) -> Tensor:
        """What the network makes as data, in float64."""
        return x.double().cpu() * self.scale + self.mean

    @property
    def log_scale(self) -> float:
        """What the change of units takes from a log density."""
        return float(self.scale.log().sum())

    @property
    def default_solver(self) -> tuple[str, int]:
        return self.method.solver, self.method.solver_steps

    def draw(self, count: int, *, seed: int = 0, solver: Solver | None = None) -> Tensor:
        # From one source sample on every device.
        x_0 = self.path.source.sample(
            (count, *self.event_shape),
            generator=torch.Generator().manual_seed(seed),
            dtype=torch.float32,
        )
        device = next(self.field.parameters()).device
        x = sample(
            self.field,
            self.path,
            x_init=x_0.to(device),
            solver=self.solver() if solver is None else solver,
        )
        return self.decode(x)

    def export(self, samples: Tensor, output: Path) -> tuple[Path, ...]:
        return (write_points(output, samples),)

    def figure(self, samples: Tensor, title: str) -> Figure:
        from flowatlas.plots import point_cloud

        return point_cloud(samples.numpy(), type(self.manifold).__name__, title=title)

    def save_parts(self, directory: Path) -> dict[str, Any]:
        assert isinstance(self.field, Pretrained)
        manifold = check_manifold(self.manifold)
        self.field.save_pretrained(directory / NETWORK)
        _write_source(directory / SOURCE, self.path.source)
        return {
            "manifold": manifold,
            "event_shape": list(self.event_shape),
            "method": settings(self.method),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "about": self.about,
        }

    @classmethod
    def load_parts(cls, directory: Path, stored: Mapping[str, Any]) -> PointSystem:
        manifold = decode(stored["manifold"], "manifold")
        if not isinstance(manifold, Manifold):
            raise TypeError(f"manifold: {stored['manifold']!r} describes none")
        method = changed(next(iter(METHODS.values())), stored["method"])
        fitted = _read_source(directory / SOURCE, manifold, method.source)
        return cls(
            field=from_pretrained(directory / NETWORK).requires_grad_(False),
            path=method.build_path(manifold, fitted),
            method=method,
            manifold=manifold,
            event_shape=tuple(int(n) for n in stored["event_shape"]),
            mean=torch.tensor(stored["mean"], dtype=torch.float64),
            scale=torch.tensor(stored["scale"], dtype=torch.float64),
            about=stored["about"],
        )


def _write_source(path: Path, source: Source | None) -> None:
    """The arrays of a source that was fitted to data; nothing for others."""
    arrays: dict[str, Any]
    if isinstance(source, KernelMixture):
        arrays = {
            "centres": source.centres.cpu().numpy(),
            "bandwidth": source.bandwidth.cpu().numpy(),
            "background": np.array(source.background),
        }
    elif isinstance(source, WrappedNormal):
        arrays = {"centre": source.centre.cpu().numpy(), "spread": np.array(source.spread)}
    else:
        return
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_bytes(path, content.getvalue())


def _read_source(path: Path, manifold: Manifold, kind: str) -> Source | None:
    if kind not in ("fitted", "wrapped"):
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
        if kind == "wrapped":
            return WrappedNormal(manifold, arrays["centre"], float(arrays["spread"]))
        return KernelMixture(
            manifold,
            arrays["centres"],
            arrays["bandwidth"],
            background=float(arrays["background"]),
        )
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: the fitted source cannot be read ({error}). Train again."
        ) from error
