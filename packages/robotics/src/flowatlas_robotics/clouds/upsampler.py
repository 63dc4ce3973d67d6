"""The velocity of points on their way to a surface that few points tell of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import silu

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition
from flowatlas.networks import FourierTimeEmbedding, Pretrained
from flowatlas_robotics.clouds.vectors import Arrows, Neighbourhood, VectorConvolution

__all__ = ["PointUpsampler"]


class PointUpsampler(Pretrained):
    r"""A field of clouds `(batch, n, 3)`, given sparse ones as the condition `"sparse"`.

    Each point hears from the sparse points around it, which have heard from each other, and from
    the other moving points around it, so that they can keep apart. Its velocity is a sum of the
    arrows that it has then, $v_i = \sum_c a_c(h_i) u_{ic}$.

    Equivariant to the order of the points, to moving, turning and mirroring both clouds, and
    invariant to the order of the sparse points; the field is zero at first.

    Distances enter as they are: give clouds a scale, such as `spacing(sparse)` = 1.

    Args:
        width: of the features.
        depth: times that points hear from both.
        encoder_depth: convolutions among the sparse points.
        neighbours: of each point, in each cloud.
        channels: arrows of each point.

    Raises:
        ConfigError: a setting below 1; at a call, no sparse clouds.
        ShapeError: at a call, inputs that do not fit, or clouds of fewer points than neighbours.

    Example:
        ```python
        from flowatlas_robotics.clouds import PointUpsampler

        model = PointUpsampler(width=16, depth=1)
        v = model(torch.randn(2, 64, 3), torch.rand(2), {"sparse": torch.randn(2, 16, 3)})
        ```
    """

    def __init__(
        self,
        width: int = 48,
        depth: int = 2,
        encoder_depth: int = 3,
        neighbours: int = 8,
        channels: int = 16,
    ) -> None:
        super().__init__()
        sizes = {
            "width": width,
            "depth": depth,
            "encoder_depth": encoder_depth,
            "neighbours": neighbours,
            "channels": channels,
        }
        for name, size in sizes.items():
            if size < 1:
                raise ConfigError(f"{name}: got {size}; 1 or more.")
        self.width, self.channels, self.neighbours = width, channels, neighbours
        self.time_embedding = FourierTimeEmbedding()
        self.time = nn.Linear(self.time_embedding.dim, width)
        self.encoder, self.given, self.moving = (
            nn.ModuleList(VectorConvolution(width, channels) for _ in range(count))
            for count in (encoder_depth, depth, depth)
        )
        self.scales = nn.Linear(width, depth * width)
        self.outputs = nn.Linear(width, channels)
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
        known = self._encoded(sparse)
        to_given = Neighbourhood.of(x, sparse, self.neighbours)
        to_moving = Neighbourhood.of(x, x, self.neighbours)
        e = silu(self.time(self.time_embedding(t).to(x.dtype))).unsqueeze(1)
        scales = self.scales(e).chunk(len(self.given), -1)
        vectors = x.new_zeros(*x.shape, self.channels)
        state = Arrows(e.expand(-1, x.shape[1], -1), vectors)
        for hear, mingle, scale in zip(self.given, self.moving, scales, strict=True):
            state = state + hear(state, known, to_given)
            state = Arrows(state.scalars * (1 + scale), state.vectors)
            state = state + mingle(state, state, to_moving)
        v: Tensor = (state.vectors * self.outputs(silu(state.scalars)).unsqueeze(2)).sum(-1)
        return v

    def _encoded(self, sparse: Tensor) -> Arrows:
        """Features of the sparse points, from each other."""
        near = Neighbourhood.of(sparse, sparse, self.neighbours)
        known = Arrows(
            sparse.new_zeros(*sparse.shape[:2], self.width),
            sparse.new_zeros(*sparse.shape, self.channels),
        )
        for layer in self.encoder:
            known = known + layer(known, known, near)
        return known
