"""Paths on meshes, down the gradient of a distance made of eigenfunctions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas._arguments import check_kind, count
from flowatlas.errors import ConfigError
from flowatlas.manifolds.mesh import Mesh
from flowatlas.manifolds.spectrum import Spectrum
from flowatlas.paths._velocity_only import VelocityOnlyPath
from flowatlas.paths.base import PathSample
from flowatlas.paths.continuous import TimeWeight
from flowatlas.paths.premetrics import BiharmonicDistance, Premetric
from flowatlas.schedulers import CondOT, Scheduler
from flowatlas.sources.base import Source
from flowatlas.sources.uniform import Uniform

__all__ = ["Arrival", "SpectralPath"]

#: The direction towards x_1 is not defined at x_1 itself: training stops before it.
_T_MAX = 1 - 1e-5
#: Where the gradient of the distance all but vanishes, paths go no faster than so many times the
#: width of the mesh per unit of time.
_FASTEST = 4.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """How well paths keep to their schedule.

    Attributes:
        remaining: `(n,)`: d(x_t, x_1) / d(x_0, x_1) at the time that was asked for.
        wanted: kappa at that time.
        stuck: share of the pairs that have more than half as much again left, and 0.05 at least:
            they went down to a local minimum of the distance that is not x_1.
    """

    remaining: Tensor
    wanted: float
    stuck: float


class SpectralPath(VelocityOnlyPath):
    r"""$x_t$ with $d(x_t, x_1) = \kappa_t\, d(x_0, x_1)$, down the gradient of a spectral distance.

    $$d(x, y)^2 = \sum_{i=1}^k w(\lambda_i) (\phi_i(x) - \phi_i(y))^2, \qquad
      u_t(x | x_1) = \dot\kappa_t\, d(x_0, x_1) \frac{\nabla d(x, x_1)}{|\nabla d(x, x_1)|^2},$$

    with $\kappa_t = \sigma_t$ of a convex schedule, $1 - t$ if none is given. As long as x is on
    its path $\dot\kappa_t d(x_0, x_1) = \frac{d}{dt} \log \kappa_t\, d(x, x_1)$, which is the form
    of the reference; this one stays bounded where a path lags behind. On a mesh with a boundary,
    `Mesh.along_walls` is applied to it.

    $x_t$ has no closed form. It is integrated from $x_0$ by `steps` steps that walk on the faces,
    each of which aims at the distance wanted at its end, so that errors in the distance do not add
    up. Nothing of this is differentiated.

    A spectral distance may have local minima beside $x_1$, most of all with few eigenfunctions:
    `arrival` counts the pairs that are caught in one.

    Args:
        mesh: where the points live; states are `(batch, ..., 3)`.
        source: the law of x_0; uniform if None.
        scheduler: convex; kappa_t = 1 - t if None.
        premetric: the weights w; `BiharmonicDistance()` if None.
        eigenfunctions: k; as many as the mesh has if it has fewer vertices.
        steps: of the integration.
        weight: factor of this component's loss.
        time_weight: function of t that multiplies the loss.
        loss: function of the mean squared error per point.

    Raises:
        ConfigError: a manifold that is no mesh, a schedule that is not convex, counts below one.
        GeometryError: a mesh of several pieces.

    Reference: Flow Matching on General Geometries, Chen and Lipman, 2023, arXiv:2302.03660, section
    3.2. The correction of the distance at every step is ours.

    Example:
        ```python
        mesh = Mesh.icosphere(2)
        path = SpectralPath(mesh, eigenfunctions=50)
        x_1 = mesh.random_uniform((8, 3), generator=generator)
        x_0 = path.draw(x_1, generator=generator)
        x_t = path.sample(x_0, x_1, t).x_t
        ```
    """

    def __init__(
        self,
        mesh: Mesh,
        source: Source | None = None,
        scheduler: Scheduler | None = None,
        *,
        premetric: Premetric | None = None,
        eigenfunctions: int = 100,
        steps: int = 50,
        prediction: str = "velocity",
        weight: float = 1.0,
        time_weight: TimeWeight | None = None,
        loss: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        check_kind("mesh", mesh, Mesh, "Mesh.from_file('bunny.obj')")
        scheduler = CondOT() if scheduler is None else scheduler
        if not scheduler.convex:
            raise ConfigError(
                f"scheduler: {scheduler!r} is not convex (sigma = 1 - alpha), so sigma is no share "
                "of a distance. Use CondOT, Polynomial or Exponential."
            )
        premetric = BiharmonicDistance() if premetric is None else premetric
        check_kind("premetric", premetric, Premetric, "BiharmonicDistance()")
        super().__init__(
            mesh,
            Uniform(mesh) if source is None else source,
            prediction=prediction,
            scheduler=scheduler,
            weight=weight,
            time_weight=time_weight,
            loss=loss,
        )
        self.mesh = mesh
        self.premetric = premetric
        self.steps = count("steps", steps)
        number = min(count("eigenfunctions", eigenfunctions), len(mesh.vertices) - 1)
        self.spectrum: Spectrum = mesh.spectrum(number)
        self._embedding = (
            self.spectrum.functions * premetric.weights(self.spectrum.eigenvalues).sqrt()
        )
        self._tables: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self._limit = _FASTEST * mesh.area**0.5

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """The spectral distance, `(...)`.

        Args:
            x: `(..., 3)`.
            y: the same shape.
        """
        difference = self._embedded(*self.mesh.locate(x)) - self._embedded(*self.mesh.locate(y))
        length: Tensor = torch.linalg.vector_norm(difference, dim=-1)
        return length

    def dist_and_gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """d(x, y), `(...)`, and its gradient in x, a tangent `(..., 3)`; zero where x is y."""
        face, barycentric = self.mesh.locate(x)
        goal = self._embedded(*self.mesh.locate(y))
        d, half = self._slope(face, barycentric, goal)
        positive = (d > 0).unsqueeze(-1)
        return d, torch.where(positive, half / torch.where(positive, d.unsqueeze(-1), 1.0), 0.0)

    def interpolate(
        self, x_0: Tensor, x_1: Tensor, t: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            per_point = x_1.shape[1:-1].numel()
            end = t.to(x_1.dtype).repeat_interleave(per_point)
            x, u, _ = self._follow(x_0.reshape(-1, 3), x_1.reshape(-1, 3), end)
        return x.view_as(x_0), u.view_as(x_0)

    def arrival(self, x_0: Tensor, x_1: Tensor, t: float = 1.0) -> Arrival:
        """How far the path between pairs `(n, 3)` has come at time t."""
        with torch.no_grad():
            end = x_0.new_full((len(x_0),), min(t, _T_MAX))
            remaining = self._follow(x_0, x_1, end)[2]
        wanted = float(self.scheduler(end[:1]).sigma) if len(end) else 0.0
        late = remaining > max(1.5 * wanted, wanted + 0.05)
        return Arrival(remaining, wanted, float(late.double().mean()))

    def _follow(self, x_0: Tensor, x_1: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x_t, its velocity, and the share of the distance that is left; points `(n, 3)`."""
        mesh = self.mesh
        goal = self._embedded(*mesh.locate(x_1))
        face, place = mesh.locate(x_0)
        c = self.scheduler(t)
        place = place.clamp(min=0)
        d, half = self._slope(face, place, goal)
        whole = d.clone()
        root = 1 - c.sigma.clamp(min=0).sqrt()
        for step in range(1, self.steps + 1):
            # Squares of equal steps: the last ones, around x_1, are the ones that turn.
            kappa = (1 - root * (step / self.steps)).square()
            u = self._down(d, half, d - kappa * whole, self._limit / self.steps)
            face, place = mesh.follow(face, place, u)
            d, half = self._slope(face, place, goal)
        velocity = self._down(d, half, -c.d_sigma * whole, self._limit)
        velocity = mesh.along_walls(face, place, velocity)
        left = torch.where(whole > 0, d / torch.where(whole > 0, whole, 1.0), 0.0)
        return mesh.points(face, place), velocity, left

    @staticmethod
    def _down(d: Tensor, half: Tensor, rate: Tensor, limit: float) -> Tensor:
        """-rate grad d / |grad d|^2, no longer than `limit`; zero where there is no direction."""
        square = half.square().sum(-1)
        some = square > 0
        factor = torch.where(some, -rate * d / torch.where(some, square, 1.0), 0.0)
        length = factor.abs() * square.sqrt()
        factor = factor * (limit / length.clamp(min=limit))
        return factor.unsqueeze(-1) * half

    def _slope(self, face: Tensor, barycentric: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """d, and half the gradient of its square, which is d grad d."""
        mesh = self.mesh.tables(barycentric)
        corners = self._at_corners(face, barycentric)
        gap = (barycentric.unsqueeze(-2) @ corners).squeeze(-2) - goal
        along = (corners @ gap.unsqueeze(-1)).squeeze(-1)
        half = (along.unsqueeze(-1) * mesh.gradients[face]).sum(-2)
        return gap.norm(dim=-1), half

    def _embedded(self, face: Tensor, barycentric: Tensor) -> Tensor:
        corners = self._at_corners(face, barycentric)
        return (barycentric.unsqueeze(-2) @ corners).squeeze(-2)

    def _at_corners(self, face: Tensor, like: Tensor) -> Tensor:
        """sqrt(w) phi at the corners of faces, `(..., 3, k)`."""
        key = like.dtype, like.device
        if key not in self._tables:
            corners = self._embedding[self.mesh.faces]
            self._tables[key] = corners.to(device=like.device, dtype=like.dtype)
        return self._tables[key][face]

    def squared_error(self, prediction: Tensor, sample: PathSample) -> Tensor:
        x_t, dx_t = sample.x_t, sample.dx_t
        assert isinstance(x_t, Tensor)
        assert isinstance(dx_t, Tensor)
        error = prediction - dx_t
        return self.mesh.inner(x_t, error, error) / 2

    @property
    def local_t_max(self) -> float:
        return min(self.scheduler.t_max, _T_MAX)

    def __repr__(self) -> str:
        number = len(self.spectrum.eigenvalues)
        return f"SpectralPath({self.mesh!r}, {self.premetric!r}, {number} eigenfunctions)"
