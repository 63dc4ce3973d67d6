"""The Dirichlet path: its coefficient, its law, its flow, and how it ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor

from flowatlas._autodiff import jvp
from flowatlas.errors import ConfigError, GeometryError, IntervalError, ShapeError
from flowatlas.manifolds import Simplex
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath, DirichletPath, ProductPath
from flowatlas.paths._dirichlet import rate
from flowatlas.sampling import encode, integrate, log_prob, sample
from flowatlas.schedulers import CondOT, Cosine, Exponential, Polynomial
from flowatlas.solvers import RK4, Dopri5, Midpoint
from flowatlas.sources import Dirichlet

SIZES = (2, 4, 20, 160, 512)


def coefficient(x: float, alpha: float, size: int) -> float:
    """C by the formula of the paper: the derivative of the distribution function, in 60 digits.

    Above the mean, where that is one up to rounding, of its complement.
    """
    with mpmath.workdps(60):
        z, a, b = mpmath.mpf(x), mpmath.mpf(alpha), mpmath.mpf(size - 1)

        def below(s: Any) -> Any:
            if z < a / (a + b):
                return mpmath.betainc(s, b, 0, z, regularized=True)
            return -mpmath.betainc(b, s, 0, 1 - z, regularized=True)

        slope = mpmath.diff(below, a)
        return float(-slope * mpmath.beta(a, b) / ((1 - z) ** b * z ** (a - 1)))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", SIZES)
def test_coefficient_is_that_of_60_digits(size: int) -> None:
    """From deep in the corner to next to the vertex, in either precision: 1e-5, relative."""
    path = DirichletPath(size)
    mean = 1 / size
    values = [1e-30, 1e-12, 1e-9, 1e-6, 1e-4, 0.2 * mean, 0.7 * mean, mean, 1.7 * mean, 4 * mean]
    x = torch.tensor([v for v in [*values, 0.3, 0.6, 0.9, 0.99, 0.9999] if v < 1])
    alpha = torch.tensor([1.0, 1.07, 1.5, 2.9, 5.3, 7.93, 8.0])
    for dtype, allowed in ((torch.float64, 2e-6), (torch.float32, 5e-6)):
        # What is asked for is what the dtype holds.
        a, b = torch.meshgrid(x.to(dtype), alpha.to(dtype), indexing="ij")
        pairs = zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)
        exact = torch.tensor([coefficient(*pair, size) for pair in pairs], dtype=torch.float64)
        found = path.velocity_coefficient(a, b).double().flatten()
        assert ((found - exact) / exact).abs().max() < allowed
        lines = [path.velocity_coefficient(x.to(dtype), one) for one in alpha.tolist()]
        torch.testing.assert_close(
            torch.stack(lines, 1).flatten().double(), found, rtol=2e-6, atol=0
        )


@pytest.mark.parametrize("size", [2, 160])
def test_quadrature_is_exact(size: int) -> None:
    for alpha in (1.0, 3.0, 30.0):
        for logit in (-30.0, -5.5, -1.0, 0.5, 4.0):
            x = float(mpmath.mpf(1) / (1 + mpmath.exp(-logit)))
            found = rate(torch.tensor(logit).double(), torch.tensor(alpha).double(), size).item()
            assert found * x == pytest.approx(coefficient(x, alpha, size), rel=1e-11)


def test_a_wide_range_of_alpha_is_covered() -> None:
    path = DirichletPath(20, alpha_max=60.0)
    for x, alpha in ((0.01, 40.0), (0.5, 55.0), (0.9, 13.0), (0.3, 1.2)):
        found = path.velocity_coefficient(torch.tensor(x).double(), alpha).item()
        assert found == pytest.approx(coefficient(x, alpha, 20), rel=1e-5)


def test_gradients_of_the_coefficient_are_finite_and_right() -> None:
    path = DirichletPath(20)
    x = torch.tensor([0.0, 1e-40, 1e-20, 0.05, 0.5, 1 - 1e-7, 1.0], requires_grad=True)
    c = path.velocity_coefficient(x, 3.3)
    assert torch.isfinite(c).all() and c[0] == 0
    (gradient,) = torch.autograd.grad(c.sum(), x)
    assert torch.isfinite(gradient).all()
    y, h = torch.tensor([0.01, 0.05, 0.5], dtype=torch.float64), 1e-4
    _, slope = jvp(lambda v: path.velocity_coefficient(v, 3.3), (y,), (torch.ones_like(y),))
    expected = [
        (coefficient(v * (1 + h), 3.3, 20) - coefficient(v * (1 - h), 3.3, 20)) / (2 * h * v)
        for v in y.tolist()
    ]
    torch.testing.assert_close(slope, torch.tensor(expected).double(), rtol=1e-4, atol=0)


# The law.


def exact_logits(q: Tensor, path: DirichletPath) -> Callable[..., Tensor]:
    """The classifier of the law q, `(points, K)`: p(i | x_t) is as q_i x_i^(alpha - 1)."""

    def field(x: Tensor, t: Tensor, condition: Any = None, /, **masks: Any) -> Tensor:
        alpha = 1 + (path.alpha_max - 1) * t
        power = (alpha - 1).view(-1, *(1,) * (x.ndim - 1))
        return q.to(x).log() + power * x.clamp(min=1e-30).log()

    return field


def law(points: int, size: int, seed: int = 0) -> Tensor:
    return torch.softmax(2 * torch.rand(points, size, generator=seeded(seed)).double(), -1)


@pytest.mark.parametrize("size", [3, 4, 20])
def test_the_continuity_equation_holds(size: int) -> None:
    """d p / d alpha + div(p u) = 0 in x_1 to x_{K-1}, for one category and for a mixture of all."""
    path = DirichletPath(size)
    x = Dirichlet(1.5).sample((6, size), generator=seeded(), dtype=torch.float64)
    q = law(1, size)[0]

    def density(y: Tensor, alpha: Tensor, weights: Tensor) -> Tensor:
        x = torch.cat([y, 1 - y.sum(-1, keepdim=True)], -1)
        log_b = torch.lgamma(alpha + size - 1) - torch.lgamma(alpha)
        return ((weights.log() + (alpha - 1) * x.log()).logsumexp(-1) + log_b).exp()

    def flux(y: Tensor, alpha: float, weights: Tensor) -> Tensor:
        x = torch.cat([y, 1 - y.sum()[None]])[None]
        t = torch.tensor([(alpha - 1) / 7], dtype=torch.float64)
        logits = weights.log() + (alpha - 1) * x.log()
        v = path.manifold.pushforward(x, path.velocity(x, t, logits)) / 7
        return density(y, torch.tensor(alpha).double(), weights) * v[0, :-1]

    one = torch.full((size,), 1e-300, dtype=torch.float64)
    one[1] = 1.0
    for weights in (one, q):
        for alpha in (1.3, 4.0, 7.5):
            for y in x[:, :-1]:
                at = torch.tensor(alpha).double()
                _, change = jvp(
                    lambda a, y=y, w=weights: density(y, a, w), (at,), (torch.ones_like(at),)
                )
                jacobian = torch.func.jacrev(lambda v, a=alpha, w=weights: flux(v, a, w))(y)
                parts = jacobian.diagonal()
                scale = change.abs() + parts.abs().sum()
                # The table's slope has fewer digits than its values.
                assert (change + parts.sum()).abs() < 1e-4 * scale


@pytest.mark.parametrize("size", [4, 160])
def test_the_flow_keeps_quantiles(size: int) -> None:
    """x_t has the quantile of Beta(alpha, K - 1) that x_0 has of Beta(1, K - 1)."""
    path, n = DirichletPath(size), 500
    x_1 = path.one_hot(torch.arange(n) % size, dtype=torch.float64)
    x_0 = path.source.sample((n, size), generator=seeded(), dtype=torch.float64)
    t = torch.rand(n, generator=seeded(1)).double()
    x_t = path.sample(x_0, x_1, t).x_t
    assert isinstance(x_t, Tensor)
    path.manifold.check_point(x_t)
    before, after = ((x * x_1).sum(-1).numpy() for x in (x_0, x_t))
    alpha = 1 + 7 * t.numpy()
    upper = scipy.special.betainccinv(alpha, size - 1, (1 - before) ** (size - 1))
    np.testing.assert_allclose(after, upper, rtol=1e-5)
    # The others keep their proportions.
    rest_0, rest_t = (x.masked_fill(x_1 > 0, 0) for x in (x_0, x_t))
    torch.testing.assert_close(
        rest_t / rest_t.sum(-1, keepdim=True), rest_0 / rest_0.sum(-1, keepdim=True)
    )


def test_the_flow_keeps_quantiles_deep_in_the_corner() -> None:
    path, size = DirichletPath(20), 20
    small = torch.tensor([1e-30, 1e-20, 1e-12, 1e-9], dtype=torch.float64)
    x_0 = torch.full((4, size), 1 / 19, dtype=torch.float64)
    x_0[:, 0] = small
    x_1 = path.one_hot(torch.zeros(4).long(), dtype=torch.float64)
    for alpha in (1.0, 2.5, 5.0, 8.0):
        t = torch.full((4,), (alpha - 1) / 7, dtype=torch.float64)
        x_t, _ = path.interpolate(x_0, x_1, t)
        expected = scipy.special.betaincinv(alpha, size - 1, (size - 1) * small.numpy())
        np.testing.assert_allclose(x_t[:, 0].numpy(), expected, rtol=2e-5)


@pytest.mark.parametrize("scheduler", [CondOT(), Polynomial(2.0)], ids=repr)
def test_the_conditional_velocity_is_the_derivative_of_x_t(scheduler: Any) -> None:
    path = DirichletPath(6, 5.0, scheduler)
    x_1 = path.one_hot(torch.arange(8).view(4, 2) % 6, dtype=torch.float64)
    x_0 = path.draw(x_1, generator=seeded())
    t = torch.tensor([0.0, 0.3, 0.8, 1.0], dtype=torch.float64)
    x_t, dx_t = path.interpolate(x_0, x_1, t)
    _, slope = jvp(lambda s: path.interpolate(x_0, x_1, s)[0], (t,), (torch.ones_like(t),))
    pushed = path.manifold.pushforward(x_t, dx_t)
    torch.testing.assert_close(pushed, slope, rtol=1e-4, atol=1e-6)
    # It is what a classifier that is sure of x_1 gives.
    inside = t.clamp(max=path.interval.end)
    sure = path.velocity(x_t, inside, x_1.clamp(min=1e-300).log())
    torch.testing.assert_close(sure, dx_t, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(x_t[0], x_0[0], rtol=1e-6, atol=1e-9)


def test_velocity_is_tangent_and_linear_in_the_probabilities() -> None:
    path = DirichletPath(20, prediction="target")
    x = path.source.sample((5, 3, 20), generator=seeded(), dtype=torch.float64)
    p, r = Dirichlet(1.0).sample((2, 5, 3, 20), generator=seeded(1), dtype=torch.float64)
    t = torch.rand(5, generator=seeded(2)).double()
    v = path.velocity(x, t, p)
    assert path.manifold.pushforward(x, v).sum(-1).abs().max() < 1e-14
    torch.testing.assert_close(path.manifold.proju(x, v), v)
    # Guidance extrapolates: weights need not be positive.
    both = path.velocity(x, t, 3 * p - 2 * r)
    torch.testing.assert_close(both, 3 * v - 2 * path.velocity(x, t, r))
    logits = DirichletPath(20).velocity(x, t, p.log() + 5.0)
    torch.testing.assert_close(logits, v)
    assert torch.equal(path.convert(p, x, t, "target"), p)
    # The sum over the vertices, written out.
    c = path.velocity_coefficient(x, (1 + 7 * t).view(5, 1, 1))
    towards = torch.eye(20).double() - x.unsqueeze(-2)
    dense = 7 * torch.einsum("...i,...i,...ij->...j", p, c, towards)
    torch.testing.assert_close(path.manifold.pushforward(x, v), dense)


@pytest.mark.parametrize("end", [0.3, 0.9])
def test_the_exact_classifier_transports_the_law(end: float) -> None:
    """First and second moments at t of the mixture of Dirichlet laws, within five errors each."""
    path, q, n = DirichletPath(4), law(3, 4), 8000
    x = sample(
        exact_logits(q, path),
        path,
        shape=(n, 3, 4),
        end=end,
        solver=RK4(steps=12),
        generator=seeded(),
        dtype=torch.float64,
    )
    alpha = 1 + 7 * end
    total = 3 + alpha
    mean = (1 + (alpha - 1) * q) / total
    square = (q * alpha * (alpha + 1) + (1 - q) * 2) / (total * (total + 1))

    def fits(x: Tensor) -> bool:
        whole = x.square().sum((-2, -1))
        gaps = [(x, mean), (x.square(), square), (whole, square.sum())]
        return all(
            bool(((v.mean(0) - m).abs() < 5 * v.std(0) / math.sqrt(n)).all()) for v, m in gaps
        )

    assert fits(x)
    # Power: an alpha a tenth less is seen, and so are categories in another order.
    other = 0.9 * alpha
    shifted = Dirichlet(1.0).sample((n, 3, 4), generator=seeded(1), dtype=torch.float64)
    tokens = torch.multinomial(q, n, replacement=True, generator=seeded(2)).T
    early = path.interpolate(
        shifted, path.one_hot(tokens).double(), torch.full((n,), (other - 1) / 7).double()
    )[0]
    assert not fits(early)
    assert not fits(x.flip(-1))


def chi_square(tokens: Tensor, q: Tensor) -> float:
    """p-value of drawing tokens `(n, points)` from q `(points, K)`."""
    n = len(tokens)
    counts = torch.nn.functional.one_hot(tokens, q.shape[-1]).sum(0).double()
    statistic = ((counts - n * q).square() / (n * q)).sum().item()
    return float(scipy.stats.chi2.sf(statistic, q.shape[0] * (q.shape[1] - 1)))


def test_drawing_the_end_gives_the_law_at_any_alpha_max_and_the_argmax_does_not() -> None:
    """Chi-square at 1e-6; alpha_max = 2 leaves nearly all to the last draw."""
    n, q = 6000, law(2, 10)
    for alpha_max in (2.0, 8.0):
        values = {}
        for end in ("draw", "argmax"):
            path = DirichletPath(10, alpha_max, end=end)
            x = sample(
                exact_logits(q, path),
                path,
                shape=(n, 2, 10),
                solver=Midpoint(steps=15),
                generator=seeded(),
            )
            assert torch.equal(x, path.one_hot(x.argmax(-1)))
            values[end] = chi_square(x.argmax(-1), q)
        assert values["draw"] > 1e-6
        assert values["argmax"] < 1e-6 or alpha_max == 8.0


def test_per_sample_generators_free_a_sample_of_its_batch() -> None:
    path, q = DirichletPath(5), law(2, 5)

    def draw(*seeds: int) -> Tensor:
        x: Tensor = sample(
            exact_logits(q, path),
            path,
            shape=(len(seeds), 2, 5),
            solver=Midpoint(steps=4),
            generator=[seeded(s) for s in seeds],
        )
        return x

    assert torch.equal(draw(3, 4), draw(1, 2, 3, 4)[2:])


def test_conditional_step_follows_the_path_to_a_sure_prediction() -> None:
    path = DirichletPath(6)
    x_1 = path.one_hot(torch.arange(12).view(6, 2) % 6, dtype=torch.float64)
    x_0 = path.draw(x_1, generator=seeded())
    t, s = (torch.full((6,), v, dtype=torch.float64) for v in (0.2, 0.7))
    now, then = (path.interpolate(x_0, x_1, time)[0] for time in (t, s))
    logits = x_1.clamp(min=1e-300).log()
    moved = path.conditional_step(now, t, s, logits, generator=seeded())
    torch.testing.assert_close(moved, then, rtol=1e-5, atol=1e-8)
    end = path.conditional_step(now, t, torch.ones_like(t), logits, generator=seeded())
    assert torch.equal(end, x_1)


def test_likelihood_inside_is_that_of_the_mixture() -> None:
    """log_prob at t, with respect to the volume, by the exact divergence in float64."""
    path, q, t = DirichletPath(4), law(1, 4)[0], 0.7
    x = Dirichlet(2.0).sample((12, 4), generator=seeded(), dtype=torch.float64)
    found = log_prob(exact_logits(q, path), path, x, start=t, solver=Dopri5(rtol=1e-7, atol=1e-8))
    alpha = 1 + 7 * t
    constant = math.lgamma(alpha + 3) - math.lgamma(alpha)
    textbook = (q.log() + (alpha - 1) * x.log()).logsumexp(-1) + constant
    torch.testing.assert_close(Simplex().lebesgue_log_prob(x, found), textbook, rtol=0, atol=2e-4)
    with pytest.raises(IntervalError, match="start"):
        log_prob(exact_logits(q, path), path, x, solver=Midpoint(steps=2))


def test_encoding_inverts_sampling_inside() -> None:
    path, q = DirichletPath(5), law(2, 5)
    field = exact_logits(q, path)
    x_0 = path.source.sample((6, 2, 5), generator=seeded(), dtype=torch.float64)
    late = integrate(field, path, x_0, end=0.9, solver=RK4(steps=40)).x
    back = encode(field, path, late, start=0.9, solver=RK4(steps=40))
    torch.testing.assert_close(back, x_0, rtol=1e-4, atol=1e-6)


# What the rest of the library does with it.


def test_loss_is_the_cross_entropy_and_its_minimum_the_exact_classifier() -> None:
    path, q = DirichletPath(4), law(2, 4).float()
    tokens = torch.multinomial(q, 4000, replacement=True, generator=seeded()).T
    objective, x_1 = FlowMatching(path), path.one_hot(tokens)
    draws = objective.draw(x_1, generator=seeded(1))
    field = exact_logits(q, path)
    exact = objective(field, x_1, draws=draws)
    assert isinstance(draws.x_0, Tensor)
    found = path.sample(draws.x_0, x_1, draws.t)
    assert isinstance(found.x_t, Tensor)
    logits = field(found.x_t, draws.t)
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), tokens.flatten(), reduction="none"
    )
    torch.testing.assert_close(exact.per_sample, expected.view(-1, 2).mean(1))
    p = DirichletPath(4, prediction="target").point_loss(torch.softmax(logits, -1), found)
    torch.testing.assert_close(p.mean(1), exact.per_sample, rtol=1e-4, atol=1e-5)
    noise = torch.randn(2, 4, generator=seeded(2))
    for scale in (0.3, -0.3):
        worse = objective(lambda x, t, scale=scale: field(x, t) + scale * noise, x_1, draws=draws)
        assert worse.loss > exact.loss


def test_a_network_learns_a_small_law() -> None:
    """K = 4, 300 steps: a divergence of less than 0.02 nats a position; the uniform law has 0.2."""
    torch.manual_seed(0)
    q = torch.tensor([[0.6, 0.2, 0.15, 0.05], [0.05, 0.1, 0.15, 0.7]])
    path = DirichletPath(4)
    layers = torch.nn.Sequential(
        torch.nn.Linear(9, 64),
        torch.nn.SiLU(),
        torch.nn.Linear(64, 64),
        torch.nn.SiLU(),
        torch.nn.Linear(64, 8),
    )

    def model(x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        out: Tensor = layers(torch.cat([x.flatten(1), t.unsqueeze(-1)], -1))
        return out.view_as(x)

    objective, generator = FlowMatching(path), seeded()
    optimizer = torch.optim.Adam(layers.parameters(), lr=3e-3)
    for _ in range(300):
        tokens = torch.multinomial(q, 256, replacement=True, generator=generator).T
        optimizer.zero_grad()
        objective(model, path.one_hot(tokens), generator=generator).loss.backward()
        optimizer.step()
    x = sample(model, path, shape=(4000, 2, 4), solver=Midpoint(steps=20), generator=generator)
    found = x.mean(0)
    assert (found * (found / q).log()).sum(-1).max() < 0.02


def test_masks_fixed_points_and_products() -> None:
    """Padding may hold anything, given tokens stay, and coordinates go along."""
    path = ProductPath(residue=DirichletPath(5, weight=0.5), place=AffinePath(prediction="target"))
    tokens = torch.arange(12).view(2, 6) % 5
    residue = DirichletPath(5)
    x_1 = {"residue": residue.one_hot(tokens), "place": torch.randn(2, 6, 3, generator=seeded())}
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4:] = False
    x_1["residue"][1, 4:] = math.nan

    def model(x: Any, t: Tensor, condition: Any = None, **masks: Any) -> Any:
        return {"residue": torch.zeros_like(x["residue"]), "place": 0 * x["place"]}

    out = FlowMatching(path)(model, x_1, mask=mask, generator=seeded())
    assert out.components["residue"].item() == pytest.approx(math.log(5), rel=1e-5)
    given = torch.zeros(2, 6, dtype=torch.bool)
    given[:, :2] = True
    x: Any = sample(
        model,
        path,
        shape={"residue": (2, 6, 5), "place": (2, 6, 3)},
        mask=mask,
        fixed={"residue": (given, residue.one_hot(tokens))},
        solver=Midpoint(steps=4),
        generator=seeded(),
    )
    assert torch.equal(x["residue"][:, :2].argmax(-1), tokens[:, :2])
    Simplex().check_point(x["residue"])
    assert (x["residue"][mask].amax(-1) == 1).all()


def test_another_schedule_moves_ahead_and_keeps_the_law() -> None:
    """With a classifier asked at the time of the old schedule, the flow is that of the new one."""
    path, q, n = DirichletPath(4), law(1, 4), 6000
    ahead = path.with_schedule(Polynomial(2.0))
    field = exact_logits(q, path)
    x = sample(
        lambda x, t: field(x, t**2),
        ahead,
        shape=(n, 1, 4),
        end=0.6,
        solver=RK4(steps=12),
        generator=seeded(),
    )
    alpha = 1 + 7 * 0.36
    mean = (1 + (alpha - 1) * q.float()) / (3 + alpha)
    assert ((x.mean(0) - mean).abs() < 5 * x.std(0) / math.sqrt(n)).all()
    assert DirichletPath(4).with_schedule(Exponential(3.0)).interval.end < 1


def test_velocity_at_the_boundary_is_finite_in_float32() -> None:
    path = DirichletPath(6)
    x = torch.zeros(3, 6)
    x[0, 0] = 1.0
    x[1, :2] = 0.5
    x[2] = torch.tensor([1 - 2e-30, 1e-30, 1e-30, 0.0, 0.0, 0.0])
    t = torch.tensor([0.0, 0.5, path.interval.end])
    leaves = [x.clone().requires_grad_(), torch.randn(3, 6, generator=seeded()).requires_grad_()]
    v = path.velocity(leaves[0], t, leaves[1])
    assert torch.isfinite(v).all()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(v.sum(), leaves))
    x_t, dx_t = path.interpolate(x, path.one_hot(torch.tensor([0, 1, 5])), t)
    path.manifold.check_point(x_t)
    assert torch.isfinite(dx_t).all()


def test_velocity_compiles_into_one_graph() -> None:
    path = DirichletPath(7)
    x = path.source.sample((4, 3, 7), generator=seeded())
    t, logits = torch.tensor([0.1, 0.4, 0.5, 0.9]), torch.randn(4, 3, 7, generator=seeded(1))
    torch.compiler.reset()
    compiled = torch.compile(path.velocity, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, t, logits), path.velocity(x, t, logits))


def test_equal_times_take_the_same_values_as_different_ones() -> None:
    path = DirichletPath(7)
    x = path.source.sample((4, 3, 7), generator=seeded(), dtype=torch.float64)
    logits = torch.randn(4, 3, 7, generator=seeded(1)).double()
    t = torch.full((4,), 0.37, dtype=torch.float64)
    together = path.velocity(x, t, logits)
    mixed = torch.cat([t, t + 0.2])
    apart = path.velocity(x.repeat(2, 1, 1), mixed, logits.repeat(2, 1, 1))[:4]
    torch.testing.assert_close(together, apart)


def test_what_cannot_be_is_refused() -> None:
    for bad, words in (
        ({"categories": 1}, "categories: got 1"),
        ({"categories": 4, "alpha_max": 1.0}, "alpha_max: got 1.0"),
        ({"categories": 4, "alpha_max": math.inf}, "alpha_max: got inf"),
        ({"categories": 4, "end": "best"}, "end: got 'best'"),
        ({"categories": 4, "prediction": "velocity"}, "prediction: got 'velocity'"),
        ({"categories": 4, "scheduler": Cosine()}, "not convex"),
    ):
        with pytest.raises(ConfigError, match=words):
            DirichletPath(**bad)
    path = DirichletPath(4)
    for alpha in (0.5, 9.0, math.nan):
        with pytest.raises(IntervalError, match=r"alpha: got .*from 1, .*alpha_max = 8"):
            path.velocity_coefficient(torch.full((2, 4), 0.25), alpha)
    with pytest.raises(GeometryError, match="vocabulary is 0 to 3"):
        path.one_hot(torch.tensor([4]))
    objective = FlowMatching(path)

    def model(x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)

    with pytest.raises(ShapeError, match="one_hot"):
        objective(model, torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"\(2, 3, 5\)"):
        objective(model, torch.full((2, 3, 5), 0.2))
    with pytest.raises(GeometryError, match="add up to 2"):
        objective(model, 2 * path.one_hot(torch.zeros(2, 3).long()), validate=True)
    with pytest.raises(ShapeError, match="4 categories"):
        path.velocity(torch.full((2, 5), 0.2), torch.zeros(2), torch.zeros(2, 5))
    with pytest.raises(IntervalError, match="velocity"):
        path.velocity(torch.full((2, 4), 0.25), torch.ones(2) + 0.1, torch.zeros(2, 4))
