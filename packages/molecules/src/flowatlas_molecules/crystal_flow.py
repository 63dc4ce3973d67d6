"""Crystal structure prediction by flow matching: path, alignment, objective, and samples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.field import Field
from flowatlas.manifolds import FlatTorus
from flowatlas.objectives import FlowMatching
from flowatlas.paths import GeodesicPath, ProductPath
from flowatlas.sampling import sample
from flowatlas.schedulers import Coefficients, Scheduler
from flowatlas.solvers import Euler, FixedStepSolver, Solver
from flowatlas_molecules.crystal_alignment import CrystalAlignment
from flowatlas_molecules.crystals import Crystal, PaddedCrystals, to_crystals
from flowatlas_molecules.manifolds.lattice import Lattice, LatticePrior

if TYPE_CHECKING:
    from flowatlas.training import TensorData

__all__ = [
    "AntiAnnealing",
    "crystal_data",
    "crystal_objective",
    "crystal_path",
    "sample_crystals",
]


#: Share of the way to the predicted end that one step may go beyond the straight line.
_PULL = 0.6


class AntiAnnealing(Scheduler):
    r"""The straight line with a pull towards the predicted end that grows with time.

    $$\frac{\dot\alpha_t}{\sigma_t} = \frac{1}{1 - t} + s t, \qquad
      \sigma_t = 1 - \alpha_t = (1 - t)\, e^{-s t^2 / 2}$$

    As an inference schedule, `path.with_schedule(fractional=AntiAnnealing(30))`, it multiplies the
    velocities of a path that was trained along straight lines by $1 + s t (1 - t)$: what went wrong
    early, while it is open which crystal will be, is mended late, when the network knows. Euler
    steps more than s in number do not overshoot.

    Args:
        slope: s, from 0 to 100.

    Raises:
        ConfigError: a slope out of range.

    Reference: FlowMM: Generating Materials with Riemannian Flow Matching, Miller et al., 2024,
    arXiv:2406.04713 (inference anti-annealing). There velocities are multiplied by $1 + s t$, which
    is a pull of $s t / (1 - t)$: it passes the predicted end in the last steps, however many there
    are.

    Example:
        ```python
        from flowatlas_molecules import AntiAnnealing, LatticePrior, crystal_path

        path = crystal_path(LatticePrior((1.4, 1.4, 1.4), (0.1, 0.1, 0.1)))
        path = path.with_schedule(fractional=AntiAnnealing(30.0))
        ```
    """

    convex = True

    def __init__(self, slope: float) -> None:
        # Beyond it sigma is no more a number of float32.
        if not 0 <= slope <= 100:
            raise ConfigError(f"slope: got {slope}; it must be from 0 to 100.")
        self.slope = slope

    def __call__(self, t: Tensor) -> Coefficients:
        left = torch.exp(-self.slope * t * t / 2)
        sigma = (1 - t) * left
        d_alpha = (1 + self.slope * t * (1 - t)) * left
        return Coefficients(1 - sigma, sigma, d_alpha, -d_alpha, -sigma * d_alpha)

    def __repr__(self) -> str:
        return f"AntiAnnealing({self.slope})"


def crystal_path(prior: LatticePrior, *, lattice_weight: float = 10.0) -> ProductPath:
    r"""Atoms along geodesics of the torus from anywhere, cells along straight lines of their chart.

    $$f_t = f_0 + t\, \log_{f_0}(f_1) \bmod 1, \quad f_0 \sim U([0, 1)^{3n}), \qquad
      \phi(l_t) = (1 - t)\, \phi(l_0) + t\, \phi(l_1)$$

    with $\phi$ the chart of `Lattice` and $l_0$ from `prior`. Networks predict the velocity of the
    coordinates and the cell at t = 1. Which atoms there are is a condition.

    Every atom has a torus of its own. With `CrystalAlignment`, which takes the common translation
    out of each pair, velocities are those of `FractionalCoordinates`, and batches may be padded.

    Args:
        prior: the law of cells at t = 0, such as `LatticePrior.fitted(cells)`.
        lattice_weight: of the loss of cells beside that of coordinates.

    Reference: FlowMM: Generating Materials with Riemannian Flow Matching, Miller et al., 2024,
    arXiv:2406.04713. There the velocity of the cell is predicted, and lengths are interpolated
    instead of their logarithms.
    """
    return ProductPath(
        fractional=GeodesicPath(FlatTorus(1.0), weight=10.0),
        lattice=GeodesicPath(Lattice(), prior, prediction="target", weight=lattice_weight),
    )


def crystal_objective(prior: LatticePrior, *, permute: bool = True) -> FlowMatching:
    """Flow matching on `crystal_path`, pairs aligned by translation.

    Args:
        prior: the law of cells at t = 0.
        permute: whether atoms of one element may change places in the alignment.
    """
    return FlowMatching(crystal_path(prior), coupling=CrystalAlignment(permute=permute))


def crystal_data(
    train: PaddedCrystals,
    val: PaddedCrystals | None = None,
    *,
    batch_size: int = 64,
    seed: int = 0,
) -> TensorData:
    """Batches for `fit`: states, elements as the condition, and masks.

    Args:
        train: crystals to fit.
        val: to measure the loss on.
        batch_size: crystals a step.
        seed: of the order.
    """
    # Lightning, which takes seconds to import.
    from flowatlas.training import TensorData

    def batch(crystals: PaddedCrystals) -> dict[str, Any]:
        return {
            "x_1": crystals.state,
            "condition": {"elements": crystals.elements},
            "mask": {"fractional": crystals.mask},
        }

    return TensorData(
        batch(train),
        None if val is None else batch(val),
        batch_size=batch_size,
        val_batch_size=256,
        seed=seed,
    )


def sample_crystals(
    field: Field,
    compositions: Sequence[Tensor],
    prior: LatticePrior,
    *,
    solver: Solver | None = None,
    slope: float = 0.0,
    chunk_size: int = 256,
    device: torch.device | str | None = None,
    generator: Any = None,
) -> list[Crystal]:
    """One crystal for each composition.

    Args:
        field: a trained network.
        compositions: atomic numbers `(n,)` of the atoms of each cell, in any order.
        prior: the law of cells at t = 0 that it was trained with.
        solver: `Euler(steps=50)` if None.
        slope: of the `AntiAnnealing` of the coordinates; at most six tenths of the steps of a
            solver with fixed steps, which would overshoot beyond.
        chunk_size: crystals integrated at once.
        device: where the field is.
        generator: one, or one for each crystal.

    Returns:
        Crystals in the order of `compositions`, with their atoms in the order given.

    Raises:
        ConfigError: no compositions, an empty one, or numbers that are no elements.

    Example:
        ```python
        from flowatlas_molecules import LatticePrior, sample_crystals, write_cif
        from flowatlas_molecules.networks import PeriodicNetwork

        network = PeriodicNetwork(width=32, depth=2)  # not trained here
        prior = LatticePrior((1.4, 1.4, 1.4), (0.1, 0.1, 0.1))
        titanate = torch.tensor([38, 22, 8, 8, 8])
        crystals = sample_crystals(network, [titanate], prior, solver=Euler(steps=4))
        write_cif("titanate.cif", crystals[0])
        ```
    """
    if not compositions or any(
        one.ndim != 1 or not len(one) or one.min() < 1 or one.max() > 118 for one in compositions
    ):
        raise ConfigError(
            "compositions: got none, or one without atoms or with numbers that are no elements; "
            "one or more tensors (n,) of atomic numbers from 1 to 118."
        )
    elements = torch.nn.utils.rnn.pad_sequence(list(compositions), batch_first=True)
    elements = elements.to(device=device, dtype=torch.int64)
    batch, n = elements.shape
    mask = elements > 0
    solver = Euler(steps=50) if solver is None else solver
    x = sample(
        field,
        crystal_path(prior).with_schedule(fractional=AntiAnnealing(_borne(slope, solver))),
        shape={"fractional": (batch, n, 3), "lattice": (batch, 6)},
        condition={"elements": elements},
        mask={"fractional": mask},
        solver=solver,
        device=device,
        generator=generator,
        chunk_size=chunk_size,
    )
    return to_crystals(x, elements, mask)


def _borne(slope: float, solver: Solver) -> float:
    """The slope, or the largest that the steps of the solver bear; adaptive ones bear any."""
    if not isinstance(solver, FixedStepSolver):
        return slope
    return min(slope, _PULL / max(b - a for a, b in pairwise(solver.knots((0.0, 1.0)))))
