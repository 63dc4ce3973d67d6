from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.manifolds import SO3
from flowatlas.sources import IGSO3
from flowatlas.sources.igso3 import _character_series, _theta_series, log_heat_kernel

Rule = Callable[..., tuple[Tensor, Tensor]]
DOUBLE = torch.float64


def about(axis: list[float], angle: Tensor) -> Tensor:
    """Rotations by `angle` about an axis, by the matrix exponential."""
    x, y, z = torch.nn.functional.normalize(torch.tensor(axis, dtype=DOUBLE), dim=0).tolist()
    hat = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=DOUBLE)
    rotation: Tensor = torch.linalg.matrix_exp(angle[..., None, None] * hat)
    return rotation


def angle_density(source: IGSO3) -> Callable[[Tensor], Tensor]:
    """Density of the angle: that of the rotation times the volume 8 pi (1 - cos) d angle."""
    return lambda w: (
        source.log_prob(about([1.0, 2.0, -1.0], w)).exp() * 8 * math.pi * (1 - torch.cos(w))
    )


@pytest.mark.parametrize("std", [0.65, 0.8, 1.0, 1.5, 2.0])
def test_the_two_series_agree(std: float) -> None:
    angle = torch.linspace(0, math.pi, 501, dtype=DOUBLE)
    gap = _theta_series(angle, std) - _character_series(angle, std)
    assert gap.abs().max() < 1e-10


def test_each_series_fails_far_on_the_other_side() -> None:
    # Which is why there are two; and the test above would see a wrong one.
    angle = torch.linspace(0, math.pi, 501, dtype=DOUBLE)
    narrow = _theta_series(angle, 0.3) - _character_series(angle, 0.3)
    assert not bool(narrow.abs().max() < 1e-6)


@pytest.mark.parametrize("std", [1e-3, 0.1, 0.5, 1.0, 1.001, 1.5, 5.0])
def test_density_integrates_to_one(std: float, gauss_legendre: Rule) -> None:
    angle, weights = gauss_legendre(0.0, min(math.pi, 12 * std))
    mass = (weights * angle_density(IGSO3(std))(angle)).sum().item()
    # Rotation matrices hold small angles to 1e-16 absolutely, that is 1e-13 of the smallest std.
    assert abs(mass - 1) < 1e-11


@pytest.mark.parametrize("std", [0.3, 0.8, 1.4, 3.0])
def test_density_solves_the_heat_equation(std: float) -> None:
    # d f / d(s^2 / 2) = f'' + cot(w / 2) f', the Laplacian of functions of the angle, by fourth
    # order differences.
    w = torch.linspace(0.3, 3.0, 28, dtype=DOUBLE)

    def f(angle: Tensor, time: float) -> Tensor:
        return log_heat_kernel(angle, math.sqrt(2 * time)).exp()

    def first(values: list[Tensor], h: float) -> Tensor:
        return (values[0] - 8 * values[1] + 8 * values[3] - values[4]) / (12 * h)

    time, h = std**2 / 2, 2e-3
    around = [f(w + k * h, time) for k in (-2, -1, 0, 1, 2)]
    second = (-around[0] + 16 * around[1] - 30 * around[2] + 16 * around[3] - around[4]) / (
        12 * h**2
    )
    laplacian = second + first(around, h) / torch.tan(0.5 * w)
    step = 1e-3 * time
    rate = first([f(w, time + k * step) for k in (-2, -1, 0, 1, 2)], step)
    size = rate.abs().max()
    assert (rate - laplacian).abs().max() < 1e-6 * size + 1e-9


def test_narrow_laws_are_normal_and_wide_ones_uniform() -> None:
    w = torch.tensor([0.0, 0.005, 0.02], dtype=DOUBLE)
    normal = -0.5 * (w / 0.01).square() - 3 * math.log(0.01) - 1.5 * math.log(2 * math.pi)
    torch.testing.assert_close(
        IGSO3(0.01).log_prob(about([0, 1.0, 1.0], w)), normal, rtol=0, atol=1e-4
    )
    x = SO3().random_uniform((50, 3, 3), generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    uniform = SO3().uniform_log_prob(x)
    torch.testing.assert_close(IGSO3(8.0).log_prob(x), uniform, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("std", "expected"), [(0.1, 0.160), (0.5, 0.791), (1.5, 2.01)])
def test_mean_angles(
    std: float, expected: float, generator: torch.Generator, gauss_legendre: Rule
) -> None:
    angle, weights = gauss_legendre(0.0, min(math.pi, 12 * std))
    density = weights * angle_density(IGSO3(std))(angle)
    mean = (density * angle).sum().item()
    assert abs(mean - expected) < 6e-3 * expected
    spread = (density * (angle - mean).square()).sum().sqrt().item()
    n = 20000
    x = IGSO3(std).sample((n, 3, 3), generator=generator, dtype=DOUBLE)
    drawn = SO3().dist(torch.eye(3, dtype=DOUBLE), x).mean().item()
    assert abs(drawn - mean) < 5 * spread / math.sqrt(n)


def test_uniform_law_has_the_mean_angle_of_haar(gauss_legendre: Rule) -> None:
    angle, weights = gauss_legendre(0.0, math.pi)
    mean = (weights * angle_density(IGSO3(9.0))(angle) * angle).sum().item()
    assert abs(mean - (math.pi / 2 + 2 / math.pi)) < 1e-10


@pytest.mark.parametrize("std", [0.05, 0.5, 1.5])
def test_angles_have_the_density(
    std: float,
    generator: torch.Generator,
    ks_distance: Callable[..., float],
    ks_bound: Callable[[int], float],
) -> None:
    n = 4000
    x = IGSO3(std).sample((n, 3, 3), generator=generator, dtype=DOUBLE)
    SO3().check_point(x)
    angle = SO3().dist(torch.eye(3, dtype=DOUBLE), x)
    end = min(math.pi, 10 * std)
    assert ks_distance(angle, angle_density(IGSO3(std)), end) < ks_bound(n)
    assert ks_distance(angle, angle_density(IGSO3(1.2 * std)), end) > ks_bound(n)


@pytest.mark.parametrize("std", [0.05, 0.5, 1.5])
def test_quantiles_of_the_angle_invert_its_distribution(std: float, gauss_legendre: Rule) -> None:
    # To the accuracy of 2048 nodes, far into the tail.
    source = IGSO3(std)
    u = torch.tensor([1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-6, 1 - 1e-9], dtype=DOUBLE)
    for level, angle in zip(u, source._angle(u), strict=True):
        inner, weights = gauss_legendre(0.0, angle.item())
        below = (weights * angle_density(source)(inner)).sum().item()
        assert abs(below - level.item()) < min(1e-5, 1e-2 * (1 - level.item()))


def test_first_moment_is_the_closed_form(generator: torch.Generator) -> None:
    # The heat kernel multiplies the representation of degree l by e^(-l (l + 1) s^2 / 2), so the
    # mean of R is e^(-s^2) M. Entries are at most one in size: five standard errors.
    mean = SO3().random_uniform((1, 3, 3), generator=generator, dtype=DOUBLE)[0]
    n = 20000
    for std in (0.3, 0.7, 1.2):
        x = IGSO3(std, mean=mean).sample((n, 3, 3), generator=generator, dtype=DOUBLE)
        assert (x.mean(0) - math.exp(-(std**2)) * mean).abs().max() < 5 / math.sqrt(n)
    assert math.exp(-(0.7**2)) - math.exp(-((0.7 * 1.2) ** 2)) > 5 / math.sqrt(n)


def test_variances_add_up_under_composition(
    generator: torch.Generator,
    ks_distance: Callable[..., float],
    ks_bound: Callable[[int], float],
) -> None:
    n = 4000
    a = IGSO3(0.6).sample((n, 3, 3), generator=generator, dtype=DOUBLE)
    b = IGSO3(0.8).sample((n, 3, 3), generator=generator, dtype=DOUBLE)
    angle = SO3().dist(torch.eye(3, dtype=DOUBLE), a @ b)
    assert ks_distance(angle, angle_density(IGSO3(1.0)), math.pi) < ks_bound(n)


def test_density_about_a_mean(generator: torch.Generator) -> None:
    means = SO3().random_uniform((4, 3, 3), generator=generator, dtype=DOUBLE)
    source = IGSO3(0.4, mean=means)
    x = source.sample((6, 4, 3, 3), generator=generator, dtype=DOUBLE)
    expected = IGSO3(0.4).log_prob(means.mT @ x)
    torch.testing.assert_close(source.log_prob(x), expected)


def test_float32_follows_float64() -> None:
    x = IGSO3(0.5).sample((100, 3, 3), generator=torch.Generator().manual_seed(3), dtype=DOUBLE)
    y = IGSO3(0.5).sample((100, 3, 3), generator=torch.Generator().manual_seed(3))
    assert y.dtype == torch.float32 and torch.equal(y, x.float())
    torch.testing.assert_close(
        IGSO3(0.5).log_prob(y).double(), IGSO3(0.5).log_prob(x), atol=1e-5, rtol=0
    )


def test_gradients_are_finite_at_the_identity_and_at_half_turns() -> None:
    for angle in (0.0, 1e-9, 1.0, math.pi):
        for std in (0.5, 1.5):
            x = about([1.0, 0.5, 0.0], torch.tensor(angle, dtype=DOUBLE)).requires_grad_()
            value = IGSO3(std).log_prob(x)
            (gradient,) = torch.autograd.grad(value, x)
            assert torch.isfinite(value) and torch.isfinite(gradient).all()


def test_gradient_in_the_angle_is_the_difference_quotient() -> None:
    w = torch.tensor([0.05, 1.0, 3.0], dtype=DOUBLE, requires_grad=True)
    for std in (0.4, 1.5):
        (slope,) = torch.autograd.grad(log_heat_kernel(w, std).sum(), w)
        with torch.no_grad():
            change = log_heat_kernel(w + 1e-5, std) - log_heat_kernel(w - 1e-5, std)
        torch.testing.assert_close(slope, change / 2e-5, rtol=1e-6, atol=1e-7)


def test_errors() -> None:
    for std in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="std"):
            IGSO3(std)
    with pytest.raises(ShapeError, match="mean"):
        IGSO3(1.0, mean=torch.zeros(4))
    with pytest.raises(GeometryError, match="mean"):
        IGSO3(1.0, mean=torch.ones(3, 3))
    for shape in ((8, 3), (3, 3), (8, 4, 4)):
        with pytest.raises(ShapeError, match="shape"):
            IGSO3(1.0).sample(shape)
    with pytest.raises(ShapeError, match="mean of shape"):
        IGSO3(1.0, mean=torch.eye(3).expand(5, 3, 3)).sample((8, 4, 3, 3))
    with pytest.raises(ShapeError, match="x"):
        IGSO3(1.0).log_prob(torch.zeros(5, 3))
