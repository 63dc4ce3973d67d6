"""The probability simplex with the Fisher-Rao metric."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators, randn
from flowatlas.errors import CapabilityError, ConfigError, GeometryError, ShapeError
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.capability import Capability
from flowatlas.manifolds.sphere import Sphere

__all__ = ["Simplex", "root"]

_SPHERE = Sphere()


class Simplex(Manifold):
    r"""Probabilities of K categories, with the metric $g_x(a, b) = \sum_i a_i b_i / x_i$.

    The map $x \mapsto 2 \sqrt x$ is an isometry onto the part of the sphere of radius two where all
    coordinates are positive, so that

    $$d(x, y) = 2 \arccos \sum_i \sqrt{x_i y_i}$$

    (computed by the sphere's chords, which keep the digits of close points), at most $\pi$: the
    distance of two vertices. Points are probabilities; **tangents are those of the sphere**,
    $w = \dot x / \sqrt x$, orthogonal to $\sqrt x$. Their inner product is the plain one, and they
    are finite at the boundary, vertices included, where $\dot x$ has directions that the metric
    makes infinitely long. `pushforward` turns them into $\dot x = \sqrt x\, w$, which adds up to
    zero, and `tangent` goes back.

    Any two points are joined by one shortest geodesic, and it stays inside: there is no cut locus.
    A geodesic that is followed too far meets the boundary. There `expmap` and `retract` reflect it:
    $\sqrt x$ changes sign, x does not. `logmap` inverts `expmap` up to that first reflection. The
    boundary is also where derivatives with respect to *points* are infinite, for $\sqrt x$ is;
    entries of zero get the derivative zero.

    The volume is $\pi^{K/2} / \Gamma(K/2)$, and the uniform law Dirichlet(1/2). Densities here are
    with respect to that volume; `lebesgue_log_prob` converts them to $dx_1 \cdots dx_{K-1}$:

    $$\log p_x = \log p - \tfrac12 \sum_i \log x_i = \log p_s - (K - 1) \log 2
      - \tfrac12 \sum_i \log x_i,$$

    where $p_s$ is the density of $s = \sqrt x$ on the unit sphere.

    Args:
        categories: K, for shapes to be held to; any number of at least two if None.

    Raises:
        ConfigError: fewer than two categories.

    Reference: Methods of Information Geometry, Amari and Nagaoka, 2000. As the space of
    flows: Fisher Flow Matching for Generative Modeling over Discrete Data, Davis et al., 2024,
    arXiv:2405.14664; Categorical Flow Matching on Statistical Manifolds, Cheng et al., 2024,
    arXiv:2405.16441. Some take a quarter of this metric, that of the unit sphere.

    Points and tangents are `(..., K)`; distances are twice the angles of the sphere, in radians.

    Example:
        ```python
        simplex = Simplex(20)
        x_1 = simplex.one_hot(torch.tensor([[3, 0, 19]]))  # (1, 3, 20)
        path = GeodesicPath(simplex)
        ```
    """

    codim = 1
    capabilities = frozenset({Capability.UNIFORM, Capability.TANGENT_BASIS})

    def __init__(self, categories: int | None = None) -> None:
        if categories is not None and categories < 2:
            raise ConfigError(
                f"categories: got {categories}; a simplex has at least two, and None allows any."
            )
        self.categories = categories

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        wanted = "K, K >= 2" if self.categories is None else f"{self.categories}"
        if not x.is_floating_point():
            raise ShapeError(
                f"{name}: got dtype {x.dtype}; points of {self!r} are probabilities (..., "
                f"{wanted}). Turn token ids into vertices with Simplex(K).one_hot({name})."
            )
        size = x.shape[-1] if x.ndim else 0
        if size < 2 or (self.categories is not None and size != self.categories):
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; points of {self!r} are probabilities (..., "
                f"{wanted}), the categories on the last axis."
            )

    def check_point(self, x: Tensor, name: str = "x") -> None:
        if not x.is_floating_point():
            raise GeometryError(
                f"{name}: got dtype {x.dtype}; points of {self!r} are probabilities. Turn token "
                f"ids into vertices with Simplex(K).one_hot({name})."
            )
        self.check_shape(x, name)
        if x.numel() and bool(torch.isfinite(x).all()):
            low = x.min().item()
            total = x.sum(-1)
            worst = total.flatten()[(total - 1).abs().argmax()].item()
            allowed = self.tolerance.get(x.dtype, 1e-2)
            if low < -allowed or abs(worst - 1) > allowed:
                raise GeometryError(
                    f"{name}: got probabilities that add up to {worst:.6g} and are at least "
                    f"{low:.3g}; they must be zero or more and add up to one within "
                    f"{allowed:.0e}. Use softmax for scores, {name} / {name}.sum(-1, "
                    "keepdim=True) for counts."
                )
        super().check_point(x, name)

    def one_hot(self, tokens: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
        """The vertices that token ids stand for.

        Args:
            tokens: `(...)`, integers in [0, K).
            dtype: of the result; torch's default if None.

        Returns:
            `(..., K)`.

        Raises:
            CapabilityError: a simplex without a number of categories.
            GeometryError: tokens that are not integers, or outside the vocabulary.
        """
        if self.categories is None:
            raise CapabilityError(
                "categories: Simplex() does not know how many there are; use Simplex(K).one_hot."
            )
        if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
            raise GeometryError(
                f"tokens: got dtype {tokens.dtype}; token ids are integers. Use tokens.long() if "
                "they are stored otherwise; probabilities are points already."
            )
        if tokens.numel():
            low, high = (bound.item() for bound in torch.aminmax(tokens))
            if low < 0 or high >= self.categories:
                raise GeometryError(
                    f"tokens: got ids from {low} to {high}; the vocabulary is 0 to "
                    f"{self.categories - 1}. Map padding and unknown tokens into it, and hide "
                    "padding with mask=."
                )
        dtype = torch.get_default_dtype() if dtype is None else dtype
        return torch.nn.functional.one_hot(tokens.long(), self.categories).to(dtype)

    def projx(self, x: Tensor) -> Tensor:
        x = x.clamp(min=0.0)
        return x / x.sum(-1, keepdim=True)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return _SPHERE.proju(root(x), u)

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(-1)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return _SPHERE.expmap(root(x), u / 2).square()

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return 2 * _SPHERE.logmap(root(x), root(y))

    def logmap_to_vertices(self, x: Tensor, weights: Tensor) -> Tensor:
        r"""$\sum_i p_i \log_x(e_i)$: where a flow to the vertices goes if p says which.

        With $\theta_i = \arccos \sqrt{x_i}$, half the distance to the vertex i, and
        $c_i = \theta_i / \sin \theta_i$, it is $2 (p \circ c - s \sum_i p_i c_i s_i)$ at
        $s = \sqrt x$. Over 1 - t it is the velocity of `GeodesicPath` at t, if p are the
        probabilities of the categories given $x_t$; it is linear in them.

        Args:
            x: `(..., K)`.
            weights: `(..., K)`, p.

        Returns:
            A tangent at `x`.
        """
        s, sine = root(x), root(1 - x)
        return 2 * _SPHERE.proju(s, weights * torch.atan2(sine, s) / sine)

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        return 2 * _SPHERE.dist(root(x), root(y))

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        return 4 * _SPHERE.pairwise_squared_dist(root(x), root(y))

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        point, velocity = _SPHERE.geodesic(root(x_0), root(x_1), s)
        return point.square(), 2 * velocity

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        return _SPHERE.retract(root(x), u / 2).square()

    def pushforward(self, x: Tensor, u: Tensor) -> Tensor:
        return root(x) * u

    def tangent(self, x: Tensor, dx: Tensor) -> Tensor:
        r"""The tangent $w = \dot x / \sqrt x$ of a change of the probabilities.

        Args:
            x: `(..., K)`.
            dx: `(..., K)`, adding up to zero, and zero where `x` is.
        """
        positive = x > 0
        return torch.where(positive, dx / torch.where(positive, x, 1.0).sqrt(), 0.0)

    def random_uniform(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        x = randn(shape, generator=generator, dtype=dtype, device=device).square()
        return x / x.sum(-1, keepdim=True)

    def uniform_log_prob(self, x: Tensor) -> Tensor:
        half = x.shape[-1] / 2
        return x.new_full(x.shape[:-1], math.lgamma(half) - half * math.log(math.pi))

    def tangent_basis(self, x: Tensor) -> Tensor:
        return _SPHERE.tangent_basis(root(x))

    def lebesgue_log_prob(self, x: Tensor, log_prob: Tensor) -> Tensor:
        r"""Log density with respect to $dx_1 \cdots dx_{K-1}$, the textbooks'.

        Args:
            x: `(..., K)`, positive.
            log_prob: `(...)`, with respect to the volume of this metric.
        """
        return log_prob - 0.5 * x.log().sum(-1)

    def __repr__(self) -> str:
        return f"Simplex({'' if self.categories is None else self.categories})"


def root(x: Tensor) -> Tensor:
    """sqrt(x) with a derivative of zero where x is zero, or less by rounding.

    The smallest normal number stands for zero there; its root is far below rounding.
    """
    return x.clamp(min=torch.finfo(x.dtype).tiny).sqrt_()
