"""Euler and midpoint steps, on a field that costs nothing and on a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import Call, Case, Rival, Settings, available
from benchmarks.networks import MLP
from flowatlas import AffinePath, Euler, Midpoint, sample

__all__ = ["cases"]

STEPS = 50
SMALL, IMAGE = (256, 2), (64, 3, 32, 32)
Field = Callable[[Tensor, Tensor], Tensor]


def cases(settings: Settings) -> Iterator[Case]:
    """Both methods on both sizes, then with a network, then compiled."""
    for method in ("euler", "midpoint"):
        yield _case(method, SMALL, _trivial, "trivial field", None)
        if settings.quick:
            continue
        yield _case(method, IMAGE, _trivial, "trivial field", 1.2)
        torch.manual_seed(0)
        yield _case(method, SMALL, MLP(2), "MLP 256 x 4", 1.03)
    if not settings.quick:
        for shape in (SMALL, IMAGE):
            yield _compiled(shape)


def _trivial(x: Tensor, t: Tensor, condition: Any = None, /, **masks: Any) -> Tensor:
    return -x


def _case(method: str, shape: tuple[int, ...], field: Any, of: str, limit: float | None) -> Case:
    x_0 = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    path = AffinePath()
    solver = Euler(steps=STEPS) if method == "euler" else Midpoint(steps=STEPS)
    batch, h = shape[0], 1.0 / STEPS

    def ours() -> Tensor:
        x: Tensor = sample(field, path, x_init=x_0, solver=solver)
        return x

    @torch.no_grad()
    def euler() -> Tensor:
        x = x_0
        for t in torch.linspace(0, 1, STEPS + 1)[:-1]:
            x = x + h * field(x, t.expand(batch))
        return x

    @torch.no_grad()
    def midpoint() -> Tensor:
        x = x_0
        for t in torch.linspace(0, 1, STEPS + 1)[:-1]:
            middle = x + h / 2 * field(x, t.expand(batch))
            x = x + h * field(middle, (t + h / 2).expand(batch))
        return x

    def flow_matching() -> Call:
        from flow_matching.solver import ODESolver
        from flow_matching.utils import ModelWrapper

        class Wrapped(ModelWrapper):  # type: ignore[misc,unused-ignore]
            def forward(self, x: Tensor, t: Tensor, **extras: Any) -> Tensor:
                value: Tensor = self.model(x, t.expand(batch))
                return value

        theirs = ODESolver(velocity_model=Wrapped(_as_module(field)))
        return lambda: theirs.sample(x_init=x_0, step_size=h, method=method)

    def torchdyn() -> Call:
        from torchdyn.core import NeuralODE

        class Wrapped(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = _as_module(field)

            def forward(self, t: Tensor, x: Tensor, args: Any = None, **rest: Any) -> Tensor:
                value: Tensor = self.model(x, t.expand(batch))
                return value

        node = NeuralODE(Wrapped(), solver=method, sensitivity="adjoint")
        span = torch.linspace(0, 1, STEPS + 1)

        @torch.no_grad()
        def call() -> Tensor:
            x: Tensor = node.trajectory(x_0, t_span=span)[-1]
            return x

        return call

    peers = available({"flow-matching": flow_matching, "torchdyn": torchdyn})
    rivals = [Rival("bare", euler if method == "euler" else midpoint, limit)]
    rivals += [Rival(name, call, 1.0) for name, call in peers.items()]
    title = f"{method}, {of}, {STEPS} steps"
    size = " x ".join(map(str, shape))
    return Case(title, size, ours, rivals, per=STEPS, unit="step", tolerance=1e-4)


class _Module(nn.Module):
    """A function as the module that peers ask for."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.field(x, t)


def _as_module(field: Any) -> nn.Module:
    return field if isinstance(field, nn.Module) else _Module(field)


def _compiled(shape: tuple[int, ...]) -> Case:
    """What torch.compile makes of one midpoint step: ours is the step of the solver itself."""
    x_0 = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    path, eager, compiled = AffinePath(), Midpoint(steps=STEPS), Midpoint(steps=STEPS)
    compiled.step = torch.compile(eager.step)  # type: ignore[method-assign]
    batch, h = shape[0], 1.0 / STEPS

    @torch.no_grad()
    def ours() -> Tensor:
        x: Tensor = sample(_trivial, path, x_init=x_0, solver=compiled)
        return x

    def uncompiled() -> Tensor:
        x: Tensor = sample(_trivial, path, x_init=x_0, solver=eager)
        return x

    @torch.compile
    def step(x: Tensor, t: Tensor) -> Tensor:
        middle = x + h / 2 * _trivial(x, t)
        return x + h * _trivial(middle, t + h / 2)

    @torch.no_grad()
    def bare() -> Tensor:
        x = x_0
        for t in torch.linspace(0, 1, STEPS + 1)[:-1]:
            x = step(x, t.expand(batch))
        return x

    rivals = [Rival("ours, not compiled", uncompiled), Rival("bare, compiled", bare)]
    size = " x ".join(map(str, shape))
    title = f"midpoint, trivial field, compiled step, {STEPS} steps"
    return Case(title, size, ours, rivals, per=STEPS, unit="step", tolerance=1e-4)
