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
from flowatlas_molecules.cif import write_cif
from flowatlas_molecules.crystal_flow import sample_crystals
from flowatlas_molecules.crystals import Crystal
from flowatlas_molecules.manifolds.lattice import LatticePrior
from flowatlas_molecules.network_system import NetworkSystem
from flowatlas_molecules.networks import PeriodicNetwork

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CrystalSystem"]

#: Crystals in a picture.
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class CrystalSystem(NetworkSystem[Crystal]):
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
    network_class = PeriodicNetwork
    suffix = ".cif"

    network: PeriodicNetwork
    prior: LatticePrior
    compositions: tuple[tuple[int, ...], ...]
    slope: float = 0.0
    steps: int = 50

    def __post_init__(self) -> None:
        if not self.compositions:
            raise ConfigError("compositions: got none; one or more tuples of atomic numbers.")

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
            device=self.device,
            generator=torch.Generator().manual_seed(seed + 1),
        )

    def write_one(self, file: Path, sample: Crystal) -> Path:
        return write_cif(file, sample)

    def figure(self, samples: list[Crystal], title: str) -> Figure:
        from flowatlas_molecules.crystal_plots import cell_gallery

        return cell_gallery([samples[:_SHOWN]], names=["sample"], title=title)

    def stored(self) -> dict[str, Any]:
        return {
            "prior": {"mean": list(self.prior.log_mean), "std": list(self.prior.log_std)},
            "compositions": [list(one) for one in self.compositions],
            "slope": self.slope,
            "steps": self.steps,
        }

    @classmethod
    def restored(cls, network: PeriodicNetwork, stored: Mapping[str, Any]) -> CrystalSystem:
        return cls(
            network=network,
            prior=LatticePrior(**stored["prior"]),
            compositions=tuple(tuple(int(z) for z in one) for one in stored["compositions"]),
            slope=float(stored["slope"]),
            steps=int(stored["steps"]),
        )
