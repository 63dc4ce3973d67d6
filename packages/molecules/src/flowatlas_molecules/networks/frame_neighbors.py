"""Messages between frames that are near in space."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError

__all__ = ["FrameBumps", "FrameNeighbors"]

#: Centres of the bumps that stand for distances, and how wide they are, in units of ten angstrom:
#: fine where atoms touch, coarse where they do not.
_CENTRES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 4.0)
_WIDTHS = (*9 * (0.1,), 0.2, 0.3, 0.3, 0.4, 0.5, 0.6, 0.7)
#: Distances along the chain beyond this one look alike.
_FAR = 32


class FrameBumps(nn.Module):
    """What one frame sees of another: distance, direction and relative rotation, 28 numbers."""

    centres: Tensor
    widths: Tensor
    dim = len(_CENTRES) + 12

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centres", torch.tensor(_CENTRES), persistent=False)
        self.register_buffer("widths", torch.tensor(_WIDTHS), persistent=False)

    def forward(self, v: Tensor, relative: Tensor) -> Tensor:
        """Features `(..., 28)`.

        Args:
            v: from the one to the other, in the axes of the one, `(..., 3)`, in ten angstrom.
            relative: the rotation of the other in the axes of the one, `(..., 3, 3)`.
        """
        distance = _length(v)
        bumps = torch.exp(-(((distance - self.centres.to(v)) / self.widths.to(v)) ** 2))
        return torch.cat([bumps, v / (0.5 + distance), relative.flatten(-2)], -1)


class FrameNeighbors(nn.Module):
    r"""A message from each of the k nearest residues, and a pull or push along the line to it.

    With $v_{ij}$ the place of residue j in the axes of residue i, $f_{ij}$ the features of both
    frames (`FrameBumps`) and their distance along the chain, and weights that fall to zero at the
    (k + 1)-th nearest residue, at $r_i$,

    $$m_{ij} = \phi(s_i, s_j, f_{ij}), \quad w_{ij} = 1 - |v_{ij}|^2 / r_i^2, \quad
      \bar m_i = \frac{\sum_j w_{ij} m_{ij}}{\sum_j w_{ij}}, \quad
      u_i = \frac{1}{\sqrt k} \sum_j w_{ij}\, \psi(m_{ij}) \frac{v_{ij}}{0.5 + |v_{ij}|}.$$

    Attention mixes what it finds; here what touches is seen pair by pair, where frames are now, and
    the cost grows with the length, not with its square. The weights make all of it continuous when
    neighbours change places. At first nothing is pushed.

    Args:
        width: of the features of residues.
        neighbors: k.

    Raises:
        ConfigError: numbers that are not positive.

    Reference: messages over the nearest residues with the features of their frames are those of
    Robust deep learning-based protein sequence design using ProteinMPNN, Dauparas et al., Science
    378 (2022) (from memory); pushes along differences those of E(n) Equivariant Graph Neural
    Networks, Satorras et al., 2021, arXiv:2102.09844, equation 4.
    """

    def __init__(self, width: int, neighbors: int = 16) -> None:
        super().__init__()
        if width < 1 or neighbors < 1:
            raise ConfigError(
                f"width, neighbors: got {width} and {neighbors}; both must be positive."
            )
        self.neighbors = neighbors
        self.bumps = FrameBumps()
        self.norm = nn.LayerNorm(width)
        self.along = nn.Embedding(2 * _FAR + 1, width)
        self.pair = nn.Linear(FrameBumps.dim, width)
        self.receiver = nn.Linear(width, width, bias=False)
        self.sender = nn.Linear(width, width, bias=False)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.push = nn.Linear(width, 1)
        nn.init.zeros_(self.push.weight)
        nn.init.zeros_(self.push.bias)

    def forward(
        self, s: Tensor, rotation: Tensor, translation: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean messages `(batch, n, width)`, and pushes `(batch, n, 3)` in the axes of frames.

        Args:
            s: features of residues `(batch, n, width)`.
            rotation: `(batch, n, 3, 3)`.
            translation: `(batch, n, 3)`, in units of about ten angstrom.
            mask: `(batch, n)`, True where a residue exists.
        """
        batch, n = mask.shape
        near, here = self._nearest(translation, mask)
        rows = (near + n * torch.arange(batch, device=near.device)[:, None, None]).flatten()

        def of(x: Tensor) -> Tensor:
            """Values of the neighbours, `(batch, n, k, ...)`."""
            found: Tensor = x.flatten(0, 1)[rows].unflatten(0, near.shape)
            return found

        v = torch.einsum("bnji,bnkj->bnki", rotation, of(translation) - translation.unsqueeze(2))
        relative = rotation.mT.unsqueeze(2) @ of(rotation)
        apart = near - torch.arange(n, device=near.device)[:, None]
        seen = self.norm(s)
        pairs = self.pair(self.bumps(v, relative)) + self.along(apart.clamp(-_FAR, _FAR) + _FAR)
        pairs = pairs + self.receiver(seen).unsqueeze(2) + of(self.sender(seen))
        messages = self.message(pairs)

        distance = _length(v)
        square = torch.where(here, distance.square(), 0.0)
        # The furthest of the chosen has no weight: it is the one that another may replace.
        reach = square.amax(2, keepdim=True) if near.shape[2] else square.sum(2, keepdim=True)
        weight = torch.where(here, 1 - square / reach.clamp(min=1e-6), 0.0)
        mean = (weight * messages).sum(2) / weight.sum(2).clamp(min=1e-3)
        push = (weight * self.push(messages) * v / (0.5 + distance)).sum(2)
        return mean, push / self.neighbors**0.5

    def _nearest(self, translation: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Places of the k + 1 nearest others `(batch, n, k + 1)`, and which of them exist."""
        with torch.no_grad():
            square = (translation.unsqueeze(1) - translation.unsqueeze(2)).square().sum(-1)
            order = torch.arange(mask.shape[1], device=mask.device)
            absent = ~mask.unsqueeze(1) | (order[:, None] == order)
            count = min(self.neighbors + 1, mask.shape[1] - 1)
            found = square.masked_fill(absent, torch.inf).topk(count, dim=-1, largest=False)
        return found.indices, found.values.isfinite().unsqueeze(-1)


def _length(v: Tensor) -> Tensor:
    """Smooth where two frames are at one place."""
    return (v.square().sum(-1, keepdim=True) + 1e-6).sqrt()
