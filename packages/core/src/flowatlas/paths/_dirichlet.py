r"""How a coordinate of a Dirichlet path moves: its speed and its position, as tables.

Given the category i, $x_t \sim \mathrm{Dir}(1 + (\alpha - 1) e_i)$, so that $x_i$ has the law
Beta(alpha, b), b = K - 1, while the others keep their proportions. A coordinate that follows this
law as alpha grows moves by the flux over the density,

$$\frac{dx_i}{d\alpha} = - \frac{\partial_\alpha I_{x_i}(\alpha, b)\, B(\alpha, b)}
  {x_i^{\alpha - 1} (1 - x_i)^{b - 1}} = C(x_i, \alpha) (1 - x_i),$$

with I the distribution function, and the others by $-C x_j$: in all, $C(x_i, \alpha) (e_i - x)$.
With $h = \psi(\alpha + b) - \psi(\alpha) = -E \log x_i$, differentiation under the integral gives

$$C = -\int_0^x f\, ds = \int_x^1 f\, ds, \qquad
  f(s) = \frac{s^{\alpha - 1} (1 - s)^{b - 1} (\log s + h)}{x^{\alpha - 1} (1 - x)^b},$$

where f changes sign once, at $s = e^{-h}$. The integral on whose side x lies has one sign, and
nothing cancels. With $s = x e^{-y / \alpha}$ and $s = 1 - (1 - x) e^{-y / b}$ both become integrals
over y > 0 with the factor $e^{-y}$, for which the trapezoidal rule in $y = e^{\tau - e^{-\tau}}$
converges exponentially: 40 nodes leave a relative error of 1e-13 for K from 2 to 512.

The table of the speed is in x and $\log \alpha$, of $G = C / x$: it is smooth, tends to a straight
line in $\log x$ of slope $-1/\alpha$ at small x and to a constant at x = 1; and with
$\ell = \operatorname{logit} x$, $d\ell / d\alpha = G$. The cells of x are shares of octaves,
found from the bits of x: its logarithm would take as long as two of the four reads of the table.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from flowatlas.paths._bicubic import NODES, Grid, Table
from flowatlas.paths._chebyshev import chebyshev, lagrange
from flowatlas.paths._octaves import Octaves

__all__ = ["flow_table", "move", "rate", "rate_table"]

#: Cells of x: down to 6e-11, where G is straight in log x to 5e-8 for K = 512.
ROWS = Octaves(34, 4)
#: In how many points of each octave G is integrated.
OCTAVE_POINTS = 10
#: Cells of logit x_0: down to 5e-32, for points that start there are led far away from it.
START_ROWS = Grid(-288, 344, 0.25)
#: Length of the cells of log alpha, at most.
COLUMN = 1 / 6


def rate(logit: Tensor, alpha: Tensor, categories: int) -> Tensor:
    """G = C / x by quadrature, float64.

    Args:
        logit: of x, any shape.
        alpha: broadcastable to it.
        categories: K.
    """
    b = float(categories - 1)
    logit, alpha = torch.broadcast_tensors(logit, alpha)
    h = torch.digamma(alpha + b) - torch.digamma(alpha)
    below = logsigmoid(logit) + h < 0
    result = torch.empty_like(logit)
    for side, integral in ((below, _lower), (~below, _upper)):
        x, a, level = (v[side].unsqueeze(-1) for v in (logit, alpha, h))
        # log x and log(1 - x).
        result[side] = integral(logsigmoid(x), logsigmoid(-x), a, b, level)
    return result


def _lower(log_x: Tensor, log_rest: Tensor, alpha: Tensor, b: float, h: Tensor) -> Tensor:
    """The integral over s < x, with s = x exp(-y / alpha)."""
    y, weights = _nodes(log_x)
    y = y / alpha
    rest = torch.log1p(-torch.exp(log_x - y)) - log_rest
    values = torch.exp((b - 1) * rest - log_rest) * (y - log_x - h)
    return (values @ weights) / alpha.squeeze(-1)


def _upper(log_x: Tensor, log_rest: Tensor, alpha: Tensor, b: float, h: Tensor) -> Tensor:
    """The integral over s > x, with s = 1 - (1 - x) exp(-y / b)."""
    y, weights = _nodes(log_x)
    log_s = torch.log(-torch.expm1(log_rest - y / b))
    values = torch.exp((alpha - 1) * (log_s - log_x) - log_x) * (log_s + h)
    return (values @ weights) / b


def _nodes(like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes in y > 0, and weights for integrals of exp(-y) times a function."""
    tau = torch.linspace(-3.2, 4.4, 40, dtype=torch.float64, device=like.device)
    y = torch.exp(tau - torch.exp(-tau))
    return y, y * (1 + torch.exp(-tau)) * (tau[1] - tau[0]) * torch.exp(-y)


def _columns(alpha_max: float) -> Grid:
    count = max(1, math.ceil(math.log(alpha_max) / COLUMN))
    return Grid(0, count, math.log(alpha_max) / count)


@lru_cache(maxsize=16)
def rate_table(categories: int, alpha_max: float) -> Table:
    """G at (x, log alpha), for alpha in [1, alpha_max].

    G is analytic in log alpha, and in x over an octave: the integral is taken at a few points of
    Chebyshev, and polynomials through them have what the cells need.
    """
    columns, size = _columns(alpha_max), 1 << ROWS.shares
    few = chebyshev(0.0, math.log(alpha_max), 10 + math.ceil(math.log(alpha_max)))
    octaves = torch.exp2(torch.arange(-ROWS.octaves, 0, dtype=torch.float64)).unsqueeze(1)
    octave = chebyshev(1.0, 2.0, OCTAVE_POINTS)
    x = (octaves * octave).unsqueeze(-1)
    values = rate(torch.logit(x), few.exp(), categories)
    inside = (torch.arange(size).unsqueeze(1) + torch.tensor(NODES)).double() / size + 1
    over_x, over_alpha = lagrange(octave, inside.flatten()), lagrange(few, columns.nodes())
    found = (over_x @ values @ over_alpha.mT).reshape(-1, 4, len(over_alpha))
    at_one = found[-1:, -1:].expand(1, 4, -1)
    return Table(ROWS, columns, torch.cat([found, at_one]), below=_rate_slope)


@lru_cache(maxsize=16)
def flow_table(categories: int, alpha_max: float) -> Table:
    """How far logit x moves from alpha = 1 on: a table at (logit x_0, log alpha)."""
    speed, columns = rate_table(categories, alpha_max), _columns(alpha_max)
    start = START_ROWS.nodes()
    logit, values, before = start, [], 0.0
    for log_alpha in columns.nodes().tolist():
        middle = 0.5 * (before + log_alpha)
        logit = _runge_kutta(speed, logit, before, middle)
        logit = _runge_kutta(speed, logit, middle, log_alpha)
        values.append(logit - start)
        before = log_alpha
    cells = torch.stack(values, 1).unfold(0, 4, 3).transpose(1, 2)
    return Table(START_ROWS, columns, cells, below=_flow_slope)


def _rate_slope(log_alpha: Tensor) -> Tensor:
    """d G / d log x = -1 / alpha, at small x."""
    return -torch.exp(-log_alpha)


def _flow_slope(log_alpha: Tensor) -> Tensor:
    """x_t is as x_0^(1 / alpha), at small x: logit x_t - logit x_0 has the slope 1 / alpha - 1."""
    return torch.expm1(-log_alpha)


def move(table: Table, logit: Tensor, start: Tensor, end: Tensor, steps: int = 12) -> Tensor:
    """logit x when alpha goes from `start` to `end` on the way to the category of x."""
    begin, stop = start.log(), end.log()
    for i in range(steps):
        now, then = (torch.lerp(begin, stop, torch.full_like(begin, k / steps)) for k in (i, i + 1))
        logit = _runge_kutta(table, logit, now, then)
    return logit


def _runge_kutta(table: Table, logit: Tensor, now: Tensor | float, then: Tensor | float) -> Tensor:
    """One step of order four of d logit / d log alpha = alpha G."""
    now = torch.as_tensor(now, dtype=logit.dtype, device=logit.device)
    then = torch.as_tensor(then, dtype=logit.dtype, device=logit.device)
    h, middle = then - now, 0.5 * (now + then)

    def slope(at: Tensor, v: Tensor) -> Tensor:
        return torch.exp(v) * table(torch.sigmoid(at), v)

    a = slope(logit, now)
    b = slope(logit + 0.5 * h * a, middle)
    c = slope(logit + 0.5 * h * b, middle)
    d = slope(logit + h * c, then)
    return logit + h / 6 * (a + 2 * b + 2 * c + d)
