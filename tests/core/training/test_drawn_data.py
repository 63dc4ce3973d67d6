"""Batches that are drawn: a function of the seed and the step alone."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from flowatlas import AffinePath, FlowMatching
from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.networks import MLP
from flowatlas.training import DrawnData, FlowModule, fit


def normal(count: int, generator: torch.Generator) -> dict[str, Tensor]:
    x = torch.randn(count, 2, generator=generator)
    return {"x_1": x, "condition": x.sum(1)}


def batches(data: DrawnData, count: int = 3) -> list[dict[str, Tensor]]:
    return list(islice(data.train_dataloader(), count))


def trainer(**values: Any) -> pl.Trainer:
    """What a data module asks its Trainer for."""
    progress = SimpleNamespace(total=SimpleNamespace(ready=values.pop("step", 0)))
    return cast(
        pl.Trainer,
        SimpleNamespace(
            fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
            _accelerator_connector=SimpleNamespace(
                use_distributed_sampler=values.pop("split", False)
            ),
            **{"global_rank": 0, "world_size": 1, **values},
        ),
    )


def test_batches_are_a_function_of_seed_and_step() -> None:
    one, again, other = (batches(DrawnData(normal, batch_size=4, seed=s)) for s in (1, 1, 2))
    for a, b, c in zip(one, again, other, strict=True):
        assert a["x_1"].shape == (4, 2) and set(a) == {"x_1", "condition"}
        assert torch.equal(a["x_1"], b["x_1"]) and torch.equal(a["x_1"].sum(1), a["condition"])
        assert not torch.isclose(a["x_1"], c["x_1"]).any()
    assert not torch.isclose(one[0]["x_1"], one[1]["x_1"]).any()


def test_an_iteration_begins_at_the_step_of_the_trainer() -> None:
    whole, data = batches(DrawnData(normal, batch_size=4), 5), DrawnData(normal, batch_size=4)
    data.trainer = trainer(step=2)
    for a, b in zip(whole[2:], batches(data), strict=True):
        assert torch.equal(a["x_1"], b["x_1"])


def test_processes_share_a_batch() -> None:
    (whole,), parts = batches(DrawnData(normal, batch_size=6), 1), []
    for rank in range(3):
        data = DrawnData(normal, batch_size=6)
        data.trainer = trainer(global_rank=rank, world_size=3)
        parts.append(batches(data, 1)[0]["x_1"])
    assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole["x_1"])
    data = DrawnData(normal, batch_size=7)
    data.trainer = trainer(world_size=2)
    with pytest.raises(ConfigError, match="Use 6"):
        data.train_dataloader()
    data.trainer = trainer(world_size=2, split=True)
    with pytest.raises(ConfigError, match="use_distributed_sampler"):
        data.train_dataloader()


class StopAt(pl.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == self.step


def test_a_resumed_run_is_the_run(tmp_path: Path) -> None:
    def trained(name: str, stops: list[int]) -> dict[str, Tensor]:
        for i, stop in enumerate(stops):
            torch.manual_seed(0)
            module = FlowModule(MLP((2,), width=8, depth=1), FlowMatching(AffinePath()))
            fit(
                module,
                DrawnData(lambda n, g: torch.randn(n, 2, generator=g), batch_size=8),
                steps=6,
                output_dir=tmp_path / name,
                resume=i > 0,
                checkpoint_every=1,
                progress=False,
                accelerator="cpu",
                trainer={"callbacks": [StopAt(stop)]},
            )
            assert module.global_step == stop
        return module.model.state_dict()

    whole, parts = trained("whole", [6]), trained("parts", [3, 6])
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_resuming_with_other_batches_is_refused() -> None:
    state = DrawnData(normal, batch_size=4).state_dict()
    DrawnData(normal, batch_size=4).load_state_dict(state)
    with pytest.raises(ConfigError, match="batch_size: got 5, but the run to resume has 4"):
        DrawnData(normal, batch_size=5).load_state_dict(state)


def test_validation_has_every_sample_once_in_order() -> None:
    data = DrawnData(normal, torch.arange(11.0)[:, None], val_batch_size=4)
    found = list(data.val_dataloader())
    assert [len(b["x_1"]) for b in found] == [4, 4, 3]
    assert torch.cat([b["index"] for b in found]).tolist() == list(range(11))
    assert DrawnData(normal).val_dataloader() == []


def test_bad_batches_are_named() -> None:
    with pytest.raises(ConfigError, match="draw: got 3 samples; asked for 4"):
        batches(DrawnData(lambda n, g: torch.zeros(3, 1), batch_size=4))
    with pytest.raises(ConfigError, match="draw: got keys"):
        batches(DrawnData(lambda n, g: {"x": torch.zeros(n, 1)}))
    with pytest.raises(ShapeError, match="draw: parts"):
        batches(DrawnData(lambda n, g: {"x_1": torch.zeros(n, 1), "weight": torch.zeros(1)}))
    with pytest.raises(GeometryError, match="NaN"):
        batches(DrawnData(lambda n, g: torch.full((n, 1), torch.nan)))
    with pytest.raises(ConfigError, match="both must be positive"):
        DrawnData(normal, batch_size=0)
