"""A network whose features are scalars, vectors and tensors, mixed by tensor products."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError
from flowatlas_molecules.networks.point_network import PointGraph, PointNetwork

__all__ = ["TensorFieldNetwork"]


@dataclass(eq=False, repr=False)
class TensorFieldNetwork(PointNetwork):
    r"""Messages are tensor products of features with spherical harmonics of the directions.

    Features $h_i$ are irreducible representations up to `degree`. With the invariant part $s_i$ of
    them, bumps $e(d_{ij})$ of lengths and spherical harmonics Y of directions,

    $$h_i \leftarrow h_i + \mathrm{gate} \Big( \frac{1}{|N_i|} \sum_j
      W h_j \otimes_{\phi(e(d_{ij}), s_i, s_j)} Y(\hat r_{ij}) \Big),$$

    where $\phi$, a perceptron, weighs the paths of the product, and scalars gate what is no
    scalar. The displacement is a linear map of the last features. Predictions turn with the state,
    do not depend on where it is and change places with the points.

    Reflections: with `mirror` features have a parity, and predictions are mirrored with the state
    (O(3)). Without it they have none (SO(3)): vector products are allowed, and a molecule is told
    from its mirror image. States, conditions and padding are those of `PointNetwork`.

    Args:
        width: scalars of a point. There are half as many vectors, a quarter of tensors of degree
            two, and so on.
        degree: of the features and harmonics.
        mirror: whether reflections commute with the network, too.
        The others are those of `PointNetwork`.

    Raises:
        ConfigError: a number out of range.
        ImportError: e3nn is missing.

    Reference: Tensor field networks, Thomas et al., 2018, arXiv:1802.08219; gates and the layout of
    layers as in E(3)-equivariant graph neural networks for data-efficient and accurate interatomic
    potentials, Batzner et al., 2021, arXiv:2101.03164, from memory. There the weights of the paths
    know the distance alone. The products are e3nn's.

    Example:
        ```python
        from flowatlas_molecules.networks import TensorFieldNetwork

        network = TensorFieldNetwork(width=16, depth=1, kinds=10, mirror=False)
        kind = torch.tensor([[6, 6, 8, 1]])
        prediction = network(torch.randn(1, 4, 3), torch.rand(1), {"kind": kind})
        ```
    """

    # Half as wide and as deep as others: a tensor product costs more than a sum.
    width: int = 32
    depth: int = 2
    _: KW_ONLY
    degree: int = 2
    mirror: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        width, degree = self.width, self.degree
        if degree < 1 or width < 2**degree:
            raise ConfigError(
                f"width, degree: got {width} and {degree}; degree one or more, and a width of 2 to "
                "the power of the degree."
            )
        from e3nn import o3

        parity = -1 if self.mirror else 1
        harmonics = o3.Irreps.spherical_harmonics(degree, p=parity)
        hidden = o3.Irreps([(width >> k, (k, parity**k)) for k in range(degree + 1)])
        vector = o3.Irreps([(1, (1, parity))])
        self.harmonics = o3.SphericalHarmonics(
            harmonics, normalize=False, normalization="component", irreps_in=vector
        )
        self.empty = hidden.dim - width
        self.layers = nn.ModuleList(
            _Layer(hidden, harmonics, width, self.bumps.dim) for _ in range(self.depth)
        )
        self.displacement = o3.Linear(hidden, vector)

    def flow(self, s: Tensor, graph: PointGraph) -> tuple[Tensor, Tensor]:
        arrow, distance = graph.along(graph.position)
        # Zero where two points are one: there is no direction.
        harmonics = self.harmonics(arrow / distance)
        bumps = self.bumps(distance)
        h = torch.cat([s, s.new_zeros(len(s), self.empty)], -1)
        for layer in self.layers:
            h = layer(h, harmonics, bumps, graph)
        return self.displacement(h), h[:, : s.shape[1]]


class _Layer(nn.Module):
    """One round of messages."""

    def __init__(self, hidden: Any, harmonics: Any, width: int, radial: int) -> None:
        super().__init__()
        from e3nn import nn as equivariant
        from e3nn import o3

        self.width = width
        gated = hidden[1:]
        gates = o3.Irreps([(gated.num_irreps, (0, 1))])
        self.gate = equivariant.Gate(
            hidden[:1], [torch.nn.functional.silu], gates, [torch.sigmoid], gated
        )
        self.before = o3.Linear(hidden, hidden)
        paths = [
            (i, j, (mul, out))
            for i, (mul, one) in enumerate(hidden)
            for j, (_, other) in enumerate(harmonics)
            for out in one * other
            if any(out == kept for _, kept in hidden)
        ]
        order = sorted(range(len(paths)), key=lambda k: paths[k][2][1])
        middle = o3.Irreps([paths[k][2] for k in order])
        instructions = [(*paths[k][:2], place, "uvu", True) for place, k in enumerate(order)]
        self.product = o3.TensorProduct(
            hidden,
            harmonics,
            middle,
            instructions,
            internal_weights=False,
            shared_weights=False,
        )
        self.weights = nn.Sequential(
            nn.Linear(radial + 2 * width, width),
            nn.SiLU(),
            nn.Linear(width, self.product.weight_numel),
        )
        self.after = o3.Linear(middle.simplify(), self.gate.irreps_in)
        self.norm = nn.LayerNorm(width)

    def forward(self, h: Tensor, harmonics: Tensor, bumps: Tensor, graph: PointGraph) -> Tensor:
        source, target = graph.edge_index
        s = self.norm(h[:, : self.width])
        seen = self.before(torch.cat([s, h[:, self.width :]], -1))
        weights = self.weights(torch.cat([bumps, s[target], s[source]], -1))
        messages = self.product(seen[source], harmonics, weights)
        change: Tensor = self.gate(self.after(graph.gather(messages)))
        return h + change
