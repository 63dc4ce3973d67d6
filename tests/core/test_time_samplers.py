from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath
from flowatlas.solvers import ShiftedGrid
from flowatlas.time_samplers import Beta, LogitNormal, Shifted, TimeSampler, UniformTime, UShaped

DOUBLE = torch.float64
NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)
SAMPLERS: list[TimeSampler] = [
    UniformTime(),
    LogitNormal(),
    LogitNormal(-0.7, 0.5),
    Beta(2.0, 1.5),
    Beta(1.5, 1.0),
    Beta(1.0, 3.0),
    Beta(0.5, 0.7),
    UShaped(),
    UShaped(30.0),
    Shifted(UniformTime(), 3.0),
    Shifted(LogitNormal(0.3, 1.2), 0.4),
]
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def field(x: Tensor, t: Tensor, condition: Any = None, /, **_: Any) -> Tensor:
    return x


def mass(sampler: TimeSampler, end: Tensor) -> Tensor:
    """Integral of the density from 0 to `end`, `(m,)`.

    With t = sin^2(a) the density of a is smooth enough even where that of t has a pole.
    """
    top = torch.asin(end.sqrt())
    a = 0.5 * top[:, None] * (1 + torch.from_numpy(NODES))
    t = torch.sin(a).square()
    density = sampler.log_prob(t).exp() * torch.sin(2 * a)
    return 0.5 * top * (density @ torch.from_numpy(WEIGHTS))


@every_sampler
def test_density_integrates_to_one(sampler: TimeSampler) -> None:
    assert abs(mass(sampler, torch.ones(1, dtype=DOUBLE)).item() - 1) < 2e-4


@every_sampler
def test_quantiles_invert_the_integral_of_the_density(sampler: TimeSampler) -> None:
    u = torch.linspace(0.02, 0.98, 25, dtype=DOUBLE)
    torch.testing.assert_close(mass(sampler, sampler.quantile(u)), u, rtol=0, atol=2e-4)
    assert bool((sampler.quantile(u).diff() > 0).all())


PEERS = [
    (LogitNormal(0.4, 0.8), lambda t: stats.norm(0.4, 0.8).cdf(np.log(t / (1 - t)))),
    (Beta(2.0, 1.5), stats.beta(2.0, 1.5).cdf),
    (Beta(0.5, 0.7), stats.beta(0.5, 0.7).cdf),
    # exp(a t) on [0, 1], mirrored half of the time.
    (
        UShaped(4.0),
        lambda t: 0.5 * (stats.truncexpon(4.0).sf(4 * (1 - t)) + stats.truncexpon(4.0).cdf(4 * t)),
    ),
    (Shifted(UniformTime(), 3.0), lambda t: 3 * t / (1 + 2 * t)),
]


@pytest.mark.parametrize(("sampler", "cdf"), PEERS, ids=[repr(sampler) for sampler, _ in PEERS])
def test_samples_follow_the_law(sampler: TimeSampler, cdf: object) -> None:
    # Kolmogorov and Smirnov: a true law fails with probability 1e-6.
    t = sampler.sample(20000, generator=seeded(0)[0], dtype=DOUBLE)
    assert stats.kstest(t.numpy(), cdf).pvalue > 1e-6
    # Power: another law is told from it.
    other = LogitNormal(0.5, 0.8).sample(20000, generator=seeded(0)[0], dtype=DOUBLE)
    assert stats.kstest(other.numpy(), cdf).pvalue < 1e-6


@pytest.mark.parametrize(
    ("sampler", "peer"), [(Beta(2.0, 1.5), stats.beta(2.0, 1.5)), (Beta(1.0, 1.0), stats.uniform())]
)
def test_log_densities_are_those_of_scipy(sampler: TimeSampler, peer: stats.rv_continuous) -> None:
    t = torch.linspace(0, 1, 11, dtype=DOUBLE)
    with np.errstate(divide="ignore"):
        expected = torch.from_numpy(peer.logpdf(t.numpy()))
    torch.testing.assert_close(sampler.log_prob(t), expected)


def test_u_shape_is_symmetric_and_as_deep_as_its_scale() -> None:
    law = UShaped(3.0)
    t = torch.tensor([0.0, 0.2, 0.5, 0.8, 1.0], dtype=DOUBLE)
    p = law.log_prob(t)
    torch.testing.assert_close(p, p.flip(0))
    assert abs((p[0] - p[2]).item() - math.log(math.cosh(1.5))) < 1e-12


@every_sampler
def test_times_stay_inside_and_densities_beyond_are_zero(sampler: TimeSampler) -> None:
    edge = 1 - 2.0**-24
    for dtype in (torch.float32, DOUBLE):
        u = torch.tensor([0.0, 1e-30, 2.0**-24, 0.5, edge], dtype=dtype)
        t = sampler.quantile(u)
        assert t.dtype == dtype and bool(((t >= 0) & (t <= 1)).all())
        ends = sampler.log_prob(torch.tensor([0.0, 1.0], dtype=dtype))
        assert not torch.isnan(ends).any()
        outside = sampler.log_prob(torch.tensor([-0.1, 1.1, -torch.inf, torch.inf], dtype=dtype))
        assert torch.equal(outside, torch.full_like(outside, -torch.inf))


@every_sampler
def test_one_generator_per_sample_frees_it_of_its_batch(sampler: TimeSampler) -> None:
    together = sampler.sample(4, generator=seeded(1, 2, 3, 4))
    assert torch.equal(together[2:3], sampler.sample(1, generator=seeded(3)))
    assert len(together.unique()) == 4
    with pytest.raises(ShapeError, match="2 generators"):
        sampler.sample(3, generator=seeded(1, 2))


@every_sampler
def test_the_global_generators_are_not_touched(sampler: TimeSampler) -> None:
    torch_state = torch.get_rng_state()
    numpy_state: Any = np.random.get_state(legacy=True)
    first = sampler.sample(5, generator=seeded(0)[0])
    assert torch.equal(first, sampler.sample(5, generator=seeded(0)[0]))
    assert torch.equal(torch_state, torch.get_rng_state())
    now: Any = np.random.get_state(legacy=True)
    assert all(np.array_equal(a, b) for a, b in zip(numpy_state, now, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_times_are_never_below_float32(dtype: torch.dtype) -> None:
    # Half of 4096 uniform draws in bfloat16 coincide with others; float32 keeps them apart.
    for sampler in (UniformTime(), LogitNormal(), UShaped()):
        t = sampler.sample(4096, generator=seeded(0)[0], dtype=dtype)
        assert t.dtype == torch.float32 and len(t.unique()) > 4000
    coarse = torch.rand(4096, generator=seeded(0)[0]).to(dtype)
    assert len(coarse.unique()) < 4000
    assert UniformTime().sample(3, dtype=DOUBLE).dtype == DOUBLE


def test_shifts_compose_by_multiplying() -> None:
    base = LogitNormal(0.2, 1.0)
    twice, once = Shifted(Shifted(base, 2.0), 3.0), Shifted(base, 6.0)
    u = torch.linspace(0, 1, 51, dtype=DOUBLE)
    torch.testing.assert_close(twice.quantile(u), once.quantile(u))
    torch.testing.assert_close(twice.log_prob(u), once.log_prob(u))
    # Applied once: not the shift of a shift.
    assert (once.quantile(u) - twice.base.quantile(u)).abs().max() > 0.1


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_training_and_sampling_shift_alike(shift: float) -> None:
    u = torch.linspace(0, 1, 11, dtype=DOUBLE)
    knots = ShiftedGrid(10, shift).knots(0.0, 1.0)
    times = Shifted(UniformTime(), shift).quantile(u)
    torch.testing.assert_close(times, torch.tensor(knots, dtype=DOUBLE))


@every_sampler
def test_objectives_take_every_law(sampler: TimeSampler) -> None:
    objective = FlowMatching(AffinePath(), time_sampler=sampler)
    x_1 = torch.randn(64, 2, generator=seeded(0)[0], dtype=torch.bfloat16)
    output = objective(field, x_1, generator=seeded(1)[0])
    assert output.t.shape == (64,) and output.t.dtype == torch.float32
    assert torch.isfinite(output.loss)


def test_errors() -> None:
    for bad in (0.0, -1.0, math.nan, math.inf):
        for make in (
            lambda v: LogitNormal(std=v),
            lambda v: Beta(v, 1.0),
            lambda v: Beta(1.0, v),
            UShaped,
            lambda v: Shifted(UniformTime(), v),
        ):
            with pytest.raises(ConfigError, match="must be positive"):
                make(bad)
    with pytest.raises(ConfigError, match="mean"):
        LogitNormal(math.nan)
    with pytest.raises(ConfigError, match="scale"):
        UShaped(1e4)
    with pytest.raises(ConfigError, match="base"):
        Shifted(3.0, 2.0)  # type: ignore[arg-type]
