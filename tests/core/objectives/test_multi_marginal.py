"""Flows through several marginals: the minimiser is exact, and so is the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from flowatlas import (
    AffinePath,
    BridgePath,
    FlowMatching,
    Midpoint,
    MinibatchOT,
    MultiMarginal,
    integrate,
)
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.training import FlowModule, TensorData, fit

TIMES = (0.0, 0.3, 1.0)
MEANS = torch.tensor([[0.0, 0.0], [3.0, -1.0], [1.0, 5.0]], dtype=torch.float64)


def shifted(n: int, seed: int = 0) -> Tensor:
    """Rows of one point moved from mean to mean."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 2, generator=g, dtype=torch.float64)
    return x + MEANS


def exact(x: Tensor, t: Tensor) -> Tensor:
    """The velocity of a cloud that moves from mean to mean."""
    first = (MEANS[1] - MEANS[0]) / 0.3
    second = (MEANS[2] - MEANS[1]) / 0.7
    return torch.where((t < 0.3).unsqueeze(-1), first, second).to(x)


def test_the_exact_field_has_no_loss_and_takes_each_marginal_to_the_next() -> None:
    objective = MultiMarginal([AffinePath()] * 2, TIMES)
    x = shifted(64)
    g = torch.Generator().manual_seed(0)
    assert float(objective(exact, x, generator=g).loss) < 1e-20
    wrong = objective(lambda x, t: exact(x, t) * 1.1, x, generator=g).loss
    assert float(wrong) > 0.1
    start = x[:, 0]
    moved = integrate(exact, AffinePath(), start, solver=Midpoint(steps=10), times=[0.3]).x_t
    torch.testing.assert_close(moved[1], x[:, 1], rtol=0, atol=1e-6)
    torch.testing.assert_close(moved[2], x[:, 2], rtol=0, atol=1e-6)


def test_the_loss_is_the_integral_over_global_time() -> None:
    """For a field of zero: the mean of |dx / dT|^2 / n, weighted by how long each segment is."""
    x = shifted(4)
    found = MultiMarginal([AffinePath()] * 2, TIMES)(lambda x, t: 0 * x, x)
    steps = MEANS.diff(dim=0).square().sum(1) / 2
    expected = steps[0] / 0.3 + steps[1] / 0.7
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.per_sample, expected.expand(4))
    torch.testing.assert_close(found.components["segment_0"], steps[0] / 0.09)


def test_one_segment_is_flow_matching() -> None:
    x = shifted(32)[:, :2]
    path = AffinePath()

    def field(x: Tensor, t: Tensor) -> Tensor:
        return x * t.unsqueeze(-1)

    t = torch.rand(32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    objective = MultiMarginal([path], (0, 1), coupling=MinibatchOT(path))
    draws = objective.draw(x, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.t, t)
    known = FlowMatching(path, coupling=MinibatchOT(path))(field, x[:, 1], x_0=x[:, 0], t=t)
    torch.testing.assert_close(objective(field, x, draws=draws).loss, known.loss)


def test_neighbours_are_coupled() -> None:
    """Rows that are shuffled are put right by optimal transport."""
    x = shifted(64)
    g = torch.Generator().manual_seed(0)
    order = torch.randperm(64, generator=g)
    x = torch.stack([x[:, 0], x[order, 1], x[order.flip(0), 2]], 1)
    path = AffinePath()
    free = MultiMarginal([path] * 2, TIMES)(exact, x, generator=g).loss
    coupled = MultiMarginal([path] * 2, TIMES, coupling=MinibatchOT(path))
    assert float(coupled(exact, x, generator=g).loss) < 1e-20
    assert float(free) > 1


class Shift(nn.Module):
    """A field that the exact one is among."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Parameter(torch.zeros(2, 2))

    def forward(self, x: Tensor, t: Tensor, condition: object = None) -> Tensor:
        return self.steps[(t >= 0.3).long()].to(x)


def test_it_trains_by_fit(tmp_path: object) -> None:
    from flowatlas.training import OptimizerSettings

    model = Shift()
    module = FlowModule(
        model,
        MultiMarginal([AffinePath()] * 2, TIMES),
        optimizer=OptimizerSettings(lr=0.5, warmup=0),
    )
    data = TensorData(shifted(256).float(), shifted(64, 1).float(), batch_size=64)
    fit(
        module,
        data,
        steps=150,
        output_dir=str(tmp_path),
        accelerator="cpu",
        progress=False,
        gradient_clip=None,
    )
    expected = MEANS.diff(dim=0) / torch.tensor([[0.3], [0.7]])
    torch.testing.assert_close(model.steps.detach().double(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiMarginal([AffinePath()], (0, 0.5, 1)), "paths: got 1"),
        (lambda: MultiMarginal([AffinePath()] * 2, (0, 0.5)), "times: got"),
        (lambda: MultiMarginal([AffinePath()] * 2, (0, 1, 1)), "times: got"),
        (lambda: MultiMarginal([], (0,)), "times: got"),
        (lambda: MultiMarginal([AffinePath(prediction="target")], (0, 1)), "velocity"),
        (lambda: MultiMarginal([object()], (0, 1)), "paths: got object"),  # type: ignore[list-item]
    ],
)
def test_settings_that_do_not_fit(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_rows_of_another_number_of_marginals() -> None:
    objective = MultiMarginal([AffinePath()] * 2, TIMES)
    for wrong in (shifted(4)[:, :2], shifted(4)[:, 0], [1]):
        with pytest.raises(ShapeError, match="one point of each of the 3"):
            objective(exact, wrong)  # type: ignore[arg-type]


def test_bridges_with_noise_of_their_own() -> None:
    """Each segment has its own noise, and one segment is flow matching on the bridge."""
    path = BridgePath(0.5, prediction="velocity")
    x = shifted(32)
    draws = MultiMarginal([path] * 2, TIMES).draw(x, generator=torch.Generator().manual_seed(0))
    assert draws.noise["0"].shape == draws.noise["1"].shape == (32, 2)
    assert not torch.equal(draws.noise["0"], draws.noise["1"])
    one = MultiMarginal([path], (0, 1))
    drawn = one.draw(x[:, :2], generator=torch.Generator().manual_seed(0))
    again = replace(drawn, noise={"x": drawn.noise["0"]}, x_0=x[:, 0])
    known = FlowMatching(path)(exact, x[:, 1], x_0=x[:, 0], draws=again)
    torch.testing.assert_close(one(exact, x[:, :2], draws=drawn).loss, known.loss)
    both = MultiMarginal([path] * 2, TIMES)(lambda x, t: 0 * x, x, draws=draws)
    for i, duration in enumerate((0.3, 0.7)):
        own = replace(draws, noise={"x": draws.noise[str(i)]}, x_0=x[:, i])
        alone = FlowMatching(path)(lambda x, t: 0 * x, x[:, i + 1], x_0=x[:, i], draws=own)
        torch.testing.assert_close(both.components[f"segment_{i}"], alone.loss / duration**2)
    rows = drawn.rows(slice(0, 32, 2))
    assert torch.equal(rows.noise["0"], drawn.noise["0"][::2]) and len(rows.t) == 16
