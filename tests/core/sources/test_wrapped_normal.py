from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError, GeometryError, ShapeError
from flowatlas.manifolds import SE3, SO3, Euclidean, FlatTorus, Lorentz, Manifold, Sphere
from flowatlas.sources import Gaussian, WrappedNormal
from flowatlas.sources.wrapped_normal import images_needed

Rule = Callable[..., tuple[Tensor, Tensor]]
DOUBLE = torch.float64


def sphere_area(dimension: int) -> float:
    """Area of the unit sphere of that dimension."""
    half = 0.5 * (dimension + 1)
    return 2.0 * float(math.pi**half) / math.gamma(half)


def pole(d: int) -> Tensor:
    generator = torch.Generator().manual_seed(d)
    return Sphere().projx(torch.randn(d, generator=generator, dtype=DOUBLE))


def along(manifold: Manifold, mean: Tensor, r: Tensor) -> Tensor:
    """Points at distances `r` from `mean`, on one geodesic."""
    shape = (*r.shape, *mean.shape)
    basis = manifold.tangent_basis(mean)[0]
    r = r.reshape(*r.shape, *(1,) * basis.ndim)
    return manifold.expmap(mean.expand(shape), r * basis)


@pytest.mark.parametrize("std", [0.2, 0.7, 1.5, 4.0])
@pytest.mark.parametrize("d", [2, 3, 6])
def test_integrates_to_one_on_spheres(std: float, d: int, gauss_legendre: Rule) -> None:
    mean = pole(d)
    source = WrappedNormal(Sphere(), mean, std)
    r, weights = gauss_legendre(0.0, math.pi)
    density = source.log_prob(along(Sphere(), mean, r)).exp()
    area = sphere_area(d - 2) * torch.sin(r) ** (d - 2)
    assert abs((weights * density * area).sum().item() - 1) < 1e-9


@pytest.mark.parametrize("std", [0.2, 1.0, 4.0])
def test_integrates_to_one_on_rotations(std: float, gauss_legendre: Rule) -> None:
    mean = SO3().random_uniform((1, 3, 3), generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    source = WrappedNormal(SO3(), mean[0], std)
    r, weights = gauss_legendre(0.0, math.pi)
    density = source.log_prob(along(SO3(), mean[0], r)).exp()
    # 8 pi^2 in all, distributed over angles as Haar's measure is.
    area = 8 * math.pi * (1 - torch.cos(r))
    assert abs((weights * density * area).sum().item() - 1) < 1e-9


@pytest.mark.parametrize("std", [0.3, 1.5])
@pytest.mark.parametrize("d", [3, 5])
def test_integrates_to_one_in_hyperbolic_space(std: float, d: int, gauss_legendre: Rule) -> None:
    mean = Lorentz().projx(torch.randn(d, generator=torch.Generator().manual_seed(d), dtype=DOUBLE))
    source = WrappedNormal(Lorentz(), mean, std)
    r, weights = gauss_legendre(0.0, 12 * std)
    density = source.log_prob(along(Lorentz(), mean, r)).exp()
    area = sphere_area(d - 2) * torch.sinh(r) ** (d - 2)
    assert abs((weights * density * area).sum().item() - 1) < 1e-6


@pytest.mark.parametrize("std", [0.1, 0.8, 3.0])
def test_torus_density_is_the_fourier_series(std: float, generator: torch.Generator) -> None:
    periods = (1.0, 2 * math.pi, 3.0)
    torus = FlatTorus(periods)
    x = torus.random_uniform((50, 3), generator=generator, dtype=DOUBLE)
    mean = torch.tensor([0.2, 5.0, 1.0], dtype=DOUBLE)
    n = torch.arange(1, 200, dtype=DOUBLE)
    expected = torch.ones(50, dtype=DOUBLE)
    for i, period in enumerate(periods):
        k = 2 * math.pi * n / period
        waves = torch.exp(-0.5 * (k * std) ** 2) * torch.cos(k * (x[:, i : i + 1] - mean[i]))
        expected = expected * (1 + 2 * waves.sum(1)) / period
    density = WrappedNormal(torus, mean, std).log_prob(x).exp()
    torch.testing.assert_close(density, expected, rtol=1e-8, atol=1e-10)


def test_torus_of_many_dimensions_is_the_product_of_its_circles(
    generator: torch.Generator,
) -> None:
    x = FlatTorus().random_uniform((4, 30), generator=generator, dtype=DOUBLE)
    whole = WrappedNormal(FlatTorus(), torch.zeros(30, dtype=DOUBLE), 1.0).log_prob(x)
    circle = WrappedNormal(FlatTorus(), torch.zeros(1, dtype=DOUBLE), 1.0)
    torch.testing.assert_close(whole, circle.log_prob(x.unsqueeze(-1)).sum(1))


def test_flat_space_has_the_gaussian_density(generator: torch.Generator) -> None:
    mean = torch.tensor([1.0, -2.0], dtype=DOUBLE)
    x = torch.randn(9, 2, generator=generator, dtype=DOUBLE)
    wrapped = WrappedNormal(Euclidean(), mean, 0.7)
    torch.testing.assert_close(wrapped.log_prob(x), Gaussian(0.7, mean=mean).log_prob(x))


def test_rigid_motions_have_a_wrapped_and_a_flat_factor(generator: torch.Generator) -> None:
    source = WrappedNormal(SE3(), torch.eye(4, dtype=DOUBLE), 0.8)
    x = source.sample((20, 4, 4), generator=generator, dtype=DOUBLE)
    rotation = WrappedNormal(SO3(), torch.eye(3, dtype=DOUBLE), 0.8).log_prob(x[:, :3, :3])
    translation = Gaussian(0.8).log_prob(x[:, :3, 3])
    torch.testing.assert_close(source.log_prob(x), rotation + translation)


@pytest.mark.parametrize(
    ("manifold", "mean"),
    [
        (Sphere(), pole(3)),
        (Sphere(), pole(7)),
        (SO3(), torch.eye(3, dtype=DOUBLE)),
        (FlatTorus(), torch.zeros(2, dtype=DOUBLE)),
        (FlatTorus(0.5), torch.zeros(8, dtype=DOUBLE)),
    ],
    ids=["S2", "S6", "SO3", "T2", "T8"],
)
@pytest.mark.parametrize("width", [0.3, 1.2, 2.8, 6.0])
def test_truncation_is_below_its_bound(manifold: Manifold, mean: Tensor, width: float) -> None:
    std = width * manifold.injectivity_radius / math.pi
    # The worst place is the cut locus; conjugate points themselves are left out by a little.
    r = manifold.injectivity_radius * torch.tensor([0.3, 0.9, 0.999], dtype=DOUBLE)
    x = along(manifold, mean, r)
    automatic = WrappedNormal(manifold, mean, std).log_prob(x)
    more = WrappedNormal(manifold, mean, std, images=400).log_prob(x)
    assert (automatic - more).abs().max() < 1e-10


def test_spaces_without_a_cut_locus_have_one_preimage() -> None:
    assert images_needed(3.0, math.inf, 4) == 0


def test_one_image_is_not_enough_for_wide_laws() -> None:
    # Power of the test above: what it accepts, the logarithm alone does not reach.
    x = along(Sphere(), pole(3), torch.tensor([2.8], dtype=DOUBLE))
    automatic = WrappedNormal(Sphere(), pole(3), 1.3).log_prob(x)
    alone = WrappedNormal(Sphere(), pole(3), 1.3, images=0).log_prob(x)
    assert (automatic - alone).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("manifold", "mean"),
    [
        (Sphere(), pole(3)),
        (SO3(), torch.eye(3, dtype=DOUBLE)),
        (SE3(), torch.eye(4, dtype=DOUBLE)),
        (FlatTorus(), torch.ones(2, dtype=DOUBLE)),
    ],
    ids=["S2", "SO3", "SE3", "T2"],
)
def test_density_at_the_mean_itself(manifold: Manifold, mean: Tensor) -> None:
    # Windings have no direction there, and must not be counted as the point itself.
    std = 0.4
    n = manifold.dimension(manifold.point_shape_of(mean))
    peak = -n * (math.log(std) + 0.5 * math.log(2 * math.pi))
    value = WrappedNormal(manifold, mean, std).log_prob(mean.unsqueeze(0))
    assert abs(value.item() - peak) < 1e-9


@pytest.mark.parametrize("std", [0.3, 1.5])
def test_samples_on_the_sphere_have_the_density(
    std: float,
    generator: torch.Generator,
    ks_distance: Callable[..., float],
    ks_bound: Callable[[int], float],
) -> None:
    sphere, mean, n = Sphere(), pole(3), 4000
    source = WrappedNormal(sphere, mean, std)
    x = source.sample((n, 3), generator=generator, dtype=DOUBLE)
    sphere.check_point(x)

    def density(law: WrappedNormal) -> Callable[[Tensor], Tensor]:
        return lambda r: law.log_prob(along(sphere, mean, r)).exp() * 2 * math.pi * torch.sin(r)

    distances = sphere.dist(mean.expand(n, 3), x)
    assert ks_distance(distances, density(source), math.pi) < ks_bound(n)
    wrong = WrappedNormal(sphere, mean, 1.25 * std)
    assert ks_distance(distances, density(wrong), math.pi) > ks_bound(n)
    # Isotropy: coordinates of unit tangents have variance 1/2; five standard errors.
    u = sphere.logmap(mean.expand(n, 3), x) / distances.unsqueeze(-1)
    coordinates = u @ sphere.tangent_basis(mean).T
    assert coordinates.mean(0).abs().max() < 5 * math.sqrt(0.5 / n)


def test_samples_in_hyperbolic_space_have_the_density(
    generator: torch.Generator,
    ks_distance: Callable[..., float],
    ks_bound: Callable[[int], float],
) -> None:
    space, n = Lorentz(), 4000
    mean = space.projx(torch.tensor([0.0, 0.7, -1.1], dtype=DOUBLE))
    source = WrappedNormal(space, mean, 0.8)
    x = source.sample((n, 3), generator=generator, dtype=DOUBLE)
    distances = space.dist(mean.expand(n, 3), x)

    def density(r: Tensor) -> Tensor:
        return source.log_prob(along(space, mean, r)).exp() * 2 * math.pi * torch.sinh(r)

    assert ks_distance(distances, density, 6.0) < ks_bound(n)
    flat = WrappedNormal(Euclidean(), torch.zeros(2, dtype=DOUBLE), 0.8)

    def wrong(r: Tensor) -> Tensor:
        radius = torch.stack([r, torch.zeros_like(r)], -1)
        return flat.log_prob(radius).exp() * 2 * math.pi * torch.sinh(r)

    assert ks_distance(distances, wrong, 6.0) > ks_bound(n)


def test_several_means_and_several_points(generator: torch.Generator) -> None:
    means = Sphere().random_uniform((5, 3), generator=generator, dtype=DOUBLE)
    source = WrappedNormal(Sphere(), means, 0.01)
    x = source.sample((7, 5, 3), generator=generator, dtype=DOUBLE)
    assert Sphere().dist(means.expand(7, 5, 3), x).max() < 0.1
    single = torch.stack(
        [WrappedNormal(Sphere(), means[i], 0.01).log_prob(x[:, i]) for i in range(5)]
    )
    torch.testing.assert_close(source.log_prob(x), single.T)


def test_mean_follows_dtype_and_half_precision_is_computed_in_float32() -> None:
    source = WrappedNormal(Sphere(), pole(3), 0.3)
    x = source.sample((6, 3), generator=torch.Generator().manual_seed(0), dtype=torch.bfloat16)
    y = source.sample((6, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    assert x.dtype == torch.bfloat16 and torch.equal(x, y.bfloat16())
    assert source.log_prob(y).dtype == torch.float32


def test_gradient_of_the_density_is_the_difference_quotient() -> None:
    source = WrappedNormal(Sphere(), pole(3), 0.9)
    r = torch.tensor([0.2, 1.5, 3.0], dtype=DOUBLE, requires_grad=True)
    (slope,) = torch.autograd.grad(source.log_prob(along(Sphere(), pole(3), r)).sum(), r)
    h = 1e-5
    with torch.no_grad():
        ahead = source.log_prob(along(Sphere(), pole(3), r + h))
        behind = source.log_prob(along(Sphere(), pole(3), r - h))
    torch.testing.assert_close(slope, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-6)


def test_errors() -> None:
    class Bare(Euclidean):
        capabilities = frozenset()

    mean = torch.zeros(3)
    with pytest.raises(CapabilityError, match=r"Capability\.WRAPPED"):
        WrappedNormal(Bare(), mean, 1.0)
    for std in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="std"):
            WrappedNormal(Euclidean(), mean, std)
    with pytest.raises(ConfigError, match="images"):
        WrappedNormal(Euclidean(), mean, 1.0, images=-1)
    with pytest.raises(GeometryError, match="mean"):
        WrappedNormal(Sphere(), torch.ones(3), 1.0)
    source = WrappedNormal(Sphere(), pole(3), 0.3)
    for shape in ((8, 4), (8, 1), (3,)[:0]):
        with pytest.raises(ShapeError, match="mean has shape"):
            source.sample(shape)
    with pytest.raises(ShapeError, match="mean has shape"):
        source.log_prob(torch.ones(2, 5))


def test_a_manifold_may_know_a_better_sum() -> None:
    """No manifold is singled out: what it declares is what is called."""

    class Known(Sphere):
        def wrapped_normal_log_prob(
            self, mean: Tensor, x: Tensor, std: float, images: int
        ) -> Tensor:
            return x.new_full(x.shape[:-1], std * images)

    north = torch.tensor([0.0, 0.0, 1.0])
    x = Sphere().random_uniform((5, 3), generator=torch.Generator().manual_seed(0))
    law = WrappedNormal(Known(), north, 0.5, images=3)
    assert torch.equal(law.log_prob(x), torch.full((5,), 1.5))
    # Image by image, the sum over ten coordinates would have 11^10 terms.
    torus = WrappedNormal(FlatTorus(), torch.zeros(10), 3.0, images=5)
    assert torus.log_prob(torch.zeros(2, 10)).isfinite().all()
