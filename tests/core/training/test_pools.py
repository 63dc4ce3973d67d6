"""Pairs over several batches: shorter than within one, of the right laws, resumed exactly."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor

from flowatlas.couplings import Aligned, Independent, MinibatchOT, Paired, WithinCondition
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.networks import MLP
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath, ProductPath
from flowatlas.training import (
    FlowModule,
    KeyedBatchSampler,
    OptimizerSettings,
    PairedPools,
    TensorData,
    fit,
)
from flowatlas.training.data import _Pooled

PATH = AffinePath()


def clusters(n: int = 500, dim: int = 8, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return 0.2 * torch.randn(n, dim, generator=g) + 2 * torch.randint(2, (n, dim), generator=g) - 1


def data(batches: int, x: Any = None, *, batch_size: int = 32, **rest: Any) -> TensorData:
    pools = PairedPools(PATH, MinibatchOT(PATH), batches=batches)
    return TensorData(clusters() if x is None else x, batch_size=batch_size, pools=pools, **rest)


def batches_of(data: TensorData, count: int) -> list[dict[str, Any]]:
    served: Iterator[dict[str, Any]] = iter(data.train_dataloader())
    return list(islice(served, count))


def test_larger_pools_have_shorter_pairs() -> None:
    costs = []
    for k in (1, 4, 16):
        batches = batches_of(data(k), 32)
        costs.append(
            torch.cat([(b["x_0"] - b["x_1"]).square().sum(1) for b in batches]).mean().item()
        )
    # 32 x 32 pairs: the difference is many standard errors.
    assert costs[1] < 0.93 * costs[0] and costs[2] < 0.95 * costs[1]


def test_pairs_are_those_of_transport_and_data_are_those_of_the_sampler() -> None:
    x = clusters()
    served = batches_of(data(4, x, seed=3), 8)
    sampler = KeyedBatchSampler(len(x), 32, 3)
    for step, batch in enumerate(served):
        assert torch.equal(batch["index"], sampler.indices(step))
        assert torch.equal(batch["x_1"], x[batch["index"]])
    x_0, x_1 = (torch.cat([b[name] for b in served[4:]]) for name in ("x_0", "x_1"))
    # Nothing is left to gain within a pool.
    assert torch.equal(MinibatchOT(PATH).pair(x_0, x_1), torch.arange(128))


def test_the_source_keeps_its_law() -> None:
    """Kolmogorov and Smirnov on every coordinate: 8 tests at 1e-4. Near choices would fail."""
    batches = batches_of(data(16), 64)
    x_0, x_1 = (torch.cat([b[name] for b in batches]) for name in ("x_0", "x_1"))
    pvalues = [scipy.stats.kstest(x_0[:, i].numpy(), "norm").pvalue for i in range(8)]
    assert min(pvalues) > 1e-4
    nearest = x_0[torch.cdist(x_1, x_0).argmin(1)]
    assert scipy.stats.kstest(nearest[:, 0].numpy(), "norm").pvalue < 1e-6


def test_any_step_can_be_had_without_those_before_it() -> None:
    x = clusters()
    whole = batches_of(data(4, x), 11)
    rows, pools = data(4, x).train, PairedPools(PATH, MinibatchOT(PATH), batches=4)
    for step in (10, 3, 7):
        alone = _Pooled(rows, pools, 32, 0, 0, 1)[step]
        assert all(torch.equal(alone[name], whole[step][name]) for name in alone)
    # Two processes have a half each.
    halves = [_Pooled(rows, pools, 32, 0, rank, 2)[6] for rank in (0, 1)]
    for name in ("x_0", "x_1", "index"):
        assert torch.equal(torch.stack([h[name] for h in halves], 1).flatten(0, 1), whole[6][name])
    other = batches_of(data(4, x, seed=1), 1)[0]
    assert not torch.equal(other["x_0"], whole[0]["x_0"])


def module() -> FlowModule:
    torch.manual_seed(0)
    return FlowModule(
        MLP((8,), width=16, depth=1),
        FlowMatching(PATH, coupling=Paired()),
        optimizer=OptimizerSettings(schedule="constant"),
    )


def test_a_run_that_is_resumed_within_a_pool_is_the_same(tmp_path: Path) -> None:
    rest: dict[str, Any] = {"progress": False, "accelerator": "cpu"}
    whole, part = module(), module()
    fit(whole, data(4, val=clusters(40)), steps=11, output_dir=tmp_path / "a", **rest)
    fit(part, data(4, val=clusters(40)), steps=6, output_dir=tmp_path / "b", **rest)
    again = module()
    fit(again, data(4), steps=11, output_dir=tmp_path / "b", resume=True, **rest)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ConfigError, match="pools"):
        fit(module(), data(2), steps=12, output_dir=tmp_path / "b", resume=True, **rest)


def test_validation_is_paired_too() -> None:
    val = clusters(300, seed=1)
    made = data(2, val=val, val_batch_size=100)
    served = list(made.val_dataloader())
    x_0, x_1 = (torch.cat([b[name] for b in served]) for name in ("x_0", "x_1"))
    assert torch.equal(x_1, val)
    for rows in torch.arange(300).split(64):
        pairs = MinibatchOT(PATH).pair(x_0[rows], x_1[rows])
        assert torch.equal(pairs, torch.arange(len(rows)))
    again = torch.cat([b["x_0"] for b in made.val_dataloader()])
    assert torch.equal(again, x_0)


def test_conditions_masks_and_products_go_with_the_pool() -> None:
    x = clusters()
    label = torch.arange(500) % 2
    within = PairedPools(PATH, WithinCondition(MinibatchOT(PATH), "label"), batches=4)
    served = TensorData({"x_1": x, "condition": {"label": label}}, batch_size=32, pools=within)
    batches = batches_of(served, 4)
    x_0, x_1 = (torch.cat([b[name] for b in batches]) for name in ("x_0", "x_1"))
    rows = torch.cat([b["condition"]["label"] for b in batches]) == 1
    pairs = MinibatchOT(PATH).pair(x_0[rows], x_1[rows])
    assert torch.equal(pairs, torch.arange(int(rows.sum())))

    sets = torch.randn(40, 6, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(6).expand(40, 6) < 4
    sets[~mask] = torch.nan
    pools = PairedPools(PATH, Aligned(), batches=2)
    batch = batches_of(TensorData({"x_1": sets, "mask": mask}, batch_size=8, pools=pools), 1)[0]
    expected = Aligned().couple(batch["x_0"], batch["x_1"], mask=batch["mask"])
    torch.testing.assert_close(expected, batch["x_0"], rtol=1e-4, atol=1e-4)

    pools = PairedPools(PATH, MinibatchOT(PATH), batches=2)
    batch = batches_of(TensorData({"x_1": sets, "mask": mask}, batch_size=8, pools=pools), 1)[0]
    assert torch.isfinite(batch["x_0"]).all()

    product = ProductPath(a=AffinePath(), b=AffinePath())
    state = {"a": clusters(50), "b": clusters(50, 2)}
    pools = PairedPools(product, MinibatchOT(product), batches=3)
    batch = batches_of(TensorData({"x_1": state}, batch_size=10, pools=pools), 1)[0]
    assert batch["x_0"]["a"].shape == (10, 8) and batch["x_0"]["b"].shape == (10, 2)


def test_errors() -> None:
    with pytest.raises(ConfigError, match="path"):
        PairedPools(MinibatchOT(PATH), PATH, batches=2)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="coupling"):
        PairedPools(PATH, PATH, batches=2)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="batches"):
        PairedPools(PATH, Independent(), batches=0)
    with pytest.raises(ConfigError, match="pools"):
        TensorData(clusters(), pools=4)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="x_0: the data bring"):
        batches_of(data(2, {"x_1": clusters(), "x_0": clusters()}), 1)
    with pytest.raises(ShapeError, match="x_1"):
        batches_of(data(2, {"x_1": {"a": clusters()}}), 1)
