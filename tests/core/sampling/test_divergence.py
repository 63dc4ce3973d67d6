"""The divergence itself: exact against autograd, estimated without bias, on every manifold."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.manifolds import SO3, Euclidean, FlatTorus, Lorentz, Sphere
from flowatlas.manifolds.base import Manifold
from flowatlas.sampling import Exact, Hutchinson
from flowatlas.sources import WrappedNormal

D = torch.float64
LORENTZ = Lorentz()
#: Manifold, and a point on it.
SPACES: dict[str, tuple[Manifold, Tensor]] = {
    "flat": (Euclidean(), torch.tensor([[0.3, -1.0, 0.4]], dtype=D)),
    "sphere": (Sphere(), torch.tensor([[0.6, 0.0, -0.8]], dtype=D)),
    "torus": (FlatTorus(), torch.tensor([[1.0, 6.0]], dtype=D)),
    "rotations": (SO3(), torch.tensor([[[0.0, -1, 0], [0.6, 0, -0.8], [0.8, 0, 0.6]]], dtype=D)),
    "hyperbolic": (
        LORENTZ,
        WrappedNormal(LORENTZ, LORENTZ.origin(2, dtype=D), 0.3).sample(
            (1, 3), generator=torch.Generator().manual_seed(0), dtype=D
        ),
    ),
}
spaces = pytest.mark.parametrize(("manifold", "x"), SPACES.values(), ids=SPACES)


def velocity(manifold: Manifold, x: Tensor) -> Tensor:
    """A smooth tangent field without symmetry."""
    flat = x.flatten(x.ndim - manifold.point_ndim)
    size = math.prod(manifold.tangent_shape(manifold.point_shape_of(x)))
    mixed = torch.sin(flat @ torch.linspace(-1, 2, flat.shape[-1] * size, dtype=D).view(-1, size))
    return manifold.proju(x, mixed + 0.5 * torch.cos(mixed.flip(-1)))


def by_differences(manifold: Manifold, x: Tensor, h: float = 1e-4) -> Tensor:
    """Sum over an orthonormal frame of <E, (v(exp(hE)) - v(exp(-hE))) / 2h>, projected at x."""
    total = torch.zeros((), dtype=D)
    for u in manifold.tangent_basis(x)[0]:
        ahead, behind = (
            velocity(manifold, manifold.expmap(x, sign * h * u[None])) for sign in (1, -1)
        )
        rate = manifold.proju(x, (ahead - behind) / (2 * h))
        total = total + manifold.inner(x, u[None], rate)[0]
    return total


@spaces
def test_exact(manifold: Manifold, x: Tensor) -> None:
    value, found = Exact()(lambda y: velocity(manifold, y), x, {"x": manifold}, None)
    assert torch.allclose(value, velocity(manifold, x))
    assert (found[0] - by_differences(manifold, x)).abs() < 1e-6
    assert found.abs() > 0.02


@spaces
@pytest.mark.parametrize("rademacher", [True, False])
def test_hutchinson_is_unbiased(manifold: Manifold, x: Tensor, rademacher: bool) -> None:
    copies = 20_000
    many = x.expand(copies, *x.shape[1:])
    estimate = Hutchinson(rademacher=rademacher)
    probe = estimate.probe(many, {"x": manifold}, torch.Generator().manual_seed(0))
    _, found = estimate(lambda y: velocity(manifold, y), many, {"x": manifold}, probe)
    _, exact = Exact()(lambda y: velocity(manifold, y), x, {"x": manifold}, None)
    # Five standard errors, 6e-7; a probe left unprojected would be off by some tenths.
    error = found.std().item() / math.sqrt(copies)
    assert error < 0.04
    assert (found.mean() - exact).abs() < 5 * error + 1e-9


def test_components_act_jointly() -> None:
    """Cross terms drop out of the trace, and the shares of both components are in it."""
    x = {"a": torch.randn(5, 2, dtype=D), "b": torch.randn(5, 4, 3, dtype=D)}
    manifolds: dict[str, Manifold] = {"a": Euclidean(), "b": Euclidean()}

    def joint(state: Any) -> dict[str, Tensor]:
        a, b = state["a"], state["b"]
        return {"a": 2 * a + b.sum((1, 2))[:, None], "b": b.sin() + a.sum(1)[:, None, None]}

    _, found = Exact(chunk_size=3)(joint, x, manifolds, None)
    expected = 4 + x["b"].cos().sum((1, 2))
    assert torch.allclose(found, expected)
    probe = Hutchinson(200).probe(x, manifolds, torch.Generator().manual_seed(0))
    _, estimate = Hutchinson(200)(joint, x, manifolds, probe)
    # Its variance is 2 sum of squared off-diagonal symmetric parts: at most 2 * 24 for cross terms.
    assert (estimate - expected).abs().max() < 6 * math.sqrt(2 * 24 / 200)
