"""Rotation matrices, rotation vectors and unit quaternions; smooth at every angle.

The functions of an angle that are 0/0 at zero are evaluated from its square, by their series below
a threshold, so that values and all derivatives are right there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = [
    "exp",
    "hat",
    "inverse_right_jacobian",
    "log",
    "nearest_rotation",
    "quaternion_exp",
    "quaternion_log",
    "quaternion_product",
    "quaternion_quotient",
    "quaternion_to_rotation",
    "rotation_to_quaternion",
    "tighten",
    "upper",
]

_SMALL_SQUARE = 1e-2  # five terms of each series are then exact to rounding in float64


def hat(w: Tensor) -> Tensor:
    """Matrix of the cross product with `w`: `(..., 3)` to `(..., 3, 3)`."""
    x, y, z = w.unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
    matrix: Tensor = rows.unflatten(-1, (3, 3))
    return matrix


def exp(w: Tensor) -> Tensor:
    r"""Rotation by $|w|$ radians about $w$: $I + \frac{\sin\theta}{\theta}\hat w +
    \frac{1 - \cos\theta}{\theta^2} \hat w^2$ (Rodrigues), `(..., 3)` to `(..., 3, 3)`."""
    square = (w * w).sum(-1)
    a = _by_square(square, lambda z: torch.sinc(z.sqrt() / math.pi), _SINC)
    b = _by_square(square, lambda z: torch.sinc(z.sqrt() / (2 * math.pi)).square() / 2, _VERSINE)
    # hat(w)^2 = w w^T - |w|^2 I, without the matrix product.
    eye = torch.eye(3, dtype=w.dtype, device=w.device)
    diagonal = (1 - b * square)[..., None, None] * eye
    outer = (b[..., None] * w).unsqueeze(-1) * w.unsqueeze(-2)
    return diagonal + outer + hat(a[..., None] * w)


def log(rotation: Tensor) -> Tensor:
    """Rotation vector of length at most pi, `(..., 3, 3)` to `(..., 3)`.

    It goes through the unit quaternion, which is well conditioned at every angle; formulae with the
    trace lose half the digits near 0 and pi.
    """
    return quaternion_log(rotation_to_quaternion(rotation))


def quaternion_exp(u: Tensor) -> Tensor:
    r"""Unit quaternion $(\cos\frac\theta2, \frac{\sin(\theta/2)}{\theta} u)$ of the rotation by
    $\theta = |u|$ radians about u, `(..., 3)` to `(..., 4)`."""
    square = (u * u).sum(-1, keepdim=True) / 4
    sinc = _by_square(square, lambda z: torch.sinc(z.sqrt() / math.pi), _SINC)
    cosine = _by_square(square, lambda z: torch.cos(z.sqrt()), _COSINE)
    return torch.cat([cosine, sinc * u / 2], -1)


def quaternion_log(q: Tensor) -> Tensor:
    """Rotation vector of length at most pi of unit quaternions `(..., 4)` with w >= 0."""
    w, v = q[..., :1], q[..., 1:]
    square = (v * v).sum(-1, keepdim=True)
    small = square < _SMALL_SQUARE / 25
    y = torch.where(small, square, 0.0) / torch.where(small, w, 1.0).square()
    near = _horner(y, _ARCTAN) / torch.where(small, w, 1.0)
    sine = torch.where(small, 1.0, square).sqrt()
    far = torch.atan2(sine, torch.where(small, 1.0, w)) / sine
    return 2 * torch.where(small, near, far) * v


def inverse_right_jacobian(w: Tensor, v: Tensor) -> Tensor:
    r"""$J_r(w)^{-1} v = v + \frac12 w \times v + c\, w \times (w \times v)$ with
    $c = (1 - \frac\theta2 \cot\frac\theta2) / \theta^2$: the rate of change of w at which
    $\exp(\hat w)$ turns with body velocity v."""
    square = (w * w).sum(-1, keepdim=True)
    c = _by_square(
        square, lambda z: (1 - z.sqrt() / 2 / torch.tan(z.sqrt() / 2)) / z, _INVERSE_JACOBIAN
    )
    cross: Tensor = torch.linalg.cross(w, v)
    twice: Tensor = torch.linalg.cross(w, cross)
    return v + cross / 2 + c * twice


def rotation_to_quaternion(rotation: Tensor) -> Tensor:
    """Unit quaternion `(..., 4)` = (w, x, y, z) with w >= 0 of matrices `(..., 3, 3)`.

    Each of the four components can be found from the diagonal and the other three divided by it;
    the largest is the one to divide by.
    """
    (r00, r01, r02), (r10, r11, r12), (r20, r21, r22) = (
        row.unbind(-1) for row in rotation.unbind(-2)
    )
    four_squares = torch.stack(
        [1 + r00 + r11 + r22, 1 + r00 - r11 - r22, 1 - r00 + r11 - r22, 1 - r00 - r11 + r22], -1
    )
    x, y, z = r21 - r12, r02 - r20, r10 - r01
    xy, xz, yz = r10 + r01, r20 + r02, r21 + r12
    w2, x2, y2, z2 = four_squares.unbind(-1)
    candidates = torch.stack(
        [w2, x, y, z, x, x2, xy, xz, y, xy, y2, yz, z, xz, yz, z2], -1
    ).unflatten(-1, (4, 4))
    best = four_squares.detach().argmax(-1, keepdim=True)
    row = candidates.gather(-2, best[..., None].expand(*best.shape, 4)).squeeze(-2)
    return upper(row / (2 * four_squares.gather(-1, best).sqrt()))


def quaternion_to_rotation(q: Tensor) -> Tensor:
    """Rotation matrix of a unit quaternion (w, x, y, z): `(..., 4)` to `(..., 3, 3)`."""
    w, x, y, z = q.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    matrix: Tensor = torch.stack(rows, -1).unflatten(-1, (3, 3))
    return matrix


def quaternion_product(p: Tensor, q: Tensor) -> Tensor:
    """Hamilton's product: the quaternion of the product of the rotations."""
    a, u = p[..., :1], p[..., 1:]
    b, v = q[..., :1], q[..., 1:]
    cross: Tensor = torch.linalg.cross(u, v)
    return torch.cat([a * b - (u * v).sum(-1, keepdim=True), a * v + b * u + cross], -1)


def quaternion_quotient(p: Tensor, q: Tensor) -> Tensor:
    """p^-1 q or -p^-1 q of unit quaternions, that with w >= 0.

    From the difference to p, so that close rotations do not cancel.
    """
    cosine = (p * q).sum(-1, keepdim=True)
    q = torch.where(cosine < 0, -q, q)
    gap = q - p
    cross: Tensor = torch.linalg.cross(p[..., 1:], gap[..., 1:])
    v = p[..., :1] * gap[..., 1:] - gap[..., :1] * p[..., 1:] - cross
    return torch.cat([torch.where(cosine < 0, -cosine, cosine), v], -1)


def upper(q: Tensor) -> Tensor:
    """Of q and -q, which are one rotation, that with w >= 0."""
    return torch.where(q[..., :1] < 0, -q, q)


def nearest_rotation(x: Tensor, iterations: int = 8) -> Tensor:
    """Closest rotation in the Frobenius norm, by Newton's iteration for the polar factor.

    Its derivative is finite at rotations, where that of the singular value decomposition is not.
    Matrices of determinant zero or less have no well-defined closest rotation; they give the one
    found by orthonormalising their columns.
    """
    positive = _determinant(x) > 1e-12 * x.square().sum((-2, -1)) ** 1.5
    y = torch.where(positive[..., None, None], x, _orthonormal_columns(x))
    for _ in range(iterations):
        inverse = _cofactors(y) / _determinant(y)[..., None, None]
        # The scale that balances both terms makes few iterations enough for any condition.
        ratio = inverse.square().sum((-2, -1)) / y.square().sum((-2, -1))
        scale = ratio[..., None, None] ** 0.25
        y = (scale * y + inverse / scale) / 2
    return y


def tighten(x: Tensor) -> Tensor:
    """One Newton-Schulz step, which squares the distance of a near-rotation to the rotations."""
    return 1.5 * x - 0.5 * x @ (x.mT @ x)


def _cofactors(x: Tensor) -> Tensor:
    """det(X) X^-T: the cross products of the columns."""
    a, b, c = x.unbind(-1)
    return torch.stack(
        [torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -1
    )


def _determinant(x: Tensor) -> Tensor:
    a, b, c = x.unbind(-1)
    normal: Tensor = torch.linalg.cross(b, c)
    return (a * normal).sum(-1)


def _orthonormal_columns(x: Tensor) -> Tensor:
    """Gram-Schmidt on the first two columns; the third is their cross product."""
    a, b = x[..., 0], x[..., 1]
    axis = torch.eye(3, dtype=x.dtype, device=x.device)
    a = _unit(a, axis[0].expand_as(a))
    b = b - (a * b).sum(-1, keepdim=True) * a
    spare = torch.where(a[..., :1].abs() > 0.8, axis[1], axis[0])
    b = _unit(b, spare - (a * spare).sum(-1, keepdim=True) * a)
    return torch.stack([a, b, torch.linalg.cross(a, b)], -1)


def _unit(x: Tensor, otherwise: Tensor) -> Tensor:
    """`x` normalised, or `otherwise` where it is too short to have a direction."""
    short = (x * x).sum(-1, keepdim=True) < 1e-20
    safe = torch.where(short, otherwise, x)
    length: Tensor = torch.linalg.vector_norm(safe, dim=-1, keepdim=True)
    return safe / length


def _by_square(
    square: Tensor, direct: Callable[[Tensor], Tensor], series: Sequence[float]
) -> Tensor:
    """A smooth even function of an angle from its square: a series where the formula is 0/0."""
    small = square < _SMALL_SQUARE
    return torch.where(
        small,
        _horner(torch.where(small, square, 0.0), series),
        direct(torch.where(small, 1.0, square)),
    )


def _horner(z: Tensor, coefficients: Sequence[float]) -> Tensor:
    value = torch.full_like(z, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = value * z + c
    return value


# Taylor coefficients in the square of the angle (for the arctangent, of its argument).
_SINC = (1.0, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880)
_COSINE = (1.0, -1 / 2, 1 / 24, -1 / 720, 1 / 40320)
_VERSINE = (1 / 2, -1 / 24, 1 / 720, -1 / 40320, 1 / 3628800)
_INVERSE_JACOBIAN = (1 / 12, 1 / 720, 1 / 30240, 1 / 1209600, 1 / 47900160)
_ARCTAN = (1.0, -1 / 3, 1 / 5, -1 / 7, 1 / 9)
