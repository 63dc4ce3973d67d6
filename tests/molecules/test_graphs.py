"""Neighbour search and PyG batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas_molecules import PaddedChains, pad_chains, read_structure
from flowatlas_molecules.graphs import (
    chains_from_graphs,
    complete_graph,
    graphs_from_chains,
    graphs_from_padded,
    knn_graph,
    padded_from_graphs,
    radius_graph,
)

SIZES = (7, 1, 40, 12)
BATCH = torch.repeat_interleave(torch.tensor(SIZES))
Edges = set[tuple[int, int]]


def points(seed: int = 0) -> Tensor:
    return torch.randn(len(BATCH), 3, generator=torch.Generator().manual_seed(seed))


def as_set(edges: Tensor) -> Edges:
    pairs = [(int(a), int(b)) for a, b in edges.T]
    assert len(set(pairs)) == len(pairs)
    assert pairs == sorted(pairs, key=lambda pair: (pair[1], pair[0]))
    return set(pairs)


def trees(x: Tensor) -> list[tuple[int, cKDTree]]:
    first = torch.tensor(SIZES).cumsum(0) - torch.tensor(SIZES)
    return [
        (int(start), cKDTree(x[int(start) : int(start) + size].double().numpy()))
        for start, size in zip(first, SIZES, strict=True)
    ]


@pytest.mark.parametrize("at_once", [1, 500, 1 << 22])
@pytest.mark.parametrize("shift", [0.0, 300.0])
def test_the_radius_graph_is_that_of_a_tree(at_once: int, shift: float) -> None:
    """In chunks of any size, and far from the origin, where products of float32 lose digits."""
    x = points() + shift
    expected: Edges = set()
    for start, tree in trees(x):
        for i, j in tree.query_pairs(1.1):
            expected |= {(start + i, start + j), (start + j, start + i)}
    assert as_set(radius_graph(x, BATCH, 1.1, at_once=at_once)) == expected
    assert 50 < len(expected) < 1000


@pytest.mark.parametrize("at_once", [1, 500, 1 << 22])
def test_nearest_neighbours_are_those_of_a_tree(at_once: int) -> None:
    x, k = points(), 9
    expected: Edges = set()
    for start, tree in trees(x):
        _, near = tree.query(tree.data, min(k + 1, len(tree.data)))
        for i, row in enumerate(near.reshape(len(tree.data), -1)):
            expected |= {(start + int(j), start + i) for j in row if j != i}
    found = knn_graph(x, BATCH, k, at_once=at_once)
    assert as_set(found) == expected
    incoming = torch.bincount(found[1], minlength=len(x))
    assert torch.equal(incoming, torch.tensor(SIZES).sub(1).clamp(max=k)[BATCH])


def test_complete_graphs_have_every_pair_once() -> None:
    expected = {
        (i, j)
        for i in range(len(BATCH))
        for j in range(len(BATCH))
        if i != j and BATCH[i] == BATCH[j]
    }
    assert as_set(complete_graph(BATCH)) == expected
    assert complete_graph(BATCH[:0]).shape == (2, 0)
    assert radius_graph(points()[:0], BATCH[:0], 1.0).shape == (2, 0)
    # A cloud that has no point is no trouble.
    assert as_set(complete_graph(torch.tensor([0, 0, 3, 3]))) == {(0, 1), (1, 0), (2, 3), (3, 2)}


def test_wrong_points_and_numbers_are_refused() -> None:
    with pytest.raises(ShapeError, match="ascending order"):
        complete_graph(torch.tensor([0, 1, 0]))
    with pytest.raises(ShapeError, match="ascending order"):
        complete_graph(torch.tensor([0.0, 1.0]))
    with pytest.raises(ShapeError, match=r"got shapes \(60, 3\) and \(59,\)"):
        knn_graph(points(), BATCH[1:], 3)
    with pytest.raises(ConfigError, match="radius: got 0"):
        radius_graph(points(), BATCH, 0.0)
    with pytest.raises(ConfigError, match="k: got 0"):
        knn_graph(points(), BATCH, 0)


def padded() -> tuple[dict[str, Tensor], Tensor]:
    mask = torch.arange(6) < torch.tensor([[4], [6], [1]])
    values = {"pos": torch.randn(3, 6, 3), "z": torch.randint(1, 9, (3, 6))}
    values["pos"][~mask] = torch.nan
    return values, mask


def test_padded_states_become_graphs_and_come_back() -> None:
    values, mask = padded()
    batch = graphs_from_padded(values, mask)
    assert batch.num_graphs == 3
    assert batch.num_nodes == 11
    assert torch.equal(batch.ptr, torch.tensor([0, 4, 10, 11]))
    assert as_set(batch.edge_index) == as_set(complete_graph(batch.batch))
    back, again = padded_from_graphs(batch)
    assert torch.equal(again, mask)
    assert set(back) == {"pos", "z"}
    for name, value in values.items():
        assert torch.equal(back[name][mask], value[mask])
        assert not back[name][~mask].any()
    assert set(padded_from_graphs(batch, ["z"])[0]) == {"z"}
    # And PyG takes them apart, edges within each graph counted from zero.
    one = batch.get_example(1)
    assert torch.equal(one.pos, values["pos"][1])
    assert int(one.edge_index.max()) == 5


def test_edges_of_ones_own_are_kept() -> None:
    values, mask = padded()
    edges = torch.tensor([[9, 0, 4, 1], [8, 3, 5, 0]])
    batch = graphs_from_padded(values, mask, edge_index=edges)
    assert {tuple(pair) for pair in batch.edge_index.T.tolist()} == {(9, 8), (0, 3), (4, 5), (1, 0)}
    assert torch.equal(batch.get_example(1).edge_index, torch.tensor([[5, 0], [4, 1]]))
    with pytest.raises(ShapeError, match="from one sample to another"):
        graphs_from_padded(values, mask, edge_index=torch.tensor([[0], [4]]))


def test_chains_become_graphs_and_come_back() -> None:
    tmtools = pytest.importorskip("tmtools")
    chains = read_structure(Path(tmtools.__file__).parent / "data" / "2gtl.pdb").chains[:2]
    given = pad_chains(chains)
    near = knn_graph(
        given.state["translation"][given.mask], torch.repeat_interleave(given.lengths), 8
    )
    graphs = graphs_from_chains(given, edge_index=near)
    assert graphs.num_edges == 8 * given.mask.sum()
    found = chains_from_graphs(graphs)
    assert isinstance(found, PaddedChains)
    assert torch.equal(found.mask, given.mask)
    assert set(found.state) == set(given.state)
    for name, value in given.state.items():
        assert torch.equal(found.state[name], value), name


def test_values_and_batches_that_do_not_fit_are_refused() -> None:
    values, mask = padded()
    with pytest.raises(ShapeError, match="at least one point in every sample"):
        graphs_from_padded(values, mask & (torch.arange(3) < 2).unsqueeze(1))
    with pytest.raises(ShapeError, match=r"values\['z'\]: got shape \(3, 5\)"):
        graphs_from_padded({"z": values["z"][:, 1:]}, mask)
    batch = graphs_from_padded(values, mask)
    with pytest.raises(ShapeError, match="'rotation' is NoneType in this batch of 11 nodes"):
        chains_from_graphs(batch)
    with pytest.raises(ShapeError, match="'edge_index' is"):
        padded_from_graphs(batch, ["edge_index"])
