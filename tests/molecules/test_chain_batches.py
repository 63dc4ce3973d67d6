"""Batches of chains of like lengths."""

from __future__ import annotations

import math

import pytest
import torch

from flowatlas.errors import ConfigError
from flowatlas_molecules import (
    Backbone,
    ChainBatches,
    PaddedChains,
    backbone_data,
    backbone_path,
    chain_from_torsions,
    pad_chains,
)

LENGTHS = (12, 30, 8, 21, 16, 9, 25)


@pytest.fixture(scope="module")
def chains() -> PaddedChains:
    helix = torch.tensor([-57.0, -47.0, 180.0]).deg2rad()
    return pad_chains([Backbone(chain_from_torsions(helix.expand(n, 3)), n * "A") for n in LENGTHS])


def test_batches_are_chains_of_one_group_cut_to_the_longest(chains: PaddedChains) -> None:
    draw = ChainBatches(chains, residues=True, groups=3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        batch = draw(4, generator)
        lengths = batch["mask"].sum(1).tolist()
        assert any(set(lengths) <= set(some) for some in ((8, 9, 12), (16, 21), (25, 30)))
        n = max(lengths)
        assert batch["mask"].shape == (4, n)
        assert batch["x_1"]["rotation"].shape == (4, n, 3, 3)
        assert batch["x_1"]["residue"].shape == (4, n)
        for i, length in enumerate(lengths):
            whole = LENGTHS.index(length)
            own = chains.state["translation"][whole, :n]
            assert torch.equal(batch["x_1"]["translation"][i], own)
            assert bool(batch["mask"][i, :length].all())


@pytest.mark.parametrize("groups", [1, 3, 7, 20])
def test_every_chain_is_drawn_equally_often(chains: PaddedChains, groups: int) -> None:
    """12000 draws, one a batch: each of seven within four standard errors of a seventh.

    Seven comparisons of four sigma fail once in two thousand.
    """
    draw, count = ChainBatches(chains, groups=groups), 12_000
    generator = torch.Generator().manual_seed(1)
    seen = torch.zeros(31)
    for _ in range(count):
        seen[int(draw(1, generator)["mask"].sum())] += 1
    share = seen[list(LENGTHS)] / count
    assert share.sum() == pytest.approx(1.0)
    assert (share - 1 / 7).abs().max() < 4 * math.sqrt(6 / 49 / count)


def test_data_of_a_flow_have_the_names_of_its_path(chains: PaddedChains) -> None:
    for residues in (False, True):
        data = backbone_data(chains, chains, residues=residues, batch_size=2, seed=3)
        batch = next(iter(data.train_dataloader()))
        names = set(backbone_path(residues=residues).components)
        assert set(batch["x_1"]) == names
        assert len(batch["mask"]) == 2
        validation = next(iter(data.val_dataloader()))
        assert set(validation["x_1"]) == names
        assert torch.equal(validation["mask"], chains.mask)
    with pytest.raises(ConfigError, match="groups: got 0"):
        ChainBatches(chains, groups=0)
