"""The coupling of crystals: which of its translations and numberings a source sample has."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flowatlas.couplings import Coupling
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition, Mask
from flowatlas.manifolds import FlatTorus
from flowatlas.state import State
from flowatlas_molecules.manifolds.fractional_coordinates import shortest_windings

__all__ = ["CrystalAlignment"]

_CELL = FlatTorus(1.0)


class CrystalAlignment(Coupling):
    r"""Moves the source atoms as a whole, and swaps alike ones, until they are close to the data.

    $$\min_{s, \pi} \sum_i \big\| f_1^i - f_0^{\pi(i)} - s \big\|^2_{T^3}$$

    over translations s of the crystal and permutations of atoms of one element, neither of which
    changes a crystal. The translation, for a numbering, is the best of all: the logarithms from the
    moved source to the data are those of `FractionalCoordinates`, of mean zero. The numbering, for
    a translation, is an optimal assignment. They take turns until the numbering no longer changes,
    or `rounds` are over; no turn lengthens the pairs, and the end is a local optimum.

    The law of $x_0$ is kept as a law of *crystals*, since uniform atoms know neither origin nor
    number. Networks must know neither of them, as `PeriodicNetwork` does not.

    Args:
        permute: whether atoms may change places.
        rounds: of translation and assignment, at most.

    Raises:
        ConfigError: `rounds` below 1; when called, no elements in the condition.
        ShapeError: when called, states that are not crystals.

    Reference: FlowMM: Generating Materials with Riemannian Flow Matching, Miller et al., 2024,
    arXiv:2406.04713, for taking the mean off the logarithms. The assignment follows Equivariant
    flow matching, Klein, Kramer and Noe, 2023, arXiv:2306.15030 (from memory), who do not know
    periods.

    Example:
        ```python
        from flowatlas_molecules import CrystalAlignment, ideal_perovskites, pad_crystals

        batch = pad_crystals(ideal_perovskites()[:4])
        x_0 = {**batch.state, "fractional": torch.rand(4, 5, 3)}
        x_0 = CrystalAlignment().couple(
            x_0, batch.state, condition={"elements": batch.elements}
        )
        ```
    """

    def __init__(self, *, permute: bool = True, rounds: int = 4) -> None:
        if rounds < 1:
            raise ConfigError(f"rounds: got {rounds}; at least 1.")
        self.permute, self.rounds = permute, rounds

    def couple(
        self,
        x_0: State,
        x_1: State,
        *,
        condition: Condition | None = None,
        mask: Mask | None = None,
        generator: object = None,
    ) -> State:
        if not (isinstance(x_0, Mapping) and isinstance(x_1, Mapping)) or "fractional" not in x_0:
            raise ShapeError(
                "x_0: got a state without the component fractional; this coupling is for crystals, "
                "as pad_crystals makes them."
            )
        start, end = x_0["fractional"], x_1["fractional"]
        here = mask.get("fractional") if isinstance(mask, Mapping) else mask
        if here is None:
            here = torch.ones(start.shape[:2], dtype=torch.bool, device=start.device)
        with torch.no_grad():
            if self.permute:
                groups = torch.where(here, self._elements(condition, here), 0)
                start = self._numbered(start, end, here, groups)
            moved = _moved(start, end, here)
        return {**x_0, "fractional": moved}

    def _numbered(self, start: Tensor, end: Tensor, here: Tensor, groups: Tensor) -> Tensor:
        allowed = (groups.unsqueeze(1) == groups.unsqueeze(2)).cpu()
        active = torch.arange(len(start), device=start.device)
        for _ in range(self.rounds):
            moved = _moved(start[active], end[active], here[active])
            apart = _CELL.logmap(moved.unsqueeze(1), end[active].unsqueeze(2))
            order = _assigned(apart.square().sum(-1), allowed[active.cpu()]).to(start.device)
            # Padding is a group of its own, whose places mean nothing.
            order = torch.where(here[active], order, torch.arange(start.shape[1]).to(order))
            changed = (order != torch.arange(start.shape[1]).to(order)).any(1)
            found = start[active].gather(1, order.unsqueeze(-1).expand(-1, -1, 3))
            start = start.index_put((active,), found)
            active = active[changed]
            if not len(active):
                break
        return start

    def _elements(self, condition: Condition | None, here: Tensor) -> Tensor:
        if condition is None or "elements" not in condition:
            got = "none" if condition is None else f"the names {sorted(condition)}"
            raise ConfigError(
                f"condition: got {got}; {self!r} swaps atoms of equal condition['elements']. Pass "
                "it to the objective, or set permute=False."
            )
        elements = condition["elements"]
        if elements.shape != here.shape:
            raise ShapeError(
                f"condition['elements']: got shape {tuple(elements.shape)}; need "
                f"{tuple(here.shape)}, one number per atom."
            )
        return elements

    def __repr__(self) -> str:
        return f"CrystalAlignment(permute={self.permute}, rounds={self.rounds})"


def _moved(start: Tensor, end: Tensor, here: Tensor) -> Tensor:
    """The source translated so that the logarithms to the data are the shortest; padding stays."""
    u = shortest_windings(_CELL.logmap(start, end), here)
    return torch.where(here.unsqueeze(-1), _CELL.projx(end - u), start)


def _assigned(cost: Tensor, allowed: Tensor) -> Tensor:
    """For each atom of the data the one of the source it gets, `(batch, n)`, at the least cost."""
    from scipy.optimize import linear_sum_assignment

    # Not infinite: padding of any content may have any cost.
    barred = torch.where(allowed, cost.cpu().double().nan_to_num(0.0), 1e6).numpy()
    return torch.stack([torch.from_numpy(linear_sum_assignment(one)[1]) for one in barred])
