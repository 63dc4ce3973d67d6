"""Every conformance test fails for a manifold that is wrong in the way it is about."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.manifolds import SO3, Capability, Euclidean, FlatTorus, Lorentz, Manifold, Sphere
from flowatlas.testing import ManifoldConformance

TESTS = [name for name in dir(ManifoldConformance) if name.startswith("test_")]


class FarSeriesSphere(Sphere):
    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        angle = u.norm(dim=-1, keepdim=True)
        return self.projx(torch.cos(angle) * x + (1 - angle**2 / 6) * u)


class UnprojectedExpSphere(Sphere):
    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return x + u


class HalfSpeedSphere(Sphere):
    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return super().expmap(x, u / 2)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return 2 * super().logmap(x, y)

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        return self.norm(x, self.logmap(x, y))


class AcosSphere(Sphere):
    """The textbook formula, unclamped and without the double where."""

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        angle = torch.acos((x * y).sum(-1, keepdim=True))
        u = y - torch.cos(angle) * x
        ratio: Tensor = torch.where(angle > 0, angle / torch.sin(angle), 1.0)
        return u * ratio


class ScaledLogSphere(Sphere):
    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return 1.01 * super().logmap(x, y)


class UntangentLogSphere(Sphere):
    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return y - x


class DetachedSphere(Sphere):
    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return super().logmap(x.detach(), y)


class BranchingSphere(Sphere):
    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return x.clone() if bool((u == 0).all()) else super().expmap(x, u)


class DoubleSphere(Sphere):
    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        return super().dist(x.double(), y.double())


class SquashedSphere(Sphere):
    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        return super().dist(x, y).square()


class TrueUniform(Sphere):
    """Points that do not come from the projection under test."""

    def random_uniform(self, shape: Sequence[int], **options: Any) -> Tensor:
        return Sphere().random_uniform(shape, **options)


class ShiftedProjection(TrueUniform):
    def projx(self, x: Tensor) -> Tensor:
        return super().projx(x + 1e-4)


class HalfwayProjection(TrueUniform):
    def projx(self, x: Tensor) -> Tensor:
        return (x + super().projx(x)) / 2


class TwistedProjection(TrueUniform):
    """Fixes the sphere, but moves neighbours of a point of it across."""

    def projx(self, x: Tensor) -> Tensor:
        size = x.square().sum(-1, keepdim=True).sqrt()
        return x / size + (size - 1) * torch.roll(x, 1, -1)


class FrozenProjection(Sphere):
    def projx(self, x: Tensor) -> Tensor:
        return super().projx(x).detach()


class ObliqueProju(Sphere):
    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        a = x + 0.1
        return u - a * (x * u).sum(-1, keepdim=True) / (x * a).sum(-1, keepdim=True)


class ForgottenCodim(Sphere):
    codim = 0


class SkewInner(Sphere):
    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(-1) + 0.1 * (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])


class StretchedInner(Sphere):
    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(-1) + 0.1 * u[..., 0] * v[..., 0]


class ChordPairs(Sphere):
    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cdist(x.flatten(1), y.flatten(1)).square()


class StartVelocity(Sphere):
    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        return super().geodesic(x_0, x_1, s)[0], self.logmap(x_0, x_1)


class LinearGeodesic(Sphere):
    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        r = s.unsqueeze(-1)
        x_s = self.projx((1 - r) * x_0 + r * x_1)
        return x_s, self.proju(x_s, x_1 - x_0)


class ShortGeodesic(Sphere):
    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        return super().geodesic(x_0, x_1, 0.1 + 0.8 * s)


class RestlessGeodesic(Sphere):
    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        x_s, velocity = super().geodesic(x_0, x_1, s)
        return x_s, velocity + self.proju(x_s, torch.ones_like(x_s))


class FlatParameter(Sphere):
    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        return super().geodesic(x_0, x_1, s.reshape(-1)[: x_0.shape[-2]])


class FirstOrderRetraction(SO3):
    """The bare Lie algebra: order 2 at most."""

    def pullback(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return v


class LeftJacobian(SO3):
    def pullback(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return super().pullback(x, -u, v)


class ShiftedPullback(Sphere):
    def pullback(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return v + u


class CurvedPullback(Sphere):
    def pullback(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return v + (u * u).sum(-1, keepdim=True) * v


class AmbientRetraction(Sphere):
    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        return x + u


class SlowRetraction(Sphere):
    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        return self.projx(x + u / 2)


class WorldFrame(SO3):
    def pushforward(self, x: Tensor, u: Tensor) -> Tensor:
        return super().pushforward(x, u).mT


class SkewBasis(Sphere):
    def tangent_basis(self, x: Tensor) -> Tensor:
        basis = super().tangent_basis(x)
        return basis + 0.01 * torch.roll(basis, 1, -2)


class ShortBasis(Sphere):
    def tangent_basis(self, x: Tensor) -> Tensor:
        return super().tangent_basis(x)[..., :-1, :]


class LargeVolume(Sphere):
    def uniform_log_prob(self, x: Tensor) -> Tensor:
        return super().uniform_log_prob(x) - 0.05


class SlopingDensity(Sphere):
    def uniform_log_prob(self, x: Tensor) -> Tensor:
        return super().uniform_log_prob(x) + 0.01 * x[..., 0]


class CappedUniform(Sphere):
    """Uniform latitudes instead of uniform area."""

    def random_uniform(self, shape: Sequence[int], **options: Any) -> Tensor:
        x = super().random_uniform(shape, **options)
        z = 2 / math.pi * torch.asin(x[..., 2:])
        return torch.cat([x[..., :2] * ((1 - z**2) / (1 - x[..., 2:] ** 2)).sqrt(), z], -1)


class ForwardImages(Sphere):
    def exp_preimages(self, x: Tensor, y: Tensor, images: int) -> Tensor:
        return super().exp_preimages(x, y, images)[images:]


class HalfTurns(Sphere):
    def exp_preimages(self, x: Tensor, y: Tensor, images: int) -> Tensor:
        u = super().exp_preimages(x, y, 2 * images)
        return (u + u.flip(0)) / 2 + (u - u.flip(0)) / 4


class OneRadiusTooMany(Sphere):
    def log_det_expmap(self, x: Tensor, u: Tensor) -> Tensor:
        angle = torch.linalg.vector_norm(u, dim=-1)
        return (x.shape[-1] - 1) * torch.sinc(angle / math.pi).abs().log()


class UnwrappedNormal(FlatTorus):
    def wrapped_normal_log_prob(self, mean: Tensor, x: Tensor, std: float, images: int) -> Tensor:
        return super().wrapped_normal_log_prob(mean, x, std, 0)


class GeodesicsPastTheAntipode(Sphere):
    def is_shortest(self, x: Tensor, u: Tensor) -> Tensor:
        return self.norm(x, u) < 1.2 * math.pi


class ShortGeodesicsAlone(Sphere):
    def is_shortest(self, x: Tensor, u: Tensor) -> Tensor:
        return self.norm(x, u) < math.pi / 2


class ContractionOfOneAxis(Sphere):
    """The density of geodesics that do not spread."""

    def contraction(self, x: Tensor, y: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        density, pull = super().contraction(x, y, keep)
        return density * keep, pull


class UnweightedContraction(Sphere):
    def contraction(self, x: Tensor, y: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        density, _ = super().contraction(x, y, keep)
        return density, self.logmap(x.unsqueeze(1), y).mean(1)


class ContractionWithoutACut(FlatTorus):
    def contraction(self, x: Tensor, y: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        density = keep ** -float(x.shape[-1])
        return density, self.logmap(x.unsqueeze(1), y).mean(1)


class VolumeOfNoChart(Sphere):
    def log_volume(self, x: Tensor) -> Tensor:
        return x[..., 0]


class LogChart(Manifold):
    """Positive numbers with the metric dx^2 / x^2, in the coordinate x: a correct chart."""

    is_chart = True
    capabilities = frozenset({Capability.TANGENT_BASIS})

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return x * torch.exp(u / x)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return x * torch.log(y / x)

    def projx(self, x: Tensor) -> Tensor:
        return x.clamp(min=1e-6)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v / x**2).sum(-1)

    def tangent_basis(self, x: Tensor) -> Tensor:
        return torch.diag_embed(x)

    def tangent_from_noise(self, x: Tensor, noise: Tensor) -> Tensor:
        return x * noise

    def log_volume(self, x: Tensor) -> Tensor:
        return -x.log().sum(-1)


class InverseVolume(LogChart):
    def log_volume(self, x: Tensor) -> Tensor:
        return x.log().sum(-1)


class MovedChart(LogChart):
    def pushforward(self, x: Tensor, u: Tensor) -> Tensor:
        return u * x


class LongTangents(Sphere):
    def tangent_from_noise(self, x: Tensor, noise: Tensor) -> Tensor:
        return 1.05 * self.proju(x, noise)


class AmbientTangents(Sphere):
    def tangent_from_noise(self, x: Tensor, noise: Tensor) -> Tensor:
        return noise


class UnitTangents(Sphere):
    def tangent_from_noise(self, x: Tensor, noise: Tensor) -> Tensor:
        u = self.proju(x, noise)
        return u / u.square().sum(-1, keepdim=True).sqrt()


class MinkowskiNoise(Lorentz):
    """The default projection, which is not isotropic in another metric than the ambient one."""

    def noise_shape(self, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape)

    def tangent_from_noise(self, x: Tensor, noise: Tensor) -> Tensor:
        return self.proju(x, noise)


class GlobalRandomness(Sphere):
    def random_tangent(self, x: Tensor, **options: Any) -> Tensor:
        return self.proju(x, torch.randn_like(x))

    def random_uniform(self, shape: Sequence[int], **options: Any) -> Tensor:
        return self.projx(torch.randn(*shape, dtype=options.get("dtype")))


class RandomLog(Sphere):
    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        torch.rand(())
        return super().logmap(x, y)


class OverwritingExp(Sphere):
    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        y = super().expmap(x, u)
        return x.copy_(y)


class LastAxisOnly(Sphere):
    """Takes (batch, d) alone, as many published implementations do."""

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        if x.ndim != 2:
            raise ValueError("x: expected (batch, d)")
        return super().dist(x, y)


class OneRowAtLeast(Sphere):
    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        return super().dist(x, y) / (x.abs().max() > 0)


class Undeclared(Sphere):
    capabilities = frozenset()


class Trusting(Sphere):
    def check_point(self, x: Tensor, name: str = "x") -> None:
        pass

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        pass


class Suspicious(Sphere):
    def check_point(self, x: Tensor, name: str = "x") -> None:
        raise ValueError(f"{name}: no")


class Anonymous(Sphere):
    def __repr__(self) -> str:
        return "a manifold"


VECTOR, MATRIX = (3,), (3, 3)
WRONG: dict[Any, tuple[tuple[int, ...], str]] = {
    FarSeriesSphere: (VECTOR, "logmap_inverts_expmap expmap_inverts_logmap log_det_expmap_is_the"),
    UnprojectedExpSphere: (
        VECTOR,
        "expmap_stays_on_the_manifold logmap_inverts_expmap expmap_inverts_logmap",
    ),
    HalfSpeedSphere: (VECTOR, "expmap_curves_are_tangent_and_of_constant_speed"),
    AcosSphere: (
        VECTOR,
        "float32_logarithm_is_accurate gradients_are_finite derivative_of_log_after_exp",
    ),
    ScaledLogSphere: (VECTOR, "logmap_inverts_expmap expmap_inverts float32_round_trip_is"),
    UntangentLogSphere: (VECTOR, "proju_is_a_linear dist_is_the_length_of_the_logarithm"),
    DetachedSphere: (VECTOR, "derivatives_forward_reverse_and_by_differences_agree"),
    BranchingSphere: (VECTOR, "maps_compile_into_one_graph maps_work_under_vmap"),
    DoubleSphere: (VECTOR, "maps_keep_float32"),
    SquashedSphere: (VECTOR, "dist_obeys_the_triangle_inequality dist_is_the_length"),
    ShiftedProjection: (VECTOR, "projx_fixes_points projx_differentiates"),
    HalfwayProjection: (VECTOR, "projx_fixes_points"),
    TwistedProjection: (VECTOR, "projx_has_finite_gradients"),
    FrozenProjection: (VECTOR, "projx_differentiates_to_the_identity retract_starts"),
    ObliqueProju: (VECTOR, "proju_is_a_linear_projection_that_is_self_adjoint"),
    ForgottenCodim: (VECTOR, "the_tangent_space_has_the_declared_dimension"),
    SkewInner: (VECTOR, "inner_is_a_scalar_product"),
    StretchedInner: (VECTOR, "gradient_of_half geodesic_has_constant_speed"),
    ChordPairs: (VECTOR, "pairwise_squared_dist_equals_loops"),
    StartVelocity: (
        VECTOR,
        "geodesic_velocity_is_the_derivative geodesic_velocity_points_to geodesic_has_constant",
    ),
    LinearGeodesic: (VECTOR, "geodesic_is_exp geodesic_has_constant_speed"),
    ShortGeodesic: (VECTOR, "geodesic_ends_where_it_should"),
    RestlessGeodesic: (VECTOR, "geodesic_between_coincident geodesic_reversed_is"),
    FlatParameter: (VECTOR, "geodesic_broadcasts_its_parameter"),
    FirstOrderRetraction: (MATRIX, "pullback_inverts_the_derivative runge_kutta_steps_keep_order"),
    LeftJacobian: (MATRIX, "pullback_inverts_the_derivative runge_kutta_steps_keep_order"),
    ShiftedPullback: (VECTOR, "pullback_of_an_embedded_manifold_is pullback_at_the_start_is"),
    CurvedPullback: (VECTOR, "pullback_of_an_embedded_manifold_is runge_kutta"),
    AmbientRetraction: (VECTOR, "retract_starts_at_the_point"),
    SlowRetraction: (VECTOR, "retract_starts_at_the_point"),
    WorldFrame: (MATRIX, "geodesic_velocity_is_the_derivative retract_starts pullback_inverts"),
    SkewBasis: (VECTOR, "tangent_basis_is_orthonormal"),
    ShortBasis: (VECTOR, "tangent_basis_is_complete"),
    LargeVolume: (VECTOR, "uniform_density_is_one_over_the_volume"),
    SlopingDensity: (VECTOR, "uniform_density_is_constant"),
    CappedUniform: (VECTOR, "uniform_density_is_one_over_the_volume"),
    ForwardImages: (VECTOR, "exp_preimages_are_complete"),
    HalfTurns: (VECTOR, "exp_preimages_lead_to_the_point"),
    OneRadiusTooMany: (VECTOR, "log_det_expmap_is_the_jacobian uniform_density_is_one_over"),
    UnwrappedNormal: (VECTOR, "wrapped_normal_log_prob_sums"),
    GeodesicsPastTheAntipode: (VECTOR, "is_shortest_says_whether"),
    ShortGeodesicsAlone: (VECTOR, "is_shortest_says_whether"),
    ContractionOfOneAxis: (VECTOR, "contraction_is_the_push_forward"),
    UnweightedContraction: (VECTOR, "contraction_is_the_push_forward"),
    ContractionWithoutACut: (VECTOR, "contraction_is_the_push_forward"),
    VolumeOfNoChart: (VECTOR, "log_volume_is_that_of_the_metric"),
    InverseVolume: (VECTOR, "log_volume_is_that_of_the_metric"),
    MovedChart: (VECTOR, "tangents_of_a_chart_are_coordinate_velocities"),
    LongTangents: (VECTOR, "random_tangent_has_identity_covariance random_tangent_is_tangent"),
    AmbientTangents: (VECTOR, "random_tangent_is_tangent"),
    UnitTangents: (VECTOR, "tangent_from_noise_takes random_tangent_has_identity_covariance"),
    MinkowskiNoise: (VECTOR, "random_tangent_has_identity_covariance random_tangent_is_tangent"),
    GlobalRandomness: (VECTOR, "random_tangent_obeys random_uniform_obeys"),
    RandomLog: (VECTOR, "maps_keep_float32_and_their_inputs"),
    OverwritingExp: (VECTOR, "maps_keep_float32_and_their_inputs"),
    LastAxisOnly: (VECTOR, "maps_take_any_leading_axes"),
    OneRowAtLeast: (VECTOR, "maps_take_an_empty_batch"),
    Undeclared: (VECTOR, "undeclared_capabilities_raise"),
    Trusting: (
        VECTOR,
        "check_point_refuses_integers check_point_refuses_points_off check_point_refuses_what_is "
        "check_point_refuses_wrong_shapes",
    ),
    Suspicious: (VECTOR, "check_point_accepts_points"),
    Anonymous: (VECTOR, "declarations_are_consistent"),
}


def suite(instance: Any, shape: tuple[int, ...]) -> Any:
    """The tests of one manifold, as pytest would instantiate them."""

    class Suite(ManifoldConformance):
        manifold, point_shape = instance, shape

    return Suite()


def expected(prefixes: str) -> list[str]:
    """Names of the tests that begin so."""
    found = [[t for t in TESTS if t.startswith(f"test_{p}")] for p in prefixes.split()]
    assert all(len(names) == 1 for names in found), (prefixes, found)
    return [names[0] for names in found]


@pytest.mark.parametrize("broken", WRONG, ids=lambda kind: kind.__name__)
def test_a_wrong_manifold_fails(broken: Callable[[], Any]) -> None:
    shape, prefixes = WRONG[broken]
    tests = suite(broken(), shape)
    for name in expected(prefixes):
        try:
            getattr(tests, name)()
        except Exception:
            continue
        pytest.fail(f"{name} passes for {broken.__name__}")


def test_every_conformance_test_is_failed_by_some_manifold() -> None:
    failed = {name for _, prefixes in WRONG.values() for name in expected(prefixes)}
    assert failed == set(TESTS)


class TestLogChart(ManifoldConformance):
    """A chart whose volume varies: the mutants of it above fail for their mutations alone."""

    manifold, point_shape, everywhere = LogChart(), (3,), True
    base_point = torch.tensor([0.5, 1.0, 2.0])
    max_length = 0.5


def test_tests_of_missing_capabilities_do_not_exist() -> None:
    flat: Manifold = Euclidean()

    class Flat(ManifoldConformance):
        manifold, point_shape = flat, (3,)

    class Round(Flat):
        manifold = Sphere()

    names = {name for name in dir(Flat) if name.startswith("test_") and getattr(Flat, name)}
    assert "test_random_uniform_obeys_its_arguments" not in names
    assert "test_uniform_density_is_constant" not in names
    assert "test_pullback_of_an_embedded_manifold_is_the_identity" not in names
    assert {"test_undeclared_capabilities_raise", "test_tangent_basis_is_complete"} <= names
    assert callable(vars(Round)["test_uniform_density_is_constant"])
    assert vars(Round)["test_undeclared_capabilities_raise"] is None
    assert FlatTorus().capabilities == frozenset(Capability)


def test_an_override_is_kept() -> None:
    class Own(ManifoldConformance):
        manifold, point_shape = Euclidean(), (3,)

        def test_uniform_density_is_constant(self) -> None:
            """Replaced."""

    assert Own.test_uniform_density_is_constant.__doc__ == "Replaced."
