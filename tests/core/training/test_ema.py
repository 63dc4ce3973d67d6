from __future__ import annotations

import pytest
import torch
from torch import nn

from flowatlas.errors import ConfigError, DataError
from flowatlas.training import EMA


def series(model: nn.Linear, ema: EMA, values: list[float]) -> list[float]:
    """Feed a model whose one weight takes the given values."""
    averages = []
    for value in values:
        nn.init.constant_(model.weight, value)
        ema.update(model)
        averages.append(ema.weights["weight"].item())
    return averages


def one_weight(value: float = 0.0) -> nn.Linear:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, value)
    return model


def test_closed_form_without_warm_up() -> None:
    model, ema = one_weight(2.0), EMA(0.9, warmup=False)
    ema.start(model)
    values = [1.0, -1.0, 3.0, 0.5]
    got = series(model, ema, values)
    # theta_bar_n = d^n theta_0 + (1 - d) sum_k d^(n-k) theta_k
    expected = [
        0.9**n * 2.0 + 0.1 * sum(0.9 ** (n - k) * values[k - 1] for k in range(1, n + 1))
        for n in range(1, 5)
    ]
    assert got == pytest.approx(expected, abs=1e-12)


def test_closed_form_with_warm_up() -> None:
    # With d_n = (1 + n) / (10 + n) the weight of theta_0 is the product of the d_n.
    model, ema = one_weight(1.0), EMA(0.9999)
    ema.start(model)
    got = series(model, ema, [0.0] * 6)
    product, expected = 1.0, []
    for n in range(1, 7):
        product *= (1 + n) / (10 + n)
        expected.append(product)
    assert got == pytest.approx(expected, abs=1e-12)
    assert EMA(0.5).decay_at(1000) == 0.5


def test_copies_until_update_after() -> None:
    model, ema = one_weight(7.0), EMA(0.5, warmup=False, update_after=2)
    ema.start(model)
    assert series(model, ema, [1.0, 2.0, 3.0, 4.0]) == pytest.approx([1.0, 2.0, 2.5, 3.25])


def test_buffers_are_copied_and_integers_survive() -> None:
    model, ema = nn.BatchNorm1d(2), EMA(0.9)
    ema.start(model)
    model(torch.randn(8, 2) + 3)
    ema.update(model)
    assert model.running_mean is not None
    assert torch.equal(ema.weights["running_mean"], model.running_mean)
    assert ema.weights["num_batches_tracked"].item() == 1


def test_tied_weights_stay_tied() -> None:
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    second.weight = first.weight
    model = nn.ModuleList([first, second])
    ema = EMA(0.5, warmup=False)
    ema.start(model)
    before = first.weight.detach().clone()
    with torch.no_grad():
        first.weight.add_(1.0)
    ema.update(model)
    ema.copy_to(model)
    torch.testing.assert_close(second.weight, before + 0.5)


def test_half_precision_is_averaged_in_float32() -> None:
    model = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.constant_(model.weight, 1.0)
    ema = EMA(0.999, warmup=False)
    ema.start(model)
    nn.init.constant_(model.weight, 2.0)
    for _ in range(10):
        ema.update(model)
    # In bfloat16, 1 + 0.001 is 1.
    assert ema.weights["weight"].item() == pytest.approx(2 - 0.999**10, abs=1e-5)


def test_applied_gives_the_weights_back_even_after_an_error() -> None:
    model, ema = one_weight(1.0), EMA(0.0, warmup=False)
    ema.start(model)
    nn.init.constant_(model.weight, 5.0)
    with ema.applied(model):
        assert model.weight.item() == 1.0
    assert model.weight.item() == 5.0
    with pytest.raises(RuntimeError), ema.applied(model):
        raise RuntimeError
    assert model.weight.item() == 5.0


def test_state_goes_on_exactly() -> None:
    model, ema, other = one_weight(1.0), EMA(0.99), EMA(0.99)
    ema.start(model)
    series(model, ema, [2.0, 3.0])
    other.load_state_dict(ema.state_dict())
    assert series(model, ema, [4.0]) == series(model, other, [4.0])


def test_errors() -> None:
    for bad in ({"decay": 1.0}, {"decay": -0.1}, {"update_after": -1}):
        with pytest.raises(ConfigError):
            EMA(**bad)
    with pytest.raises(DataError, match="started"):
        EMA().update(one_weight())
