"""Metric paths: derivatives, geodesics that are known, and what fitting leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from flowatlas import (
    CondOT,
    Empirical,
    Euler,
    FlowMatching,
    Independent,
    MetricPath,
    MinibatchOT,
    PathEnergy,
    Polynomial,
    sample,
)
from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.metrics import DiagonalMetric, FlatMetric, RiemannianMetric
from flowatlas.networks import Interpolant, from_pretrained
from flowatlas.paths import AffinePath
from flowatlas.training import DivergenceError, fit_interpolant


class HalfPlane(DiagonalMetric):
    """The hyperbolic metric of the upper half plane."""

    def diagonal(self, x: Tensor) -> Tensor:
        return (x[..., 1:] ** -2).expand_as(x)


class Logarithmic(DiagonalMetric):
    """Geodesics are $x_0^{1 - t} x_1^t$, coordinate by coordinate."""

    def diagonal(self, x: Tensor) -> Tensor:
        return x**-2


class Nowhere(DiagonalMetric):
    """Infinite everywhere."""

    def diagonal(self, x: Tensor) -> Tensor:
        return x / 0


class Bend(nn.Module):
    """A bend known in closed form."""

    def forward(self, x_0: Tensor, x_1: Tensor, t: Tensor) -> Tensor:
        return torch.sin(3 * t).view(-1, *(1,) * (x_0.ndim - 1)) * (x_0 + 2 * x_1)


def ends(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Left and right parts of the half plane."""
    g = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, n, 2, generator=g)
    return torch.stack([-1 - a[:, 0], 0.5 + a[:, 1]], 1), torch.stack(
        [1 + b[:, 0], 0.5 + b[:, 1]], 1
    )


def curved(seed: int = 0, shape: tuple[int, ...] = (2,)) -> Interpolant:
    """An interpolant that is not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = Interpolant(shape, width=16, depth=2)
        for p in made.parameters():
            nn.init.normal_(p, std=0.3)
    return made


def energies(path: MetricPath, metric: RiemannianMetric, x_0: Tensor, x_1: Tensor) -> Tensor:
    """Energy of each curve, by the midpoint rule."""
    n = 200
    t = (torch.arange(n) + 0.5) / n
    a, b = x_0.repeat_interleave(n, 0), x_1.repeat_interleave(n, 0)
    with torch.no_grad():
        found = PathEnergy(path, metric)(a, b, t=t.repeat(len(x_0)))
    return found.per_sample.view(len(x_0), n).mean(1)


@pytest.mark.parametrize("shape", [(2,), (3, 2)])
def test_the_velocity_is_the_derivative(shape: tuple[int, ...]) -> None:
    path = MetricPath(curved(shape=shape).double())
    g = torch.Generator().manual_seed(1)
    x_0, x_1 = torch.randn(2, 5, *shape, generator=g, dtype=torch.float64)
    t, step = torch.linspace(0.1, 0.9, 5, dtype=torch.float64), 1e-5
    dx_t = path.interpolate(x_0, x_1, t)[1]
    ahead, behind = (path.interpolate(x_0, x_1, t + s)[0] for s in (step, -step))
    torch.testing.assert_close(dx_t, (ahead - behind) / (2 * step), rtol=1e-7, atol=1e-8)
    straight = (x_1 - x_0 - dx_t).abs().max()
    assert float(straight) > 0.1  # else nothing was tested


def test_the_curve_is_its_formula() -> None:
    x_0, x_1 = (x.double() for x in ends(4))
    t = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    found = MetricPath(Bend()).sample(x_0, x_1, t)
    assert isinstance(found.x_t, Tensor)
    for b, s in enumerate(t.tolist()):
        phi = torch.sin(torch.tensor(3 * s)) * (x_0[b] + 2 * x_1[b])
        expected = (1 - s) * x_0[b] + s * x_1[b] + s * (1 - s) * phi
        torch.testing.assert_close(found.x_t[b], expected, rtol=1e-6, atol=1e-6)
    # Both ends are where they should be whatever the interpolant says.
    torch.testing.assert_close(found.x_t[0], x_0[0])
    torch.testing.assert_close(found.x_t[3], x_1[3])


def test_a_new_interpolant_is_straight() -> None:
    x_0, x_1 = ends(6)
    t = torch.linspace(0, 1, 6)
    made = MetricPath(Interpolant((2,))).sample(x_0, x_1, t)
    known = AffinePath(CondOT()).sample(x_0, x_1, t)
    torch.testing.assert_close(made.x_t, known.x_t)
    torch.testing.assert_close(made.dx_t, known.dx_t)


def test_in_the_flat_metric_curves_become_straight() -> None:
    x_0, x_1 = ends(64)
    path = MetricPath(curved())
    before = float(energies(path, FlatMetric(), x_0, x_1).mean())
    g = torch.Generator().manual_seed(0)
    fit_interpolant(path, FlatMetric(), x_0, x_1, steps=300, generator=g, progress=False)
    after = float(energies(path, FlatMetric(), x_0, x_1).mean())
    exact = float((x_1 - x_0).square().sum(1).mean())
    assert before > 1.05 * exact
    assert exact <= after * (1 + 1e-5) and after < 1.002 * exact


def hyperbolic(x_0: Tensor, x_1: Tensor) -> Tensor:
    """Squared distance in the half plane."""
    cosine = 1 + (x_0 - x_1).square().sum(1) / (2 * x_0[:, 1] * x_1[:, 1])
    return torch.acosh(cosine).square()


def logarithmic(x_0: Tensor, x_1: Tensor) -> Tensor:
    return (x_1 / x_0).log().square().sum(1)


def test_hyperbolic_geodesics_are_found() -> None:
    """Of pairs that training has not seen; a straight line has two thirds more energy."""
    x_0, x_1 = ends(256)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        path = MetricPath(Interpolant((2,), width=64, depth=2))
    new = ends(64, seed=1)
    exact = hyperbolic(*new)
    assert float((energies(path, HalfPlane(), *new) / exact).mean()) > 1.5
    g = torch.Generator().manual_seed(0)
    fit_interpolant(path, HalfPlane(), x_0, x_1, steps=300, lr=1e-2, generator=g, progress=False)
    ratio = energies(path, HalfPlane(), *new) / exact
    assert float(ratio.min()) > 1 - 1e-3  # nothing is shorter than a geodesic
    assert float(ratio.mean()) < 1.01 and float(ratio.max()) < 1.05
    # The geodesic is a circle about the axis, at constant hyperbolic speed.
    a, b = new
    t = torch.full((64,), 0.5)
    middle = path.interpolate(a, b, t)[0]
    half = hyperbolic(a, middle).sqrt(), hyperbolic(middle, b).sqrt()
    for length in half:
        error = (2 * length / exact.sqrt() - 1).abs()
        assert float(error.mean()) < 0.03 and float(error.max()) < 0.1


def test_logarithmic_geodesics_are_found() -> None:
    g = torch.Generator().manual_seed(0)
    x_0, x_1 = 0.2 + torch.rand(128, 1, generator=g), 3 + torch.rand(128, 1, generator=g)
    path = MetricPath(curved(shape=(1,)))
    fit_interpolant(path, Logarithmic(), x_0, x_1, steps=400, lr=1e-2, generator=g, progress=False)
    ratio = energies(path, Logarithmic(), x_0, x_1) / logarithmic(x_0, x_1)
    assert 1 - 1e-3 < float(ratio.mean()) < 1.03
    t = torch.full((128,), 0.5)
    middle = path.interpolate(x_0, x_1, t)[0]
    error = (middle / (x_0 * x_1).sqrt() - 1).abs()
    # The arithmetic mean, of a straight line, is off by 45 % on average.
    assert float(error.mean()) < 0.07 and float(error.max()) < 0.25


def test_energy_of_a_straight_line_is_that_of_quadrature() -> None:
    """At height y the line from (-1, y) to (1, y) has 4 / y^2; a slanted one has its integral."""
    path = MetricPath(Interpolant((2,)))
    x_0, x_1 = torch.tensor([[-1.0, 2.0], [0.0, 1.0]]), torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    # From height 1 to 3: the integral of 4 / (1 + 2t)^2 is 4/3.
    expected = torch.tensor([1.0, 4 / 3])
    torch.testing.assert_close(energies(path, HalfPlane(), x_0, x_1), expected, rtol=1e-4, atol=0)


def test_pairs_are_those_of_the_coupling() -> None:
    x_0, x_1 = ends(32)
    path = MetricPath(Interpolant((2,)))
    t = torch.rand(32, generator=torch.Generator().manual_seed(0))
    free = PathEnergy(path, FlatMetric())(x_0, x_1, t=t).loss.detach()
    coupled = PathEnergy(path, FlatMetric(), coupling=MinibatchOT(path))
    assert float(coupled(x_0, x_1, t=t).loss.detach()) < float(free)


def test_the_loss_of_a_flow_does_not_reach_the_interpolant() -> None:
    interpolant = curved()
    path = MetricPath(interpolant)
    x_0, x_1 = ends(16)
    model = AnyField()
    FlowMatching(path)(model, x_1, x_0=x_0).loss.backward()
    assert model.scale.grad is not None
    assert all(p.grad is None for p in interpolant.parameters())
    PathEnergy(path, HalfPlane())(x_0, x_1).loss.backward()
    assert all(p.grad is not None for p in interpolant.trunk.outputs.parameters())


class AnyField(nn.Module):
    """A field with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.scale * x


def test_the_flow_of_one_pair_is_its_curve() -> None:
    """With a single pair the marginal velocity is the conditional one."""
    path = MetricPath(curved().double(), source=Empirical(torch.zeros(1, 2)))
    x_0, x_1 = torch.zeros(1, 2).double(), torch.tensor([[2.0, 1.0]]).double()

    def field(x: Tensor, t: Tensor) -> Tensor:
        return path.interpolate(x_0.expand_as(x), x_1.expand_as(x), t)[1]

    end = sample(field, path, x_init=x_0, solver=Euler(steps=400))
    torch.testing.assert_close(end, x_1, rtol=0, atol=1e-2)


def test_fits_are_decided_by_their_seed_and_can_be_saved(tmp_path: Path) -> None:
    x_0, x_1 = ends(64)
    made = []
    for _ in range(2):
        path = MetricPath(curved())
        g = torch.Generator().manual_seed(5)
        found = fit_interpolant(path, HalfPlane(), x_0, x_1, steps=5, generator=g, progress=False)
        made.append((path, found))
    assert torch.equal(made[0][1].energies, made[1][1].energies) and made[0][1].steps == 5
    interpolant = made[0][0].interpolant
    assert isinstance(interpolant, Interpolant)
    assert not interpolant.training and not any(p.requires_grad for p in interpolant.parameters())
    interpolant.save_pretrained(tmp_path / "saved")
    t = torch.rand(64)
    for loaded in (
        Interpolant.from_pretrained(tmp_path / "saved"),
        from_pretrained(tmp_path / "saved"),
    ):
        torch.testing.assert_close(loaded(x_0, x_1, t), interpolant(x_0, x_1, t))


def test_a_seed_per_sample_makes_the_energy_independent_of_the_batch() -> None:
    x_0, x_1 = ends(6)
    energy = PathEnergy(MetricPath(curved()), HalfPlane(), coupling=Independent())

    def seeds(n: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(i) for i in range(n)]

    whole = energy(x_0, x_1, generator=seeds(6)).per_sample
    part = energy(x_0[:3], x_1[:3], generator=seeds(3)).per_sample
    torch.testing.assert_close(whole[:3], part)


def test_what_a_metric_path_cannot_do() -> None:
    path = MetricPath(curved())
    x, t = torch.zeros(2, 2), torch.full((2,), 0.5)
    with pytest.raises(CapabilityError, match="both ends"):
        path.convert(x, x, t, "target")
    with pytest.raises(CapabilityError, match="cannot be sampled by Polynomial"):
        path.with_schedule(Polynomial(2))
    with pytest.raises(ConfigError, match="interpolant: got function"):
        MetricPath(lambda a, b, t: a)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="interpolant was made for"):
        path.sample(torch.zeros(2, 3), torch.zeros(2, 3), t)
    with pytest.raises(ConfigError, match="metric: got"):
        PathEnergy(path, 3)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="0 samples"):
        PathEnergy(path, FlatMetric())(x[:0], x[:0])
    for wrong in ({"steps": 0}, {"batch": 0}, {"lr": 0.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            fit_interpolant(path, FlatMetric(), x, x, progress=False, **wrong)
    with pytest.raises(ShapeError, match="x_0, x_1"):
        fit_interpolant(path, FlatMetric(), x, torch.zeros(2, 3), progress=False)
    with pytest.raises(DivergenceError, match="energy"):
        fit_interpolant(path, Nowhere(), x, x, steps=2, progress=False)


def test_a_fit_that_runs_out_of_time_stops(capsys: pytest.CaptureFixture[str]) -> None:
    x_0, x_1 = ends(32)
    found = fit_interpolant(
        MetricPath(curved()), HalfPlane(), x_0, x_1, steps=100_000, max_seconds=0.2
    )
    assert 1 <= found.steps < 100_000 and len(found.energies) == found.steps
    printed = capsys.readouterr()
    assert printed.out == "" and "interpolant" in printed.err
