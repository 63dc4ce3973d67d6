"""Path sample, target and loss, x_0 and t being given, and a whole training step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Call, Case, Rival, Settings, available
from benchmarks.networks import MLP
from flowatlas import AffinePath, CondOT, Cosine, FlowMatching, Polynomial, Scheduler

__all__ = ["cases"]

#: Shape, and the target for our time over that of the bare loop.
SIZES = (((256, 2), 2.0), ((64, 3, 32, 32), 1.15))
Coefficients = Callable[[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]


def cases(settings: Settings) -> Iterator[Case]:
    """The straight path, two other schedules, and a step of training."""
    for shape, limit in SIZES[:1] if settings.quick else SIZES:
        yield _straight(shape, limit)
        yield _objective(shape)
        yield _scheduled(shape, "quadratic", Polynomial(2.0), _quadratic)
        yield _scheduled(shape, "cosine", Cosine(), _cosine)
    yield _training_step()


def _inputs(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x_0, x_1, prediction = torch.randn(3, *shape, generator=g).unbind()
    return x_0, x_1, prediction, torch.rand(shape[0], generator=g)


def _name(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _ours(shape: tuple[int, ...], scheduler: Scheduler) -> Call:
    x_0, x_1, prediction, t = _inputs(shape)
    path = AffinePath(scheduler)

    def call() -> Any:
        sample = path.sample(x_0, x_1, t)
        return sample.x_t, path.losses(prediction, sample)["x"].mean()

    return call


def _straight(shape: tuple[int, ...], limit: float) -> Case:
    x_0, x_1, prediction, t = _inputs(shape)
    ones = (1,) * (len(shape) - 1)

    def bare() -> Any:
        s = t.view(-1, *ones)
        x_t = (1 - s) * x_0 + s * x_1
        dx_t = x_1 - x_0
        return x_t, ((prediction - dx_t) ** 2).mean()

    def fused() -> Any:
        dx_t = x_1 - x_0
        x_t = torch.addcmul(x_0, t.view(-1, *ones), dx_t)
        return x_t, (prediction - dx_t).square().mean()

    def flow_matching() -> Call:
        from flow_matching.path import CondOTProbPath

        path = CondOTProbPath()

        def call() -> Any:
            sample = path.sample(x_0=x_0, x_1=x_1, t=t)
            return sample.x_t, ((prediction - sample.dx_t) ** 2).mean()

        return call

    def torchcfm() -> Call:
        from torchcfm import ConditionalFlowMatcher

        matcher = ConditionalFlowMatcher(sigma=0.0)

        def call() -> Any:
            _, x_t, dx_t = matcher.sample_location_and_conditional_flow(x_0, x_1, t)
            return x_t, ((prediction - dx_t) ** 2).mean()

        return call

    peers = available({"flow-matching": flow_matching, "torchcfm": torchcfm})
    rivals = [Rival("bare", bare, limit), Rival("bare, with addcmul", fused)]
    rivals += [Rival(name, call, 1.0) for name, call in peers.items()]
    return Case("path sample + target + loss, CondOT", _name(shape), _ours(shape, CondOT()), rivals)


def _objective(shape: tuple[int, ...]) -> Case:
    x_0, x_1, prediction, t = _inputs(shape)
    objective = FlowMatching(AffinePath())

    def field(x: Tensor, t: Tensor, condition: Any = None, /, **masks: Any) -> Tensor:
        return prediction

    def ours() -> Any:
        return objective(field, x_1, x_0=x_0, t=t).loss

    def bare() -> Any:
        s = t.view(-1, *(1,) * (len(shape) - 1))
        x_t = (1 - s) * x_0 + s * x_1
        return ((field(x_t, t) - (x_1 - x_0)) ** 2).mean()

    return Case("FlowMatching, trivial field", _name(shape), ours, [Rival("bare", bare)])


def _quadratic(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return t**2, 1 - t**2, 2 * t, -2 * t


def _cosine(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    half = math.pi / 2
    sin, cos = torch.sin(half * t), torch.cos(half * t)
    return sin, cos, half * cos, -half * sin


def _scheduled(
    shape: tuple[int, ...], name: str, scheduler: Scheduler, coefficients: Coefficients
) -> Case:
    x_0, x_1, prediction, t = _inputs(shape)

    def bare() -> Any:
        alpha, sigma, d_alpha, d_sigma = coefficients(t.view(-1, *(1,) * (len(shape) - 1)))
        x_t = sigma * x_0 + alpha * x_1
        dx_t = d_sigma * x_0 + d_alpha * x_1
        return x_t, ((prediction - dx_t) ** 2).mean()

    def flow_matching() -> Call:
        from flow_matching.path import AffineProbPath
        from flow_matching.path.scheduler import CosineScheduler, PolynomialConvexScheduler

        theirs = PolynomialConvexScheduler(n=2) if name == "quadratic" else CosineScheduler()
        path = AffineProbPath(scheduler=theirs)

        def call() -> Any:
            sample = path.sample(x_0=x_0, x_1=x_1, t=t)
            return sample.x_t, ((prediction - sample.dx_t) ** 2).mean()

        return call

    peers = available({"flow-matching": flow_matching})
    rivals = [Rival("bare", bare), *(Rival(peer, call, 1.0) for peer, call in peers.items())]
    title = f"path sample + target + loss, {name} schedule"
    return Case(title, _name(shape), _ours(shape, scheduler), rivals)


def _training_step() -> Case:
    x_0, x_1, _, t = _inputs((256, 2))
    torch.manual_seed(0)
    net = MLP(2)
    objective = FlowMatching(AffinePath())

    def gradients(loss: Tensor) -> Any:
        return torch.autograd.grad(loss, list(net.parameters()))

    def ours() -> Any:
        return gradients(objective(net, x_1, x_0=x_0, t=t).loss)

    def bare() -> Any:
        s = t.unsqueeze(-1)
        x_t = (1 - s) * x_0 + s * x_1
        return gradients(((net(x_t, t) - (x_1 - x_0)) ** 2).mean())

    return Case("loss and gradients, MLP 256 x 4", "256 x 2", ours, [Rival("bare", bare)])
