"""Agreement with torchcfm, to rounding, wherever it is right."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowatlas.couplings import MinibatchOT
from flowatlas.manifolds import Euclidean
from flowatlas.paths import AffinePath
from flowatlas.schedulers import CondOT, Cosine, Scheduler

torchcfm = pytest.importorskip(
    "torchcfm.conditional_flow_matching", reason="torchcfm is not installed"
)
transport = pytest.importorskip("torchcfm.optimal_transport", reason="torchcfm is not installed")


def ends(*shape: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x[0], x[1]


@pytest.mark.parametrize("shape", [(16, 3), (16, 2, 4, 4)], ids=str)
@pytest.mark.parametrize(
    ("scheduler", "name"),
    [
        (CondOT(), "ConditionalFlowMatcher"),
        (Cosine(), "VariancePreservingConditionalFlowMatcher"),
    ],
    ids=str,
)
def test_path(scheduler: Scheduler, name: str, shape: tuple[int, ...]) -> None:
    x_0, x_1 = ends(*shape)
    t = torch.linspace(0, 1, 16, dtype=torch.float64)
    matcher = getattr(torchcfm, name)(sigma=0.0)
    _, x_t, u_t = matcher.sample_location_and_conditional_flow(x_0, x_1, t)
    ours = AffinePath(scheduler).sample(x_0, x_1, t)
    torch.testing.assert_close(ours.x_t, x_t, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.dx_t, u_t, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dimension", [2, 20])
def test_cost_of_the_optimal_plan(dimension: int) -> None:
    """Our permutation costs what their plan does: both are optimal."""
    x_0, x_1 = ends(64, dimension)
    plan = torch.from_numpy(transport.OTPlanSampler("exact").get_map(x_0, x_1))
    theirs = (plan * torch.cdist(x_0, x_1).square()).sum()
    index = MinibatchOT(Euclidean()).pair(x_0, x_1)
    ours = (x_0[index] - x_1).square().sum(-1).mean()
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert ours < 0.9 * (x_0 - x_1).square().sum(-1).mean()
