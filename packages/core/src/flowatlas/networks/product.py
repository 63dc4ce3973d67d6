"""A perceptron as a field on states that are mappings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from flowatlas._precision import full_precision
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition
from flowatlas.manifolds.base import Manifold
from flowatlas.networks._head import GeometricHead, Head, TokenHead, check_time
from flowatlas.networks.condition import ConditionEmbedding, ConditionKind
from flowatlas.networks.features import Features, Identity
from flowatlas.networks.hub import Pretrained
from flowatlas.networks.time_embedding import FourierTimeEmbedding, TimeEmbedding
from flowatlas.networks.trunk import CONTEXT, ResidualTrunk

__all__ = ["ProductMLP"]


class ProductMLP(Pretrained):
    """A residual perceptron from mappings to mappings: all components see each other.

    Args:
        event_shapes: shape of one sample of each component, as `{"rotation": (N, 3, 3)}`.
        manifolds: where the points of components live; flat space for those not named.
        vocab: sizes of the components that are token ids, `(batch, *event)` of integers in
            [0, vocab], the last id being a mask. Their prediction is logits,
            `(batch, *event, vocab)`.
        width: of the hidden layers.
        depth: how many hidden layers.
        features: what the network sees of each component; coordinates for those not named.
        token_dim: length of the embedding of a token.
        time_embedding: what the network sees of t.
        condition: the named conditions, as `Classes(count)` or `Vector(dim)`.
        outputs: `"velocity"`, `"target"` or, for bridges, `"velocity_and_noise"` of each continuous
            component; velocity if not named.
        fixed: whether the network is told which points are given.

    Raises:
        ConfigError: a setting that is not allowed, or for a component that does not exist.
        ShapeError: events or inputs that do not fit.

    Example:
        ```python
        model = ProductMLP(
            {"rotation": (3, 3), "residue": (5,)},
            manifolds={"rotation": SO3()},
            vocab={"residue": 20},
        )
        prediction = model({"rotation": rotation, "residue": residue}, t)
        prediction["rotation"].shape, prediction["residue"].shape  # (batch, 3), (batch, 5, 20)
        ```
    """

    def __init__(
        self,
        event_shapes: Mapping[str, Sequence[int]],
        *,
        manifolds: Mapping[str, Manifold] | None = None,
        vocab: Mapping[str, int] | None = None,
        width: int = 256,
        depth: int = 4,
        features: Mapping[str, Features] | None = None,
        token_dim: int = 16,
        time_embedding: TimeEmbedding | None = None,
        condition: Mapping[str, ConditionKind] | None = None,
        outputs: Mapping[str, str] | None = None,
        fixed: bool = False,
    ) -> None:
        super().__init__()
        manifolds, features = manifolds or {}, features or {}
        vocab, outputs = vocab or {}, outputs or {}
        named = {"manifolds": manifolds, "vocab": vocab, "features": features, "outputs": outputs}
        _check_components(event_shapes, named)
        self.fixed = fixed
        self.heads: dict[str, Head] = {
            name: TokenHead(shape, vocab[name], f"[{name!r}]")
            if name in vocab
            else GeometricHead(
                shape, manifolds.get(name), outputs.get(name, "velocity"), f"[{name!r}]"
            )
            # Sorted, so that no order of a mapping decides which weight belongs to what.
            for name, shape in sorted(event_shapes.items())
        }
        self.features = nn.ModuleDict()
        self.tokens = nn.ModuleDict()
        self.time_embedding = FourierTimeEmbedding() if time_embedding is None else time_embedding
        self.condition = ConditionEmbedding({} if condition is None else condition, CONTEXT)
        seen = 0
        for name, head in self.heads.items():
            if isinstance(head, TokenHead):
                self.tokens[name] = nn.Embedding(head.vocab + 1, token_dim)
                seen += head.points * token_dim
            else:
                self.features[name] = given = features.get(name) or Identity()
                seen += given.out_features(head.event_shape)
            seen += head.points if fixed else 0
        said = sum(head.out_features for head in self.heads.values())
        embedding = self.time_embedding.dim + self.condition.dim
        self.trunk = ResidualTrunk(seen, embedding, said, width=width, depth=depth)

    def forward(
        self,
        x: Mapping[str, Tensor],
        t: Tensor,
        condition: Condition | None = None,
        *,
        mask: Tensor | Mapping[str, Tensor] | None = None,
        fixed: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Prediction of each component at (x, t).

        Args:
            x: mapping of `(batch, *event_shape)`.
            t: `(batch,)`.
            condition: named conditions; what is left out is unknown.
            mask: True where a point exists, one for all components or a mapping.
            fixed: mapping, True where a point is given; needs `fixed=True` above.
        """
        if set(x) != set(self.heads):
            raise ShapeError(
                f"x: got components {sorted(x)}; the network was built for {sorted(self.heads)}."
            )
        masks = {name: mask if isinstance(mask, Tensor) else (mask or {}).get(name) for name in x}
        seen = []
        for name, head in self.heads.items():
            head.check(x[name])
            check_time(t, x[name].shape[0])
            with full_precision(x[name]):
                seen.append(self._see(name, head, x[name], masks[name]))
            if self.fixed or fixed is not None:
                seen.append(head.marks((fixed or {}).get(name), t, self.fixed))
        with full_precision(t):
            embedding = [self.time_embedding(t)]
        embedding += self.condition(condition, t.shape[0])
        out = self.trunk(seen, embedding)
        sizes = [head.out_features for head in self.heads.values()]
        parts = dict(zip(self.heads, out.split(sizes, -1), strict=True))
        return {
            name: head.finish(x[name], parts[name], masks[name])
            for name, head in self.heads.items()
        }

    def null_condition(self, condition: Condition) -> Condition:
        """`condition` with every value unknown, as condition dropout and guidance need it."""
        return self.condition.null(condition)

    def _see(self, name: str, head: Head, x: Tensor, mask: Tensor | None) -> Tensor:
        if isinstance(head, TokenHead):
            # Absent tokens look like masked ones.
            embedded: Tensor = self.tokens[name](head.only(mask, x, head.vocab))
            return embedded.flatten(1)
        features: Tensor = self.features[name](head.only(mask, x, 0.0))
        return features


def _check_components(
    event_shapes: Mapping[str, Sequence[int]], named: Mapping[str, Mapping[str, object]]
) -> None:
    if not event_shapes:
        raise ConfigError("event_shapes: got an empty mapping; name at least one component.")
    for argument, given in named.items():
        extra = sorted(set(given) - set(event_shapes))
        if extra:
            raise ConfigError(
                f"{argument}: no component {extra}; event_shapes has {sorted(event_shapes)}."
            )
    both = sorted(set(named["vocab"]) & set(named["manifolds"]))
    if both:
        raise ConfigError(f"vocab: {both} are given manifolds too; tokens live on none.")
