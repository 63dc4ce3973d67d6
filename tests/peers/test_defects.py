"""Twelve defects of the peers that were reproduced, each with what happens here instead.

What a peer does is put on record by `observe` where it is installed and the call is cheap; only our
own behaviour is asserted.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.couplings import MinibatchOT
from flowatlas.errors import ConfigError, IntervalError, ShapeError
from flowatlas.exact import ExactGaussianFlow, ExactMixtureFlow, GaussianMixture
from flowatlas.manifolds import Euclidean, FlatTorus, Sphere
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath, GeodesicPath, ProductPath
from flowatlas.sampling import Exact, Hutchinson, integrate, log_prob, sample
from flowatlas.schedulers import LinearVP, Polynomial, VariancePreserving
from flowatlas.solvers import RK4, Euler, GivenGrid, Midpoint
from flowatlas.sources import Empirical, Uniform

meta = importlib.util.find_spec("flow_matching") is not None
cfm = importlib.util.find_spec("torchcfm") is not None


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def still(x: Any, t: Tensor, condition: Any = None, /, **masks: Any) -> Any:
    return torch.zeros_like(x)


def one(x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
    """A constant speed of one in every coordinate."""
    return torch.ones_like(x)


def test_01_times_are_honoured_in_either_direction(observe: Any) -> None:
    """Their Riemannian solver starts at 0 whatever it is told, and sorts a descending grid."""
    if meta:
        solver = importlib.import_module("flow_matching.solver").RiemannianODESolver(
            importlib.import_module("flow_matching.utils.manifolds").FlatTorus(),
            lambda x, t: torch.ones_like(x),
        )

        def moved(*grid: float) -> float:
            x = torch.full((1, 1), 2.0)
            return float(solver.sample(x, step_size=0.1, time_grid=torch.tensor(grid)) - x)

        observe("flow-matching moves, [.5, 1]", lambda: moved(0.5, 1.0))
        observe("flow-matching moves, [1, .5]", lambda: moved(1.0, 0.5))
    torus = FlatTorus()
    path, x = GeodesicPath(torus), torch.full((1, 1), 2.0)
    for start, end in ((0.5, 1.0), (1.0, 0.5), (0.0, 1.0), (1.0, 0.0)):
        found = integrate(one, path, x, start=start, end=end, solver=Euler(steps=10))
        moved_by = torus.logmap(x, found.x)
        torch.testing.assert_close(moved_by, torch.full((1, 1), end - start))
    uneven = integrate(
        one, path, x, start=1.0, end=0.5, solver=Euler(grid=GivenGrid([1, 0.9, 0.5]))
    )
    torch.testing.assert_close(torus.logmap(x, uneven.x), torch.full((1, 1), -0.5))
    assert uneven.nfe == 2


def test_02_stopping_early_leaves_tokens_behind_the_mask(two_tokens: ModuleType) -> None:
    """Their discrete solver ends with x_t = x_1: asked for t = .1, it changes every token.

    Tested with the two-token path: at t = .1 no more tokens have jumped than the schedule lets.
    """
    n = 4000
    path = ProductPath(token=two_tokens.TwoTokenMaskPath(), place=AffinePath())

    def field(x: Any, t: Tensor, condition: Any = None) -> Any:
        return {"token": torch.zeros(n, 2), "place": torch.zeros(n, 1)}

    for steps in (1, 5):
        x: Any = sample(
            field,
            path,
            shape={"token": (n,), "place": (n, 1)},
            end=0.1,
            solver=Euler(steps=steps),
            generator=seeded(),
        )
        changed = (x["token"] != two_tokens.MASK).float().mean().item()
        assert changed == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / n))


def test_03_nothing_is_integrated_in_one_step_by_default(observe: Any) -> None:
    """Their ODE solver takes one Euler step where no step size is given, in the likelihood too."""
    calls = []

    def counted(x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        calls.append(t)
        return torch.ones_like(x)

    if meta:
        solver = importlib.import_module("flow_matching.solver").ODESolver(counted)
        observe("flow-matching", lambda: solver.sample(torch.zeros(1, 1), step_size=None))
        observe("flow-matching calls", lambda: len(calls))
    path, x = AffinePath(), torch.zeros(1, 1)
    # The solver is a required argument, and so is its number of steps.
    with pytest.raises(TypeError, match="solver"):
        sample(counted, path, x_init=x)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="solver"):
        log_prob(counted, path, x)  # type: ignore[call-arg]
    for solver_class in (Euler, Midpoint, RK4):
        with pytest.raises(ConfigError, match="steps"):
            solver_class()
    calls.clear()
    sample(counted, path, x_init=x, solver=Euler(steps=7))
    assert len(calls) == 7


@pytest.mark.parametrize("kind", ["target", "noise", "score"])
def test_04_time_is_broadcast_along_the_batch_alone(kind: str, observe: Any) -> None:
    """Their conversion broadcasts a (B,) time along the last axis where B equals the dimension."""
    n = 4
    x, prediction = torch.randn(2, n, n, generator=seeded(), dtype=torch.float64)
    t = torch.linspace(0.1, 0.9, n, dtype=torch.float64)
    path = AffinePath(prediction=kind)
    together = path.velocity(x, t, prediction)
    alone = [path.velocity(x[i : i + 1], t[i : i + 1], prediction[i : i + 1])[0] for i in range(n)]
    torch.testing.assert_close(together, torch.stack(alone))
    with pytest.raises(ShapeError):
        path.velocity(x, t.unsqueeze(-1), prediction)
    if meta and kind == "target":
        theirs = importlib.import_module("flow_matching.path").CondOTProbPath()
        observe(
            "flow-matching errs by",
            lambda: float((theirs.target_to_velocity(prediction, x, t) - together).abs().max()),
        )


def test_05_shapes_and_times_that_do_not_fit_are_refused(observe: Any) -> None:
    """Three peers broadcast x_0 (B, 1) against x_1 (B, 3) silently, and accept t = 1.7."""
    x_0, x_1, t = torch.zeros(4, 1), torch.ones(4, 3), torch.full((4,), 0.5)
    for path in (AffinePath(), GeodesicPath(Sphere())):
        with pytest.raises(ShapeError, match=r"\(4, 1\)"):
            path.sample(x_0, x_1, t)
        with pytest.raises(IntervalError, match=r"1\.7"):
            path.sample(x_1, x_1, torch.tensor([0.1, 0.2, 0.3, 1.7]))
    with pytest.raises(ShapeError, match="x_0"):
        FlowMatching(AffinePath())(still, x_1, x_0=x_0, t=t)
    if cfm:
        matcher = importlib.import_module("torchcfm.conditional_flow_matching")
        theirs = matcher.ConditionalFlowMatcher()
        observe(
            "torchcfm gives shape",
            lambda: tuple(theirs.sample_location_and_conditional_flow(x_0, x_1, t)[1].shape),
        )


@pytest.mark.parametrize("scheduler", [VariancePreserving(), LinearVP()], ids=repr)
def test_06_both_ends_are_finite_or_refused(scheduler: Any, observe: Any) -> None:
    """Their VP schedules give -inf at t = 1, conversions NaN, changes of schedule NaN at 0."""
    x_0, x_1 = torch.randn(2, 8, 3, generator=seeded())
    path = AffinePath(scheduler)
    # Drawn times are kept where the schedule is finite; t = 1 by hand is an error, not -inf.
    draws = FlowMatching(path).draw(x_1, generator=seeded())
    draws.t[0], draws.t[1] = 0.0, 1.0
    assert torch.isfinite(FlowMatching(path)(still, x_1, draws=draws).per_sample).all()
    with pytest.raises(IntervalError):
        path.sample(x_0, x_1, torch.ones(8))
    for kind in AffinePath.kinds:
        predicting = AffinePath(scheduler, prediction=kind)
        with pytest.raises(IntervalError):
            predicting.velocity(x_1, torch.ones(8), x_0) if kind != "velocity" else (
                predicting.convert(x_0, x_1, torch.ones(8), "target")
            )
        # A sampler goes from one end to the other all the same.
        exact = ExactMixtureFlow(
            GaussianMixture(torch.ones(1), torch.ones(1, 3), stds=0.1), scheduler
        )
        x = sample(exact.prediction(kind), predicting, x_init=x_0, solver=Midpoint(steps=20))
        assert torch.isfinite(x).all()
    changed = AffinePath(prediction="target").with_schedule(Polynomial(2))
    assert torch.isfinite(changed.velocity(x_0, torch.zeros(8), x_1)).all()
    if meta:
        schedulers = importlib.import_module("flow_matching.path.scheduler")
        observe(
            "flow-matching d_sigma at t = 1",
            lambda: float(schedulers.VPScheduler()(torch.ones(1)).d_sigma_t),
        )


def test_06_token_losses_are_finite_at_the_end(two_tokens: ModuleType) -> None:
    """Their KL is infinite at t = 1. Tested with the cross-entropy of the two-token path."""
    path = ProductPath(token=two_tokens.TwoTokenMaskPath(), place=AffinePath())
    x_1 = {"token": torch.tensor([0, 1]), "place": torch.zeros(2, 1)}
    for t in (0.0, 1.0):
        sampled = path.sample(path.draw(x_1), x_1, torch.full((2,), t))
        loss = path.losses({"token": torch.zeros(2, 2), "place": torch.zeros(2, 1)}, sampled)
        assert torch.isfinite(loss["token"]).all()


def test_07_antipodal_points_move_and_distances_are_finite(observe: Any) -> None:
    """On their sphere antipodal pairs rest, near ones end elsewhere, dist(x, x) may be NaN."""
    sphere = Sphere()
    x = sphere.random_uniform((1000, 3), generator=seeded())
    path = GeodesicPath(sphere)
    half = torch.full((1000,), 0.5)
    middle = path.sample(x, -x, half).x_t
    assert isinstance(middle, Tensor)
    quarter = torch.full((1000,), math.pi / 2)
    torch.testing.assert_close(sphere.dist(x, middle), quarter, atol=1e-5, rtol=0)
    near = sphere.projx(-x + 1e-3 * torch.randn(1000, 3, generator=seeded(1)))
    end = path.sample(x, near, torch.ones(1000)).x_t
    assert isinstance(end, Tensor)
    assert sphere.dist(end, near).max() < 1e-5
    assert torch.equal(sphere.dist(x, x), torch.zeros(1000))
    for y in (x, -x):
        start = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(sphere.squared_dist(start, y).sum(), start)
        assert torch.isfinite(gradient).all()
    loss = FlowMatching(path)(still, x.bfloat16(), generator=seeded()).loss
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    if meta:
        theirs = importlib.import_module("flow_matching.utils.manifolds").Sphere()
        observe(
            "flow-matching, share of NaN", lambda: float(theirs.dist(x, x).isnan().float().mean())
        )
        observe("flow-matching, antipodal", lambda: float(theirs.logmap(x, -x).norm(dim=-1).mean()))


def test_08_points_of_a_sample_images_and_double_precision(observe: Any) -> None:
    """Their geodesic path fails on (B, N, 3), exact divergence on images, Hutchinson on float64."""
    x_0, x_1 = (Sphere().random_uniform((4, 5, 3), generator=seeded(i)) for i in range(2))
    t = torch.linspace(0, 1, 4)
    if meta:
        theirs = importlib.import_module("flow_matching.path").GeodesicProbPath(
            importlib.import_module("flow_matching.path.scheduler").CondOTScheduler(),
            importlib.import_module("flow_matching.utils.manifolds").Sphere(),
        )
        observe("flow-matching", lambda: theirs.sample(x_0=x_0, x_1=x_1, t=t).x_t.shape)
    got = GeodesicPath(Sphere()).sample(x_0, x_1, t).x_t
    assert isinstance(got, Tensor)
    assert got.shape == (4, 5, 3)
    torch.testing.assert_close(got[3], x_1[3])

    flow = ExactGaussianFlow(GaussianMixture(torch.ones(1), torch.zeros(1, 2), stds=0.5))
    image = torch.randn(3, 1, 2, 2, generator=seeded(), dtype=torch.float64)
    expected = flow.target.log_prob(image).flatten(1).sum(1)
    for divergence in (Exact(), Hutchinson(probes=1)):
        got = log_prob(
            flow,
            AffinePath(),
            image,
            solver=RK4(steps=20),
            divergence=divergence,
            generator=seeded(),
        )
        # The field's Jacobian is a multiple of the identity: one probe is exact.
        assert got.dtype == torch.float64
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_09_logits_are_logits_one_step_is_a_step_and_stars_import(two_tokens: ModuleType) -> None:
    """They take positive logits for probabilities, refuse one step, and a star import fails.

    Tested with the two-token path: logits that are all positive are still logits.
    """
    n = 4000
    path = ProductPath(token=two_tokens.TwoTokenMaskPath(), place=AffinePath())

    def field(x: Any, t: Tensor, condition: Any = None) -> Any:
        logits = torch.tensor([5.0, 5.0 + math.log(3)])
        return {"token": logits.expand(n, 2), "place": torch.ones(n, 1)}

    shape = {"token": (n,), "place": (n, 1)}
    x: Any = sample(field, path, shape=shape, solver=Euler(steps=1), generator=seeded())
    # As probabilities they would give .55.
    share = (x["token"] == 1).float().mean().item()
    assert share == pytest.approx(0.75, abs=4 * math.sqrt(0.1875 / n))
    for name in (
        "",
        ".paths",
        ".manifolds",
        ".sources",
        ".couplings",
        ".objectives",
        ".solvers",
        ".sampling",
        ".exact",
    ):
        scope: dict[str, Any] = {}
        exec(f"from flowatlas{name} import *", scope)
        assert len(scope) > 2


def test_10_couplings_keep_every_sample_and_draw_from_nobody_else(observe: Any) -> None:
    """torchcfm draws pairs with replacement, by numpy's global generator, and keeps 64 %."""
    numpy = importlib.import_module("numpy")
    x_0, x_1 = torch.randn(2, 256, 2, generator=seeded())
    if cfm:
        transport = importlib.import_module("torchcfm.optimal_transport")
        observe(
            "torchcfm keeps",
            lambda: len(transport.OTPlanSampler("exact").sample_plan(x_0, x_1)[1].unique(dim=0)),
        )
    before = numpy.random.get_state()[1].copy(), torch.get_rng_state()
    index = MinibatchOT(Euclidean()).pair(x_0, x_1, generator=seeded())
    assert torch.equal(index.sort().values, torch.arange(256))
    # Images, whose distances underflow an entropic plan to a uniform one, are paired exactly too.
    images = torch.randn(16, 3, 32, 32, generator=seeded())
    shuffled = images[torch.randperm(16, generator=seeded(1))]
    pairs = MinibatchOT(Euclidean()).pair(shuffled, images)
    torch.testing.assert_close(shuffled[pairs], images)
    assert (before[0] == numpy.random.get_state()[1]).all()
    assert torch.equal(before[1], torch.get_rng_state())


def test_10_given_sources_are_used(observe: Any) -> None:
    """torchcfm's target matcher ignores the x_0 it is given; here it is where x_t starts."""
    x_0, x_1 = torch.full((4, 2), 7.0), torch.zeros(4, 2)
    seen = []

    def model(x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        seen.append(x)
        return x

    for kind in AffinePath.kinds:
        FlowMatching(AffinePath(prediction=kind))(model, x_1, x_0=x_0, t=torch.zeros(4))
        assert torch.equal(seen[-1], x_0)
    if cfm:
        matcher = importlib.import_module("torchcfm.conditional_flow_matching")
        theirs = matcher.TargetConditionalFlowMatcher(sigma=0.0)
        observe(
            "torchcfm starts at",
            lambda: theirs.sample_location_and_conditional_flow(x_0, x_1, torch.zeros(4))[1],
        )


def test_11_times_are_never_half_precision() -> None:
    """4096 times in bfloat16 have about 693 distinct values."""
    x_1 = torch.zeros(4096, 2, dtype=torch.bfloat16)
    seen = []

    def model(x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        seen.append(t)
        return x

    output = FlowMatching(AffinePath())(model, x_1, generator=seeded())
    assert seen[0].dtype == output.t.dtype == torch.float32
    assert len(output.t.unique()) > 4000
    x = integrate(model, AffinePath(), x_1[:2], solver=Euler(steps=3)).x
    assert seen[-1].dtype == x.dtype == torch.float32


def test_12_inputs_are_not_overwritten_and_sources_are_free(two_tokens: ModuleType) -> None:
    """moco overwrites the caller's logits; rectified-flow fails on sources that are not Gaussian.

    Tested with the two-token path for the logits.
    """
    path = ProductPath(token=two_tokens.TwoTokenMaskPath(), place=AffinePath())
    out = {"token": torch.randn(8, 2, generator=seeded()), "place": torch.ones(8, 1)}
    x_1 = {"token": torch.randint(2, (8,), generator=seeded()), "place": torch.zeros(8, 1)}
    x_0 = path.draw(x_1)
    given: list[dict[str, Tensor]] = [out, x_1, x_0]
    copies = [{name: value.clone() for name, value in state.items()} for state in given]
    # In-place writes are also seen by the version counter.
    versions = [{name: value._version for name, value in state.items()} for state in given]
    FlowMatching(path)(lambda x, t: out, x_1, x_0=x_0)
    sample(lambda x, t: out, path, x_init=x_0, solver=Midpoint(steps=4), generator=seeded())
    for state, copy, version in zip(given, copies, versions, strict=True):
        for name, value in state.items():
            assert torch.equal(value, copy[name]) and value._version == version[name]

    points = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    for source, space in (
        (Empirical(points), AffinePath(source=Empirical(points))),
        (Uniform(FlatTorus(1.0)), AffinePath(source=Uniform(FlatTorus(1.0)))),
    ):
        loss = FlowMatching(space)(still, torch.randn(8, 2, generator=seeded())).loss
        x = sample(still, space, shape=(8, 2), solver=Euler(steps=2), generator=seeded())
        torch.testing.assert_close(x, source.sample((8, 2), generator=seeded()))
        assert torch.isfinite(loss)
