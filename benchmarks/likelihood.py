"""Log-likelihood of a network's flow, a midpoint step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Call, Case, Rival, Settings, available
from benchmarks.networks import MLP
from flowatlas import AffinePath, Exact, Hutchinson, Midpoint, log_prob

__all__ = ["cases"]

#: Dimension, and steps: fewer where one takes long.
DIMENSIONS = ((2, 10), (3, 10), (64, 2))


def cases(settings: Settings) -> Iterator[Case]:
    """Exact divergence and Hutchinson's estimate, on 256 points."""
    for dimension, steps in DIMENSIONS[:1] if settings.quick else DIMENSIONS:
        for exact in (True, False):
            yield _case(dimension, steps, exact)


def _case(dimension: int, steps: int, exact: bool) -> Case:
    torch.manual_seed(0)
    net = MLP(dimension).requires_grad_(False)
    x_1 = torch.randn(256, dimension)
    path, solver = AffinePath(), Midpoint(steps=steps)
    divergence = Exact() if exact else Hutchinson()

    def ours() -> Tensor:
        return log_prob(net, path, x_1, solver=solver, divergence=divergence)

    def normal(x: Tensor) -> Tensor:
        return -0.5 * (x.square().sum(-1) + dimension * math.log(2 * math.pi))

    def bare() -> Any:
        """Reverse mode, row by row of the Jacobian, without a graph of the derivatives."""
        h = 1.0 / steps
        probe = torch.randint(2, x_1.shape).float() * 2 - 1

        def rates(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            x = x.detach().requires_grad_()
            v = net(x, t.expand(len(x)))
            if not exact:
                (row,) = torch.autograd.grad((v * probe).sum(), x)
                return v.detach(), (row * probe).sum(-1)
            trace = torch.zeros(len(x))
            for i in range(dimension):
                (row,) = torch.autograd.grad(v[:, i].sum(), x, retain_graph=i + 1 < dimension)
                trace = trace + row[:, i]
            return v.detach(), trace

        x, gained = x_1, torch.zeros(len(x_1))
        for t in torch.linspace(1, 0, steps + 1)[:-1]:
            v, _ = rates(x, t)
            v, trace = rates(x - h / 2 * v, t - h / 2)
            x, gained = x - h * v, gained - h * trace
        return normal(x) + gained

    def flow_matching() -> Call:
        from flow_matching.solver import ODESolver
        from flow_matching.utils import ModelWrapper

        class Wrapped(ModelWrapper):  # type: ignore[misc,unused-ignore]
            def forward(self, x: Tensor, t: Tensor, **extras: Any) -> Tensor:
                value: Tensor = self.model(x, t.expand(len(x)))
                return value

        solver = ODESolver(velocity_model=Wrapped(net))
        options = {"method": "midpoint", "step_size": 1.0 / steps, "exact_divergence": exact}
        return lambda: solver.compute_likelihood(x_1, normal, **options)[1]

    rivals = [Rival("bare", bare, compare=exact)]
    for name, call in available({"flow-matching": flow_matching}).items():
        rivals.append(Rival(name, call, compare=exact))
    kind = "exact" if exact else "Hutchinson"
    title = f"log-likelihood, {kind}, MLP 256 x 4"
    return Case(title, f"256 x {dimension}", ours, rivals, per=steps, unit="step", tolerance=1e-3)
