"""The maps of manifolds against geoopt: time, and error in float32 against float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Call, Case, Rival, Settings, available
from flowatlas import FlatTorus, Lorentz, Manifold, Sphere

__all__ = ["cases"]

SHAPES = ((256, 3), (4096, 3), (256, 65))
#: "at least 1.4 times the speed"
LIMIT = 1 / 1.4
MAPS = ("expmap", "logmap", "dist", "projx")


def cases(settings: Settings) -> Iterator[Case]:
    """Sphere and hyperboloid against geoopt; it has no torus, for which flow-matching stands in."""
    for shape in SHAPES[:1] if settings.quick else SHAPES:
        for space in ("sphere", "lorentz", "torus"):
            for name in MAPS:
                if space != "torus" or name != "dist":
                    yield _case(space, name, shape)


def _points(space: str, shape: tuple[int, ...]) -> tuple[Manifold, Tensor, Tensor, Tensor]:
    """Points and a tangent in float64, a tenth of the pairs being close to each other."""
    g = torch.Generator().manual_seed(0)
    x, y, u = torch.randn(3, *shape, generator=g, dtype=torch.float64).unbind()
    manifold: Manifold
    if space == "torus":
        manifold = FlatTorus()
        x, y = manifold.projx(x), manifold.projx(y)
    elif space == "sphere":
        manifold = Sphere()
        x, y = manifold.projx(x), manifold.projx(y)
    else:
        manifold = Lorentz()
        x, y = manifold.projx(x / shape[-1] ** 0.5), manifold.projx(y / shape[-1] ** 0.5)
    u = manifold.proju(x, u) / shape[-1] ** 0.5
    close = shape[0] // 10
    y[:close] = manifold.expmap(x[:close], 1e-3 * u[:close])
    # What float32 holds is the truth for both precisions.
    x, y, u = (a.float().double() for a in (x, y, u))
    return manifold, x, y, u


def _arguments(name: str, x: Tensor, y: Tensor, u: Tensor) -> tuple[Tensor, ...]:
    return {"expmap": (x, u), "logmap": (x, y), "dist": (x, y), "projx": (1.1 * x,)}[name]


def _case(space: str, name: str, shape: tuple[int, ...]) -> Case:
    manifold, x, y, u = _points(space, shape)
    exact = _arguments(name, x, y, u)
    given = tuple(a.float() for a in exact)

    def geoopt() -> Call:
        import geoopt

        theirs: Any = geoopt.Sphere() if space == "sphere" else geoopt.Lorentz()
        return _bound(getattr(theirs, name), given)

    def flow_matching() -> Call:
        from flow_matching.utils.manifolds import FlatTorus as Theirs

        return _bound(getattr(Theirs(), name), given)

    # The truth is ours in float64, which the tests hold against other formulas.
    truth = getattr(manifold, name)(*exact)
    ours = _bound(getattr(manifold, name), given)
    peers = {"flow-matching": flow_matching} if space == "torus" else {"geoopt": geoopt}
    calls = available(peers)
    facts = {"ours": {"error": _error(ours(), truth)}}
    for peer, call in calls.items():
        facts[peer] = {"error": _error(call(), truth)}
    limit = LIMIT if space != "torus" else None
    rivals = [Rival(peer, call, limit) for peer, call in calls.items()]
    size = " x ".join(map(str, shape))
    return Case(f"{space} {name}", size, ours, rivals, tolerance=2e-2, facts=facts)


def _bound(method: Callable[..., Any], given: tuple[Tensor, ...]) -> Call:
    return lambda: method(*given)


def _error(value: Tensor, truth: Tensor) -> float:
    """Largest error, relative to the size of the result of its sample."""
    error, size = (value.double() - truth).abs(), truth.abs()
    if truth.ndim > 1:
        error, size = error.amax(-1), size.amax(-1)
    return float((error / size.clamp(min=1e-30)).max())
