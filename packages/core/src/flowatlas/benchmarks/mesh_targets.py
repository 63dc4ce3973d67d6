"""What the benchmarks on meshes draw from, and the kernel estimate that they compare with."""

from __future__ import annotations

from torch import Tensor

from flowatlas.benchmarks.mesh_settings import MeshPreset
from flowatlas.manifolds import Mesh
from flowatlas.sources import VertexDensity

__all__ = ["eigenfunction_target", "heat_estimate", "spots_target"]


def eigenfunction_target(mesh: Mesh, preset: MeshPreset) -> VertexDensity:
    """The positive part of an eigenfunction at the vertices, linear on faces."""
    function = mesh.spectrum(preset.target).functions[:, preset.target - 1]
    return VertexDensity(mesh, function.clamp(min=0))


def spots_target(mesh: Mesh, preset: MeshPreset) -> VertexDensity:
    """Two round spots, in the corners of a flat mesh that have least and largest x + y.

    Their width is a twelfth of the mesh's, about half a corridor.
    """
    x = mesh.vertices
    width = float((x.amax(0) - x.amin(0)).max()) / 12
    along = x[:, 0] + x[:, 1]
    values = sum(
        (1 - (x - x[int(i)]).norm(dim=1) / (2 * width)).clamp(min=0)
        for i in (along.argmin(), along.argmax())
    )
    assert isinstance(values, Tensor)
    return VertexDensity(mesh, values)


def heat_estimate(mesh: Mesh, train: Tensor, validation: Tensor) -> tuple[VertexDensity, float]:
    r"""Heat spread from the training points for a time that is chosen on validation points.

    $p = \frac{1}{A} + \sum_i e^{-\tau \lambda_i} \phi_i(x) \frac{1}{n} \sum_j \phi_i(x_j)$ over two
    hundred eigenfunctions, at least a thousandth of the uniform density: the kernel estimate of a
    mesh, since the heat kernel is its Gaussian.

    Args:
        mesh: where.
        train: `(n, 3)`.
        validation: `(m, 3)`.

    Returns:
        The density and its tau.
    """
    found = mesh.spectrum(min(200, len(mesh.vertices) - 1))
    means = mesh.interpolate(found.functions, train.double()).mean(0)
    best: tuple[float, float, VertexDensity] | None = None
    for tau in (10 ** (-0.25 * i) for i in range(20)):
        weight = (-tau * found.eigenvalues).exp() * means
        values = (found.functions @ weight + 1 / mesh.area).clamp(min=1e-3 / mesh.area)
        law = VertexDensity(mesh, values)
        nll = -float(law.log_prob(validation.double()).mean())
        if best is None or nll < best[0]:
            best = nll, tau, law
    assert best is not None
    return best[2], best[1]
