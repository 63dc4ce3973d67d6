"""A perceptron as a field on any manifold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from flowatlas._precision import full_precision
from flowatlas.field import Condition
from flowatlas.manifolds.base import Manifold
from flowatlas.networks._head import GeometricHead, check_time
from flowatlas.networks.condition import ConditionEmbedding, ConditionKind
from flowatlas.networks.features import Features, Identity
from flowatlas.networks.hub import Pretrained
from flowatlas.networks.time_embedding import FourierTimeEmbedding, TimeEmbedding
from flowatlas.networks.trunk import CONTEXT, ResidualTrunk

__all__ = ["MLP"]


class MLP(Pretrained):
    """A residual perceptron `(x, t, condition=None) -> prediction` for states that are tensors.

    Samples are flattened; features of x, the embedding of t and the embeddings of the conditions
    enter at the bottom. On a manifold the output is a tangent at x: it is projected there, in at
    least float32 even where the rest runs in half precision.

    Args:
        event_shape: shape of one sample: `(3,)` for a point of the sphere, `(N, 3, 3)` for N
            rotations.
        manifold: where the points live; flat space if None.
        width: of the hidden layers.
        depth: how many hidden layers.
        features: what the network sees of x; the coordinates if None. `Periodic` for a torus,
            `MultiScale` for data in clusters.
        time_embedding: what it sees of t.
        condition: the named conditions, as `Classes(count)` or `Vector(dim)`.
        output: `"velocity"` for a tangent at x, `"target"` for a point of the manifold, and for
            a bridge `"velocity_and_noise"`; to be chosen as the path's `prediction`. Noise and
            score are `"velocity"` in flat space.
        fixed: whether the network is told which points are given (see `fixed=` of objectives).

    Raises:
        ConfigError: a setting that is not allowed.
        ShapeError: an event that does not fit the manifold or the features; at a call, inputs that
            do not fit.

    Example:
        ```python
        model = MLP((3,), manifold=Sphere(), features=MultiScale(3), condition={"era": Classes(4)})
        v = model(x, t, {"era": era})  # (batch, 3), tangent at x
        ```
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        manifold: Manifold | None = None,
        width: int = 256,
        depth: int = 4,
        features: Features | None = None,
        time_embedding: TimeEmbedding | None = None,
        condition: Mapping[str, ConditionKind] | None = None,
        output: str = "velocity",
        fixed: bool = False,
    ) -> None:
        super().__init__()
        self.head = GeometricHead(event_shape, manifold, output, "")
        self.features = Identity() if features is None else features
        self.time_embedding = FourierTimeEmbedding() if time_embedding is None else time_embedding
        self.condition = ConditionEmbedding({} if condition is None else condition, CONTEXT)
        self.fixed = fixed
        seen = self.features.out_features(event_shape) + (self.head.points if fixed else 0)
        embedding = self.time_embedding.dim + self.condition.dim
        self.trunk = ResidualTrunk(
            seen, embedding, self.head.out_features, width=width, depth=depth
        )

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        condition: Condition | None = None,
        *,
        mask: Tensor | None = None,
        fixed: Tensor | None = None,
    ) -> Tensor:
        """Prediction at (x, t).

        Args:
            x: `(batch, *event_shape)`.
            t: `(batch,)`.
            condition: named conditions; what is left out is unknown.
            mask: True where a point exists, `(batch, *points)`; the others are seen as zeros.
            fixed: True where a point is given, `(batch, *points)`; needs `fixed=True` above.
        """
        self.head.check(x)
        check_time(t, x.shape[0])
        with full_precision(x):
            seen = [self.features(self.head.only(mask, x, 0.0))]
            embedding = [self.time_embedding(t)]
        if self.fixed or fixed is not None:
            seen.append(self.head.marks(fixed, t, self.fixed))
        embedding += self.condition(condition, x.shape[0])
        out = self.trunk(seen, embedding)
        return self.head.finish(x, out, mask)

    def null_condition(self, condition: Condition) -> Condition:
        """`condition` with every value unknown, as condition dropout and guidance need it."""
        return self.condition.null(condition)
