"""Laws on a mesh whose density is linear on faces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._arguments import check_kind
from flowatlas._random import Generators
from flowatlas.errors import GeometryError, ShapeError
from flowatlas.manifolds.mesh import Mesh
from flowatlas.sources.base import Source

__all__ = ["VertexDensity"]


class VertexDensity(Source):
    r"""$p(x) = \sum_k \lambda_k(x) f_{v_k} / Z$: values at the vertices, linear on each face.

    The integral is $Z = \sum_{faces} A\, (f_a + f_b + f_c) / 3$. A draw chooses a face by its mass,
    one of its corners by its value, and a point by the density $\propto \lambda_k$ of that corner,
    which is Dirichlet(2, 1, 1): exact, with nothing rejected.

    Args:
        mesh: where.
        values: `(V,)`, zero or more, at least one positive.

    Raises:
        ShapeError: not one value for each vertex.
        GeometryError: values that are negative, not finite, or all zero.

    Example:
        ```python
        mesh = Mesh.icosphere(2)
        third = mesh.spectrum(3).functions[:, 2]
        law = VertexDensity(mesh, third.clamp(min=0))
        x_1 = law.sample((64, 3), generator=generator)
        ```
    """

    has_density = True

    def __init__(self, mesh: Mesh, values: Tensor) -> None:
        check_kind("mesh", mesh, Mesh, "Mesh.icosphere()")
        if values.shape != mesh.vertices.shape[:1]:
            raise ShapeError(
                f"values: got shape {tuple(values.shape)}; need ({len(mesh.vertices)},), one for "
                "each vertex."
            )
        values = values.detach().to(dtype=torch.float64, device="cpu")
        if not bool(torch.isfinite(values).all() & (values >= 0).all() & (values > 0).any()):
            raise GeometryError(
                f"values: they lie in [{values.min():g}, {values.max():g}]; a density is finite, "
                "not negative, and not zero everywhere. Use values.clamp(min=0)."
            )
        self.mesh = mesh
        corners = values[mesh.faces]
        mass = mesh.tables(values).areas * corners.mean(1)
        self._corners = corners / mass.sum()
        self._cumulated = mass.cumsum(0) / mass.sum()

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        return self.mesh.draw_points(
            shape,
            lambda u: torch.searchsorted(self._cumulated, u, right=True),
            self._place,
            generator=generator,
            dtype=dtype,
            device=device,
        )

    def _place(self, face: Tensor, u: Tensor) -> Tensor:
        share = self._corners[face].cumsum(-1)
        corner = (u[..., :1] * share[..., 2:] >= share).sum(-1, keepdim=True).clamp(max=2)
        # Dirichlet(2, 1, 1) is what three sorted uniform numbers cut the unit interval into, two of
        # the four pieces being put together.
        cut = u[..., 1:].sort(-1).values
        own, rest = cut[..., 1:2], torch.stack([cut[..., 2] - cut[..., 1], 1 - cut[..., 2]], -1)
        place = torch.cat([own, rest], -1)
        turn = (torch.arange(3) - corner) % 3
        return place.gather(-1, turn)

    def log_prob(self, x: Tensor) -> Tensor:
        self.mesh.check_shape(x)
        face, barycentric = self.mesh.locate(x)
        corners = self._corners.to(dtype=barycentric.dtype, device=x.device)[face]
        return (barycentric.clamp(min=0) * corners).sum(-1).log()

    def __repr__(self) -> str:
        return f"VertexDensity({self.mesh!r})"
