"""Fixed steps that go back and forth, for points that are given to a field by replacement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowatlas._arguments import check_kind, count
from flowatlas.errors import CapabilityError
from flowatlas.solvers.base import Dynamics, Solver, Trajectory
from flowatlas.solvers.runge_kutta import FixedStepSolver, step_lengths

__all__ = ["Resampling"]


class Resampling(Solver):
    r"""Take each stretch of steps several times, going back by noise in between.

    From t to s, back by a draw of $x_t$ given $x_s$ (`Path.renoise`), to s again, and so on. Where
    nothing is given the law at every time stays what it is: back and forth together are a step
    of a Markov chain that leaves $p_t$ unchanged. Where points are given by `Replacement`, which
    have new noise in every round, the others get time to follow them: near the data, where the
    given points are almost clean, the chain tends to the conditional law. How far it gets is a
    matter of rounds; it costs as many times the evaluations.

    Args:
        solver: one with fixed steps.
        rounds: how many times each stretch is taken.
        length: steps of a stretch.

    Raises:
        ConfigError: no fixed-step solver, fewer than one round or step.
        CapabilityError: on `solve`, if it goes backward, or a component cannot be noised without
            its x_1, such as a geodesic path.

    Reference: RePaint: Inpainting using Denoising Diffusion Probabilistic Models, Lugmayr et al.,
    2022, arXiv:2201.09865, section 4.2, whose r is `rounds` and whose j is `length`.

    Example:
        ```python
        path = MixturePath(vocab=27)
        model = lambda x, t: torch.zeros(*x.shape, 27)
        known = torch.arange(16).expand(8, 16) < 4
        given = Replacement(known, torch.zeros(8, 16, dtype=torch.int64))
        solver = Resampling(TauLeaping(steps=20), rounds=4)
        x = sample(model, path, shape=(8, 16), fixed=given, solver=solver)
        ```
    """

    def __init__(self, solver: FixedStepSolver, rounds: int = 10, *, length: int = 1) -> None:
        check_kind("solver", solver, FixedStepSolver, "Euler(steps=50)")
        self.solver = solver
        self.rounds, self.length = count("rounds", rounds), count("length", length)

    def solve(self, dynamics: Dynamics, x: Any, times: Sequence[float]) -> Trajectory:
        if times[0] > times[-1]:
            raise CapabilityError(
                "solver: Resampling adds noise to go back, and cannot run from the data to the "
                f"source. Use {self.solver!r}."
            )
        knots, stops = self.solver.knots(times), set(times)
        ts = [dynamics.time(t) for t in knots]
        hs = step_lengths(knots, ts[0])
        states, taken = [dynamics.record(x)], 0
        for start in range(0, len(hs), self.length):
            end = min(start + self.length, len(hs))
            for i in range(self.rounds):
                if i > 0:
                    x = dynamics.renoise(x, ts[end], ts[start])
                for k in range(start, end):
                    moved = self.solver.step(dynamics, x, ts[k], hs[k], dynamics.begin(x, ts[k]))
                    x, taken = dynamics.commit(moved, ts[k], ts[k + 1]), taken + 1
                    if i == self.rounds - 1 and knots[k + 1] in stops:
                        states.append(dynamics.record(x))
        return Trajectory(x, states, taken, 0)

    def __repr__(self) -> str:
        return f"Resampling({self.solver!r}, rounds={self.rounds}, length={self.length})"
