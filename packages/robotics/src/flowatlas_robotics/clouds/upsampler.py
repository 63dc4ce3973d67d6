"""The velocity of points on their way to a surface that few points tell of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import silu

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition
from flowatlas.networks import FourierTimeEmbedding, Pretrained
from flowatlas_robotics.clouds.encoder import EdgeConvolution, PointEncoder
from flowatlas_robotics.clouds.neighbours import nearest

__all__ = ["PointUpsampler"]


class PointUpsampler(Pretrained):
    """A field of clouds `(batch, n, 3)`, given sparse ones as the condition `"sparse"`.

    Each point hears from the sparse points around it, whose features a `PointEncoder` makes, and
    from the other moving points around it, so that they can keep apart. Equivariant to the order
    of the points, invariant to that of the sparse ones, and equivariant to moving both; the field
    is zero at first.

    Distances enter as they are: give clouds a scale, such as `spacing(sparse)` = 1.

    Args:
        width: of the features.
        depth: times that points hear from both.
        encoder_depth: convolutions among the sparse points.
        neighbours: of each point, in each cloud.

    Raises:
        ConfigError: a setting below 1; at a call, no sparse clouds.
        ShapeError: at a call, inputs that do not fit.

    Example:
        ```python
        from flowatlas_robotics.clouds import PointUpsampler

        model = PointUpsampler(width=16, depth=1)
        v = model(torch.randn(2, 64, 3), torch.rand(2), {"sparse": torch.randn(2, 16, 3)})
        ```
    """

    def __init__(
        self, width: int = 64, depth: int = 2, encoder_depth: int = 3, neighbours: int = 8
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ConfigError(f"depth: got {depth}; 1 or more.")
        self.neighbours = neighbours
        self.encoder = PointEncoder(width, encoder_depth, neighbours)
        self.time_embedding = FourierTimeEmbedding()
        self.time = nn.Linear(self.time_embedding.dim, width)
        self.given = nn.ModuleList(EdgeConvolution(width) for _ in range(depth))
        self.moving = nn.ModuleList(EdgeConvolution(width) for _ in range(depth))
        self.scales = nn.Linear(width, depth * width)
        self.outputs = nn.Linear(width, 3)
        for layer in (self.outputs, self.scales):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """Velocity, shaped as x.

        Args:
            x: `(batch, n, 3)`.
            t: `(batch,)`.
            condition: `{"sparse": (batch, m, 3)}`.
        """
        if condition is None or set(condition) != {"sparse"}:
            got = "nothing" if condition is None else sorted(condition)
            raise ConfigError(f'condition: got {got}; it must be {{"sparse": (batch, m, 3)}}.')
        sparse = condition["sparse"]
        if x.ndim != 3 or x.shape[-1] != 3 or len(sparse) != len(x) or t.shape != x.shape[:1]:
            raise ShapeError(
                f"x, t, sparse: got {tuple(x.shape)}, {tuple(t.shape)} and {tuple(sparse.shape)}; "
                "need (batch, n, 3), (batch,) and (batch, m, 3)."
            )
        given = self.encoder(sparse)
        to_given = nearest(x, sparse, self.neighbours)
        to_moving = nearest(x, x, self.neighbours)
        e = silu(self.time(self.time_embedding(t).to(x.dtype)))
        scales = self.scales(e).unsqueeze(1).chunk(len(self.given), -1)
        h = e.unsqueeze(1).expand(-1, x.shape[1], -1)
        for hear, mingle, scale in zip(self.given, self.moving, scales, strict=True):
            h = h + hear(h, x, given, sparse, to_given)
            h = h * (1 + scale)
            h = h + mingle(h, x, h, x, to_moving)
        v: Tensor = self.outputs(silu(h))
        return v
