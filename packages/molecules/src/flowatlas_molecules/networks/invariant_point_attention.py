"""Attention between rigid frames that does not depend on where they are as a whole."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError

__all__ = ["InvariantPointAttention"]


class InvariantPointAttention(nn.Module):
    r"""Attention by scalars, by pair features and by distances of points carried by the frames.

    With queries $q_i, \vec q_i$, keys $k_j, \vec k_j$ and values $v_j, \vec v_j$ of each head, the
    arrows in the frames $T_i$ of their residues,

    $$a_{ij} = \mathrm{softmax}_j \Big( \sqrt{\tfrac13} \Big( \tfrac{q_i \cdot k_j}{\sqrt{c}}
      + b(z_{ij}) - \tfrac{\gamma}{2} \sqrt{\tfrac{2}{9P}} \sum_p |T_i \vec q_i^{\,p}
      - T_j \vec k_j^{\,p}|^2 \Big) \Big),$$

    and a residue gets $\sum_j a_{ij} v_j$, $\sum_j a_{ij} z_{ij}$, and the points
    $T_i^{-1} \sum_j a_{ij} T_j \vec v_j$ with their lengths. Nothing of this changes if all frames
    are turned or moved together; a mirror image changes it.

    Scalars and points go through one matrix product: a squared distance is a sum of products.

    Args:
        width: of the features of residues.
        pair_width: of the features of pairs.
        heads: of the attention; divides `width`.
        query_points: P, points of queries and keys per head.
        value_points: points of values per head.

    Raises:
        ConfigError: a number that is not positive, or heads that do not divide the width.

    Reference: Highly accurate protein structure prediction with AlphaFold, Jumper et al., Nature
    596 (2021), supplement, algorithm 22.
    """

    def __init__(
        self,
        width: int,
        pair_width: int,
        heads: int = 8,
        query_points: int = 4,
        value_points: int = 8,
    ) -> None:
        super().__init__()
        if min(width, pair_width, heads, query_points, value_points) < 1 or width % heads:
            raise ConfigError(
                f"width, heads: got width {width}, pair_width {pair_width}, heads {heads}, points "
                f"{query_points} and {value_points}; all positive, and heads must divide width."
            )
        self.heads, self.dim = heads, width // heads
        self.query_points, self.value_points = query_points, value_points
        self.scalars = nn.Linear(width, 3 * width, bias=False)
        self.points = nn.Linear(width, 3 * heads * (2 * query_points + value_points))
        self.bias = nn.Linear(pair_width, heads, bias=False)
        # softplus of this is one.
        self.gamma = nn.Parameter(torch.full((heads,), math.log(math.e - 1)))
        self.out = nn.Linear(heads * (self.dim + pair_width + 4 * value_points), width)

    def forward(
        self, s: Tensor, z: Tensor, rotation: Tensor, translation: Tensor, mask: Tensor
    ) -> Tensor:
        """New features of residues, `(batch, n, width)`.

        Args:
            s: features of residues `(batch, n, width)`.
            z: features of pairs `(batch, n, n, pair_width)`.
            rotation: `(batch, n, 3, 3)`.
            translation: `(batch, n, 3)`, in units of about ten angstrom.
            mask: `(batch, n)`, True where a residue exists.
        """
        q, k, v = self.scalars(s).unflatten(-1, (3, self.heads, self.dim)).unbind(-3)
        local = self.points(s).unflatten(-1, (self.heads, -1, 3))
        world = torch.einsum("bnij,bnhpj->bnhpi", rotation, local) + translation[:, :, None, None]
        p = self.query_points
        points_q, points_k, points_v = world.split([p, p, self.value_points], 3)

        closeness = nn.functional.softplus(self.gamma) * math.sqrt(2 / (9 * p))
        reach = closeness.sqrt().view(-1, 1)
        q_all = torch.cat([q / math.sqrt(self.dim), reach * points_q.flatten(3)], -1)
        k_all = torch.cat([k, reach * points_k.flatten(3)], -1)
        # |a - b|^2 = |a|^2 + |b|^2 - 2 a b; the first is common to a row of the softmax.
        norms = 0.5 * closeness * points_k.square().sum((-1, -2))
        logits = torch.einsum("bihc,bjhc->bhij", q_all, k_all) - norms.mT.unsqueeze(2)
        logits = math.sqrt(1 / 3) * (logits + self.bias(z).permute(0, 3, 1, 2))
        logits = logits.masked_fill(~mask[:, None, None], -torch.inf)
        a = torch.softmax(logits, -1)

        values = torch.cat([v, points_v.flatten(3)], -1)
        mixed = torch.einsum("bhij,bjhc->bihc", a, values)
        scalar, moved = mixed.split([self.dim, 3 * self.value_points], -1)
        moved = moved.unflatten(-1, (-1, 3)) - translation[:, :, None, None]
        moved = torch.einsum("bnji,bnhpj->bnhpi", rotation, moved)
        lengths = (moved.square().sum(-1) + 1e-6).sqrt()
        pair = torch.einsum("bhij,bijc->bihc", a, z)
        gathered = torch.cat([scalar, moved.flatten(3), lengths, pair], -1).flatten(2)
        result: Tensor = self.out(gathered)
        return result
