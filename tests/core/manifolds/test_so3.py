"""Rotations: conformance, the matrix exponential, scipy, and rotations by pi."""

import math

import pytest
import scipy.integrate
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from flowatlas.manifolds import SO3
from flowatlas.manifolds import _rotations as rotations
from flowatlas.testing import ManifoldConformance

GROUP = SO3()
EYE = torch.eye(3, dtype=torch.float64)


class TestSO3(ManifoldConformance):
    manifold, point_shape = GROUP, (3, 3)
    wrong_shapes = ((3,), (2, 4), (2, 9), (2, 4, 4), (2, 3, 2))


def axes(count: int, seed: int = 0) -> Tensor:
    """Random unit vectors, the coordinate axes and the diagonals first."""
    generator = torch.Generator().manual_seed(seed)
    special = torch.cat([EYE, -EYE, torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])])
    many = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    a = torch.cat([special, many])
    return a / a.square().sum(-1, keepdim=True).sqrt()


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.05, 0.1, 0.15, 1.0, 3.0, math.pi, 5.0, 20.0])
def test_exp_is_the_matrix_exponential(angle: float) -> None:
    w = angle * axes(50)
    expected = torch.matrix_exp(rotations.hat(w))
    torch.testing.assert_close(rotations.exp(w), expected, atol=1e-13, rtol=0)
    rotated = GROUP.expmap(expected, w)
    torch.testing.assert_close(rotated, expected @ expected, atol=1e-13, rtol=0)


@pytest.mark.parametrize("angle", [1e-9, 1e-4, 0.19, 0.21, 1.0, 3.0, 3.14])
def test_log_is_the_rotation_vector_of_scipy(angle: float) -> None:
    rotation = Rotation.from_rotvec((angle * axes(50)).numpy())
    matrices = torch.from_numpy(rotation.as_matrix())
    expected = torch.from_numpy(rotation.as_rotvec())
    torch.testing.assert_close(rotations.log(matrices), expected, atol=1e-13, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_of_half_turns(dtype: torch.dtype) -> None:
    a = axes(500)
    turn = (2 * a.unsqueeze(-1) * a.unsqueeze(-2) - EYE).to(dtype)
    w = GROUP.logmap(EYE.to(dtype).expand_as(turn), turn)
    tolerance = 8 * torch.finfo(dtype).eps
    angle = torch.full_like(w[:, 0], math.pi)
    torch.testing.assert_close(GROUP.norm(turn, w), angle, atol=tolerance, rtol=0)
    # The axis is determined up to its sign, so that the rotation is what can be compared.
    torch.testing.assert_close(rotations.exp(w), turn, atol=tolerance, rtol=0)
    leaf = turn.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(rotations.log(leaf).sum(), leaf)
    assert gradient.isfinite().all() and gradient.abs().max() < 100


@pytest.mark.parametrize("gap", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
def test_float32_log_near_half_turns_is_right_to_a_millionth_of_a_radian(gap: float) -> None:
    # Formulae with the trace are off by up to 1.3e-2 rad there.
    w = (math.pi - gap) * axes(500)
    x = rotations.exp(w).float()
    expected = rotations.log(x.double())
    error = (rotations.log(x).double() - expected).abs().max().item()
    assert error < 1e-6


@pytest.mark.parametrize("component", range(4))
def test_each_quaternion_branch(component: int) -> None:
    # Rotations whose quaternion is largest in w, x, y or z, of either sign before normalisation.
    generator = torch.Generator().manual_seed(component)
    q = 0.4 * torch.randn(200, 4, generator=generator, dtype=torch.float64)
    q[:, component] = 3.0
    q = q / torch.linalg.vector_norm(q, dim=-1, keepdim=True)
    scipy = Rotation.from_quat(q.numpy(), scalar_first=True)
    matrices = torch.from_numpy(scipy.as_matrix())
    torch.testing.assert_close(rotations.quaternion_to_rotation(q), matrices, atol=1e-14, rtol=0)
    found = rotations.rotation_to_quaternion(matrices)
    expected = torch.where(q[:, :1] < 0, -q, q)
    torch.testing.assert_close(found, expected, atol=1e-14, rtol=0)
    assert (found.abs().argmax(-1) == component).all()

    def log_of_turned(v: Tensor) -> Tensor:
        return rotations.log(matrices @ rotations.exp(v))

    zero = torch.zeros(200, 3, dtype=torch.float64)
    direction = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    derivative = torch.func.jvp(log_of_turned, (zero,), (direction,))[1]
    h = 1e-5
    slope = (log_of_turned(h * direction) - log_of_turned(-h * direction)) / (2 * h)
    # Half turns apart, where the logarithm jumps.
    smooth = torch.linalg.vector_norm(rotations.log(matrices), dim=-1) < math.pi - 1e-2
    assert smooth.float().mean() > 0.5
    torch.testing.assert_close(derivative[smooth], slope[smooth], atol=1e-5, rtol=1e-5)


def test_pullback_is_the_inverse_of_the_right_jacobian() -> None:
    w = torch.cat([length * axes(5) for length in (1e-8, 1e-3, 0.09, 0.11, 1.0, 3.0)])

    def turned(u: Tensor, base: Tensor) -> Tensor:
        return rotations.log(rotations.exp(base).mT @ rotations.exp(u))

    jacobians = torch.func.vmap(torch.func.jacfwd(turned))(w, w)
    identity = EYE.expand(len(w), 3, 3)
    x = identity
    columns = [GROUP.pullback(x, w, identity[..., k]) for k in range(3)]
    product = torch.stack(columns, -1) @ jacobians
    torch.testing.assert_close(product, identity, atol=1e-11, rtol=0)


def test_projx_is_the_polar_factor() -> None:
    generator = torch.Generator().manual_seed(0)
    x = GROUP.random_uniform((200, 3, 3), generator=generator, dtype=torch.float64)
    noisy = x + 0.2 * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    u, _, vh = torch.linalg.svd(noisy)
    keep = torch.linalg.det(noisy) > 0
    assert keep.float().mean() > 0.9
    torch.testing.assert_close(GROUP.projx(noisy)[keep], (u @ vh)[keep], atol=1e-12, rtol=0)
    torch.testing.assert_close(GROUP.projx(1e3 * x), x, atol=1e-13, rtol=0)
    for bad in (-x, 0 * x, torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=x.dtype)).expand_as(x)):
        GROUP.check_point(GROUP.projx(bad), "projx")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_projx_has_a_gradient_at_rotations_where_the_svd_has_none(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = GROUP.random_uniform((50, 3, 3), generator=generator, dtype=dtype)
    x = torch.cat([EYE.to(dtype)[None], x])
    c = torch.randn(x.shape, generator=generator, dtype=dtype)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((GROUP.projx(leaf) * c).sum(), leaf)
    # The derivative of the polar factor at a rotation keeps the antisymmetric part of R^T dR.
    s = x.mT @ c
    expected = x @ (s - s.mT) / 2
    torch.testing.assert_close(gradient, expected, atol=20 * torch.finfo(dtype).eps, rtol=0)
    leaf = EYE.clone().requires_grad_()
    u, _, vh = torch.linalg.svd(leaf)
    (gradient,) = torch.autograd.grad(((u @ vh) * c[0].double()).sum(), leaf)
    assert not gradient.isfinite().all()


def test_volume_by_quadrature_of_the_exponential() -> None:
    # Rotation vectors of up to half a turn, in shells of area 4 pi angle^2.
    def shell(angle: float) -> float:
        w = torch.tensor([[angle, 0.0, 0.0]], dtype=torch.float64)
        return 4 * math.pi * angle**2 * math.exp(GROUP.log_det_expmap(EYE[None], w).item())

    volume, _ = scipy.integrate.quad(shell, 0, math.pi)
    log_prob = GROUP.uniform_log_prob(EYE[None]).item()
    assert log_prob == pytest.approx(-math.log(volume), abs=1e-9)
    assert volume == pytest.approx(8 * math.pi**2, rel=1e-9)


def test_uniform_rotations_have_haar_moments() -> None:
    count = 40000
    x = GROUP.random_uniform(
        (count, 3, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    # Five standard errors; the entries have variance 1/3, their squares 4/45.
    assert x.mean(0).abs().max() < 5 * math.sqrt(1 / 3 / count)
    assert (x.square().mean(0) - 1 / 3).abs().max() < 5 * math.sqrt(4 / 45 / count)
    angle = GROUP.dist(EYE.expand_as(x), x)
    error = angle.std().item() / math.sqrt(count)
    assert angle.mean().item() == pytest.approx(math.pi / 2 + 2 / math.pi, abs=5 * error)


def test_steps_do_not_leave_the_group() -> None:
    x = EYE.float()[None]
    u = torch.tensor([[0.3, -0.2, 0.1]])
    for _ in range(3000):
        x = GROUP.retract(x, u)
    assert GROUP.residual(x).item() < 5e-7
