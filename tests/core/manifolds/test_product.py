"""Products of manifolds: sums over factors, and what is refused."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.manifolds import SO3, Euclidean, FlatTorus, Manifold, ProductManifold, Sphere

FACTORS = {"turn": SO3(), "place": Euclidean(), "look": Sphere()}
SPACE = ProductManifold(**FACTORS)


def state(batch: int, seed: int, *points: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lead = (batch, *points)
    double = torch.float64
    return {
        "turn": SO3().random_uniform((*lead, 3, 3), generator=generator, dtype=double),
        "place": torch.randn(*lead, 5, generator=generator, dtype=double),
        "look": Sphere().random_uniform((*lead, 4), generator=generator, dtype=double),
    }


def tangent(x: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: m.random_tangent(x[name], generator=generator) for name, m in FACTORS.items()}


def test_maps_act_on_each_factor() -> None:
    x, y = state(6, 0), state(6, 1)
    u, v = tangent(x, 2), tangent(x, 3)
    One = Callable[[Manifold, str], Tensor]
    results: dict[str, tuple[dict[str, Tensor], One]] = {
        "expmap": (SPACE.expmap(x, u), lambda m, n: m.expmap(x[n], u[n])),
        "logmap": (SPACE.logmap(x, y), lambda m, n: m.logmap(x[n], y[n])),
        "projx": (SPACE.projx(x), lambda m, n: m.projx(x[n])),
        "proju": (SPACE.proju(x, u), lambda m, n: m.proju(x[n], u[n])),
        "retract": (SPACE.retract(x, u), lambda m, n: m.retract(x[n], u[n])),
        "pullback": (SPACE.pullback(x, u, v), lambda m, n: m.pullback(x[n], u[n], v[n])),
        "pushforward": (SPACE.pushforward(x, u), lambda m, n: m.pushforward(x[n], u[n])),
    }
    for name, (result, one) in results.items():
        assert set(result) == set(FACTORS), name
        for factor, manifold in FACTORS.items():
            assert torch.equal(result[factor], one(manifold, factor)), (name, factor)


def test_squared_distances_add_up_over_factors_and_points() -> None:
    weights = {"turn": 2.0, "look": 0.5}
    weighted = ProductManifold(weights, **FACTORS)
    for points in ((), (3,), (2, 3)):
        x, y = state(4, 0, *points), state(4, 1, *points)
        parts = {
            name: m.squared_dist(x[name], y[name]).reshape(4, -1).sum(1)
            for name, m in FACTORS.items()
        }
        torch.testing.assert_close(SPACE.squared_dist(x, y), sum(parts.values()))
        expected = sum(weights.get(name, 1.0) * part for name, part in parts.items())
        torch.testing.assert_close(weighted.squared_dist(x, y), expected)


def test_pairwise_distances_equal_loops() -> None:
    weighted = ProductManifold({"place": 3.0}, **FACTORS)
    for points in ((), (3,)):
        x, y = state(4, 0, *points), state(5, 1, *points)
        pairs = weighted.pairwise_squared_dist(x, y)
        assert pairs.shape == (4, 5)
        for i in range(4):
            for j in range(5):
                a = {name: value[i : i + 1] for name, value in x.items()}
                b = {name: value[j : j + 1] for name, value in y.items()}
                torch.testing.assert_close(pairs[i, j], weighted.squared_dist(a, b)[0])


def test_a_missing_or_unknown_component_is_named() -> None:
    x = state(4, 0)
    fewer = {name: value for name, value in x.items() if name != "look"}
    more = x | {"extra": x["place"]}
    for wrong, word in ((fewer, "look"), (more, "extra"), (x["place"], "Tensor")):
        with pytest.raises(ShapeError, match=rf"x_1: got.*|.*{word}") as raised:
            SPACE.check_point(wrong, "x_1")
        assert word in str(raised.value) and "['look', 'place', 'turn']" in str(raised.value)
        for call in (SPACE.projx, lambda z: SPACE.expmap(z, z), lambda z: SPACE.logmap(z, z)):
            with pytest.raises(ShapeError, match=word):
                call(wrong)


def test_the_second_argument_is_refused_by_name_too() -> None:
    x = state(4, 0)
    u = tangent(x, 1)
    for call, other in (
        (SPACE.expmap, u),
        (SPACE.logmap, x),
        (SPACE.squared_dist, x),
        (SPACE.pairwise_squared_dist, x),
    ):
        short = {name: value for name, value in other.items() if name != "look"}
        with pytest.raises((ShapeError, KeyError), match="look"):
            call(x, short)


def test_check_point_names_the_component() -> None:
    x = state(4, 0)
    SPACE.check_point(x, "x_1")
    x["look"] = 2 * x["look"]
    with pytest.raises(GeometryError, match=r"x_1\['look'\]"):
        SPACE.check_point(x, "x_1")


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"weights: no factor \['angle'\].*\['torus'\]"):
        ProductManifold({"angle": 2.0}, torus=FlatTorus())


def test_a_product_of_nothing_is_a_point() -> None:
    assert ProductManifold().expmap({}, {}) == {}
