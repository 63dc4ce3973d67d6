from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.couplings import Coupling, Independent, MinibatchOT, Paired, Pairing
from flowatlas.errors import CapabilityError, ConfigError
from flowatlas.manifolds import Euclidean
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath


def field(x: Tensor, t: Tensor, condition: Any = None, /, **_: Any) -> Tensor:
    return -0.5 * x


@pytest.mark.parametrize(
    ("coupling", "independent"),
    [(Independent(), True), (Paired(), False), (MinibatchOT(Euclidean()), False)],
    ids=repr,
)
def test_score_prediction_is_for_independent_couplings(
    coupling: Coupling, independent: bool
) -> None:
    assert coupling.independent is independent
    path = AffinePath(prediction="score")
    if independent:
        FlowMatching(path, coupling=coupling)
    else:
        with pytest.raises(CapabilityError, match=type(coupling).__name__):
            FlowMatching(path, coupling=coupling)


@pytest.mark.parametrize("coupling", [Independent(), Paired()], ids=repr)
def test_what_comes_as_it_is_stays(coupling: Pairing) -> None:
    assert coupling.pair(torch.zeros(4, 2), torch.ones(4, 2)) is None


def test_paired_needs_its_pairs() -> None:
    objective = FlowMatching(AffinePath(), coupling=Paired())
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ConfigError, match="x_0"):
        objective(field, x)
    # With them, the target of row i is x_1[i] - x_0[i]; of x_0 = 2 x_1 it is -x_1.
    t = torch.zeros(4)
    loss = objective(field, x, x_0=2 * x, t=t).loss
    assert loss.item() == 0


def test_optimal_transport_straightens_what_the_objective_sees() -> None:
    # Data that are the source moved by little: the pairs are found, and all velocities agree.
    g = torch.Generator().manual_seed(0)
    x_0 = 10 * torch.rand(50, 2, generator=g)
    move = torch.tensor([0.02, -0.01])
    x_1 = (x_0 + move)[torch.randperm(50, generator=g)]

    def model(x: Tensor, t: Tensor, condition: Any = None, /, **_: Any) -> Tensor:
        return move.expand_as(x)

    coupled = FlowMatching(AffinePath(), coupling=MinibatchOT(Euclidean()))
    assert coupled(model, x_1, x_0=x_0).loss < 1e-10
    assert FlowMatching(AffinePath())(model, x_1, x_0=x_0).loss > 1
