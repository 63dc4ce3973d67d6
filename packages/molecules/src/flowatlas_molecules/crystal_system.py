"""A trained predictor of crystal structures, which writes CIF files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.solvers import Solver
from flowatlas.system import System
from flowatlas_molecules.cif import write_cif
from flowatlas_molecules.crystal_flow import sample_crystals
from flowatlas_molecules.crystals import Crystal
from flowatlas_molecules.manifolds.lattice import LatticePrior
from flowatlas_molecules.networks import PeriodicNetwork

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CrystalSystem"]

_NETWORK = "network"
#: Crystals in a picture.
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class CrystalSystem(System[list[Crystal]]):
    """Network, prior of cells and solver of a flow of crystals.

    Attributes:
        network: trained, in evaluation mode.
        prior: the law of cells at t = 0.
        compositions: atomic numbers of the atoms of cells; samples are of these, one after the
            other, unless others are asked for.
        slope: of the `AntiAnnealing` of coordinates.
        steps: Euler steps.

    Raises:
        ConfigError: no compositions.

    Example:
        ```python
        from flowatlas_molecules import CrystalSystem, LatticePrior
        from flowatlas_molecules.networks import PeriodicNetwork

        system = CrystalSystem(
            network=PeriodicNetwork(width=32, depth=2),  # not trained here
            prior=LatticePrior((1.4, 1.4, 1.4), (0.1, 0.1, 0.1)),
            compositions=((38, 22, 8, 8, 8),),
            steps=2,
        )
        files = system.write("samples", count=2, seed=0)
        ```
    """

    name = "crystal"

    network: PeriodicNetwork
    prior: LatticePrior
    compositions: tuple[tuple[int, ...], ...]
    slope: float = 0.0
    steps: int = 50

    def __post_init__(self) -> None:
        if not self.compositions:
            raise ConfigError("compositions: got none; one or more tuples of atomic numbers.")

    @property
    def default_solver(self) -> tuple[str, int]:
        return "euler", self.steps

    def draw(
        self,
        count: int,
        *,
        seed: int = 0,
        solver: Solver | None = None,
        compositions: Sequence[Tensor] | None = None,
    ) -> list[Crystal]:
        """Predicted crystals.

        Args:
            count: how many.
            seed: of the noise.
            solver: `default_solver` if None.
            compositions: atomic numbers `(n,)` of each; those of the system in turn if None.
        """
        if compositions is None:
            own = [self.compositions[i % len(self.compositions)] for i in range(count)]
            compositions = [torch.tensor(one) for one in own]
        return sample_crystals(
            self.network,
            compositions,
            self.prior,
            solver=self.solver() if solver is None else solver,
            slope=self.slope,
            device=next(self.network.parameters()).device,
            generator=torch.Generator().manual_seed(seed + 1),
        )

    def export(self, samples: list[Crystal], output: Path) -> tuple[Path, ...]:
        """A CIF file for each crystal: `000.cif`, `001.cif`, ..."""
        return tuple(write_cif(output / f"{i:03d}.cif", one) for i, one in enumerate(samples))

    def figure(self, samples: list[Crystal], title: str) -> Figure:
        from flowatlas_molecules.crystal_plots import cell_gallery

        return cell_gallery([samples[:_SHOWN]], names=["sample"], title=title)

    def save_parts(self, directory: Path) -> dict[str, Any]:
        self.network.save_pretrained(directory / _NETWORK)
        return {
            "prior": {"mean": list(self.prior.log_mean), "std": list(self.prior.log_std)},
            "compositions": [list(one) for one in self.compositions],
            "slope": self.slope,
            "steps": self.steps,
        }

    @classmethod
    def load_parts(cls, directory: Path, stored: Mapping[str, Any]) -> CrystalSystem:
        return cls(
            prior=LatticePrior(**stored["prior"]),
            compositions=tuple(tuple(int(z) for z in one) for one in stored["compositions"]),
            slope=float(stored["slope"]),
            steps=int(stored["steps"]),
            network=PeriodicNetwork.from_pretrained(directory / _NETWORK).requires_grad_(False),
        )
