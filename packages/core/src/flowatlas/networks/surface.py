"""A perceptron as a velocity on a triangle mesh."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowatlas._precision import full_precision
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition
from flowatlas.manifolds.mesh import Mesh
from flowatlas.networks._head import check_time
from flowatlas.networks.features import Features, Identity, MultiScale
from flowatlas.networks.time_embedding import FourierTimeEmbedding
from flowatlas.networks.trunk import ResidualTrunk

__all__ = ["SurfaceMLP"]


class SurfaceMLP(nn.Module):
    """A residual perceptron `(x, t) -> velocity` on a mesh, whose flow keeps its mass.

    It sees the coordinates, random Fourier features of them, and the first eigenfunctions of the
    mesh, which tell apart what is close in space and far along the surface. What it says is a
    vector of the space around, which `mesh.conforming` makes a tangent: no flux is lost at edges,
    none leaves through a boundary.

    Args:
        mesh: where the points live; it is not saved with the weights.
        width: of the hidden layers.
        depth: how many hidden layers.
        scales: lengths of the Fourier features; none if empty.
        eigenfunctions: how many the network sees; none if 0.

    Raises:
        ConfigError: a setting that is not allowed.
        ShapeError: at a call, points that are not `(batch, 3)`.

    Example:
        ```python
        model = SurfaceMLP(Mesh.icosphere(2), width=64, depth=2)
        v = model(x, t)
        ```
    """

    def __init__(
        self,
        mesh: Mesh,
        *,
        width: int = 256,
        depth: int = 4,
        scales: Sequence[float] = (),
        eigenfunctions: int = 20,
    ) -> None:
        super().__init__()
        if eigenfunctions < 0:
            raise ConfigError(f"eigenfunctions: got {eigenfunctions}; it must be 0 or more.")
        self.mesh = mesh
        self.features: Features = MultiScale(3, scales) if scales else Identity()
        functions = torch.zeros(len(mesh.vertices), 0)
        if eigenfunctions:
            found = mesh.spectrum(min(eigenfunctions, len(mesh.vertices) - 1)).functions
            # Of mean square one, as other features are.
            functions = (found * mesh.area**0.5).float()
        self.register_buffer("functions", functions[mesh.faces], persistent=False)
        self.time_embedding = FourierTimeEmbedding()
        seen = self.features.out_features((3,)) + functions.shape[1]
        self.trunk = ResidualTrunk(seen, self.time_embedding.dim, 3, width=width, depth=depth)

    functions: Tensor

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """Velocity at (x, t), a tangent `(batch, 3)`.

        Args:
            x: `(batch, 3)`.
            t: `(batch,)`.
            condition: not used.
        """
        if x.ndim != 2 or x.shape[1] != 3:
            raise ShapeError(f"x: got shape {tuple(x.shape)}; need (batch, 3).")
        check_time(t, x.shape[0])
        with full_precision(x):
            face, barycentric = self.mesh.locate(x)
            corners = self.functions.to(barycentric.dtype)[face]
            on_mesh = (barycentric.unsqueeze(-2) @ corners).squeeze(-2)
            seen = [self.features(x), on_mesh]
            embedding = [self.time_embedding(t)]
        out = self.trunk(seen, embedding)
        with full_precision(x):
            return self.mesh.conforming_at(face, barycentric, out.to(x.dtype))
