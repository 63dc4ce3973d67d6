"""Crystals: elements, fractional coordinates and cells, one by one and in padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError

__all__ = ["Crystal", "PaddedCrystals", "lattice_matrix", "pad_crystals", "to_crystals"]


@dataclass(frozen=True, slots=True, eq=False)
class Crystal:
    """One unit cell.

    Attributes:
        elements: atomic numbers `(n,)`, int64.
        fractional: coordinates along the axes of the cell `(n, 3)`, modulo one.
        lattice: lengths a, b, c in angstrom, then angles alpha, beta, gamma in radians, `(6,)`.
        name: of the file, block or entry.
    """

    elements: Tensor
    fractional: Tensor
    lattice: Tensor
    name: str = ""

    def __post_init__(self) -> None:
        n = self.elements.numel()
        if self.elements.shape != (n,) or n == 0 or self.elements.dtype != torch.int64:
            raise ShapeError(
                f"elements: got shape {tuple(self.elements.shape)} of {self.elements.dtype}; need "
                "(n,) of int64, the atomic number of each of one or more atoms."
            )
        for name, shape in (("fractional", (n, 3)), ("lattice", (6,))):
            got = tuple(getattr(self, name).shape)
            if got != shape:
                raise ShapeError(f"{name}: got shape {got} beside {n} elements; need {shape}.")

    def __len__(self) -> int:
        return len(self.elements)


@dataclass(frozen=True, slots=True)
class PaddedCrystals:
    """Crystals of a batch, padded to the one with the most atoms.

    Attributes:
        state: `fractional` `(batch, n, 3)` and `lattice` `(batch, 6)`. Padding has coordinates 0.
        elements: atomic numbers `(batch, n)`, 0 in the padding.
        mask: `(batch, n)`, True where an atom exists.
    """

    state: dict[str, Tensor]
    elements: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.mask)


def pad_crystals(crystals: Sequence[Crystal], *, atoms: int | None = None) -> PaddedCrystals:
    """One batch of crystals of different numbers of atoms, float32.

    Args:
        crystals: one or more.
        atoms: to pad to; the most that a crystal has if None.

    Raises:
        ConfigError: no crystals, or one with more atoms than `atoms`.

    Example:
        ```python
        from flowatlas_molecules import ideal_perovskites, pad_crystals

        batch = pad_crystals(ideal_perovskites()[:8], atoms=6)
        batch.mask.shape  # (8, 6)
        ```
    """
    if not crystals:
        raise ConfigError("crystals: got none; a batch needs at least one.")
    most = max(len(crystal) for crystal in crystals)
    n = most if atoms is None else atoms
    if most > n:
        raise ConfigError(f"atoms: got {n}, and a crystal has {most}. Leave it out, or raise it.")
    fractional = torch.zeros(len(crystals), n, 3)
    elements = torch.zeros(len(crystals), n, dtype=torch.int64)
    for i, crystal in enumerate(crystals):
        fractional[i, : len(crystal)] = crystal.fractional
        elements[i, : len(crystal)] = crystal.elements
    lattice = torch.stack([crystal.lattice.float() for crystal in crystals])
    return PaddedCrystals({"fractional": fractional, "lattice": lattice}, elements, elements > 0)


def to_crystals(state: dict[str, Tensor], elements: Tensor, mask: Tensor) -> list[Crystal]:
    """Single crystals of a padded batch, on the CPU, coordinates in [0, 1).

    Args:
        state: `fractional` `(batch, n, 3)` and `lattice` `(batch, 6)`.
        elements: `(batch, n)`.
        mask: `(batch, n)`.
    """
    fractional, lattice = state["fractional"].detach().cpu(), state["lattice"].detach().cpu()
    return [
        Crystal(elements[i, here].cpu(), fractional[i, here].remainder(1.0), lattice[i], f"{i:04d}")
        for i, here in enumerate(mask.cpu())
    ]


def lattice_matrix(lattice: Tensor) -> Tensor:
    r"""The vectors of cells as rows, `(..., 3, 3)`: a along x, b in the plane of x and y.

    Cartesian coordinates are `fractional @ lattice_matrix(lattice)`. Where no cell has such angles,
    the third vector lies in the plane and the volume is zero.

    Args:
        lattice: lengths, then angles in radians, `(..., 6)`.
    """
    a, b, c = lattice[..., :3].unbind(-1)
    cos_alpha, cos_beta, cos_gamma = lattice[..., 3:].cos().unbind(-1)
    sin_gamma = lattice[..., 5].sin()
    across = (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    up = (1 - cos_beta.square() - across.square()).clamp(min=0).sqrt()
    zero = torch.zeros_like(a)
    rows = (
        torch.stack([a, zero, zero], -1),
        torch.stack([b * cos_gamma, b * sin_gamma, zero], -1),
        torch.stack([c * cos_beta, c * across, c * up], -1),
    )
    return torch.stack(rows, -2)
