"""The network of a policy: what was seen, a noisy chunk and a time make a prediction."""

from __future__ import annotations

from torch import Tensor, nn

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition
from flowatlas.networks.time_embedding import FourierTimeEmbedding
from flowatlas.networks.trunk import ResidualTrunk
from flowatlas_robotics.observation import ObservationEncoder

__all__ = ["ChunkMLP", "SeeingMLP"]


class ChunkMLP(nn.Module):
    """A residual perceptron `(x, t, {"observation": o}) -> prediction` for chunks of actions.

    Chunk and observations are flattened and enter at the bottom; the embedding of time enters
    there too and scales every layer.

    Args:
        steps: T_p, of a chunk.
        action: size of an action.
        observation: size of all observations together, over all steps seen.
        width: of the hidden layers.
        depth: how many hidden layers.

    Raises:
        ConfigError: sizes below 1; at a call, no observation.
        ShapeError: at a call, inputs that do not fit.

    Example:
        ```python
        from flowatlas_robotics import ChunkMLP

        network = ChunkMLP(16, 2, observation=8, width=32, depth=2)
        v = network(torch.randn(5, 16, 2), torch.rand(5), {"observation": torch.randn(5, 8)})
        ```
    """

    def __init__(
        self, steps: int, action: int, *, observation: int, width: int = 256, depth: int = 4
    ) -> None:
        super().__init__()
        for name, size in (("steps", steps), ("action", action), ("observation", observation)):
            if size < 1:
                raise ConfigError(f"{name}: got {size}; it must be 1 or more.")
        self.steps, self.action, self.observation = steps, action, observation
        self.time_embedding = FourierTimeEmbedding()
        chunk = steps * action
        self.trunk = ResidualTrunk(
            chunk + observation, self.time_embedding.dim, chunk, width=width, depth=depth
        )

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """Prediction, shaped as x.

        Args:
            x: `(batch, steps, action)`.
            t: `(batch,)`.
            condition: `{"observation": (batch, observation)}`.
        """
        if condition is None or set(condition) != {"observation"}:
            got = "nothing" if condition is None else sorted(condition)
            raise ConfigError(f'condition: got {got}; it must be {{"observation": ...}}.')
        seen = condition["observation"]
        if x.shape[1:] != (self.steps, self.action) or seen.shape != (len(x), self.observation):
            raise ShapeError(
                f"x, observation: got {tuple(x.shape)} and {tuple(seen.shape)}; they must be "
                f"(batch, {self.steps}, {self.action}) and (batch, {self.observation})."
            )
        out: Tensor = self.trunk([x.flatten(1), seen], [self.time_embedding(t)])
        return out.view_as(x)


class SeeingMLP(nn.Module):
    """A `ChunkMLP` and the encoder of what it sees, which are trained as one.

    A chunk takes many evaluations of `chunks`, and one of `encoder`: who samples calls them one
    after the other.

    Args:
        encoder: of observations.
        chunks: that sees as many features as the encoder makes.

    Raises:
        ConfigError: at a call, an observation that is missing.
        ShapeError: features and chunks that do not fit together; at a call, other inputs.

    Example:
        ```python
        from flowatlas_robotics import ChunkMLP, ObservationEncoder, SeeingMLP

        encoder = ObservationEncoder(2, {"state": 4}, {"points": 3}, width=16)
        chunks = ChunkMLP(16, 2, observation=encoder.features, width=32, depth=2)
        seen = {"state": torch.randn(5, 2, 4), "points": torch.randn(5, 2, 100, 3)}
        v = SeeingMLP(encoder, chunks)(torch.randn(5, 16, 2), torch.rand(5), seen)
        ```
    """

    def __init__(self, encoder: ObservationEncoder, chunks: ChunkMLP) -> None:
        super().__init__()
        if encoder.features != chunks.observation:
            raise ShapeError(
                f"encoder, chunks: {encoder.features} features are made and {chunks.observation} "
                "seen; these numbers must be equal."
            )
        self.encoder, self.chunks = encoder, chunks

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """Prediction, shaped as x.

        Args:
            x: `(batch, steps, action)`.
            t: `(batch,)`.
            condition: what was seen, as the encoder takes it.
        """
        out: Tensor = self.chunks(x, t, {"observation": self.encoder(condition or {})})
        return out
