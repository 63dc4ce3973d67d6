"""Points and velocities of geodesic paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Call, Case, Rival, Settings, available
from flowatlas import FlatTorus, GeodesicPath, Manifold, Sphere

__all__ = ["cases"]

LIMIT = 1.3
SHAPES = ((256, 3), (4096, 3), (256, 64))
Closed = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def cases(settings: Settings) -> Iterator[Case]:
    """The sphere and the torus, on few points, many, and in many dimensions."""
    # The first formula of each is the one that the target is about.
    spaces: tuple[tuple[str, Manifold, dict[str, Closed]], ...] = (
        (
            "sphere",
            Sphere(),
            {"bare": _sphere, "bare, finite at x_0 = x_1": _guarded, "bare, acos": _slerp},
        ),
        ("torus", FlatTorus(), {"bare": _torus, "bare, atan2": _torus_atan2}),
    )
    for name, manifold, closed in spaces:
        for shape in SHAPES[:1] if settings.quick else SHAPES:
            yield _case(name, manifold, closed, shape)


def _sphere(x_0: Tensor, x_1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    cosine = (x_0 * x_1).sum(-1, keepdim=True)
    direction = x_1 - cosine * x_0
    sine = direction.norm(dim=-1, keepdim=True)
    angle = torch.atan2(sine, cosine)
    e = direction / sine
    phase = t.unsqueeze(-1) * angle
    cos, sin = torch.cos(phase), torch.sin(phase)
    return cos * x_0 + sin * e, angle * (cos * e - sin * x_0)


def _guarded(x_0: Tensor, x_1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithm, exponential and its derivative, as most code has them."""
    s = t.unsqueeze(-1)
    cosine = (x_0 * x_1).sum(-1, keepdim=True)
    direction = x_1 - cosine * x_0
    sine = direction.norm(dim=-1, keepdim=True)
    angle = torch.atan2(sine, cosine)
    u = torch.where(sine == 0, 1.0, angle / sine) * direction
    cos = torch.cos(s * angle)
    x_t = cos * x_0 + s * torch.sinc(s * angle / math.pi) * u
    return x_t, cos * u - angle * torch.sin(s * angle) * x_0


def _slerp(x_0: Tensor, x_1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The textbook formula; float32 loses the digits of small and of nearly opposite angles."""
    s = t.unsqueeze(-1)
    angle = torch.acos((x_0 * x_1).sum(-1, keepdim=True))
    a, b = (1 - s) * angle, s * angle
    scale = 1 / torch.sin(angle)
    x_t = scale * (torch.sin(a) * x_0 + torch.sin(b) * x_1)
    return x_t, scale * angle * (torch.cos(b) * x_1 - torch.cos(a) * x_0)


def _torus(x_0: Tensor, x_1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    d = x_1 - x_0
    u = d - 2 * math.pi * torch.round(d / (2 * math.pi))
    return torch.remainder(x_0 + t.unsqueeze(-1) * u, 2 * math.pi), u


def _torus_atan2(x_0: Tensor, x_1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    d = x_1 - x_0
    u = torch.atan2(torch.sin(d), torch.cos(d))
    return (x_0 + t.unsqueeze(-1) * u) % (2 * math.pi), u


def _case(name: str, manifold: Manifold, closed: dict[str, Closed], shape: tuple[int, ...]) -> Case:
    g = torch.Generator().manual_seed(0)
    x_0, x_1 = (manifold.random_uniform(shape, generator=g) for _ in range(2))
    t = torch.rand(shape[0], generator=g)
    path = GeodesicPath(manifold)

    def ours() -> Any:
        sample = path.sample(x_0, x_1, t)
        return sample.x_t, sample.dx_t

    def flow_matching() -> Call:
        from flow_matching.path import GeodesicProbPath
        from flow_matching.path.scheduler import CondOTScheduler
        from flow_matching.utils import manifolds

        theirs = manifolds.Sphere() if name == "sphere" else manifolds.FlatTorus()
        peer = GeodesicProbPath(scheduler=CondOTScheduler(), manifold=theirs)

        def call() -> Any:
            sample = peer.sample(x_0=x_0, x_1=x_1, t=t)
            return sample.x_t, sample.dx_t

        return call

    rivals = [
        Rival(label, partial(formula, x_0, x_1, t), LIMIT if label == "bare" else None)
        for label, formula in closed.items()
    ]
    peers = available({"flow-matching": flow_matching})
    rivals += [Rival(label, call, 1.0) for label, call in peers.items()]
    size = " x ".join(map(str, shape))
    return Case(f"geodesic path, {name}", size, ours, rivals, tolerance=1e-3)
