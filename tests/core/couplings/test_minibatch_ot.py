from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from flowatlas.couplings import MinibatchOT, _assignment
from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.manifolds import (
    SO3,
    Euclidean,
    FlatTorus,
    Lorentz,
    Manifold,
    ProductManifold,
    Sphere,
)
from flowatlas.paths import AffinePath, DiscretePath, GeodesicPath, PathSample, ProductPath
from flowatlas.sources import Gaussian, Uniform, WrappedNormal

Draw = Callable[[int, torch.Generator], Tensor]
DOUBLE = torch.float64


def uniform(manifold: Manifold, *event: int) -> Draw:
    return lambda n, g: Uniform(manifold).sample((n, *event), generator=g, dtype=DOUBLE)


def normal(*event: int) -> Draw:
    return lambda n, g: Gaussian().sample((n, *event), generator=g, dtype=DOUBLE)


def hyperbolic(n: int, g: torch.Generator) -> Tensor:
    law = WrappedNormal(Lorentz(), Lorentz().origin(2, dtype=DOUBLE), 1.0)
    return law.sample((n, 3), generator=g, dtype=DOUBLE)


SPACES: list[tuple[Manifold, Draw]] = [
    (Euclidean(), normal(2)),
    (Euclidean(), normal(40)),
    (Euclidean(3), normal(3, 4, 4)),
    (Sphere(), uniform(Sphere(), 3)),
    (Sphere(), uniform(Sphere(), 5, 3)),
    (FlatTorus(), uniform(FlatTorus(), 2)),
    (SO3(), uniform(SO3(), 3, 3)),
    (Lorentz(), hyperbolic),
]
every_space = pytest.mark.parametrize(("manifold", "draw"), SPACES)


def pairs_cost(manifold: Manifold, x_0: Tensor, x_1: Tensor) -> Tensor:
    """Squared distances row by row, by the logarithm rather than pairwise: `(n,)`."""
    u = manifold.logmap(x_0, x_1)
    square = manifold.inner(x_0, u, u)
    return square.flatten(1).sum(1) if square.ndim > 1 else square


def best_of_all(cost: Callable[[Tensor], float], n: int) -> float:
    return min(cost(torch.tensor(order)) for order in itertools.permutations(range(n)))


@every_space
@pytest.mark.parametrize("n", [1, 2, 5])
def test_no_permutation_is_better(
    manifold: Manifold, draw: Draw, n: int, generator: torch.Generator
) -> None:
    for _ in range(3):
        x_0, x_1 = draw(n, generator), draw(n, generator)

        def cost(index: Tensor, x_0: Tensor = x_0, x_1: Tensor = x_1) -> float:
            return pairs_cost(manifold, x_0[index], x_1).sum().item()

        index = MinibatchOT(manifold).pair(x_0, x_1)
        assert index.dtype == torch.int64 and sorted(index.tolist()) == list(range(n))
        assert cost(index) <= best_of_all(cost, n) + 1e-9


def test_no_permutation_of_seven_is_better(generator: torch.Generator) -> None:
    x_0, x_1 = normal(2)(7, generator), normal(2)(7, generator)
    square = (x_1[:, None] - x_0).square().sum(-1).numpy()
    index = MinibatchOT(Euclidean()).pair(x_0, x_1).numpy()
    orders = np.array(list(itertools.permutations(range(7))))
    costs = square[np.arange(7), orders].sum(1)
    assert square[np.arange(7), index].sum() <= costs.min() + 1e-9
    # Power: few permutations are as good.
    assert (costs < costs.min() + 1e-9).sum() == 1


@every_space
def test_equals_the_assignment_of_scipy(
    manifold: Manifold, draw: Draw, generator: torch.Generator
) -> None:
    n = 256
    x_0, x_1 = draw(n, generator), draw(n, generator)
    rows = pairs_cost(manifold, x_0.repeat(n, *(1,) * (x_0.ndim - 1)), x_1.repeat_interleave(n, 0))
    square = rows.view(n, n)
    expected = linear_sum_assignment(square.numpy())[1]
    index = MinibatchOT(manifold).pair(x_0, x_1)
    best = square[torch.arange(n), torch.from_numpy(expected)].sum()
    torch.testing.assert_close(square[torch.arange(n), index].sum(), best, rtol=1e-9, atol=0)


@pytest.mark.parametrize("weight", [0.0, 1.0, 30.0])
def test_products_weigh_their_factors(weight: float, generator: torch.Generator) -> None:
    n = 6
    space = ProductManifold({"place": weight}, turn=SO3(), place=Euclidean())
    x_0, x_1 = (
        {"turn": uniform(SO3(), 4, 3, 3)(n, generator), "place": normal(4, 3)(n, generator)}
        for _ in range(2)
    )

    def cost(index: Tensor) -> float:
        turn = pairs_cost(SO3(), x_0["turn"][index], x_1["turn"]).sum()
        place = pairs_cost(Euclidean(), x_0["place"][index], x_1["place"]).sum()
        return (turn + weight * place).item()

    assert cost(MinibatchOT(space).pair(x_0, x_1)) <= best_of_all(cost, n) + 1e-9


def test_a_path_stands_for_its_manifold(generator: torch.Generator) -> None:
    x_0, x_1 = (uniform(Sphere(), 3)(20, generator) for _ in range(2))
    index = MinibatchOT(GeodesicPath(Sphere())).pair(x_0, x_1)
    assert torch.equal(index, MinibatchOT(Sphere()).pair(x_0, x_1))


class Tokens(DiscretePath):
    weight = 1.0

    def interpolate(
        self, x_0: Tensor, x_1: Tensor, t: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, None]:
        return x_1, None

    def point_loss(self, prediction: Tensor, sample: PathSample) -> Tensor:
        return prediction

    def jump(self, x: Tensor, t: Tensor, s: Tensor, prediction: Tensor, **_: Any) -> Tensor:
        return x


def test_tokens_do_not_count(generator: torch.Generator) -> None:
    x_0, x_1 = (
        {"x": normal(2)(20, generator), "residue": torch.randint(5, (20, 3), generator=generator)}
        for _ in range(2)
    )
    path = ProductPath(x=AffinePath(), residue=Tokens())
    index = MinibatchOT(path).pair(x_0, x_1)
    assert torch.equal(index, MinibatchOT(Euclidean()).pair(x_0["x"], x_1["x"]))
    with pytest.raises(ConfigError, match="space: a product without continuous components"):
        MinibatchOT(ProductPath(residue=Tokens()))
    with pytest.raises(ShapeError, match="residue"):
        MinibatchOT(path.manifold).pair(x_0, x_1)
    with pytest.raises(ConfigError, match="continuous"):
        MinibatchOT(ProductPath(residue=Tokens()))


def test_float32_and_gradients(generator: torch.Generator) -> None:
    x_0, x_1 = (normal(3)(64, generator).float().requires_grad_() for _ in range(2))
    index = MinibatchOT(Euclidean()).pair(x_0, x_1)
    assert not index.requires_grad
    exact = MinibatchOT(Euclidean()).pair(x_0.double(), x_1.double())
    assert torch.equal(index, exact)


def test_coincident_points_still_make_a_permutation() -> None:
    x = torch.zeros(40, 2)
    assert sorted(MinibatchOT(Euclidean()).pair(x, x).tolist()) == list(range(40))


def test_the_empty_batch() -> None:
    assert MinibatchOT(Euclidean()).pair(torch.zeros(0, 2), torch.zeros(0, 2)).shape == (0,)


def test_when_the_simplex_stops_early_the_plan_is_still_optimal(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    x_0, x_1 = normal(2)(200, generator), normal(2)(200, generator)
    coupling = MinibatchOT(Euclidean())
    expected = coupling.pair(x_0, x_1)
    monkeypatch.setattr(_assignment, "MAX_ITERATIONS", 20)
    cost = torch.cdist(x_1, x_0).square().numpy()
    assert _assignment._network_simplex(cost) is None
    assert torch.equal(coupling.pair(x_0, x_1), expected)


def test_against_torchcfm(generator: torch.Generator) -> None:
    peer = pytest.importorskip("torchcfm.optimal_transport")
    n = 128
    x_0, x_1 = normal(2)(n, generator), 0.3 * normal(2)(n, generator) + 2
    before: Any = np.random.get_state(legacy=True)
    index = MinibatchOT(Euclidean()).pair(x_0, x_1)
    after: Any = np.random.get_state(legacy=True)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))

    plan = peer.OTPlanSampler(method="exact").get_map(x_0, x_1)
    square = torch.cdist(x_0, x_1).square().numpy()
    ours = pairs_cost(Euclidean(), x_0[index], x_1).mean().item()
    assert abs(ours - (plan * square).sum()) < 1e-9 * ours

    # It draws pairs with replacement: about 1 - 1/e of the batch survives. Ours all does.
    assert len(index.unique()) == n
    np.random.seed(0)
    drawn = peer.OTPlanSampler(method="exact").sample_plan(x_0, x_1)[1]
    assert len(drawn.unique(dim=0)) < 0.8 * n


def test_pot_is_imported_late_and_alone(tmp_path: Path) -> None:
    # An array library that is installed but not used must stay so: importing this one ends all.
    for name in ("jax", "cupy", "tensorflow"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    program = """
import sys, os
import torch
from flowatlas.couplings import MinibatchOT
from flowatlas.manifolds import Euclidean
assert "ot" not in sys.modules
MinibatchOT(Euclidean()).pair(torch.randn(4, 2), torch.randn(4, 2))
assert "ot" in sys.modules
assert not {"jax", "cupy", "tensorflow"} & set(sys.modules)
assert not [name for name in os.environ if name.startswith("POT_BACKEND")]
"""
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths},
    )


def test_errors(generator: torch.Generator) -> None:
    with pytest.raises(ConfigError, match="space"):
        MinibatchOT("sphere")  # type: ignore[arg-type]
    flat = MinibatchOT(Euclidean())
    with pytest.raises(ShapeError, match="as many source samples"):
        flat.pair(torch.zeros(4, 2), torch.zeros(5, 2))
    with pytest.raises(ShapeError, match="same shape"):
        flat.pair(torch.zeros(4, 1), torch.zeros(4, 2))
    with pytest.raises(ShapeError, match="mapping"):
        flat.pair({"x": torch.zeros(4, 2)}, {"x": torch.zeros(4, 2)})
    product = MinibatchOT(ProductManifold(x=Euclidean(), y=Sphere()))
    with pytest.raises(ShapeError, match="takes a mapping"):
        product.pair(torch.zeros(4, 2), torch.zeros(4, 2))
    with pytest.raises(ShapeError, match=r"missing: \['y'\]"):
        product.pair({"x": torch.zeros(4, 2)}, {"x": torch.zeros(4, 2)})
    uneven = {"x": torch.zeros(4, 2), "y": torch.ones(3, 3)}
    with pytest.raises(ShapeError, match="batch"):
        product.pair(uneven, uneven)
    x = torch.randn(4, 2, generator=generator)
    for bad in (torch.nan, torch.inf):
        spoilt = x.clone()
        spoilt[2, 0] = bad
        with pytest.raises(GeometryError, match=r"rows \[2\]"):
            flat.pair(x, spoilt)
