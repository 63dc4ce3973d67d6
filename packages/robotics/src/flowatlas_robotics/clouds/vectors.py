"""Features of points that turn with the cloud: numbers and arrows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from flowatlas_robotics.clouds.neighbours import gather, nearest

__all__ = ["Arrows", "Neighbourhood", "VectorConvolution"]

#: Bumps that tell distances apart, and the distance of the last.
_BUMPS, _REACH = 8, 3.0


@dataclass(frozen=True, slots=True)
class Arrows:
    """What is known of points.

    Attributes:
        scalars: `(batch, n, width)`, the same however the cloud is turned.
        vectors: `(batch, n, 3, channels)`, which turn with it.
    """

    scalars: Tensor
    vectors: Tensor

    def __add__(self, other: Arrows) -> Arrows:
        return Arrows(self.scalars + other.scalars, self.vectors + other.vectors)


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    r"""Where the neighbours of points are, as all convolutions between two clouds see it.

    Attributes:
        index: of the neighbours, `(batch, n, k)`.
        apart: the way to them, $r_{ij} = d_{ij} / \sqrt{1 + |d_{ij}|^2 / 9}$ with $d_{ij} = y_j -
            x_i$, `(batch, n, k, 3)`: stray points that are far from all do not get a say for it.
        directions: $d_{ij} / (|d_{ij}| + 0.1)$: smooth where a point is its own neighbour.
        bumps: `(batch, n, k, 8)`, Gaussians of the distance.
    """

    index: Tensor
    apart: Tensor
    directions: Tensor
    bumps: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, count: int) -> Neighbourhood:
        """The `count` points of y nearest to each of x.

        Args:
            x: `(batch, n, 3)`.
            y: `(batch, m, 3)`.
            count: k.
        """
        index = nearest(x, y, count)
        apart = gather(y, index) - x.unsqueeze(2)
        # A norm has no gradient at zero, and a point may be its own neighbour.
        far = (apart.square().sum(-1, keepdim=True) + 1e-6).sqrt()
        centres = torch.linspace(0, _REACH, _BUMPS, dtype=x.dtype, device=x.device)
        near = apart / (1 + (far / _REACH).square()).sqrt()
        return cls(index, near, apart / (far + 0.1), (-(2 * (far - centres)).square()).exp())


class VectorConvolution(nn.Module):
    r"""What a point hears from its neighbours, in numbers h and arrows u that turn with the cloud.

    With g and w those of the neighbours, and $\hat r$ directions, an edge has

    $$e_{ij} = \operatorname{silu}(A h_i + B g_j + C [\rho(|d_{ij}|), u_i \cdot \hat r_{ij},
    w_j \cdot \hat r_{ij}]), \qquad m_i = \operatorname{mean}_j (\alpha_{ij} r_{ij} + \beta_{ij}
    w_j),$$

    with $(\alpha, \beta) = G e_{ij}$, and the point changes by

    $$\Delta h = W [\max_j e_{ij}, \operatorname{mean}_j e_{ij}] + P (p \cdot q), \qquad
    \Delta u = (S \operatorname{silu}(\Delta h))\, q, \qquad (p, q) = M [u_i, m_i].$$

    In these formulae u and w are shortened to $u / \sqrt{1 + \operatorname{mean}_c |u_c|^2}$: what
    is multiplied by itself in every layer would else grow without bound, in rare clouds. Arrows are
    only added, scaled and multiplied by each other, so that all of it holds for the turned and for
    the mirrored cloud as well.

    Args:
        width: of the numbers.
        channels: arrows of a point.

    Reference: such layers are those of Equivariant message passing for the prediction of tensorial
    properties and molecular spectra, Schuett et al., 2021, arXiv:2102.03150 (from memory); here
    edges see arrows too, and means stand beside maxima.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.own = nn.Linear(width, width)
        self.other = nn.Linear(width, width, bias=False)
        self.place = nn.Linear(_BUMPS + 2 * channels, width, bias=False)
        self.gates = nn.Linear(width, 2 * channels)
        self.out = nn.Linear(2 * width, width)
        self.mix = nn.Linear(2 * channels, 2 * channels, bias=False)
        self.product = nn.Linear(channels, width)
        self.scale = nn.Linear(width, channels)

    def forward(self, points: Arrows, others: Arrows, near: Neighbourhood) -> Arrows:
        """What is added to the features of the points.

        Args:
            points: of n points.
            others: of those who may be neighbours.
            near: who is.
        """
        h, u = points.scalars, _tamed(points.vectors)
        heard = gather(_tamed(others.vectors).flatten(2), near.index).unflatten(-1, u.shape[2:])
        along = near.directions.unsqueeze(-1)
        seen = [near.bumps, (u.unsqueeze(2) * along).sum(-2), (heard * along).sum(-2)]
        edges = self.place(torch.cat(seen, -1)) + gather(self.other(others.scalars), near.index)
        edges = silu(edges + self.own(h).unsqueeze(2))
        alpha, beta = self.gates(edges).unsqueeze(-2).chunk(2, -1)
        m = (alpha * near.apart.unsqueeze(-1) + beta * heard).mean(2)
        p, q = self.mix(torch.cat([u, m], -1)).chunk(2, -1)
        new_h = self.out(torch.cat([edges.amax(2), edges.mean(2)], -1)) + self.product(
            (p * q).sum(2)
        )
        return Arrows(new_h, q * self.scale(silu(new_h)).unsqueeze(2))


def _tamed(vectors: Tensor) -> Tensor:
    """Arrows `(batch, n, 3, channels)` shortened to a root mean square length below one."""
    return vectors / (1 + vectors.square().sum(2).mean(-1)).sqrt()[..., None, None]
