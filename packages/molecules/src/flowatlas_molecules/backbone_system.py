"""A trained flow of protein backbones, which writes PDB files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flowatlas.errors import ConfigError
from flowatlas.schedulers import CondOT, Exponential
from flowatlas.solvers import Solver
from flowatlas_molecules.backbone_flow import sample_backbones
from flowatlas_molecules.network_system import NetworkSystem
from flowatlas_molecules.networks import FrameTransformer
from flowatlas_molecules.structures import Backbone, write_structure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BackboneSystem"]

#: Chains in a picture.
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class BackboneSystem(NetworkSystem[Backbone]):
    """Network, lengths and solver of a flow of backbones.

    Attributes:
        network: trained, in evaluation mode.
        lengths: of chains, in residues; samples have lengths drawn from these.
        rotation_rate: of the exponential schedule along which rotations are sampled; 0 for the
            straight one.
        steps: Euler steps.

    Raises:
        ConfigError: no lengths, or one that is not positive.

    Example:
        ```python
        from flowatlas_molecules import BackboneSystem
        from flowatlas_molecules.networks import FrameTransformer

        network = FrameTransformer(width=32, depth=1)  # not trained here
        system = BackboneSystem(network=network, lengths=(40, 60), steps=2)
        files = system.write("samples", count=2, seed=0)
        system.save("backbones")
        ```
    """

    name = "backbone"
    network_class = FrameTransformer
    suffix = ".pdb"

    network: FrameTransformer
    lengths: tuple[int, ...]
    rotation_rate: float = 10.0
    steps: int = 100

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) < 1:
            raise ConfigError(f"lengths: got {self.lengths}; one or more positive numbers.")

    def draw(
        self,
        count: int,
        *,
        seed: int = 0,
        solver: Solver | None = None,
        lengths: Sequence[int] | None = None,
    ) -> list[Backbone]:
        """New backbones.

        Args:
            count: how many.
            seed: of their lengths and of the noise.
            solver: `default_solver` if None.
            lengths: of each, in residues; drawn from those of the system if None.
        """
        if lengths is None:
            rows = np.random.default_rng(seed).integers(len(self.lengths), size=count)
            lengths = [self.lengths[i] for i in rows]
        rate = self.rotation_rate
        return sample_backbones(
            self.network,
            lengths,
            residues=self.network.residues,
            solver=self.solver() if solver is None else solver,
            rotation_schedule=Exponential(rate) if rate > 0 else CondOT(),
            device=self.device,
            generator=torch.Generator().manual_seed(seed + 1),
        )

    def write_one(self, file: Path, sample: Backbone) -> Path:
        return write_structure(file, sample)

    def figure(self, samples: list[Backbone], title: str) -> Figure:
        from flowatlas_molecules.plots import chain_gallery

        shown = [chain.atoms[:, 1].float().cpu().numpy() for chain in samples[:_SHOWN]]
        return chain_gallery([shown], names=["sample"], title=title)

    def stored(self) -> dict[str, Any]:
        return {
            "lengths": list(self.lengths),
            "rotation_rate": self.rotation_rate,
            "steps": self.steps,
        }

    @classmethod
    def restored(cls, network: FrameTransformer, stored: Mapping[str, Any]) -> BackboneSystem:
        return cls(
            network=network,
            lengths=tuple(int(n) for n in stored["lengths"]),
            rotation_rate=float(stored["rotation_rate"]),
            steps=int(stored["steps"]),
        )
