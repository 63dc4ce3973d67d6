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
from flowatlas.system import System
from flowatlas_molecules.backbone_flow import sample_backbones
from flowatlas_molecules.networks import FrameTransformer
from flowatlas_molecules.structures import Backbone, write_structure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BackboneSystem"]

_NETWORK = "network"
#: Chains in a picture.
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class BackboneSystem(System[list[Backbone]]):
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

    network: FrameTransformer
    lengths: tuple[int, ...]
    rotation_rate: float = 10.0
    steps: int = 100

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) < 1:
            raise ConfigError(f"lengths: got {self.lengths}; one or more positive numbers.")

    @property
    def default_solver(self) -> tuple[str, int]:
        return "euler", self.steps

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
            device=next(self.network.parameters()).device,
            generator=torch.Generator().manual_seed(seed + 1),
        )

    def export(self, samples: list[Backbone], output: Path) -> tuple[Path, ...]:
        """A PDB file for each chain: `000.pdb`, `001.pdb`, ..."""
        return tuple(
            write_structure(output / f"{i:03d}.pdb", chain) for i, chain in enumerate(samples)
        )

    def figure(self, samples: list[Backbone], title: str) -> Figure:
        from flowatlas_molecules.plots import chain_gallery

        shown = [chain.atoms[:, 1].float().cpu().numpy() for chain in samples[:_SHOWN]]
        return chain_gallery([shown], names=["sample"], title=title)

    def save_parts(self, directory: Path) -> dict[str, Any]:
        self.network.save_pretrained(directory / _NETWORK)
        return {
            "lengths": list(self.lengths),
            "rotation_rate": self.rotation_rate,
            "steps": self.steps,
        }

    @classmethod
    def load_parts(cls, directory: Path, stored: Mapping[str, Any]) -> BackboneSystem:
        return cls(
            lengths=tuple(int(n) for n in stored["lengths"]),
            rotation_rate=float(stored["rotation_rate"]),
            steps=int(stored["steps"]),
            network=FrameTransformer.from_pretrained(directory / _NETWORK).requires_grad_(False),
        )
