"""Positive definite matrices: conformance of three metrics, closed forms, volumes by integrals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.manifolds import SPD, LogCholeskySPD, LogEuclideanSPD, Manifold
from flowatlas.manifolds import _spectral as spectral
from flowatlas.paths import GeodesicPath
from flowatlas.sampling import log_prob
from flowatlas.solvers import RK4
from flowatlas.sources import WrappedNormal
from flowatlas.testing import ManifoldConformance

DOUBLE = torch.float64
METRICS = pytest.mark.parametrize("metric", [SPD, LogEuclideanSPD, LogCholeskySPD])

WRONG = ((3,), (2, 4), (2, 9), (2, 4, 4), (2, 3, 2))


class TestSPD(ManifoldConformance):
    manifold, point_shape = SPD(3), (3, 3)
    base_point = torch.eye(3)
    max_length = 1.5
    wrong_shapes = WRONG
    density_std = 0.5


class TestLogEuclidean(ManifoldConformance):
    manifold, point_shape = LogEuclideanSPD(3), (3, 3)
    base_point = torch.eye(3)
    max_length = 1.5
    wrong_shapes = WRONG
    # Differences of flat coordinates are as accurate as those, however close the points.
    float32_log = (1e-4, 1e-5)
    float32_point = 5e-6


class TestLogCholesky(ManifoldConformance):
    manifold, point_shape = LogCholeskySPD(3), (3, 3)
    base_point = torch.eye(3)
    max_length = 1.5
    wrong_shapes = WRONG
    float32_log = (1e-4, 5e-6)


def matrices(count: int, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(count, n, n, generator=generator, dtype=DOUBLE)
    return a @ a.mT / n + 0.3 * torch.eye(n, dtype=DOUBLE)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


def from_scipy(function: object, *arguments: Tensor) -> Tensor:
    columns = [a.numpy() for a in arguments]
    return torch.from_numpy(np.stack([function(*row) for row in zip(*columns, strict=True)]))  # type: ignore[operator]


def half_vectorised(manifold: SPD, x: Tensor) -> Tensor:
    """Gram matrix of the derivatives by the entries on and below the diagonal."""
    i, j = torch.tril_indices(manifold.n, manifold.n)
    axes = torch.zeros(len(i), manifold.n, manifold.n, dtype=DOUBLE)
    axes[torch.arange(len(i)), i, j] = 1.0
    axes[torch.arange(len(i)), j, i] = 1.0
    rows = [[manifold.inner(x, a.expand_as(x), b.expand_as(x)) for b in axes] for a in axes]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def test_affine_invariant_maps_have_their_textbook_form() -> None:
    x, y = matrices(20, 3, 0), matrices(20, 3, 1)
    manifold = SPD(3)
    # By scipy's general matrix functions, in the form with A^-1 B, and generalised eigenvalues.
    log = from_scipy(lambda a, b: a @ scipy.linalg.logm(np.linalg.solve(a, b)), x, y)
    close(manifold.logmap(x, y), log)
    expected = from_scipy(lambda a, u: a @ scipy.linalg.expm(np.linalg.solve(a, u)), x, log)
    close(manifold.expmap(x, log), expected)
    values = from_scipy(lambda a, b: scipy.linalg.eigh(b, a, eigvals_only=True), x, y)
    close(manifold.dist(x, y), values.log().square().sum(-1).sqrt())
    change = torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    moved = [change @ z @ change.mT for z in (x, y)]
    close(manifold.dist(*moved), manifold.dist(x, y), 1e-8)
    close(manifold.dist(torch.linalg.inv(x), torch.linalg.inv(y)), manifold.dist(x, y), 1e-8)


def test_flat_metrics_have_their_textbook_distance() -> None:
    x, y = matrices(20, 3, 0), matrices(20, 3, 1)
    logs = [from_scipy(scipy.linalg.logm, z) for z in (x, y)]
    close(LogEuclideanSPD(3).dist(x, y), torch.linalg.matrix_norm(logs[0] - logs[1]))
    (a, b) = (torch.linalg.cholesky(z) for z in (x, y))
    below = (torch.tril(a, -1) - torch.tril(b, -1)).square().sum((-2, -1))
    diagonal = (a / b).diagonal(dim1=-2, dim2=-1).log().square().sum(-1)
    close(LogCholeskySPD(3).dist(x, y), (below + diagonal).sqrt())
    # The first agrees with the affine-invariant metric where matrices commute.
    eye = torch.eye(3, dtype=DOUBLE).expand_as(x)
    close(LogEuclideanSPD(3).dist(eye, x), SPD(3).dist(eye, x))
    assert (LogEuclideanSPD(3).dist(x, y) - SPD(3).dist(x, y)).abs().max() > 1e-2


@METRICS
@pytest.mark.parametrize("n", [1, 2, 4])
def test_log_volume_is_that_of_half_vectorised_coordinates(metric: type[SPD], n: int) -> None:
    manifold, x = metric(n), matrices(10, n, 3)
    expected = torch.linalg.slogdet(half_vectorised(manifold, x))[1] / 2
    close(manifold.log_volume(x), expected)


def test_log_volume_of_the_affine_invariant_metric_falls_with_the_determinant() -> None:
    # log det G = n (n - 1) / 2 log 2 - (n + 1) log det A: the sign has been published wrong.
    x = matrices(10, 3, 3)
    expected = (3 * math.log(2) - 4 * torch.logdet(x)) / 2
    close(SPD(3).log_volume(x), expected)


@METRICS
@pytest.mark.parametrize("n", [1, 2, 3])
def test_wishart_density_integrates_to_one_by_wrapped_normal_draws(
    metric: type[SPD], n: int
) -> None:
    """Two densities that know nothing of each other: scipy's, in half-vectorised coordinates, and
    that of a wrapped normal law, joined by `log_volume`; importance weights have mean one."""
    manifold, count = metric(n), 20000
    centre = torch.eye(n, dtype=DOUBLE)
    law = WrappedNormal(manifold, centre, 0.7)
    x = law.sample((count, n, n), generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    wishart = scipy.stats.wishart(df=n + 9, scale=np.eye(n) / (n + 9))
    target = torch.from_numpy(np.atleast_1d(wishart.logpdf(x.permute(1, 2, 0).numpy())))
    weights = (target - manifold.log_volume(x) - law.log_prob(x)).exp()
    error = weights.std().item() / math.sqrt(count)
    assert error < 0.1
    assert abs(weights.mean().item() - 1) < 5 * error
    # Power: without the volume, or with its other sign, the mean is another.
    for wrong in (torch.zeros(count, dtype=DOUBLE), -manifold.log_volume(x)):
        bad = (target - wrong - law.log_prob(x)).exp()
        assert abs(bad.mean().item() - 1) > 5 * bad.std().item() / math.sqrt(count)


@METRICS
def test_likelihood_of_a_flow_with_a_known_density(metric: type[SPD]) -> None:
    # v = a log_x(c) shrinks every law towards c: one wrapped normal becomes a narrower one.
    manifold, a = metric(2), 0.5
    centre = matrices(1, 2, 5)[0]

    def field(x: Tensor, t: Tensor, condition: object = None) -> Tensor:
        return a * manifold.logmap(x, centre.expand_as(x))

    path = GeodesicPath(manifold, source=WrappedNormal(manifold, centre, 0.6))
    final = WrappedNormal(manifold, centre, 0.6 * math.exp(-a))
    x = final.sample((6, 2, 2), generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    found = log_prob(field, path, x, solver=RK4(steps=20))
    close(found, final.log_prob(x), 1e-5)


@pytest.mark.parametrize("name", ["EXP", "LOG", "EXPM1", "LOG1P"])
def test_spectral_functions_have_two_derivatives_at_equal_eigenvalues(name: str) -> None:
    """Against a power series, which needs no eigenvalues; with all, some and no values equal."""
    function = getattr(spectral, name)
    shift = 0.0 if name.endswith(("1P", "M1")) else 1.0

    def series(a: Tensor) -> Tensor:
        eye = torch.eye(3, dtype=DOUBLE)
        if "EXP" in name:
            grown: Tensor = torch.linalg.matrix_exp(a) - (1 - shift) * eye
            return grown
        gap, power, total = a - shift * eye, eye, torch.zeros_like(a)
        for k in range(1, 40):
            power = power @ gap
            total = total - (-1.0) ** k / k * power
        return total

    q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE))
    u, v = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    u, v = u + u.mT, v + v.mT
    for values in ((0.1, 0.1, 0.1), (0.1, 0.1, -0.2), (0.3, 0.1, -0.2), (0.1, 0.1001, 0.12)):
        a = q[0] @ torch.diag(torch.tensor(values, dtype=DOUBLE) + shift) @ q[0].mT
        a = (a + a.mT) / 2
        close(function(a), series(a))

        def slope(f: object, x: Tensor) -> Tensor:
            return torch.func.jvp(f, (x,), (u,))[1]  # type: ignore[arg-type, no-any-return]

        close(slope(function, a), slope(series, a), 1e-9)
        second = [
            torch.func.jvp(lambda x, f=f: slope(f, x), (a,), (v,))[1] for f in (function, series)
        ]
        close(second[0], second[1], 1e-6)
        assert second[1].abs().max() > 1e-2
        leaf = a.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((function(leaf) * u).sum(), leaf)
        close(gradient, slope(series, a), 1e-9)


@METRICS
def test_long_steps_stay_positive_definite(metric: type[SPD]) -> None:
    manifold, x = metric(3), matrices(20, 3, 0)
    u = -3 * x
    manifold.check_point(manifold.retract(x, u))
    assert (torch.linalg.eigvalsh(x + u)[:, 0] < 0).all()


def test_projection_makes_indefinite_matrices_positive() -> None:
    manifold = SPD(3)
    x = torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    projected = manifold.projx(x)
    manifold.check_point(projected)
    # The closest semidefinite matrix keeps the positive eigenvalues of the symmetric part.
    values, vectors = torch.linalg.eigh((x + x.mT) / 2)
    close(projected, vectors @ torch.diag_embed(values.clamp(min=0)) @ vectors.mT)
    for bad in (torch.zeros(1, 3, 3), -torch.eye(3)[None]):
        manifold.check_point(manifold.projx(bad))


@METRICS
def test_errors(metric: type[SPD]) -> None:
    for n in (0, -1, 2.0, True):
        with pytest.raises(ConfigError, match="n: got"):
            metric(n)  # type: ignore[arg-type]
    manifold: Manifold = metric(2)
    with pytest.raises(ShapeError, match="symmetric"):
        manifold.check_shape(torch.eye(3))
    with pytest.raises(GeometryError, match="x_1"):
        manifold.check_point(torch.diag(torch.tensor([1.0, -1.0]))[None], "x_1")
    with pytest.raises(GeometryError, match="eigenvalue"):
        manifold.check_point(torch.diag(torch.tensor([1.0, -1e-9], dtype=DOUBLE))[None], "x_1")
    assert repr(manifold) == f"{metric.__name__}(2)"
