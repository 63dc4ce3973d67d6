from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.training import KeyedBatchSampler, TensorData


def first(loader: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return next(iter(loader))


def test_batches_are_those_of_the_sampler() -> None:
    x = torch.arange(20.0).unsqueeze(1)
    data = TensorData(x, batch_size=6, seed=4)
    batches = iter(data.train_dataloader())
    for step in range(8):
        expected = KeyedBatchSampler(20, 6, 4).indices(step)
        batch = next(batches)
        assert torch.equal(batch["x_1"], x[expected])
        assert torch.equal(batch["index"], expected)


def test_everything_nested_is_sliced_alike() -> None:
    n = torch.arange(10)
    data = TensorData(
        {
            "x_1": {"a": n.float()[:, None], "b": n},
            "condition": {"label": n},
            "mask": {"b": n > 3},
            "fixed": {"a": (n > 5, n.float()[:, None])},
            "weight": n.double(),
        },
        batch_size=4,
    )
    batch = first(data.train_dataloader())
    i = batch["index"]
    assert torch.equal(batch["x_1"]["b"], i)
    assert torch.equal(batch["condition"]["label"], i)
    assert torch.equal(batch["mask"]["b"], i > 3)
    assert torch.equal(batch["fixed"]["a"][0], i > 5)
    assert torch.equal(batch["fixed"]["a"][1][:, 0], i.float())
    assert torch.equal(batch["weight"], i.double())


def test_validation_has_every_sample_once_in_order() -> None:
    data = TensorData(torch.zeros(3, 1), torch.arange(11.0)[:, None], val_batch_size=4)
    batches = list(data.val_dataloader())
    assert [len(b["x_1"]) for b in batches] == [4, 4, 3]
    assert torch.cat([b["index"] for b in batches]).tolist() == list(range(11))
    assert TensorData(torch.zeros(3, 1)).val_dataloader() == []


def test_resuming_with_other_data_is_refused() -> None:
    state = TensorData(torch.zeros(5, 1), batch_size=4, seed=1).state_dict()
    TensorData(torch.ones(5, 1), batch_size=4, seed=1).load_state_dict(state)
    for other, word in (
        (TensorData(torch.zeros(5, 1), batch_size=4, seed=2), "seed"),
        (TensorData(torch.zeros(5, 1), batch_size=2, seed=1), "batch_size"),
        (TensorData(torch.zeros(6, 1), batch_size=4, seed=1), "size"),
    ):
        with pytest.raises(ConfigError, match=word):
            other.load_state_dict(state)


def test_bad_data_are_named() -> None:
    x = torch.zeros(5, 2)
    with pytest.raises(ShapeError, match="length"):
        TensorData({"x_1": x, "condition": {"c": torch.zeros(4)}})
    with pytest.raises(ShapeError, match="length"):
        TensorData(x[:0])
    with pytest.raises(ConfigError, match="labels"):
        TensorData({"x_1": x, "labels": x})
    with pytest.raises(ConfigError, match="x_1"):
        TensorData({"rotation": x})
    with pytest.raises(ConfigError, match="list"):
        TensorData([[1.0]])
    with pytest.raises(ConfigError, match="batch_size"):
        TensorData(x, batch_size=0)
    bad = x.clone()
    bad[3] = torch.nan
    with pytest.raises(GeometryError, match=r"val\['x_1'\]: 1 of 5 samples"):
        TensorData(x, bad)
    # Padding may hold anything.
    TensorData({"x_1": bad[:, :, None], "mask": torch.isfinite(bad)})
