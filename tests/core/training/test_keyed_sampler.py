from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from flowatlas.errors import ConfigError
from flowatlas.training import KeyedBatchSampler
from flowatlas.training._keys import key


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 2**40))
def test_every_epoch_has_every_sample_once(size: int, batch: int, seed: int) -> None:
    steps = -(-3 * size // batch)
    sampler = KeyedBatchSampler(size, batch, seed, steps=steps)
    batches = list(sampler)
    assert all(len(b) == batch for b in batches)
    row = [i for b in batches for i in b]
    for epoch in range(3):
        assert sorted(row[epoch * size : (epoch + 1) * size]) == list(range(size))


@settings(max_examples=50, deadline=None)
@given(
    size=st.integers(1, 60),
    share=st.integers(1, 9),
    world=st.integers(1, 5),
    start=st.integers(0, 30),
)
def test_a_batch_is_a_function_of_its_step_and_ranks_interleave(
    size: int, share: int, world: int, start: int
) -> None:
    batch = share * world
    whole = list(KeyedBatchSampler(size, batch, 3, steps=start + 3))
    resumed = KeyedBatchSampler(size, batch, 3, start_step=start, steps=start + 3)
    assert list(resumed) == whole[start:]
    parts = [KeyedBatchSampler(size, batch, 3, rank=r, world=world) for r in range(world)]
    for j, index in enumerate(whole[start]):
        assert parts[j % world].indices(start)[j // world] == index


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    sampler = KeyedBatchSampler(100, 100, seed=0)
    first, second = sampler.indices(0), sampler.indices(1)
    other = KeyedBatchSampler(100, 100, seed=1).indices(0)
    for a, b in ((first, second), (first, other), (second, other)):
        # A random permutation of 100 has 1 fixed point on average; P(more than 12) < 1e-10.
        assert (a == b).sum() <= 12


def test_it_is_without_end_and_without_length() -> None:
    data = TensorDataset(torch.arange(10))
    loader = DataLoader(data, batch_sampler=KeyedBatchSampler(10, 4, 0))
    with pytest.raises(TypeError):
        len(loader)
    assert len([batch for batch, _ in zip(loader, range(50), strict=False)]) == 50


def test_keys_of_neighbours_are_unrelated() -> None:
    keys = {key(a, b) for a in range(-3, 50) for b in range(50)}
    assert len(keys) == 53 * 50
    # Each bit is set half of the time: 5 standard deviations of 2650 fair coins are 129.
    for bit in range(64):
        assert abs(sum(k >> bit & 1 for k in keys) - 1325) < 129
    assert key(0, 1) != key(1, 0)
    assert key(7) != key(7, 0)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"size": 0}, "size"),
        ({"batch_size": 0}, "batch_size"),
        ({"rank": 2, "world": 2}, "rank"),
        ({"batch_size": 5, "world": 2}, "Use 4"),
        ({"start_step": -1}, "start_step"),
    ],
)
def test_settings_are_checked(arguments: dict[str, int], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        KeyedBatchSampler(**{"size": 10, "batch_size": 4, **arguments})
