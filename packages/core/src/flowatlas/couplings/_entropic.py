"""Potentials of entropic transport: Newton's steps from a large epsilon down, and Sinkhorn's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import SolverError

__all__ = ["Potentials", "solve"]

#: A step of Newton's changes no potential by more than so many epsilon: where parts of the batch
#: hardly exchange any mass, its quadratic model asks for millions of them.
REACH = 8.0
#: How often a step that goes too far is cut to a quarter, and sweeps where that does not help.
CUTS = 6
SWEEPS = 10
#: Of the dual, in epsilon.
ROUNDING = 1e-9
#: Added to the slope, in units of the masses, for parts that exchange less than rounding.
RIDGE = 1e-10
#: Ratio of one epsilon to the next on the way down.
COOLING = 4.0


@dataclass(frozen=True, slots=True)
class Potentials:
    r"""The dual solution: log plan = (f + g - cost) / epsilon, with f over rows and g over columns.

    The masses 1 / n of rows and columns are in f and g.
    """

    f: Tensor
    g: Tensor
    cost: Tensor
    epsilon: float

    def log_plan(self) -> Tensor:
        """`(rows, columns)`."""
        return (self.f.unsqueeze(1) + self.g - self.cost) / self.epsilon

    def with_columns(self, g: Tensor) -> Potentials:
        """With another g, and the f at which rows have their mass."""
        mass = math.log(len(self.cost)) * self.epsilon
        f = -self.epsilon * torch.logsumexp((g - self.cost) / self.epsilon, 1) - mass
        return Potentials(f, g, self.cost, self.epsilon)

    def swept(self, times: int) -> Potentials:
        """Sinkhorn's updates: columns are given their mass, then rows; several times."""
        mass, found = math.log(len(self.cost)) * self.epsilon, self
        for _ in range(times):
            rows = (found.f.unsqueeze(1) - self.cost) / self.epsilon
            found = self.with_columns(-self.epsilon * torch.logsumexp(rows, 0) - mass)
        return found

    def direction(self) -> Tensor:
        r"""Newton's change of g: where the masses of columns are right to first order.

        With f eliminated, their derivative by g is
        $(\mathrm{diag}(c) - n \pi^T \pi) / \epsilon$; a constant in g changes nothing.
        """
        plan, n = self.log_plan().exp(), len(self.cost)
        masses = plan.sum(0)
        slope = (masses + RIDGE / n).diag() - n * plan.T @ plan + 1 / n**2
        change: Tensor = torch.linalg.solve_ex(slope, 1 / n - masses)[0]
        return self.epsilon * change

    def dual(self) -> float:
        """What the potentials maximise, where the masses of rows are exact."""
        return (self.f.mean() + self.g.mean()).item()

    def error(self) -> float:
        """Sum of the errors of the masses of columns; those of rows are exact."""
        masses = torch.logsumexp(self.log_plan(), 0).exp()
        return (masses - 1 / len(self.cost)).abs().sum().item()


def solve(cost: Tensor, epsilon: float, tolerance: float, max_iterations: int) -> Potentials:
    """Potentials whose plan has the right masses.

    Args:
        cost: `(n, n)`, finite, float64.
        epsilon: positive.
        tolerance: on the sum of the errors of the masses.
        max_iterations: of Newton's steps or sweeps, at this epsilon and on the way to it.

    Raises:
        SolverError: no convergence.
    """
    # Constants of rows change no plan, and what is left needs fewer digits.
    cost = cost - cost.amin(1, keepdim=True)
    widest = max(cost.max().item(), epsilon)
    found = Potentials(torch.zeros_like(cost[0]), torch.zeros_like(cost[0]), cost, widest)
    steps = math.ceil(math.log(widest / epsilon) / math.log(COOLING))
    done, error = 0, math.inf
    for i in range(steps + 1):
        now = epsilon if i == steps else widest * COOLING**-i
        found = Potentials(found.f, found.g, cost, now).swept(1)
        error = found.error()
        # On the way a rough solution is enough.
        goal = tolerance if i == steps else max(tolerance, 0.05)
        while error > goal and done < max_iterations:
            found, error = _improved(found, error)
            done += 1
    if not error <= tolerance:
        raise SolverError(
            f"Sinkhorn: after {done} iterations with epsilon = {epsilon:g} the masses of the plan "
            f"are off by {error:.1e}, more than the tolerance {tolerance:g}; the costs go up to "
            f"{cost.max().item():.3g}. Raise epsilon (or use relative=True), tolerance or "
            "max_iterations; MinibatchOT() is the limit of small epsilon."
        )
    return found


def _improved(found: Potentials, error: float) -> tuple[Potentials, float]:
    """Potentials after a step of Newton's, or after sweeps where none of its lengths is upward.

    The dual is what tells: where two parts have hardly any mass in common, steps towards more of it
    raise the dual long before they show in the masses.
    """
    change = found.direction()
    if bool(torch.isfinite(change).all()):
        change = change - change.mean()
        change = change * min(1.0, REACH * found.epsilon / change.abs().max().item())
        before = found.dual()
        for i in range(CUTS):
            new = found.with_columns(found.g + change * 0.25**i)
            now = new.error()
            gain = new.dual() - before
            # Next to the maximum the dual rounds, and the masses still tell.
            if gain > 0 or (now < 0.9 * error and gain > -ROUNDING * found.epsilon):
                return new, now
    new = found.swept(SWEEPS)
    return new, new.error()
