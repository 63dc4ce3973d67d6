"""PyG batches from padded states, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowatlas.errors import ShapeError
from flowatlas_molecules.graphs.neighbors import complete_graph, dense
from flowatlas_molecules.proteins import PaddedChains

if TYPE_CHECKING:
    from torch_geometric.data import Batch

__all__ = ["chains_from_graphs", "graphs_from_chains", "graphs_from_padded", "padded_from_graphs"]

#: PyG's name for the positions of nodes.
_POSITION = "pos"


def graphs_from_padded(
    values: Mapping[str, Tensor], mask: Tensor, *, edge_index: Tensor | None = None
) -> Batch:
    """A `torch_geometric.data.Batch` of the points that exist, one graph a sample.

    Args:
        values: tensors `(batch, n, ...)` by name, such as `pos` and `z`; each is an attribute of
            the nodes of that name.
        mask: `(batch, n)`, True where a point exists; a sample needs at least one.
        edge_index: `(2, edges)` between the points that exist, counted through; those of complete
            graphs if None.

    Raises:
        ShapeError: a tensor that does not go with the mask, an empty sample, or edges that lead
            from one sample to another.

    Example:
        ```python
        from flowatlas_molecules.graphs import graphs_from_padded, padded_from_graphs

        mask = torch.arange(5) < torch.tensor([[3], [5]])
        batch = graphs_from_padded({"pos": torch.randn(2, 5, 3)}, mask)
        batch.num_nodes  # 8
        values, mask = padded_from_graphs(batch, ["pos"])
        ```
    """
    from torch_geometric.data import Batch, Data

    if mask.ndim != 2 or mask.dtype != torch.bool or not bool(mask.any(1).all()):
        raise ShapeError(
            f"mask: got {mask.dtype} of shape {tuple(mask.shape)}; it is bool (batch, n), with at "
            "least one point in every sample. Leave empty samples out."
        )
    for name, value in values.items():
        if value.shape[:2] != mask.shape:
            raise ShapeError(
                f"values[{name!r}]: got shape {tuple(value.shape)}; with this mask it is "
                f"{(*mask.shape, '...')}."
            )
    counts = mask.sum(1)
    sample = torch.repeat_interleave(counts)
    edges = complete_graph(sample) if edge_index is None else edge_index
    of = sample[edges[1]]
    if bool((sample[edges[0]] != of).any()):
        raise ShapeError("edge_index: an edge leads from one sample to another; it must not.")
    order = of.argsort(stable=True)
    per_graph = edges[:, order].split(torch.bincount(of, minlength=len(mask)).tolist(), 1)
    starts = (counts.cumsum(0) - counts).tolist()
    graphs = [
        Data(
            edge_index=pairs - start,
            num_nodes=int(count),
            **{name: value[i][mask[i]] for name, value in values.items()},
        )
        for i, (pairs, start, count) in enumerate(zip(per_graph, starts, counts, strict=True))
    ]
    return Batch.from_data_list(graphs)


def padded_from_graphs(
    batch: Batch, names: list[str] | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """Node attributes of a PyG batch as padded tensors, and the mask.

    Args:
        batch: of graphs; its `batch` vector says whose each node is.
        names: attributes to take; every one that has a row a node if None.

    Returns:
        Tensors `(batch, longest, ...)` by name, zero where there is no node, and the mask.

    Raises:
        ShapeError: an attribute that is missing or has no row a node.
    """
    index, mask = dense(batch.batch)
    wanted = [name for name in batch.node_attrs() if name != "batch"] if names is None else names
    values = {}
    for name in wanted:
        value = batch.get(name)
        if not isinstance(value, Tensor) or len(value) != len(batch.batch):
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(
                f"names: {name!r} is {got} in this batch of {len(batch.batch)} nodes; it must be a "
                f"tensor with a row for each. The batch has {sorted(batch.keys())}."
            )
        here = mask.reshape(*mask.shape, *(1,) * (value.ndim - 1))
        values[name] = torch.where(here, value[index], torch.zeros_like(value[:1]))
    return values, mask


def graphs_from_chains(chains: PaddedChains, *, edge_index: Tensor | None = None) -> Batch:
    """Chains as a PyG batch: nodes are residues, with `pos`, `rotation` and `residue`.

    Args:
        chains: padded ones.
        edge_index: as in `graphs_from_padded`.
    """
    state = dict(chains.state)
    state[_POSITION] = state.pop("translation")
    return graphs_from_padded(state, chains.mask, edge_index=edge_index)


def chains_from_graphs(batch: Batch) -> PaddedChains:
    """Padded chains of a batch that `graphs_from_chains` made.

    Raises:
        ShapeError: an attribute of chains is missing.
    """
    values, mask = padded_from_graphs(batch, [_POSITION, "rotation", "residue"])
    # Padding has frames of its own.
    eye = torch.eye(3, dtype=values["rotation"].dtype, device=mask.device)
    state = {
        "rotation": torch.where(mask[..., None, None], values["rotation"], eye),
        "translation": values[_POSITION],
        "residue": values["residue"],
    }
    return PaddedChains(state, mask)
