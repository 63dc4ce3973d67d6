"""A law over the plane, the sphere and tokens at once, known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas._random import Generators
from flowatlas.exact import (
    ExactMixtureFlow,
    ExactProductFlow,
    ExactSphereFlow,
    ExactTokenChain,
    GaussianMixture,
    VonMisesFisherMixture,
)
from flowatlas.exact._mixture import choose
from flowatlas.manifolds import Sphere
from flowatlas.paths import AffinePath, GeodesicPath, MixturePath, ProductPath

__all__ = ["MixedLaw", "mixed_toy"]


@dataclass(frozen=True, eq=False)
class MixedLaw:
    r"""$\sum_k w_k\, N(\mu_k, s_k^2)\, \mathrm{vMF}(m_k, c_k) \prod_i q_k^i$, a mixture.

    Given the class, a point of the plane ("place"), one of the sphere ("direction") and tokens
    ("token") are independent; that they share their class is all that binds them.

    Attributes:
        weights: `(classes,)`; they sum to one.
        means: `(classes, 2)`, of the places.
        stds: `(classes, 2)`.
        poles: `(classes, 3)`, unit vectors.
        concentrations: `(classes,)`.
        tokens: `(classes, positions, vocab)`, probabilities.
    """

    weights: Tensor
    means: Tensor
    stds: Tensor
    poles: Tensor
    concentrations: Tensor
    tokens: Tensor

    @property
    def classes(self) -> int:
        return self.weights.numel()

    @property
    def positions(self) -> int:
        return self.tokens.shape[1]

    @property
    def vocab(self) -> int:
        return self.tokens.shape[2]

    def shape(self, n: int) -> dict[str, tuple[int, ...]]:
        """Of `n` states."""
        return {"place": (n, 2), "direction": (n, 3), "token": (n, self.positions)}

    def sample(self, n: int, generator: Generators = None) -> tuple[dict[str, Tensor], Tensor]:
        """Draws in float32, and the class of each, `(n,)`."""
        k = choose(self.weights, n, generator)
        row = torch.arange(n)
        places = torch.stack([plane.sample(n, generator) for plane in self._planes])
        directions = torch.stack([sphere.sample(n, generator) for sphere in self._spheres])
        tokens = [
            choose(law, n, generator)[row]
            for each in self.tokens
            for law in each  # one at a time, so that every draw has its own numbers
        ]
        drawn = torch.stack(tokens).view(self.classes, self.positions, n)
        x = {
            "place": places[k, row].float(),
            "direction": directions[k, row].float(),
            "token": drawn[k, :, row],
        }
        return x, k

    def features(self, x: dict[str, Tensor]) -> Tensor:
        """What the components say alone and two by two, `(n, count)` in float64.

        Coordinates of the place and the direction and indicators of the tokens, then all products
        of two of these that belong to different components.
        """
        n = x["token"].shape[0]
        shown = torch.nn.functional.one_hot(x["token"], self.vocab).double().view(n, -1)
        parts = [x["place"].double(), x["direction"].double(), shown]
        return torch.cat(parts + _products(parts), -1)

    def mean_features(self) -> Tensor:
        r"""The expectation of `features`, `(count,)`.

        Given the class, that of a product is the product of those of its factors: the means of
        the places, of the tokens, and $(\coth c_k - 1 / c_k)\, m_k$ of the directions.
        """
        c = self.concentrations.unsqueeze(-1)
        parts = [self.means, (1 / torch.tanh(c) - 1 / c) * self.poles, self.tokens.flatten(1)]
        return self.weights @ torch.cat(parts + _products(parts), -1)

    @property
    def alone(self) -> int:
        """How many of the features are of one component; they come first."""
        return 2 + 3 + self.positions * self.vocab

    def path(self, source: str = "mask", *, token_weight: float = 1.0) -> ProductPath:
        """Straight lines in the plane, geodesics from the uniform law, and tokens from a source."""
        return ProductPath(
            place=AffinePath(),
            direction=GeodesicPath(Sphere()),
            token=MixturePath(self.vocab, source, weight=token_weight),
        )

    def flow(self, path: ProductPath) -> ExactProductFlow:
        """The exact field of a `path` of this law."""
        token = path.components["token"]
        assert isinstance(token, MixturePath)
        return ExactProductFlow(
            path,
            self.weights,
            place=[ExactMixtureFlow(plane) for plane in self._planes],
            direction=[ExactSphereFlow(sphere) for sphere in self._spheres],
            token=[ExactTokenChain(token, _outer(law)) for law in self.tokens],
        )

    @property
    def _planes(self) -> list[GaussianMixture]:
        one = torch.ones(1)
        return [
            GaussianMixture(one, m[None], stds=s[None])
            for m, s in zip(self.means, self.stds, strict=True)
        ]

    @property
    def _spheres(self) -> list[VonMisesFisherMixture]:
        one = torch.ones(1)
        return [
            VonMisesFisherMixture(one, m[None], c[None])
            for m, c in zip(self.poles, self.concentrations, strict=True)
        ]


def mixed_toy() -> MixedLaw:
    """The law of the benchmark `mixed/toy`: four classes, three tokens of four kinds."""
    angle = torch.arange(4, dtype=torch.float64) * (math.pi / 2) + 0.3
    means = torch.stack([angle.cos(), angle.sin()], -1)
    stds = torch.tensor([[0.25, 0.5], [0.5, 0.25], [0.3, 0.3], [0.4, 0.4]], dtype=torch.float64)
    corners = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    # A token is its class's favourite of that position with probability 0.7.
    favourite = torch.tensor([[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]])
    tokens = 0.1 + 0.6 * torch.nn.functional.one_hot(favourite, 4).double()
    return MixedLaw(
        weights=torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64),
        means=means,
        stds=stds,
        poles=corners / math.sqrt(3),
        concentrations=torch.tensor([4.0, 6.0, 8.0, 5.0], dtype=torch.float64),
        tokens=tokens,
    )


def _products(parts: list[Tensor]) -> list[Tensor]:
    """Products of all numbers of different parts, `(n, count)` for each two parts."""
    return [
        (a.unsqueeze(-1) * b.unsqueeze(-2)).flatten(1)
        for i, a in enumerate(parts)
        for b in parts[i + 1 :]
    ]


def _outer(law: Tensor) -> Tensor:
    """The joint law of independent tokens, an axis for each."""
    joint = law[0]
    for one in law[1:]:
        joint = joint.unsqueeze(-1) * one
    return joint
