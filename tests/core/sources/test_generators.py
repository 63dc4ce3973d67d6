"""What holds for every source."""

from __future__ import annotations

import pytest
import torch

from flowatlas.errors import ShapeError
from flowatlas.manifolds import SO3, SPD, FlatTorus, Lorentz, Simplex, Sphere, UnitQuaternions
from flowatlas.sources import (
    IGSO3,
    Dirichlet,
    Empirical,
    Gaussian,
    HarmonicChain,
    Source,
    StudentT,
    Uniform,
    WrappedNormal,
)

SOURCES: list[tuple[Source, tuple[int, ...]]] = [
    (Gaussian(2.0, mean=1.0), (3,)),
    (Uniform(Sphere()), (3,)),
    (Uniform(FlatTorus()), (2,)),
    (Uniform(SO3()), (3, 3)),
    (WrappedNormal(Sphere(), torch.tensor([0.0, 0.0, 1.0]), 0.4), (3,)),
    (WrappedNormal(SO3(), torch.eye(3), 0.4), (3, 3)),
    (WrappedNormal(Lorentz(), Lorentz().origin(2), 0.4), (3,)),
    (WrappedNormal(SPD(2), torch.eye(2), 0.4), (2, 2)),
    (Uniform(UnitQuaternions()), (4,)),
    (StudentT(3.0, 2.0), (3,)),
    (HarmonicChain(2.0), (5, 3)),
    (IGSO3(0.7), (3, 3)),
    (Uniform(Simplex()), (4,)),
    (Dirichlet(1.0), (4,)),
    (Dirichlet([0.5, 1.0, 3.0]), (3,)),
    (Empirical(torch.arange(60.0).view(20, 3)), (3,)),
    (Empirical(torch.arange(60.0).view(20, 3), weights=torch.arange(20.0)), (3,)),
]
every_source = pytest.mark.parametrize(
    ("source", "point_shape"), SOURCES, ids=[repr(source) for source, _ in SOURCES]
)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@every_source
def test_one_generator_per_sample_frees_it_of_its_batch(
    source: Source, point_shape: tuple[int, ...]
) -> None:
    shape = (5, *point_shape)
    together = source.sample((4, *shape), generator=seeded(1, 2, 3, 4))
    alone = source.sample((1, *shape), generator=seeded(3))
    assert torch.equal(together[2:3], alone)
    reversed_ = source.sample((4, *shape), generator=seeded(4, 3, 2, 1))
    assert torch.equal(together, reversed_.flip(0))
    assert not torch.equal(together[0], together[1])


@every_source
def test_shapes_dtypes_and_seeds(source: Source, point_shape: tuple[int, ...]) -> None:
    shape = (6, 2, *point_shape)
    before = torch.get_rng_state()
    x = source.sample(shape, generator=seeded(0)[0], dtype=torch.float64)
    assert torch.equal(before, torch.get_rng_state())
    assert x.shape == shape and x.dtype == torch.float64
    assert torch.equal(x, source.sample(shape, generator=seeded(0)[0], dtype=torch.float64))
    assert source.sample(shape).dtype == torch.float32
    assert source.sample((0, *point_shape)).shape == (0, *point_shape)
    if source.has_density:
        value = source.log_prob(x)
        assert value.shape == (6, 2) and value.dtype == torch.float64
        assert torch.isfinite(value).all()


@every_source
def test_a_wrong_number_of_generators_is_refused(
    source: Source, point_shape: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError, match="2 generators"):
        source.sample((3, *point_shape), generator=seeded(0, 1))
