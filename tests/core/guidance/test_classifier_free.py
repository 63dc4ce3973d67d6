"""Classifier-free guidance against tilted laws that are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError
from flowatlas.guidance import Autoguidance, ClassifierFree
from flowatlas.guidance.base import Guidance
from flowatlas.manifolds import SO3, Simplex
from flowatlas.paths import (
    AffinePath,
    CatFlowPath,
    DirichletPath,
    GeodesicPath,
    MixturePath,
    ProductPath,
)
from flowatlas.sampling import log_prob, sample
from flowatlas.schedulers import CondOT, Cosine, Polynomial, Scheduler
from flowatlas.solvers import RK4, Euler, LevelDiffusion, StochasticHeun, TauLeaping
from flowatlas.sources import Gaussian
from flowatlas.testing._fields import STD, Classes, Constant, affine, centred, labels

MEANS = torch.tensor([[1.0, -2.0], [3.0, 0.5]], dtype=torch.float64)


def grid(count: int = 7) -> Tensor:
    x = torch.linspace(-2, 2, count, dtype=torch.float64)
    return torch.cartesian_prod(x, x)


@pytest.mark.parametrize("scheduler", [CondOT(), Cosine()], ids=repr)
@pytest.mark.parametrize("kind", ["velocity", "target", "noise", "score"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_a_gaussian_moves_to_the_multiple_of_its_mean(
    scheduler: Scheduler, kind: str, scale: float
) -> None:
    """p^(1-w) p_c^w is N(w m, s^2 I) at every t, so the flow map is x_0 -> w m + s x_0."""
    field = Classes(MEANS, centred(2), kind, scheduler)
    path = affine(kind, scheduler)
    x_0 = grid()
    x = sample(
        ClassifierFree(field, path, scale=scale),
        path,
        x_init=x_0,
        condition=labels(len(x_0), 0),
        solver=RK4(steps=60),
    )
    assert (x - (scale * MEANS[0] + STD * x_0)).abs().max() < 5e-3


def test_its_density_is_that_of_the_tilted_law() -> None:
    field, path = Classes(MEANS, centred(2), "velocity"), affine("velocity")
    x = MEANS[:1] * 2 + grid(3) * STD
    found = log_prob(
        ClassifierFree(field, path, scale=2.0),
        path,
        x,
        condition=labels(len(x), 0),
        solver=RK4(steps=20),
    )
    law = torch.distributions.Normal(2 * MEANS[0], STD)
    assert (found - law.log_prob(x).sum(-1)).abs().max() < 1e-3


@pytest.mark.parametrize("kind", ["velocity", "score"])
def test_noise_leaves_the_tilted_law_as_it_is(kind: str) -> None:
    """Mean and spread of N(w m, s^2 I) after an SDE: 5 standard errors of 4000 draws."""
    field, path = Classes(MEANS, centred(2), kind), affine(kind)
    count = 4000
    x = sample(
        ClassifierFree(field, path, scale=2.0),
        path,
        shape=(count, 2),
        condition=labels(count, 0),
        solver=StochasticHeun(steps=60, diffusion=LevelDiffusion(1.0)),
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(0),
    )
    assert (x.mean(0) - 2 * MEANS[0]).abs().max() < 5 * STD / count**0.5
    assert (x.std(0) / STD - 1).abs().max() < 5 / (2 * count) ** 0.5


def test_one_call_on_twice_the_batch_and_none_more_than_needed() -> None:
    field, path = Classes(MEANS, centred(2), "velocity"), affine("velocity")
    x_0 = grid()

    def batches(guided: Guidance) -> list[int]:
        field.batches.clear()
        condition = labels(len(x_0), 1)
        sample(guided, path, x_init=x_0, condition=condition, solver=Euler(steps=4))
        return field.batches

    once, twice = len(x_0), 2 * len(x_0)
    assert batches(ClassifierFree(field, path, scale=3.0)) == [twice] * 4
    assert batches(ClassifierFree(field, path, scale=1.0)) == [once] * 4
    # Steps begin at 0, 0.25, 0.5 and 0.75.
    some = ClassifierFree(field, path, scale=3.0, interval=(0.25, 0.5))
    assert batches(some) == [once, twice, twice, once]


def test_outside_the_interval_it_is_the_conditional_field() -> None:
    field, path = Classes(MEANS, centred(2), "velocity"), affine("velocity")
    guided = ClassifierFree(field, path, scale=3.0, interval=(0.2, 0.6))
    x, condition = grid(2), labels(4, 0)
    t = torch.tensor([0.1, 0.2, 0.6, 0.7], dtype=torch.float64)
    given, null = field(x, t, condition), field(x, t, field.null_condition(condition))
    found = guided(x, t, condition)
    assert isinstance(found, Tensor)
    full = null + 3 * (given - null)
    assert torch.allclose(found[[0, 3]], given[[0, 3]])
    assert torch.allclose(found[1:3], full[1:3])


def test_rescaling_keeps_the_length_over_the_points_that_exist() -> None:
    given = torch.tensor([[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]])
    null = torch.tensor([[0.5, 0.5], [1.0, 0.0], [-70.0, 3.0]])
    field, path = Constant([given, null]), AffinePath()
    x, t = torch.zeros(1, 3, 2), torch.full((1,), 0.5)
    mask = torch.tensor([[True, True, False]])

    def guided(rescale: float) -> Tensor:
        found = ClassifierFree(field, path, scale=4.0, rescale=rescale)(
            x, t, labels(1, 0), mask=mask
        )
        assert isinstance(found, Tensor)
        return found[0, :2]

    plain = null[:2] + 4 * (given[:2] - null[:2])
    assert torch.allclose(guided(0.0), plain)
    assert guided(1.0).norm() == pytest.approx(given[:2].norm().item(), rel=1e-6)
    assert torch.allclose(guided(0.5), 0.5 * (guided(1.0) + plain))


def test_guided_rotations_stay_rotations() -> None:
    so3 = SO3()
    generator = torch.Generator().manual_seed(0)
    ends = so3.random_uniform((2, 3, 3), generator=generator, dtype=torch.float64)
    path = GeodesicPath(so3, prediction="target")
    field = ClassifierFree(Constant([ends[0], ends[1]]), path, scale=2.0)
    x_0 = so3.random_uniform((64, 3, 3), generator=generator, dtype=torch.float64)
    x = sample(field, path, x_init=x_0, condition=labels(64, 0), solver=Euler(steps=20))
    assert so3.residual(x).max() < 1e-6
    # What the raw predictions would combine to is no rotation.
    assert so3.residual(2 * ends[0] - ends[1]).max() > 0.1


def test_the_schedule_of_the_sampler_is_the_one_that_counts() -> None:
    """Whatever path the guidance was made with, the sampler's own is followed."""
    field = Classes(MEANS, centred(2), "target")
    path = affine("target")
    later = path.with_schedule(Polynomial(3.0))
    x_0, condition = grid(3), labels(9, 0)

    def end(guided: Guidance) -> Tensor:
        x: Tensor = sample(guided, later, x_init=x_0, condition=condition, solver=RK4(steps=20))
        return x

    assert torch.equal(
        end(ClassifierFree(field, path, scale=2.0)), end(ClassifierFree(field, later, scale=2.0))
    )


def test_without_a_pull_a_changed_schedule_gives_the_same_samples_as_the_network_itself() -> None:
    field = Classes(MEANS, centred(2), "target")
    path = affine("target").with_schedule(Polynomial(3.0))
    options = {"x_init": grid(3), "condition": labels(9, 0), "solver": RK4(steps=20)}
    bare = sample(field, path, **options)  # type: ignore[arg-type]
    guided = sample(ClassifierFree(field, path, scale=1.0), path, **options)  # type: ignore[arg-type]
    assert torch.allclose(bare, guided, atol=1e-6)


def _frequencies(tokens: Tensor, vocab: int) -> Tensor:
    return torch.bincount(tokens.flatten(), minlength=vocab) / tokens.numel()


@pytest.mark.parametrize("source", ["mask", "uniform"])
@pytest.mark.parametrize("steps", [1, 12])
def test_a_masked_token_has_the_tilted_law(source: str, steps: int) -> None:
    """Log-rates make p^(1-w) p_c^w, normalised; 5 standard errors of 40000 draws."""
    p = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    path = MixturePath(3, source=source)
    field = ClassifierFree(Constant([p[:1].log(), p[1:].log()]), path, scale=1.7)
    count = 40_000
    x = sample(
        field,
        path,
        shape=(count, 1),
        condition=labels(count, 0),
        solver=TauLeaping(steps=steps),
        generator=torch.Generator().manual_seed(0),
    )
    tilted = p[1] ** (1 - 1.7) * p[0] ** 1.7
    tilted = tilted / tilted.sum()
    error = (_frequencies(x, 3) - tilted).abs()
    assert bool((error < 5 * (tilted * (1 - tilted) / count).sqrt()).all())
    assert (tilted - p[0]).abs().max() > 0.05  # the untilted law would be seen


def test_forbidden_tokens_stay_forbidden_and_rates_finite() -> None:
    rates = MixturePath(4).arithmetic.combine(
        [
            torch.tensor([[-math.inf, -1.0, -math.inf, 0.5]]),
            torch.tensor([[-2.0, -math.inf, -math.inf, 0.5]]),
        ],
        [torch.tensor([-1.0]), torch.tensor([2.0])],
    )
    assert rates.tolist() == [[-4.0, -math.inf, -math.inf, 0.5]]


def test_tokens_without_any_rate_stay() -> None:
    path = MixturePath(2, source="uniform").as_canonical()
    x = torch.zeros(3, 5, dtype=torch.int64)
    t, s = torch.zeros(3), torch.full((3,), 0.5)
    assert torch.equal(path.jump(x, t, s, torch.full((3, 5, 2), -math.inf)), x)


def test_dirichlet_paths_combine_probabilities_as_velocities() -> None:
    path = DirichletPath(4)
    logits = torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0]], dtype=torch.float64)
    x = path.source.sample((5, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.full((5,), 0.4, dtype=torch.float64)
    field = ClassifierFree(Constant([logits[0], logits[1]]), path, scale=1.3)
    found = field(x, t, labels(5, 0))
    assert isinstance(found, Tensor)
    guided = path.as_canonical().velocity(x, t, found)
    given, null = (path.velocity(x, t, one.expand(5, 4)) for one in logits)
    assert torch.allclose(guided, null + 1.3 * (given - null), atol=1e-9)


def test_a_strong_pull_on_a_dirichlet_path_stays_on_the_simplex() -> None:
    path = DirichletPath(4)
    logits = torch.tensor([[3.0, 0.0, -1.0, 0.0], [0.0, 2.0, 0.0, 0.0]])
    field = ClassifierFree(Constant([logits[:1], logits[1:]]), path, scale=5.0)
    x = sample(
        field,
        path,
        shape=(200, 1, 4),
        condition=labels(200, 0),
        solver=Euler(steps=20),
        generator=torch.Generator().manual_seed(0),
    )
    assert Simplex(4).residual(x).max() < 1e-5
    assert bool((x.argmax(-1) == 0).all())


def test_negative_probabilities_go_to_the_closest_ones() -> None:
    """The closest point p of a convex set has (y - p) . (q - p) <= 0 for all of its corners q."""
    path = DirichletPath(5).as_canonical()
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    y = y + (1 - y.sum(-1, keepdim=True)) / 5
    assert (y < 0).any(1).double().mean() > 0.9
    x, t = path.source.sample((200, 5), generator=generator, dtype=torch.float64), torch.zeros(200)
    p = path.convert(y, x, t, "target")
    assert p.min() >= 0
    assert torch.allclose(p.sum(-1), torch.ones(200, dtype=torch.float64))
    corners = torch.eye(5, dtype=torch.float64)
    along = ((y - p).unsqueeze(1) * (corners - p.unsqueeze(1))).sum(-1)
    assert along.max() < 1e-12
    assert torch.allclose(path.convert(p, x, t, "target"), p)


def test_catflow_is_guided_by_its_velocities() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    path = CatFlowPath(3)
    x, t = torch.randn(4, 3, dtype=torch.float64), torch.full((4,), 0.3, dtype=torch.float64)
    found = ClassifierFree(Constant([logits[0], logits[1]]), path, scale=2.0)(x, t, labels(4, 0))
    given, null = (path.velocity(x, t, one.expand(4, 3)) for one in logits)
    assert torch.allclose(found, 2 * given - null)  # type: ignore[arg-type]
    end = sample(
        ClassifierFree(Constant([logits[0], logits[1]]), path, scale=2.0),
        path,
        x_init=x,
        condition=labels(4, 0),
        solver=Euler(steps=8),
    )
    assert bool(torch.isfinite(end).all())


def test_each_component_has_its_own_strength_and_jumps_with_the_others() -> None:
    path = ProductPath(
        place=AffinePath(source=Gaussian()),
        word=MixturePath(3, source="mask"),
        turn=GeodesicPath(SO3()),
    )
    values = [
        {
            "place": torch.tensor([1.0, 0.0]),
            "word": torch.tensor([[3.0, 0.0, 0.0]]),
            "turn": torch.tensor([0.0, 0.0, 0.3]),
        },
        {
            "place": torch.tensor([0.0, 1.0]),
            "word": torch.tensor([[0.0, 3.0, 0.0]]),
            "turn": torch.tensor([0.2, 0.0, 0.0]),
        },
    ]
    field = ClassifierFree(Constant(values), path, scale={"place": 2.0, "word": 0.0})
    x_0 = path.draw(
        {
            "place": torch.zeros(6, 2),
            "word": torch.zeros(6, 1).long(),
            "turn": torch.zeros(6, 3, 3),
        },
        generator=torch.Generator().manual_seed(0),
    )
    found = field(x_0, torch.full((6,), 0.5), labels(6, 0))
    assert isinstance(found, dict)
    assert torch.allclose(found["place"], torch.tensor([2.0, -1.0]).expand(6, 2))
    assert torch.allclose(found["turn"], values[0]["turn"].expand(6, 3))
    assert torch.allclose(found["word"].exp(), torch.softmax(values[1]["word"], -1).expand(6, 1, 3))
    end = sample(field, path, x_init=x_0, condition=labels(6, 0), solver=Euler(steps=5))
    assert int(end["word"].max()) < 3


def test_guidances_stack() -> None:
    """w_a (CFG of the good) + (1 - w_a) (CFG of the weak), each by one call."""
    good = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])]
    weak = [torch.tensor([0.5, 0.0]), torch.tensor([0.0, 0.2])]
    path = AffinePath()
    fields = Constant(good), Constant(weak)
    first, second = (ClassifierFree(field, path, scale=3.0) for field in fields)
    stacked = Autoguidance(first, second, path, scale=2.0)
    x, t = torch.zeros(4, 2), torch.full((4,), 0.5)
    expected = 2 * (3 * good[0] - 2 * good[1]) - (3 * weak[0] - 2 * weak[1])
    assert torch.allclose(stacked(x, t, labels(4, 0)), expected.expand(4, 2))  # type: ignore[arg-type]
    assert [field.batches for field in fields] == [[8], [8]]
    end = sample(stacked, path, x_init=x, condition=labels(4, 0), solver=Euler(steps=4))
    assert torch.allclose(end, expected.expand(4, 2), atol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    path = AffinePath()
    field = Constant([torch.zeros(2), torch.zeros(2)])
    with pytest.raises(ConfigError, match="no component \\['y'\\]"):
        ClassifierFree(field, path, scale={"y": 1.0})
    with pytest.raises(ConfigError, match="scale: got 'three'"):
        ClassifierFree(field, path, scale="three")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="rescale"):
        ClassifierFree(field, path, rescale=1.5)
    with pytest.raises(ConfigError, match="interval"):
        ClassifierFree(field, path, interval=(0.5, 0.1))
    with pytest.raises(ConfigError, match="condition"):
        ClassifierFree(field, path, scale=2.0)(torch.zeros(1, 2), torch.zeros(1))
    with pytest.raises(CapabilityError, match=r"condition: .*null_condition"):
        ClassifierFree(lambda x, t, c: x, path, scale=2.0)(
            torch.zeros(1, 2), torch.zeros(1), labels(1, 0)
        )
    rescaled = ClassifierFree(field, DirichletPath(2), scale=2.0, rescale=0.5)
    with pytest.raises(CapabilityError, match="Dirichlet"):
        rescaled(torch.full((1, 2), 0.5), torch.zeros(1), labels(1, 0))
