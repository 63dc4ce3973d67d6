"""Laws with known densities: they integrate to one, and samples follow them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowatlas.data import (
    Checkerboard,
    EightGaussians,
    KernelMixture,
    TwoMoons,
    rotation_mixture,
)
from flowatlas.data.kernels import kernel_for
from flowatlas.data.rotations import tetrahedral_group
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds import SO3, Euclidean, FlatTorus, Manifold, Sphere
from flowatlas.sources import Source

PLANE = [EightGaussians(), TwoMoons(), Checkerboard()]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chi_squared(law: Source, x: Tensor) -> tuple[float, int]:
    """Counts of `x` in cells of 0.25 against what the density says, and how many cells count."""
    middle = torch.arange(-4, 4, 0.05, dtype=torch.float64) + 0.025
    fine = law.log_prob(torch.cartesian_prod(middle, middle)).exp() * 0.05**2
    expected = fine.view(32, 5, 32, 5).sum((1, 3)).flatten() * len(x)
    index = ((x + 4) / 0.25).long().clamp(0, 31)
    counts = torch.bincount(index[:, 0] * 32 + index[:, 1], minlength=1024).double()
    keep = expected > 10
    return float(((counts - expected)[keep].square() / expected[keep]).sum()), int(keep.sum())


@pytest.mark.parametrize("law", PLANE, ids=lambda law: type(law).__name__)
class TestPlane:
    def test_density_integrates_to_one(self, law: Source) -> None:
        cell = 0.04
        middle = torch.arange(-4, 4, cell, dtype=torch.float64) + cell / 2
        x = torch.cartesian_prod(middle, middle)
        assert float(law.log_prob(x).exp().sum() * cell**2) == pytest.approx(1, abs=1e-6)

    def test_samples_follow_the_density(self, law: Source) -> None:
        x = law.sample((40_000, 2), generator=generator(), dtype=torch.float64)
        statistic, cells = chi_squared(law, x)
        # Six standard deviations of a chi-squared number with `cells` degrees of freedom.
        assert abs(statistic - cells) < 6 * math.sqrt(2 * cells)
        # Points that are off by 3 % must fail the same test.
        wrong, cells = chi_squared(law, 1.03 * x)
        assert wrong - cells > 6 * math.sqrt(2 * cells)

    def test_a_sample_depends_on_its_own_generator_alone(self, law: Source) -> None:
        together = law.sample((3, 2), generator=[generator(i) for i in range(3)])
        alone = law.sample((1, 2), generator=[generator(2)])
        assert torch.equal(together[2:], alone)

    def test_shape_is_checked(self, law: Source) -> None:
        with pytest.raises(ShapeError, match="plane"):
            law.sample((5, 3))
        assert law.log_prob(torch.zeros(2, 3, 2)).shape == (2, 3)


CENTRES: dict[str, tuple[Manifold, Tensor]] = {
    "euclidean": (Euclidean(), torch.tensor([[0.3, -1.0], [1.0, 0.5]])),
    "sphere": (Sphere(), Sphere().random_uniform((3, 3), generator=generator())),
    "torus": (FlatTorus(), torch.tensor([[0.1, 6.2], [3.0, 1.0]])),
    "so3": (SO3(), tetrahedral_group()[:3]),
}


@pytest.mark.parametrize("space", CENTRES)
class TestKernels:
    @pytest.mark.parametrize("bandwidth", [0.15, 0.6, 3.0])
    def test_density_integrates_to_one(self, space: str, bandwidth: float) -> None:
        manifold, centres = CENTRES[space]
        law = KernelMixture(manifold, centres, bandwidth)
        # By importance: draws of a wider law, weighted.
        if space == "euclidean":
            wide: Source = KernelMixture(manifold, centres, 1.5 * bandwidth)
        else:
            wide = KernelMixture(manifold, centres, 1.3 * bandwidth, background=0.2)
        shape = (40_000, *centres.shape[1:])
        x = wide.sample(shape, generator=generator(1), dtype=torch.float64)
        weight = (law.log_prob(x) - wide.log_prob(x)).exp()
        error = float(weight.std() / len(weight) ** 0.5)
        # Five standard errors, and what the tabulated angles are off by.
        assert float(weight.mean()) == pytest.approx(1, abs=5 * error + 2e-3)
        assert error < 0.02

    def test_samples_spread_by_the_bandwidth(self, space: str) -> None:
        manifold, centres = CENTRES[space]
        law = KernelMixture(manifold, centres[:1], 0.05)
        shape = (4000, *centres.shape[1:])
        x = law.sample(shape, generator=generator(2), dtype=torch.float64)
        manifold.check_point(x)
        dimension = manifold.dimension(tuple(centres.shape[1:]))
        square = manifold.squared_dist(centres[:1].double().expand_as(x), x) / dimension
        # Mean of 4000 squares of relative spread sqrt(2 / dimension): five standard errors.
        slack = 5 * math.sqrt(2 / dimension / 4000) + 0.01
        assert float(square.mean() / 0.05**2) == pytest.approx(1, abs=slack)

    def test_density_is_highest_at_the_centre(self, space: str) -> None:
        manifold, centres = CENTRES[space]
        law = KernelMixture(manifold, centres[:1], 0.3)
        at_centre = law.log_prob(centres[:1].double())
        elsewhere = law.log_prob(law.sample((50, *centres.shape[1:]), generator=generator()))
        assert bool((elsewhere <= at_centre + 1e-6).all())


def test_narrow_rotation_kernels_keep_their_digits() -> None:
    kernel = kernel_for(SO3())
    narrow = kernel.log_normaliser(torch.tensor([0.0099, 0.0101], dtype=torch.float64), 3)
    # As b falls, Z tends to that of a Gaussian in three dimensions.
    flat = 3 * torch.tensor([0.0099, 0.0101]).double().log() + 1.5 * math.log(2 * math.pi)
    torch.testing.assert_close(narrow, flat, atol=1e-4, rtol=0)
    sides = kernel.log_normaliser(torch.tensor([0.01 - 1e-9, 0.01 + 1e-9]).double(), 3)
    assert float((sides[1] - sides[0]).abs()) < 1e-6


def test_rotations_are_twelve_and_known() -> None:
    group = tetrahedral_group()
    assert group.shape == (12, 3, 3)
    products = (group[:, None] @ group[None]).flatten(0, 1)
    gaps = torch.cdist(products.flatten(1), group.flatten(1)).amin(1)
    assert float(gaps.max()) == 0
    law = rotation_mixture()
    x = law.sample((2000, 3, 3), generator=generator(), dtype=torch.float64)
    SO3().check_point(x)
    assert bool(torch.isfinite(law.log_prob(x)).all())


def test_background_covers_what_kernels_do_not() -> None:
    north = torch.tensor([[0.0, 0.0, 1.0]])
    law = KernelMixture(Sphere(), north, 0.01, background=0.1)
    south = law.log_prob(-north.double())
    assert float(south) == pytest.approx(math.log(0.1 / (4 * math.pi)))
    x = law.sample((5000, 3), generator=generator())
    away = float((x[:, 2] < 0.9).double().mean())
    # 95 % of a tenth of the sphere's area lie below z = 0.9.
    assert away == pytest.approx(0.095, abs=5 * math.sqrt(0.095 / 5000))


def test_unfit_arguments_are_errors() -> None:
    x = torch.eye(3)
    with pytest.raises(ConfigError, match="bandwidth"):
        KernelMixture(Sphere(), x, 0.0)
    with pytest.raises(ConfigError, match="background"):
        KernelMixture(Euclidean(), x, 1.0, background=0.1)
    with pytest.raises(ConfigError, match=r"\[0, 1\)"):
        KernelMixture(Sphere(), x, 1.0, background=1.0)
    with pytest.raises(ShapeError, match="weights"):
        KernelMixture(Sphere(), x, 1.0, weights=torch.ones(2))
    with pytest.raises(ShapeError, match="shape"):
        KernelMixture(Sphere(), x, 1.0).sample((4, 2))
