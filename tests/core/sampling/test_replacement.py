"""Points given by replacement: where they are at every time, and what the others make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError, GeometryError, ShapeError
from flowatlas.exact import ExactGaussianFlow, ExactProductFlow, ExactTokenChain, GaussianMixture
from flowatlas.manifolds import Sphere
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath, GeodesicPath, MixturePath, ProductPath
from flowatlas.sampling import Replacement, integrate, sample
from flowatlas.schedulers import Cosine, LinearVP, Polynomial, Scheduler
from flowatlas.solvers import (
    Dopri5,
    Euler,
    Heun,
    Midpoint,
    PerSample,
    Resampling,
    Solver,
    TauLeaping,
)
from flowatlas.sources import Gaussian

POLE = torch.tensor([0.0, 0.6, 0.8])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def product(**options: Any) -> ProductPath:
    return ProductPath(
        place=AffinePath(**options),
        direction=GeodesicPath(Sphere(), **options),
        token=MixturePath(3),
    )


def still(x: Any, t: Tensor, condition: Any = None) -> dict[str, Tensor]:
    """A field that moves nothing, and takes no `fixed`: it is not to be told."""
    zero = {name: torch.zeros_like(x[name]) for name in ("place", "direction")}
    return {**zero, "token": torch.zeros(*x["token"].shape, 3)}


def ends(x: Any, t: Tensor, condition: Any = None) -> dict[str, Tensor]:
    """The same for endpoints."""
    return {"place": x["place"], "direction": x["direction"], "token": still(x, t)["token"]}


def given(n: int) -> dict[str, Replacement]:
    """The first of two points of each component."""
    first = torch.tensor([True, False]).expand(n, 2)
    # What is not given may hold anything.
    place = torch.tensor([[1.0, -2.0], [math.nan, math.inf]]).expand(n, 2, 2)
    direction = torch.stack([POLE, torch.zeros(3)]).expand(n, 2, 3)
    token = torch.tensor([2, -100]).expand(n, 2)
    return {
        "place": Replacement(first, place),
        "direction": Replacement(first, direction),
        "token": Replacement(first, token),
    }


def shapes(n: int) -> dict[str, tuple[int, ...]]:
    return {"place": (n, 2, 2), "direction": (n, 2, 3), "token": (n, 2)}


@pytest.mark.parametrize(
    "solver",
    [Euler(7), Heun(4), Dopri5(1e-3, 1e-3), Dopri5(1e-3, 1e-3, control=PerSample())],
    ids=repr,
)
@pytest.mark.parametrize("prediction", ["velocity", "target"])
def test_given_points_end_at_their_values(solver: Solver, prediction: str) -> None:
    """Exactly; endpoint prediction ends by a conditional step."""
    field = still if prediction == "velocity" else ends
    x = sample(
        field,
        product(prediction=prediction),
        shape=shapes(5),
        fixed=given(5),
        solver=solver,
        generator=seeded(),
    )
    assert torch.equal(x["place"][:, 0], torch.tensor([1.0, -2.0]).expand(5, 2))
    assert torch.equal(x["direction"][:, 0], POLE.expand(5, 3))
    assert (x["token"][:, 0] == 2).all()
    assert torch.isfinite(x["place"]).all()


@pytest.mark.parametrize("solver", [Euler(8), Dopri5(1e-2, 1e-2, control=PerSample())], ids=repr)
def test_before_they_have_the_law_of_the_path(solver: Solver) -> None:
    """At t = .3: N(t x_1, (1 - t)^2), angles (1 - t) times a uniform point's, tokens with t."""
    n, t = 4000, 0.3
    found = integrate(
        still,
        product(),
        product().draw(
            {
                k: torch.zeros(v).long() if k == "token" else torch.zeros(v)
                for k, v in shapes(n).items()
            },
            generator=seeded(1),
        ),
        times=[t],
        fixed=given(n),
        solver=solver,
        generator=seeded(),
    )
    x = found.x_t[1]
    place = x["place"][:, 0].double()
    error = 5 * (1 - t) / math.sqrt(n)
    assert (place.mean(0) - t * torch.tensor([1.0, -2.0])).abs().max() < error
    assert (place.std(0) - (1 - t)).abs().max() < error
    angle = torch.acos((x["direction"][:, 0].double() @ POLE.double()).clamp(-1, 1))
    # A uniform point's angle has mean pi / 2 and variance pi^2 / 4 - 2.
    spread = (1 - t) * math.sqrt(math.pi**2 / 4 - 2)
    assert abs(angle.mean() - (1 - t) * math.pi / 2) < 5 * spread / math.sqrt(n)
    share = (x["token"][:, 0] == 2).double().mean()
    assert abs(share - t) < 5 * math.sqrt(t * (1 - t) / n)
    assert ((x["token"][:, 0] == 2) | (x["token"][:, 0] == 3)).all()


def test_given_tokens_follow_the_schedule_of_sampling() -> None:
    n, path = 4000, MixturePath(3).with_schedule(Polynomial(3))
    value = torch.full((n, 1), 1)
    x = sample(
        lambda x, t: torch.zeros(*x.shape, 3),
        path,
        shape=(n, 1),
        end=0.5,
        fixed=Replacement(torch.ones(n, 1, dtype=torch.bool), value),
        solver=TauLeaping(4),
        generator=seeded(),
    )
    share = (x == 1).double().mean()
    assert abs(share - 0.125) < 5 * math.sqrt(0.125 * 0.875 / n)


def test_given_points_of_a_path_follow_its_schedule_of_sampling() -> None:
    n, path = 4000, AffinePath(prediction="target").with_schedule(Polynomial(2))
    x = sample(
        lambda x, t: x,
        path,
        shape=(n, 2),
        end=0.5,
        fixed=Replacement(torch.ones(n, dtype=torch.bool), torch.full((n, 2), 4.0)),
        solver=Euler(4),
        generator=seeded(),
    )
    assert (x.mean(0) - 0.25 * 4).abs().max() < 5 * 0.75 / math.sqrt(n)
    assert abs(x.std() - 0.75) < 5 * 0.75 / math.sqrt(n)


class Pair:
    """A number and a token of two classes, with the law of each given the other."""

    def __init__(self) -> None:
        self.path = ProductPath(place=AffinePath(), token=MixturePath(2))
        token = self.path.components["token"]
        assert isinstance(token, MixturePath)
        one, laws = torch.ones(1), torch.tensor([[0.9, 0.1], [0.2, 0.8]]).double()
        self.flow = ExactProductFlow(
            self.path,
            torch.tensor([0.6, 0.4]),
            place=[
                ExactGaussianFlow(GaussianMixture(one, torch.tensor([[m]]), stds=0.4))
                for m in (-1.0, 1.0)
            ],
            token=[ExactTokenChain(token, law) for law in laws],
        )
        #: Of class 1 if the token is 1, and the mean of the place then.
        self.chance = 0.4 * 0.8 / (0.4 * 0.8 + 0.6 * 0.1)
        self.mean = 2 * self.chance - 1

    def places(self, n: int, solver: Solver) -> Tensor:
        """With token 1 given."""
        known = Replacement(torch.ones(n, 1, dtype=torch.bool), torch.ones(n, 1).long())
        x = sample(
            self.flow,
            self.path,
            shape={"place": (n, 1), "token": (n, 1)},
            fixed={"token": known},
            solver=solver,
            generator=seeded(),
        )
        assert (x["token"] == 1).all()
        place: Tensor = x["place"].double()
        return place


def test_independent_components_are_not_changed() -> None:
    """Where the others do not look, they do exactly what they do without anything given."""
    pair, n = Pair(), 64
    x_0 = pair.path.draw(
        {"place": torch.zeros(n, 1), "token": torch.zeros(n, 1).long()}, generator=seeded()
    )
    known = Replacement(torch.ones(n, 1, dtype=torch.bool), torch.ones(n, 1).long())
    options: dict[str, Any] = {"x_init": x_0, "solver": Midpoint(10)}
    free = sample(pair.flow.apart, pair.path, generator=seeded(1), **options)
    held = sample(
        pair.flow.apart, pair.path, generator=seeded(2), fixed={"token": known}, **options
    )
    assert torch.equal(free["place"], held["place"])
    seen = sample(pair.flow, pair.path, generator=seeded(2), fixed={"token": known}, **options)
    assert (seen["place"] - held["place"]).abs().max() > 0.1


def test_a_given_token_moves_the_place_part_of_the_way_and_rounds_the_rest() -> None:
    """E[place | token = 1] is .68 and E[place] is -.2."""
    pair, n = Pair(), 4000
    noise = 5 / math.sqrt(n)
    plain = pair.places(n, Midpoint(25)).mean().item()
    assert -0.2 + noise < plain < pair.mean - 2 * noise
    back = pair.places(n, Resampling(Midpoint(25), 12)).mean().item()
    assert abs(back - pair.mean) < noise + 0.25 * (pair.mean - plain)


RHO, VALUE = 0.8, 1.5


def conditional(solver: Solver, n: int) -> Tensor:
    """The second of two correlated numbers where the first is given."""
    covariance = torch.tensor([[[1.0, RHO], [RHO, 1.0]]])
    flow = ExactGaussianFlow(GaussianMixture(torch.ones(1), torch.zeros(1, 2), covariance))
    known = Replacement(torch.tensor([True, False]).expand(n, 2), torch.full((n, 2), VALUE))
    path = AffinePath(point_ndim=0)
    x = sample(flow, path, shape=(n, 2), fixed=known, solver=solver, generator=seeded())
    assert (x[:, 0] == VALUE).all()
    second: Tensor = x[:, 1].double()
    return second


def test_correlated_numbers_come_out_between_the_marginal_and_the_conditional_law() -> None:
    """N(1.2, .36) is the conditional law; steps of any order find the same law in between."""
    n = 10_000
    plain = conditional(Heun(40), n)
    noise = 5 / math.sqrt(n)
    assert 0 + 3 * noise < plain.mean() < RHO * VALUE - 3 * noise
    assert 1 - RHO**2 + 3 * noise < plain.var() < 1 - 3 * noise
    torch.testing.assert_close(plain, conditional(Dopri5(1e-6, 1e-6), n), rtol=0, atol=2e-3)


def test_rounds_lead_to_the_conditional_law() -> None:
    n, noise = 4000, 5 / math.sqrt(4000)
    errors = [RHO * VALUE - conditional(Resampling(Heun(15), r), n).mean() for r in (1, 4, 40)]
    assert errors[0] > 0.6 and errors[1] < 0.5 * errors[0]
    assert abs(errors[2]) < noise
    spread = conditional(Resampling(Heun(15), 40), n).var()
    assert abs(spread - (1 - RHO**2)) < noise


@pytest.mark.parametrize("length", [1, 3, 100])
def test_rounds_leave_the_law_as_it_is_where_nothing_is_given(length: int) -> None:
    n, scale = 4000, 1 / math.sqrt(4000)
    covariance = torch.tensor([[[0.5, 0.3], [0.3, 0.4]]])
    flow = ExactGaussianFlow(
        GaussianMixture(torch.ones(1), torch.tensor([[1.0, -2.0]]), covariance)
    )
    x = sample(
        flow,
        AffinePath(),
        shape=(n, 2),
        solver=Resampling(Heun(20), 4, length=length),
        generator=seeded(),
    ).double()
    assert (x.mean(0) - torch.tensor([1.0, -2.0])).abs().max() < 5 * 0.71 * scale
    assert (x.T.cov() - covariance[0]).abs().max() < 5 * 0.71 * scale


@pytest.mark.parametrize("length", [1, 4])
def test_one_round_is_the_solver_itself(length: int) -> None:
    pair = Pair()
    x_0 = pair.path.draw(
        {"place": torch.zeros(9, 1), "token": torch.zeros(9, 1).long()}, generator=seeded()
    )

    def run(solver: Solver) -> Any:
        return integrate(pair.flow, pair.path, x_0, times=[0.33], solver=solver, generator=seeded())

    plain, wrapped = run(Midpoint(9)), run(Resampling(Midpoint(9), 1, length=length))
    assert wrapped.nfe == plain.nfe
    for a, b in zip(plain.x_t, wrapped.x_t, strict=True):
        assert torch.equal(a["place"], b["place"]) and torch.equal(a["token"], b["token"])
    thrice = run(Resampling(Midpoint(9), 3, length=length))
    assert len(thrice.x_t) == 3 and thrice.nfe == 3 * plain.nfe


@pytest.mark.parametrize(
    "scheduler", [Polynomial(1), Polynomial(3), Cosine(), LinearVP()], ids=repr
)
@pytest.mark.parametrize(("t", "s"), [(0.9, 0.4), (0.5, 0.4), (0.5, 0.0), (0.7, 0.7)])
def test_noise_takes_the_law_back(scheduler: Scheduler, t: float, s: float) -> None:
    """Of a path with any schedule and a Gaussian source, given x_1; moments to five errors."""
    n, path = 20_000, AffinePath(scheduler, source=Gaussian(1.5, mean=torch.tensor([2.0, -1.0])))
    x_1 = torch.tensor([3.0, 0.5]).expand(n, 2)
    x_0 = path.draw(x_1, generator=seeded())
    now, then = torch.full((n,), t), torch.full((n,), s)
    x_t = path.sample(x_0, x_1, now).x_t
    assert isinstance(x_t, Tensor)
    x_s = path.renoise(x_t, now, then, generator=seeded(1))
    c = scheduler(torch.tensor(s))
    mean = c.alpha * x_1[0] + c.sigma * torch.tensor([2.0, -1.0])
    assert (x_s.mean(0) - mean).abs().max() < 5 * 1.5 / math.sqrt(n)
    assert (x_s.std(0) - 1.5 * c.sigma).abs().max() < 5 * 1.5 / math.sqrt(2 * n) + 1e-5


@pytest.mark.parametrize("source", ["mask", "uniform"])
def test_noise_takes_tokens_back(source: str) -> None:
    n, path = 20_000, MixturePath(4, source)
    x_1 = torch.full((n, 1), 2)
    now, then = torch.full((n,), 0.8), torch.full((n,), 0.3)
    x_t = path.sample(path.draw(x_1, generator=seeded()), x_1, now, generator=seeded(1)).x_t
    assert isinstance(x_t, Tensor)
    share = (path.renoise(x_t, now, then, generator=seeded(2)) == 2).double().mean()
    wanted = 0.3 + 0.7 * (0.25 if source == "uniform" else 0.0)
    assert abs(share - wanted) < 5 * 0.5 / math.sqrt(n)


@pytest.mark.parametrize("solver", [Midpoint(3), Dopri5(1e-2, 1e-2)], ids=repr)
def test_fields_see_given_points_on_their_path_at_every_stage(solver: Solver) -> None:
    """Also where its velocity changes within a step."""
    seen: list[tuple[Tensor, Tensor]] = []

    def field(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x[:, 0], t))
        return torch.zeros_like(x)

    known = Replacement(torch.tensor([True, False]).expand(4, 2), torch.full((4, 2), 3.0))
    path = AffinePath(Cosine(), point_ndim=0)
    sample(field, path, shape=(4, 2), fixed=known, solver=solver, generator=seeded())
    x_0 = seen[0][0]
    for x, t in seen:
        c = Cosine()(t)
        torch.testing.assert_close(x, 3 * c.alpha + c.sigma * x_0)


def test_given_points_have_new_noise_in_every_round() -> None:
    seen: list[float] = []

    def field(x: Tensor, t: Tensor) -> Tensor:
        seen.append(x[0, 0].item())
        return torch.zeros_like(x)

    known = Replacement(torch.tensor([[True, False]]), torch.ones(1, 2))
    solver = Resampling(Euler(1), rounds=3)
    path = AffinePath(point_ndim=0)
    x = sample(field, path, shape=(1, 2), fixed=known, solver=solver, generator=seeded())
    assert len(set(seen)) == 3 and x[0, 0] == 1


def test_given_and_held_side_by_side_and_generators() -> None:
    """A pair is clean, a replacement is not; samples do not depend on their batch."""
    pair, n = Pair(), 6
    told: list[Any] = []

    def field(x: Any, t: Tensor, condition: Any = None, **masks: Any) -> Any:
        told.append((x, masks))
        return pair.flow(x, t)

    known = torch.arange(n).view(n, 1) % 2 == 0

    def run(rows: slice, **options: Any) -> Any:
        generators: Sequence[torch.Generator] = [seeded(i) for i in range(n)][rows]
        part: Any = {
            "place": (known[rows, 0], torch.full((n, 1), 9.0)[rows]),
            "token": Replacement(known[rows], torch.ones(n, 1).long()[rows]),
        }
        count = len(generators)
        return sample(
            field,
            pair.path,
            shape={"place": (count, 1), "token": (count, 1)},
            fixed=part,
            solver=Resampling(Euler(5), 2),
            generator=generators,
            **options,
        )

    whole = run(slice(0, n))
    assert (whole["place"][known] == 9).all() and (whole["token"][known] == 1).all()
    assert all(set(masks["fixed"]) == {"place"} for _, masks in told)
    assert all((x["place"][known[: len(x["place"])]] == 9).all() for x, _ in told)
    for part in (run(slice(2, 5)), {k: v[2:5] for k, v in run(slice(0, n), chunk_size=4).items()}):
        torch.testing.assert_close(part["place"], whole["place"][2:5])
        assert torch.equal(part["token"], whole["token"][2:5])


def test_bad_input() -> None:
    n, good = 4, given(4)

    def run(fixed: Any, solver: Solver | None = None, **options: Any) -> Any:
        return sample(
            still, product(), shape=shapes(n), fixed=fixed, solver=solver or Euler(2), **options
        )

    with pytest.raises(ShapeError, match="no component"):
        run({"places": good["place"]})
    with pytest.raises(ShapeError, match=r"fixed\['token'\] mask: got shape"):
        run({"token": Replacement(good["token"].mask[:, :1], good["token"].value)})
    with pytest.raises(ShapeError, match=r"fixed\['place'\]: the value has shape"):
        run({"place": Replacement(good["place"].mask, good["place"].value[:, :1])})
    off = 1.5 * good["direction"].value
    with pytest.raises(GeometryError, match=r"fixed\['direction'\] value"):
        run({"direction": Replacement(good["direction"].mask, off)})
    with pytest.raises(ShapeError, match="from 0 to 3"):
        run({"token": Replacement(good["token"].mask, good["token"].value + 9)})
    x_1 = {
        "place": torch.zeros(n, 2, 2),
        "direction": POLE.expand(n, 2, 3),
        "token": torch.zeros(n, 2).long(),
    }
    with pytest.raises(ShapeError, match="Replacement is"):
        FlowMatching(product())(still, x_1, fixed=good)  # type: ignore[arg-type]
    with pytest.raises(CapabilityError, match="GeodesicPath cannot go back"):
        run(good, Resampling(Euler(2), 2))
    with pytest.raises(ConfigError, match="rounds"):
        Resampling(Euler(2), 0)
    with pytest.raises(ConfigError, match="solver: got Dopri5"):
        Resampling(Dopri5())  # type: ignore[arg-type]
    with pytest.raises(CapabilityError, match="cannot run from the data"):
        integrate(
            lambda x, t: x,
            AffinePath(),
            torch.zeros(2, 2),
            start=1,
            end=0,
            solver=Resampling(Euler(2), 2),
        )
    other = AffinePath(source=MixturePath(2).source)
    with pytest.raises(CapabilityError, match="Gaussian source"):
        other.renoise(torch.zeros(2, 2), torch.ones(2), torch.zeros(2))
