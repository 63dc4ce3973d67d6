"""What every exact flow is as a field."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowatlas.exact import (
    ExactFlow,
    ExactGaussianFlow,
    ExactMixtureFlow,
    ExactSphereFlow,
    ExactTorusFlow,
    GaussianMixture,
    VonMisesFisherMixture,
    WrappedNormalMixture,
)
from flowatlas.schedulers import VariancePreserving

Target = GaussianMixture | VonMisesFisherMixture | WrappedNormalMixture
Case = tuple[Callable[..., ExactFlow], Target]

AXES = torch.eye(3)[:2]
COVARIANCE = torch.tensor([[1.0, 0.3, 0.0], [0.3, 0.5, 0.1], [0.0, 0.1, 0.8]])
MIXTURE = GaussianMixture(torch.ones(2), AXES, COVARIANCE.expand(2, 3, 3))
GAUSSIAN = GaussianMixture(torch.ones(1), AXES[:1], COVARIANCE[None])
TARGETS: dict[str, Case] = {
    "mixture": (ExactMixtureFlow, MIXTURE),
    "diagonal": (ExactMixtureFlow, GaussianMixture(torch.ones(2), AXES, stds=0.5)),
    "gaussian": (ExactGaussianFlow, GAUSSIAN),
    "sphere": (ExactSphereFlow, VonMisesFisherMixture(torch.ones(2), AXES, 5.0)),
    "torus": (ExactTorusFlow, WrappedNormalMixture(torch.ones(2), AXES, 0.6)),
}


@pytest.fixture(params=TARGETS)
def case(request: pytest.FixtureRequest) -> Case:
    return TARGETS[request.param]


@pytest.fixture
def flow(case: Case) -> ExactFlow:
    build, target = case
    return build(target)


@pytest.fixture
def x(generator: torch.Generator) -> Tensor:
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    radius: Tensor = x.norm(dim=-1, keepdim=True)
    return x / radius


@pytest.fixture
def t(generator: torch.Generator) -> Tensor:
    return torch.rand(6, generator=generator, dtype=torch.float64)


def test_calling_it_is_its_velocity_whatever_the_condition_and_masks(
    flow: ExactFlow, x: Tensor, t: Tensor
) -> None:
    u = flow.velocity(x, t)
    assert torch.equal(flow(x, t), u)
    assert torch.equal(flow(x, t, {"label": t}), u)
    assert torch.equal(flow(x, t, None, mask=torch.ones(6), fixed=None), u)


def test_several_points_share_the_time_of_their_sample(
    flow: ExactFlow, x: Tensor, t: Tensor
) -> None:
    groups, times = x.view(2, 3, 3), t[:2]
    apart = times.repeat_interleave(3)
    torch.testing.assert_close(flow(groups, times).view(6, 3), flow(x, apart))
    torch.testing.assert_close(flow.log_prob(groups, times).view(6), flow.log_prob(x, apart))


def test_results_have_the_dtype_of_the_state(
    case: Case, flow: ExactFlow, x: Tensor, t: Tensor
) -> None:
    build, target = case
    single = build(target.to(torch.float32))
    # Scheduler coefficients come from the same float32 times.
    exact = flow(x.float().double(), t.float().double())
    for field, tolerance in ((flow, 2e-6), (single, 2e-5)):
        u, log_prob = field(x.float(), t.float()), field.log_prob(x.float(), t.float())
        assert u.dtype == log_prob.dtype == torch.float32
        torch.testing.assert_close(u.double(), exact, rtol=tolerance, atol=tolerance)
    assert single(x, t).dtype == torch.float64
    assert target.to(torch.float32).sample(2).dtype == torch.float32


def test_transforms_of_torch_func(flow: ExactFlow, x: Tensor, t: Tensor) -> None:
    def one(y: Tensor, s: Tensor) -> Tensor:
        return flow(y[None], s[None])[0]

    forward = torch.func.vmap(torch.func.jacfwd(one))(x, t)
    backward = torch.func.vmap(torch.func.jacrev(one))(x, t)
    torch.testing.assert_close(forward, backward, rtol=1e-9, atol=1e-9)
    slope = torch.func.jvp(lambda s: flow(x, s), (t,), (torch.ones_like(t),))[1]
    h = 1e-6
    torch.testing.assert_close(
        slope, (flow(x, t + h) - flow(x, t - h)) / (2 * h), rtol=1e-5, atol=1e-5
    )


def test_it_is_one_graph(flow: ExactFlow, x: Tensor, t: Tensor) -> None:
    compiled = torch.compile(flow.velocity, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, t), flow(x, t))


def test_an_empty_batch(flow: ExactFlow) -> None:
    x, t = torch.zeros(0, 3), torch.zeros(0)
    assert flow(x, t).shape == (0, 3)
    assert flow.log_prob(x, t).shape == (0,)


def test_predictions_are_fields() -> None:
    flow = ExactMixtureFlow(MIXTURE, VariancePreserving())
    x, t = torch.ones(2, 3), torch.rand(2)
    for kind in ("velocity", "target", "noise", "score"):
        field = flow.prediction(kind)
        assert torch.equal(field(x, t, {"label": t}, mask=None), field(x, t))


def test_the_flow_map_is_a_flow_map_model() -> None:
    flow = ExactGaussianFlow(GAUSSIAN)
    x, s, t = torch.ones(2, 3), torch.zeros(2), torch.ones(2)
    u = flow.average_velocity(x, s, t, {"label": t})
    assert u.dtype == torch.float32
    torch.testing.assert_close(x + u, flow.flow_map(x, s, t))
