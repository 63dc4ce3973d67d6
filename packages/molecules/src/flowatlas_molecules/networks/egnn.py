"""The equivariant graph network that moves points along their differences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flowatlas_molecules.networks.point_network import PointGraph, PointNetwork

__all__ = ["EGNN"]


@dataclass(eq=False, repr=False)
class EGNN(PointNetwork):
    r"""Points that pull and push each other along the lines between them: E(3)-equivariant.

    With features $h_i$, the lengths $d_{ij}$ now and $d^0_{ij}$ at first, and e their bumps,

    $$m_{ij} = \phi_e(h_i, h_j, e(d_{ij}), e(d^0_{ij})), \quad
      x_i \leftarrow x_i + \frac{1}{|N_i|} \sum_j \frac{x_j - x_i}{1 + d_{ij}} \phi_x(m_{ij}), \quad
      h_i \leftarrow h_i + \phi_h \Big( h_i, \frac{1}{|N_i|} \sum_j \phi_g(m_{ij})\, m_{ij} \Big).$$

    Predictions turn, and are mirrored, with the state, do not depend on where it is, and change
    places with the points. So it cannot tell a molecule from its mirror image: where that matters,
    take `TensorFieldNetwork(mirror=False)`. Arguments, states, conditions and padding are those of
    `PointNetwork`; `width` is that of the messages, too.

    Raises:
        ConfigError: a number out of range.

    Reference: E(n) Equivariant Graph Neural Networks, Satorras et al., 2021, arXiv:2102.09844,
    equations 3 to 6 and, for $\phi_g$, section 3.3. Here distances enter as bumps, not squared;
    means stand for sums; differences are divided by 1 + d, as in Equivariant Diffusion for Molecule
    Generation in 3D, Hoogeboom et al., 2022, arXiv:2203.17003.

    Example:
        ```python
        from flowatlas_molecules.networks import EGNN

        network = EGNN(width=32, depth=2, kinds=10)
        kind = torch.tensor([[6, 6, 8, 1]])
        prediction = network(torch.randn(1, 4, 3), torch.rand(1), {"kind": kind})
        ```
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.layers = nn.ModuleList(_Layer(self.width, self.bumps.dim) for _ in range(self.depth))

    def flow(self, s: Tensor, graph: PointGraph) -> tuple[Tensor, Tensor]:
        x = graph.centred(graph.position)
        begin, first = x, self.bumps(graph.along(x)[1])
        for layer in self.layers:
            arrow, distance = graph.along(x)
            edge = torch.cat([self.bumps(distance), first], -1)
            pull, s = layer(s, edge, graph)
            x = x + graph.gather(arrow / (1 + distance) * pull)
        return x - begin, s


class _Layer(nn.Module):
    """Messages, how much each pulls, and new features."""

    def __init__(self, width: int, radial: int) -> None:
        super().__init__()
        self.message = nn.Sequential(
            nn.Linear(2 * width + 2 * radial, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.gate = nn.Linear(width, 1)
        self.pull = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        last = self.pull[-1]
        assert isinstance(last, nn.Linear)
        # At first nothing moves.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.update = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, s: Tensor, edge: Tensor, graph: PointGraph) -> tuple[Tensor, Tensor]:
        source, target = graph.edge_index
        seen = self.norm(s)
        m = self.message(torch.cat([seen[target], seen[source], edge], -1))
        gathered = graph.gather(torch.sigmoid(self.gate(m)) * m)
        return self.pull(m), s + self.update(torch.cat([seen, gathered], -1))
