"""What systems of one network share: where it is kept, the steps, a file for each sample."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch

from flowatlas.networks import Pretrained
from flowatlas.system import System

__all__ = ["NetworkSystem"]

_NETWORK = "network"

S = TypeVar("S")


class NetworkSystem(System[list[S]]):
    """A system of one network and a few numbers, whose samples are a list, drawn by Euler steps.

    ```python
    from dataclasses import dataclass
    from flowatlas_molecules import Backbone
    from flowatlas_molecules.network_system import NetworkSystem
    from flowatlas_molecules.networks import FrameTransformer

    @dataclass(frozen=True, kw_only=True)
    class Chains(NetworkSystem[Backbone]):
        name = "chains"
        network_class = FrameTransformer
        suffix = ".pdb"

        network: FrameTransformer
        steps: int = 100

        def draw(self, count, *, seed=0, solver=None): ...  # a list of Backbone
        def write_one(self, file, sample): ...
        def stored(self): return {"steps": self.steps}

        @classmethod
        def restored(cls, network, stored): return cls(network=network, **stored)
    ```

    Attributes:
        network_class: that reads the network.
        suffix: of the files.
        network: trained, in evaluation mode.
        steps: Euler steps.
    """

    network_class: ClassVar[type[Pretrained]]
    suffix: ClassVar[str]

    network: Pretrained
    steps: int

    @abstractmethod
    def write_one(self, file: Path, sample: S) -> Path:
        """Write one sample, and return the file."""

    @abstractmethod
    def stored(self) -> Mapping[str, Any]:
        """What is to be kept beside the network, as JSON holds it."""

    @classmethod
    @abstractmethod
    def restored(cls, network: Any, stored: Mapping[str, Any]) -> Self:
        """The inverse of `stored`, as `load_parts` is of `save_parts`."""

    @property
    def default_solver(self) -> tuple[str, int]:
        return "euler", self.steps

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def export(self, samples: list[S], output: Path) -> tuple[Path, ...]:
        """A file for each sample: `000`, `001`, ..., with the suffix."""
        return tuple(
            self.write_one(output / f"{i:03d}{self.suffix}", one) for i, one in enumerate(samples)
        )

    def save_parts(self, directory: Path) -> Mapping[str, Any]:
        self.network.save_pretrained(directory / _NETWORK)
        return self.stored()

    @classmethod
    def load_parts(cls, directory: Path, stored: Mapping[str, Any]) -> Self:
        network = cls.network_class.from_pretrained(directory / _NETWORK)
        return cls.restored(network.requires_grad_(False), stored)
