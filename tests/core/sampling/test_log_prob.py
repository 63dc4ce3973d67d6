"""Log densities: against exact ones, and everything that a likelihood is asked to do."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flowatlas.sampling._chunks as chunks
from flowatlas._random import Generators
from flowatlas.errors import (
    CapabilityError,
    ConfigError,
    GeometryError,
    IntervalError,
    ShapeError,
)
from flowatlas.exact import (
    ExactGaussianFlow,
    ExactMixtureFlow,
    ExactSphereFlow,
    ExactTorusFlow,
    VonMisesFisherMixture,
    WrappedNormalMixture,
)
from flowatlas.manifolds import FlatTorus, Manifold, Sphere
from flowatlas.paths import AffinePath, GeodesicPath
from flowatlas.sampling import Exact, Hutchinson, log_prob, sample, sample_with_log_prob
from flowatlas.solvers import RK4, Dopri5, Euler, PerSample
from flowatlas.sources import Gaussian, Source

D = torch.float64


def standard_normal(x: Tensor) -> Tensor:
    """Log density, over all axes but the first."""
    return -0.5 * (x.square() + math.log(2 * math.pi)).flatten(1).sum(1)


# Against exact densities.


@pytest.mark.parametrize(("dtype", "allowed"), [(D, 1e-4), (torch.float32, 1e-3)])
def test_gaussian_mixture(
    dtype: torch.dtype, allowed: float, mixture: ExactMixtureFlow, generator: torch.Generator
) -> None:
    """Worst of 1000 points."""
    x = mixture.target.sample(1000, generator).to(dtype)
    tolerance = 1e-7 if dtype == D else 1e-6
    found = log_prob(mixture, AffinePath(), x, solver=Dopri5(tolerance, tolerance))
    assert found.dtype == dtype and found.shape == (1000,)
    assert (found - mixture.target.log_prob(x)).abs().max() < allowed


def test_other_ends(mixture: ExactMixtureFlow, generator: torch.Generator) -> None:
    """The density of x_t, and with a source that the path does not have."""
    x = 2 * torch.randn(50, 2, generator=generator, dtype=D)
    solver = Dopri5(1e-8, 1e-8)
    t = torch.full((50,), 0.6, dtype=D)
    found = log_prob(mixture, AffinePath(), x, start=0.6, solver=solver)
    assert (found - mixture.log_prob(x, t)).abs().max() < 1e-5

    def still(x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)

    wide = Gaussian(3.0)
    found = log_prob(still, AffinePath(), x, source=wide, solver=Euler(1))
    assert torch.allclose(found, standard_normal(x / 3) - 2 * math.log(3))
    assert torch.allclose(
        sample_with_log_prob(still, AffinePath(), x, source=wide, solver=Euler(1))[1], found
    )


def test_target_prediction_has_a_density_up_to_its_edge(gaussian: ExactGaussianFlow) -> None:
    path, field = AffinePath(prediction="target"), gaussian.prediction("target")
    x = gaussian.target.sample(20, torch.Generator().manual_seed(0))
    with pytest.raises(IntervalError, match=r"start: got 1, .*Pass start=0.999"):
        log_prob(field, path, x, solver=RK4(10))
    edge = path.interval.end
    found = log_prob(field, path, x, start=edge, solver=Dopri5(1e-8, 1e-8))
    exact = gaussian.log_prob(x, torch.full((20,), edge, dtype=D))
    assert (found - exact).abs().max() < 1e-5
    with pytest.raises(IntervalError, match=r"path: its velocity is finite only up to t = 0.999"):
        sample_with_log_prob(field, path, x, solver=RK4(10))
    for start in (0.0, -0.5, math.nan):
        with pytest.raises(IntervalError, match="start: got"):
            log_prob(gaussian, AffinePath(), x, start=start, solver=RK4(10))


def test_sphere() -> None:
    means = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0, 1], [0, 1, -1], [-1, -1, 0.5]], dtype=D), dim=-1
    )
    target = VonMisesFisherMixture(torch.ones(3), means, concentrations=10.0)
    flow = ExactSphereFlow(target)
    x = Sphere().random_uniform((40, 3), generator=torch.Generator().manual_seed(0), dtype=D)
    found = log_prob(flow, GeodesicPath(Sphere()), x, solver=RK4(40))
    assert (found - target.log_prob(x)).abs().max() < 1e-4


def test_torus() -> None:
    target = WrappedNormalMixture(
        torch.ones(2), torch.tensor([[1.0, 3.0], [4.0, 0.5]]), stds=torch.tensor([0.7, 0.5])
    )
    flow, torus = ExactTorusFlow(target), FlatTorus()
    x = torus.random_uniform((40, 2), generator=torch.Generator().manual_seed(0), dtype=D)
    found = log_prob(flow, GeodesicPath(torus), x, solver=RK4(40))
    assert (found - target.log_prob(x)).abs().max() < 1e-4


def test_samples_come_with_their_density(
    mixture: ExactMixtureFlow, generator: torch.Generator
) -> None:
    path = AffinePath()
    x_0 = torch.randn(8, 2, generator=generator, dtype=D)
    solver = Dopri5(1e-6, 1e-6)
    x_1, value = sample_with_log_prob(mixture, path, x_0, solver=solver)
    assert (x_1 - sample(mixture, path, x_init=x_0, solver=solver)).abs().max() < 1e-4
    assert (value - log_prob(mixture, path, x_1, solver=solver)).abs().max() < 1e-4
    assert (value - mixture.target.log_prob(x_1)).abs().max() < 1e-4
    parts = sample_with_log_prob(mixture, path, x_0, solver=solver, chunk_size=4)
    assert (parts[0] - x_1).abs().max() < 1e-4 and (parts[1] - value).abs().max() < 1e-4


# Images: every number is a dimension, whatever the axes.


class Images(nn.Module):
    """A small convolutional field, so that every output depends on its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(2, 2, 3, padding=1).to(D)
        self.mixing = nn.Conv2d(2, 2, 1).to(D)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        output: Tensor = self.mixing(torch.tanh(self.convolution(x))) * (1 + t.view(-1, 1, 1, 1))
        return output


@pytest.mark.parametrize("point_ndim", [0, 1, 3])
def test_images_have_exact_divergences(point_ndim: int) -> None:
    path = AffinePath(point_ndim=point_ndim)
    field, solver = Images(), RK4(6)
    x = torch.randn(2, 2, 3, 4, dtype=D, generator=torch.Generator().manual_seed(0))

    def backward(flat: Tensor) -> Tensor:
        """Where the flow comes from, by this loop alone; its Jacobian is by autograd."""
        y, h = flat.view(1, 2, 3, 4), -1 / 6
        for i in range(6):
            t = 1 + i * h
            times = [torch.full((1,), s, dtype=D) for s in (t, t + h / 2, t + h)]
            k_1 = field(y, times[0])
            k_2 = field(y + h / 2 * k_1, times[1])
            k_3 = field(y + h / 2 * k_2, times[1])
            k_4 = field(y + h * k_3, times[2])
            y = y + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)
        return y.flatten()

    expected = torch.stack(
        [
            standard_normal(backward(one).view(1, -1))[0]
            + torch.linalg.slogdet(torch.func.jacrev(backward)(one)).logabsdet
            for one in x.flatten(1)
        ]
    )
    for chunk in (5, 64):
        found = log_prob(field, path, x, solver=solver, divergence=Exact(chunk_size=chunk))
        # The two differ by the solver's error on the divergence.
        assert (found - expected).abs().max() < 1e-5
    assert abs(expected[0] - standard_normal(x)[0]) > 0.1


# Hutchinson's estimate.


def test_hutchinson_in_double_precision_on_images() -> None:
    """On x' = a x, every sign probe gives the trace exactly: the flow is a scaling."""
    x = torch.randn(3, 2, 4, 4, dtype=D, generator=torch.Generator().manual_seed(0))
    a = torch.linspace(-1, 1, 32, dtype=D).view(2, 4, 4)
    found = log_prob(
        lambda x, t: a * x, AffinePath(), x, solver=Dopri5(1e-9, 1e-9), divergence=Hutchinson()
    )
    exact = standard_normal(x * torch.exp(-a)) - a.sum()
    assert found.dtype == D and (found - exact).abs().max() < 1e-6


@pytest.mark.parametrize("rademacher", [True, False])
@pytest.mark.parametrize("probes", [1, 3])
def test_hutchinson_is_unbiased(rademacher: bool, probes: int, generator: torch.Generator) -> None:
    """The mean over independent copies, within five standard errors (6e-7)."""
    copies = 3000
    weight = torch.randn(3, 3, generator=generator, dtype=D)

    def field(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x @ weight) + torch.cos(x.flip(-1))

    x = torch.randn(1, 3, generator=generator, dtype=D)
    exact = log_prob(field, AffinePath(), x, solver=RK4(5))
    found = log_prob(
        field,
        AffinePath(),
        x.expand(copies, 3),
        solver=RK4(5),
        divergence=Hutchinson(probes, rademacher=rademacher),
        generator=generator,
    )
    error = found.std() / math.sqrt(copies)
    assert 1e-4 < error < 0.1  # it is an estimate, and sharp enough to see a bias
    assert (found.mean() - exact).abs() < 5 * error


class Counting(Hutchinson):
    """Hutchinson that counts its draws."""

    draws = 0

    def probe(self, x: Any, manifolds: dict[str, Manifold], generator: Generators) -> Any:
        self.draws += 1
        return super().probe(x, manifolds, generator)


@pytest.mark.parametrize("solver", [RK4(5), Dopri5(1e-5, 1e-5)], ids=repr)
def test_one_probe_serves_a_trajectory(solver: Any) -> None:
    """With a linear field and probe e, the estimate is e . A e throughout, so its integral too."""
    a = torch.tensor([[0.3, 1.0], [-0.5, 0.2]], dtype=D)
    x = torch.randn(6, 2, dtype=D, generator=torch.Generator().manual_seed(1))
    divergence = Counting()

    def run(divergence: Exact | Hutchinson) -> Tensor:
        return log_prob(
            lambda x, t: x @ a.T,
            AffinePath(),
            x,
            solver=solver,
            divergence=divergence,
            generator=torch.Generator().manual_seed(0),
        )

    offset = run(Exact()) - run(divergence)
    assert divergence.draws == 1
    # e . A e - tr A is plus or minus the sum of the off-diagonal: 0.5.
    assert torch.allclose(offset.abs(), torch.full_like(offset, 0.5))
    assert offset.min() < 0 < offset.max()


def test_hutchinson_does_not_depend_on_batch_or_chunk(mixture: ExactMixtureFlow) -> None:
    x = mixture.target.sample(9, torch.Generator().manual_seed(0))

    def run(rows: slice, **options: Any) -> Tensor:
        return log_prob(
            mixture,
            AffinePath(),
            x[rows],
            solver=RK4(5),
            divergence=Hutchinson(2),
            generator=[torch.Generator().manual_seed(i) for i in range(9)][rows],
            **options,
        )

    whole = run(slice(0, 9))
    assert (run(slice(0, 9), chunk_size=4) - whole).abs().max() < 1e-12
    assert (run(slice(5, 7)) - whole[5:7]).abs().max() < 1e-12


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="probes: got 0"):
        Hutchinson(0)
    with pytest.raises(ConfigError, match="chunk_size: got 0"):
        Exact(0)


# Memory, gradients, masks.


def test_memory_counts_the_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def field(x: Tensor, t: Tensor) -> Tensor:
        seen.append(len(x))
        return x.sin()

    monkeypatch.setattr(chunks, "BUDGET", 300)
    x = torch.zeros(10, 10)
    log_prob(field, AffinePath(), x, solver=Euler(1))
    assert max(seen) == 3  # 3 samples of 10 numbers in 10 directions
    seen.clear()
    log_prob(field, AffinePath(), x, solver=Euler(1), divergence=Exact(chunk_size=5))
    assert max(seen) == 6
    seen.clear()
    log_prob(field, AffinePath(), x, solver=Euler(1), divergence=Hutchinson())
    assert max(seen) == 10


@pytest.mark.parametrize("divergence", [Exact(), Hutchinson()])
def test_gradients_of_the_likelihood(
    divergence: Exact | Hutchinson, generator: torch.Generator
) -> None:
    sphere = Sphere()
    path = GeodesicPath(sphere)
    weight = torch.randn(3, 3, generator=generator, dtype=D, requires_grad=True)
    x = sphere.random_uniform((2, 3), generator=generator, dtype=D).requires_grad_()

    def value(weight: Tensor, x: Tensor, enable_grad: bool = True) -> Tensor:
        def field(x: Tensor, t: Tensor) -> Tensor:
            return sphere.proju(x, torch.tanh(x @ weight) * t.view(-1, 1))

        return log_prob(
            field,
            path,
            sphere.projx(x),
            solver=RK4(2),
            divergence=divergence,
            generator=torch.Generator().manual_seed(0),
            enable_grad=enable_grad,
        )

    assert torch.autograd.gradcheck(value, (weight, x), atol=1e-5)
    assert not value(weight, x, enable_grad=False).requires_grad


def test_a_network_trains_by_likelihood() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2)).to(D)
    x = 0.5 * torch.randn(64, 2, dtype=D) + 1

    def field(x: Tensor, t: Tensor) -> Tensor:
        output: Tensor = net(torch.cat([x, t.view(-1, 1)], -1))
        return output

    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    losses = []
    for _ in range(12):
        loss = -log_prob(field, AffinePath(), x, solver=RK4(3), enable_grad=True).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize("filler", [0.0, math.nan])
def test_padding_has_no_part(filler: float, generator: torch.Generator) -> None:
    sphere = Sphere()
    path = GeodesicPath(sphere)
    x = sphere.random_uniform((4, 3, 3), generator=generator, dtype=D)
    padded = torch.cat([x, torch.full((4, 2, 3), filler, dtype=D)], 1)
    mask = torch.arange(5).expand(4, 5) < 3

    def field(x: Tensor, t: Tensor, condition: Any = None, mask: Tensor | None = None) -> Tensor:
        weight = torch.ones(x.shape[:2], dtype=D) if mask is None else mask.to(D)
        centre = (weight.unsqueeze(-1) * x).sum(1, keepdim=True)
        return sphere.proju(x, torch.sin(centre + 2 * x))

    # With adaptive steps too: points at rest would dilute the error, and lengthen the steps.
    for solver in (RK4(5), Dopri5(1e-3, 1e-3, control=PerSample())):
        alone = log_prob(field, path, x, solver=solver)
        found = log_prob(field, path, padded, mask=mask, solver=solver)
        assert (found - alone).abs().max() < 1e-12
    uniform = path.source.log_prob(x).sum(1)
    assert ((alone - uniform).abs() > 0.01).all()


@pytest.mark.parametrize("point_ndim", [0, 1])
def test_the_base_density_is_masked_per_point(point_ndim: int) -> None:
    path = AffinePath(point_ndim=point_ndim)
    x = torch.randn(3, 3, dtype=D)  # batch equals dimension: nothing may broadcast
    mask = torch.rand(3, 3) < 0.5 if point_ndim == 0 else torch.rand(3) < 0.5

    def still(x: Tensor, t: Tensor, condition: Any = None, mask: Any = None) -> Tensor:
        return torch.zeros_like(x)

    found = log_prob(still, path, x, mask=mask, solver=Euler(1))
    terms = -0.5 * (x.square() + math.log(2 * math.pi))
    expected = torch.where(mask if point_ndim == 0 else mask[:, None], terms, 0.0).sum(1)
    assert torch.allclose(found, expected)
    if point_ndim == 0:
        with pytest.raises(ShapeError, match=r"source: .* a mask needs \(3, 3\).*point_ndim"):
            log_prob(still, path, x, mask=mask, source=Gaussian(), solver=Euler(1))


# What is refused.


class Mute(Source):
    """A source without a density."""

    def sample(self, shape: Any, **options: Any) -> Tensor:
        return torch.zeros(tuple(shape))


def test_refusals() -> None:
    def still(x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)

    solver = Euler(1)
    with pytest.raises(CapabilityError, match=r"source: Mute .* has no density"):
        log_prob(still, AffinePath(source=Mute()), torch.zeros(2, 2), solver=solver)
    with pytest.raises(GeometryError, match="x_1: points lie off"):
        log_prob(still, GeodesicPath(Sphere()), 2 * torch.eye(3), solver=solver)
    with pytest.raises(GeometryError, match="x_0: 1 of 2 samples contain NaN"):
        sample_with_log_prob(still, AffinePath(), torch.tensor([[0.0], [math.nan]]), solver=solver)
    with pytest.raises(ShapeError, match=r"x_1: got shape \(4,\)"):
        log_prob(still, AffinePath(), torch.zeros(4), solver=solver)
    with pytest.raises(ConfigError, match=r"source: no component \['y'\]"):
        log_prob(still, AffinePath(), torch.zeros(2, 2), source={"y": Gaussian()}, solver=solver)
