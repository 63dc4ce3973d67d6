"""A trained flow as a directory: the network, its path, and what was done to the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowatlas import plugins
from flowatlas.benchmarks.config import changed, settings
from flowatlas.benchmarks.point_method import METHODS, PointMethod
from flowatlas.data.kernel_mixture import KernelMixture
from flowatlas.errors import ConfigError, DataError
from flowatlas.manifolds import Manifold
from flowatlas.networks import Pretrained, from_pretrained
from flowatlas.networks._config import decode, encode
from flowatlas.networks._files import read_json, write_json
from flowatlas.paths.continuous import ContinuousPath

__all__ = ["SavedFlow", "check_manifold", "check_output", "named_manifold"]

FLOW, NETWORK, SOURCE, TRAINING = "flow.json", "network", "source.npz", "training"


def named_manifold(name: str) -> Manifold:
    """A manifold by the name of its entry point, with its default arguments.

    Raises:
        ConfigError: the name is unknown, or stands for no manifold, or for one with arguments.
    """
    made = plugins.load(plugins.MANIFOLDS, name, type)
    if not issubclass(made, Manifold):
        raise ConfigError(f"manifold: {name!r} is {made.__name__}, which is no manifold.")
    try:
        manifold: Manifold = made()
    except TypeError as error:
        raise ConfigError(
            f"manifold: {name!r} has arguments that the command line cannot give ({error}). Train "
            "on a named data set, whose manifold is known, or from Python."
        ) from error
    return manifold


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


def check_output(directory: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise for a training that would replace another by accident.

    With `overwrite` the earlier flow is no more from here on, lest it is taken for the new one.

    Raises:
        ConfigError: a flow or a training is there, and is neither to go on nor to be replaced; or
            both are asked for.
    """
    from flowatlas.training.train import CHECKPOINT

    if resume and overwrite:
        raise ConfigError("resume, overwrite: one goes on with what the other replaces; give one.")
    flow, begun = directory / FLOW, (directory / TRAINING / CHECKPOINT).exists()
    if resume or not (begun or flow.exists()):
        return
    if not overwrite:
        what = "a trained flow" if flow.exists() else "an unfinished training"
        raise ConfigError(
            f"output: {directory} holds {what}. Go on with it (--resume), replace it "
            "(--overwrite), or name another directory."
        )
    flow.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class SavedFlow:
    """What sampling and scoring need.

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
        return x.double() * self.scale + self.mean

    @property
    def log_scale(self) -> float:
        """What the change of units takes from a log density."""
        return float(self.scale.log().sum())

    def save(self, directory: Path) -> Path:
        """Write the directory.

        Raises:
            ConfigError: a manifold that cannot be made again from a file.
            DataError: it cannot be written.
        """
        assert isinstance(self.field, Pretrained)
        manifold = check_manifold(self.manifold)
        self.field.save_pretrained(directory / NETWORK)
        source = self.path.source
        if isinstance(source, KernelMixture):
            np.savez_compressed(
                directory / SOURCE,
                centres=source.centres.cpu().numpy(),
                bandwidth=source.bandwidth.cpu().numpy(),
                background=np.array(source.background),
            )
        write_json(
            directory / FLOW,
            {
                "manifold": manifold,
                "event_shape": list(self.event_shape),
                "method": settings(self.method),
                "mean": self.mean.tolist(),
                "scale": self.scale.tolist(),
                "about": self.about,
            },
        )
        return directory

    @staticmethod
    def load(directory: Path) -> SavedFlow:
        """Read a directory that `save` wrote.

        Raises:
            DataError: a file is missing or corrupt.
            ConfigError: a manifold that is not installed, or settings of a newer version.
        """
        if not (directory / FLOW).is_file():
            raise DataError(
                f"{directory}: holds no trained flow ({FLOW} is missing). Name a directory that "
                "flowatlas train --output DIR has finished."
            )
        stored: dict[str, Any] = dict(read_json(directory / FLOW, "flow"))
        try:
            manifold = decode(stored["manifold"], "manifold")
            if not isinstance(manifold, Manifold):
                raise TypeError(f"manifold: {stored['manifold']!r} describes none")
            method = changed(next(iter(METHODS.values())), stored["method"])
            mean = torch.tensor(stored["mean"], dtype=torch.float64)
            scale = torch.tensor(stored["scale"], dtype=torch.float64)
            shape = tuple(int(n) for n in stored["event_shape"])
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{directory / FLOW}: is corrupt ({error!r}). Train the flow again."
            ) from error
        fitted = _read_source(directory / SOURCE, manifold) if method.source == "fitted" else None
        return SavedFlow(
            field=from_pretrained(directory / NETWORK).requires_grad_(False),
            path=method.build_path(manifold, fitted),
            method=method,
            manifold=manifold,
            event_shape=shape,
            mean=mean,
            scale=scale,
            about=stored.get("about", {}),
        )


def _read_source(path: Path, manifold: Manifold) -> KernelMixture:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return KernelMixture(
                manifold,
                torch.from_numpy(arrays["centres"]),
                torch.from_numpy(arrays["bandwidth"]),
                background=float(arrays["background"]),
            )
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: the fitted source cannot be read ({error}). Train again."
        ) from error
