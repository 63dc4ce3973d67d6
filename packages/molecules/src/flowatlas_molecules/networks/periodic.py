"""A message-passing network over the atoms of a unit cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.networks import FourierTimeEmbedding, Pretrained
from flowatlas_molecules.manifolds.lattice import Lattice

__all__ = ["PeriodicNetwork"]

_LATTICE = Lattice()
_TIME = 64
#: Atomic numbers; 0 is padding.
_ELEMENTS = 119
#: Of the first guess of every cell, angstrom.
_LENGTH = 4.5


class PeriodicNetwork(Pretrained):
    r"""Velocities of fractional coordinates, and the cell at t = 1, from a crystal at t.

    States are mappings of `fractional` `(batch, n, 3)` and `lattice` `(batch, 6)`; the condition
    has `elements` `(batch, n)`, atomic numbers. The prediction has the names of the state:
    velocities of mean zero over the atoms, and lattices of the kind `"target"`.

    $$m_{ij} = \phi_m\big(h_i, h_j, \sin 2\pi k (f_j - f_i), \cos 2\pi k (f_j - f_i)\big), \quad
      h_i \leftarrow h_i + \phi_h\big(h_i, \tfrac1n \textstyle\sum_j m_{ij}\big)$$

    over all pairs within the cell and k = 1, 2, ..., K along each axis. An atom moves by what its
    features say, and by sines of its distances from the others, of learned strengths. Atoms begin
    with their element, the time, and the logarithms of the lengths and the cosines of the angles of
    the cell, which know nothing of how it is turned. So the prediction is the same for coordinates
    that are moved by integers or as a whole, follows permutations of the atoms, and does not see
    padding, whatever it holds.

    Args:
        width: of the features of atoms.
        depth: how many rounds of messages.
        frequencies: K.

    Raises:
        ConfigError: numbers that are not positive.
        ShapeError: a state or condition of other names or shapes.

    Reference: Crystal Structure Prediction by Joint Equivariant Diffusion, Jiao et al., 2023,
    arXiv:2309.04475, for the layout (CSPNet; from memory). There messages see the Gram matrix of
    the lattice, here atoms see lengths and angles; there the mean over atoms of the features makes
    a matrix that multiplies the lattice, here it makes the cell itself. The sines that move atoms
    are ours.

    Example:
        ```python
        from flowatlas_molecules import ideal_perovskites, pad_crystals
        from flowatlas_molecules.networks import PeriodicNetwork

        batch = pad_crystals(ideal_perovskites()[:4])
        network = PeriodicNetwork(width=32, depth=2)
        prediction = network(batch.state, torch.rand(4), {"elements": batch.elements})
        ```
    """

    def __init__(self, width: int = 128, depth: int = 4, frequencies: int = 16) -> None:
        super().__init__()
        for name, value in (("width", width), ("depth", depth), ("frequencies", frequencies)):
            if value < 1:
                raise ConfigError(f"{name}: got {value}; it must be at least 1.")
        self.frequencies = frequencies
        self.element = nn.Embedding(_ELEMENTS, width)
        self.time = FourierTimeEmbedding(_TIME)
        self.whole = nn.Sequential(nn.Linear(_TIME + 6, width), nn.SiLU(), nn.Linear(width, width))
        self.rounds = nn.ModuleList(_Round(width, 6 * frequencies) for _ in range(depth))
        self.after = nn.LayerNorm(width)
        self.move = nn.Linear(width, 3)
        self.pull = _Pull(width, 6 * frequencies)
        self.cell = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 6))
        last = self.cell[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.bias.copy_(torch.tensor(3 * [math.log(_LENGTH)] + 3 * [0.0]))

    def forward(
        self,
        x: Mapping[str, Tensor],
        t: Tensor,
        condition: Mapping[str, Tensor] | None = None,
        *,
        mask: Tensor | Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The predicted velocity and target.

        Args:
            x: the state at t.
            t: `(batch,)`.
            condition: with `elements`.
            mask: `(batch, n)`, True where an atom exists; all if None.
        """
        elements = _check(x, condition)
        fractional, lattice = x["fractional"], x["lattice"]
        here = mask["fractional"] if isinstance(mask, Mapping) else mask
        if here is None:
            here = torch.ones_like(elements, dtype=torch.bool)
        # Padding may hold anything, NaN too.
        fractional = torch.where(here.unsqueeze(-1), fractional, 0.0)
        elements = torch.where(here, elements, 0)
        share = here.to(fractional.dtype)
        share = share / share.sum(1, keepdim=True).clamp(min=1)

        cell = torch.cat([lattice[:, :3].log(), lattice[:, 3:].cos()], -1)
        whole = self.whole(torch.cat([self.time(t.to(cell.dtype)), cell], -1))
        h = self.element(elements) + whole.unsqueeze(1)
        pairs = self._waves(fractional)
        for one in self.rounds:
            h = one(h, pairs, share)
        h = self.after(h)
        velocity = self.move(h) + self.pull(h, pairs, share)
        velocity = velocity - (velocity * share.unsqueeze(-1)).sum(1, keepdim=True)
        chart = self.cell((h * share.unsqueeze(-1)).sum(1))
        return {
            "fractional": torch.where(here.unsqueeze(-1), velocity, 0.0),
            "lattice": _LATTICE.from_chart(chart),
        }

    def _waves(self, fractional: Tensor) -> Tensor:
        """Sines and cosines of the differences of every two atoms, `(batch, n, n, 6 K)`."""
        apart = fractional.unsqueeze(1) - fractional.unsqueeze(2)
        k = torch.arange(1, self.frequencies + 1, dtype=apart.dtype, device=apart.device)
        # The whole periods first: at high k they would cost digits.
        angle = (2 * math.pi * (apart - apart.round()).unsqueeze(-1) * k).flatten(-2)
        return torch.cat([angle.sin(), angle.cos()], -1)


class _Round(nn.Module):
    """Messages from every atom to every atom, and a perceptron of each."""

    def __init__(self, width: int, pair_width: int) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.pair = nn.Linear(pair_width, width, bias=False)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.update = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h: Tensor, pairs: Tensor, share: Tensor) -> Tensor:
        s = self.before(h)
        both = self.receiver(s).unsqueeze(2) + self.sender(s).unsqueeze(1)
        messages = self.message(both + self.pair(pairs))
        mean = (messages * share[:, None, :, None]).sum(2)
        changed: Tensor = h + self.update(torch.cat([s, mean], -1))
        return changed


class _Pull(nn.Module):
    """What atoms do to each other along each axis: sines of their distance, by learned strengths.

    A sine is linear in the displacement of an atom from its place half a cell, or a whole one, away
    from another, so that small displacements need no fine resolution.
    """

    def __init__(self, width: int, pair_width: int) -> None:
        super().__init__()
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.pair = nn.Linear(pair_width, width, bias=False)
        self.strength = nn.Linear(width, pair_width // 2)

    def forward(self, h: Tensor, pairs: Tensor, share: Tensor) -> Tensor:
        both = self.receiver(h).unsqueeze(2) + self.sender(h).unsqueeze(1) + self.pair(pairs)
        sines = pairs[..., : pairs.shape[-1] // 2] * share[:, None, :, None]
        pulls = (self.strength(nn.functional.silu(both)) * sines).sum(2)
        velocity: Tensor = pulls.unflatten(-1, (3, -1)).sum(-1)
        return velocity


def _check(x: Any, condition: Any) -> Tensor:
    """The elements, once state and condition fit each other."""
    if not isinstance(x, Mapping) or set(x) != {"fractional", "lattice"}:
        got = sorted(x) if isinstance(x, Mapping) else type(x).__name__
        raise ShapeError(
            f"x: got {got}; this network takes a mapping of fractional (batch, n, 3) and lattice "
            "(batch, 6), as pad_crystals makes it."
        )
    if not isinstance(condition, Mapping) or "elements" not in condition:
        got = sorted(condition) if isinstance(condition, Mapping) else type(condition).__name__
        raise ShapeError(
            f"condition: got {got}; this network needs the atomic numbers: "
            "condition={'elements': batch.elements}."
        )
    elements: Tensor = condition["elements"]
    batch, n = elements.shape if elements.ndim == 2 else (-1, -1)
    wanted = {"fractional": (batch, n, 3), "lattice": (batch, 6)}
    for name, shape in wanted.items():
        if tuple(x[name].shape) != shape:
            raise ShapeError(
                f"x[{name!r}]: got shape {tuple(x[name].shape)} beside elements of shape "
                f"{tuple(elements.shape)}; need (batch, n, 3), (batch, 6) and (batch, n)."
            )
    return elements
