"""Leaps of tokens that each change about as many."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from flowatlas.errors import CapabilityError, ConfigError
from flowatlas.solvers.base import Dynamics, Solver, Trajectory
from flowatlas.solvers.tau_leaping import check_tokens_alone

__all__ = ["AdaptiveTauLeaping"]


class AdaptiveTauLeaping(Solver):
    r"""Leaps that are expected to change a given share of a sample's tokens.

    What is wrong with a leap is that tokens which change together do not see each other. From t it
    goes up to the time s at which

    $$\frac1N \sum_i \Big(1 - \frac{1 - \kappa_s}{1 - \kappa_t}\Big)
      \big(1 - p(x_1^i = x^i \mid x_t = x)\big) = \tau,$$

    or to the end, and at least as far as `shortest`. Of N masked tokens, N tau appear in each leap;
    below tau = 1 / N it is about one, and what is left of the error vanishes with tau. With other
    sources leaps are long where the posterior agrees with the state: early on, for a schedule that
    starts slowly, and at the end.

    Every sample has its own steps, so that a result does not depend on its batch; all are evaluated
    until the last is at the end. One evaluation a step.

    Args:
        share: tau, of the tokens that are neither padding nor fixed.
        shortest: least length of a leap, which bounds their number: a posterior that never agrees
            with the state would have them shrink for ever.

    Raises:
        ConfigError: a share or a length that is not in (0, 1].
        CapabilityError: on `solve`, if a component is not a `MixturePath`, or time runs backward.

    Reference: to bound what a leap changes is the condition of Efficient step size selection for
    the tau-leaping simulation method, Cao, Gillespie and Petzold, 2006; here the bound is on the
    number of tokens, and the expectation is exact.

    Example:
        ```python
        path = MixturePath(vocab=27)
        model = lambda x, t: torch.zeros(*x.shape, 27)
        x = sample(model, path, shape=(32, 256), solver=AdaptiveTauLeaping(share=0.02))
        ```
    """

    def __init__(self, share: float = 0.02, *, shortest: float = 1e-3) -> None:
        for name, value in (("share", share), ("shortest", shortest)):
            if not 0 < value <= 1:
                raise ConfigError(f"{name}: got {value}; it must be above 0 and at most 1.")
        self.share, self.shortest = share, shortest

    def solve(self, dynamics: Dynamics, x: Any, times: Sequence[float]) -> Trajectory:
        check_tokens_alone(x, "AdaptiveTauLeaping")
        if times[-1] < times[0]:
            raise CapabilityError(
                f"solver: {self!r} chooses its steps by what jumps ahead, and cannot go from "
                f"{times[0]:g} back to {times[-1]:g}. Use TauLeaping(steps)."
            )
        states, accepted = [dynamics.record(x)], 0
        t = dynamics.time(times[0])
        for _, end in pairwise(times):
            last = dynamics.time(end)
            while bool((t < last).any()):
                dynamics.begin(x, t)
                s = torch.maximum(dynamics.leap_end(t, last, self.share), t + self.shortest)
                s = torch.minimum(s, last)
                x, t, accepted = dynamics.commit(x, t, s), s, accepted + 1
            states.append(dynamics.record(x))
        return Trajectory(x, states, accepted, 0)

    def __repr__(self) -> str:
        return f"AdaptiveTauLeaping(share={self.share:g})"
