"""What networks over clouds of atoms share: states, padding, edges, time and features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.networks import FourierTimeEmbedding, Pretrained
from flowatlas_molecules.graphs.neighbors import complete_graph, radius_graph

if TYPE_CHECKING:
    from torch_geometric.data import Batch

__all__ = ["PointGraph", "PointNetwork", "RadialBumps"]

#: Bumps that stand for a distance.
_BUMPS = 16


@dataclass(frozen=True, slots=True)
class PointGraph:
    """Points of several clouds, one after the other.

    Attributes:
        position: `(nodes, 3)`.
        batch: cloud of each node, `(nodes,)`, ascending.
        count: number of clouds.
        edge_index: `(2, edges)`, sources above targets.
    """

    position: Tensor
    batch: Tensor
    count: int
    edge_index: Tensor

    def centred(self, v: Tensor) -> Tensor:
        """Vectors `(nodes, 3)` minus their mean over each cloud."""
        zeros = v.new_zeros(self.count, v.shape[1])
        ones = v.new_ones(len(v), 1)
        size = v.new_zeros(self.count, 1).index_add(0, self.batch, ones)
        mean = zeros.index_add(0, self.batch, v) / size.clamp(min=1)
        return v - mean[self.batch]

    def gather(self, messages: Tensor) -> Tensor:
        """Mean of the messages `(edges, width)` that reach each node, zero if there are none."""
        target = self.edge_index[1]
        size = messages.new_zeros(len(self.batch), 1)
        size = size.index_add(0, target, messages.new_ones(len(messages), 1))
        total = messages.new_zeros(len(self.batch), messages.shape[1])
        return total.index_add(0, target, messages) / size.clamp(min=1)

    def along(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From targets to sources, `(edges, 3)`, and the lengths `(edges, 1)`, at points x."""
        source, target = self.edge_index
        arrow = x[source] - x[target]
        # Smooth where two points are one.
        return arrow, (arrow.square().sum(-1, keepdim=True) + 1e-8).sqrt()


class RadialBumps(nn.Module):
    r"""Distances as $\exp(-(d - c_k)^2 / w^2)$, centres $c_k$ from 0 to `reach`, and $d / (1 + d)$.

    Args:
        count: of the bumps.
        reach: the last centre.
    """

    centres: Tensor

    def __init__(self, count: int, reach: float) -> None:
        super().__init__()
        if count < 2 or not reach > 0:
            raise ConfigError(
                f"bumps, reach: got {count} and {reach}; two or more bumps, up to a positive "
                "distance."
            )
        self.dim = count + 1
        self.gap = reach / (count - 1)
        self.register_buffer("centres", torch.linspace(0, reach, count), persistent=False)

    def forward(self, distance: Tensor) -> Tensor:
        """Features `(..., count + 1)` of distances `(..., 1)`."""
        bumps = torch.exp(-(((distance - self.centres.to(distance)) / self.gap) ** 2))
        return torch.cat([bumps, distance / (1 + distance)], -1)


@dataclass(eq=False, repr=False)
class PointNetwork(Pretrained):
    """A field over clouds of points in space, with kinds of points and their features.

    A subclass is a dataclass too: what is common to all is declared here, once, and it adds fields
    of its own.

    A state is a tensor `(batch, n, 3)` of positions, the kinds of the points (such as elements)
    `condition["kind"]` `(batch, n)`. With `joint` it is a mapping of `position` and `kind`, where
    `kinds` is the mask token, and the prediction has positions and logits `(batch, n, kinds)`.

    Padding is taken out before anything is computed, so it may hold anything. Each sample is a
    graph: complete, or of pairs within `radius` at the state's positions.

    Predictions are centred. With `residual` they are positions, the state's centred ones and a
    displacement: for paths of the prediction `"target"` over centred data. Without it they are the
    displacement, a velocity that does not depend on where the cloud is: for data and sources that
    are both centred.

    ```python
    from flowatlas_molecules.networks import PointNetwork

    @dataclass(eq=False, repr=False)
    class Mine(PointNetwork):
        hidden: int = 32

        def __post_init__(self) -> None:
            super().__post_init__()
            self.pull = nn.Sequential(
                nn.Linear(self.width, self.hidden), nn.SiLU(), nn.Linear(self.hidden, 1)
            )

        def flow(self, s, graph):
            return self.pull(s) * graph.centred(graph.position), s
    ```

    Args:
        width: of the features of points.
        depth: layers.
        kinds: of points, such as elements; 1 if all are alike.
        features: numbers of each point in `condition["features"]` `(batch, n, features)`.
        joint: whether kinds flow along.
        residual: whether the centred positions are added, for paths that predict the target.
        radius: of the neighbourhood; complete graphs if None.
        reach: up to which distances are told apart finely, in the unit of the points.

    Raises:
        ConfigError: a number out of range; kinds that flow along but are one.
    """

    width: int = 64
    depth: int = 4
    _: KW_ONLY
    kinds: int = 1
    features: int = 0
    joint: bool = False
    residual: bool = True
    radius: float | None = None
    reach: float = 8.0

    def __post_init__(self) -> None:
        # Arguments are in their places; parts of a module can only come after this.
        super().__init__()
        if self.width < 1 or self.depth < 1 or self.kinds < 1 or self.features < 0:
            raise ConfigError(
                f"width, depth, kinds, features: got {self.width}, {self.depth}, {self.kinds} and "
                f"{self.features}; features is 0 or more, the others are 1 or more."
            )
        if self.joint and self.kinds < 2:
            raise ConfigError("kinds: got 1 with joint=True; one kind is nothing to predict.")
        if self.radius is not None and not self.radius > 0:
            raise ConfigError(f"radius: got {self.radius}; positive, or None for complete graphs.")
        self.time = FourierTimeEmbedding(32)
        self.kind = nn.Embedding(self.kinds + self.joint, self.width)
        self.enter = nn.Linear(32 + self.features, self.width)
        self.logits = nn.Linear(self.width, self.kinds) if self.joint else None
        self.bumps = RadialBumps(_BUMPS, self.reach)

    @abstractmethod
    def flow(self, s: Tensor, graph: PointGraph) -> tuple[Tensor, Tensor]:
        """Displacements `(nodes, 3)` and new features `(nodes, width)`, from features and graph."""

    def forward(
        self,
        x: Tensor | Mapping[str, Tensor],
        t: Tensor,
        condition: Mapping[str, Tensor] | None = None,
        *,
        mask: Tensor | Mapping[str, Tensor] | None = None,
    ) -> Tensor | dict[str, Tensor]:
        """The prediction, a tensor or a mapping as the state is.

        Args:
            x: the state at t.
            t: `(batch,)`.
            condition: `kind` (unless it flows along, or all points are alike) and `features`.
            mask: `(batch, n)`, True where a point exists; all if None.

        Raises:
            ShapeError: a state or a condition of another shape.
            ConfigError: kinds that are no integers in range.
        """
        condition = {} if condition is None else condition
        position = self._position(x)
        shape = position.shape[:2]
        here = mask["position"] if isinstance(mask, Mapping) else mask
        if here is None:
            here = torch.ones(shape, dtype=torch.bool, device=position.device)
        given = {"kind": x["kind"]} if isinstance(x, Mapping) else condition
        kind = features = None
        if self.kinds > 1:
            kind = self._tokens(self._given(given, "kind", tuple(shape))[here])
        if self.features:
            features = self._given(condition, "features", (*shape, self.features))[here]
        rows = torch.arange(len(position), device=here.device).unsqueeze(1).expand(shape)[here]
        moved, s = self._run(position[here], t, rows, len(position), kind, features, None)
        prediction = _padded(moved, here)
        if self.logits is None:
            return prediction
        return {"position": prediction, "kind": _padded(self.logits(s), here)}

    def on_graphs(self, graphs: Batch, t: Tensor) -> Tensor:
        """Predicted vectors `(nodes, 3)` of a PyG batch, along its own edges.

        Args:
            graphs: with `pos`, `kind` if there are kinds, `features` if there are some, and
                `edge_index`.
            t: `(graphs,)`.
        """
        kind = self._tokens(graphs["kind"]) if self.kinds > 1 else None
        features = graphs["features"] if self.features else None
        count = int(graphs.num_graphs)
        return self._run(graphs.pos, t, graphs.batch, count, kind, features, graphs.edge_index)[0]

    def _run(
        self,
        position: Tensor,
        t: Tensor,
        batch: Tensor,
        count: int,
        kind: Tensor | None,
        features: Tensor | None,
        edge_index: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        if edge_index is None:
            edge_index = (
                complete_graph(batch)
                if self.radius is None
                else radius_graph(position, batch, self.radius)
            )
        graph = PointGraph(position, batch, count, edge_index)
        known = [self.time(t.to(position.dtype))[batch]]
        if features is not None:
            known.append(features.to(position.dtype))
        alike = torch.zeros_like(batch) if kind is None else kind
        s = self.enter(torch.cat(known, -1)) + self.kind(alike)
        displacement, s = self.flow(s, graph)
        if self.residual:
            displacement = displacement + position
        return graph.centred(displacement), s

    def _position(self, x: Tensor | Mapping[str, Tensor]) -> Tensor:
        wanted = "a mapping of position (batch, n, 3) and kind (batch, n)"
        if isinstance(x, Mapping):
            fits = self.joint and set(x) == {"position", "kind"}
            got, position = f"a mapping of {sorted(x)}", x.get("position")
        else:
            fits, got, position = not self.joint, f"a tensor {tuple(x.shape)}", x
        if not fits or position is None or position.ndim != 3 or position.shape[-1] != 3:
            raise ShapeError(
                f"x: got {got}; {type(self).__name__}(joint={self.joint}) takes "
                f"{wanted if self.joint else 'a tensor (batch, n, 3)'}."
            )
        return position

    def _given(self, values: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
        value = values.get(name)
        if value is None or tuple(value.shape) != shape:
            got = "nothing" if value is None else f"shape {tuple(value.shape)}"
            raise ShapeError(
                f"condition[{name!r}]: got {got}; this network needs {shape}. "
                f"Pass condition={{{name!r}: ...}}."
            )
        return value

    def _tokens(self, kind: Tensor) -> Tensor:
        rows = self.kind.num_embeddings
        if kind.is_floating_point() or bool(((kind < 0) | (kind >= rows)).any()):
            raise ConfigError(
                f"kind: got {kind.dtype} from {kind.amin().item():g} to {kind.amax().item():g}; "
                f"{type(self).__name__}(kinds={self.kinds}, joint={self.joint}) takes integers "
                f"from 0 to {rows - 1}. Atomic numbers need kinds=119."
            )
        return kind


def _padded(values: Tensor, mask: Tensor) -> Tensor:
    """Rows where points exist, zeros elsewhere."""
    return values.new_zeros(*mask.shape, values.shape[-1]).index_put((mask,), values)
