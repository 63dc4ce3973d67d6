"""What a solver sees of a flow, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from flowatlas.errors import CapabilityError

if TYPE_CHECKING:
    from flowatlas.paths.base import StatePath
    from flowatlas.paths.interval import Interval

__all__ = ["Dynamics", "Solver", "Trajectory"]


class Dynamics(ABC):
    """A velocity field on a manifold, and what must happen between steps.

    Solvers call `begin` once per step for the first stage, `velocity` for the others, and `commit`
    after the step has been accepted. States are tensors or mappings; `manifold` handles either.
    """

    manifold: Any
    #: Whether the velocity after `commit` is the last stage's, so that it need not be evaluated.
    reusable: bool = True
    #: Points that are neither padding nor fixed, `(batch, *points)` by component (a lone one is
    #: named "x"); all of them where there is no entry. The others do not count in error norms.
    moving: Mapping[str, Tensor] | None = None
    #: Evaluations of the field so far.
    nfe: int = 0

    @abstractmethod
    def begin(self, x: Any, t: Tensor) -> Any:
        """Velocity at the start of a step."""

    @abstractmethod
    def velocity(self, x: Any, t: Tensor) -> Any:
        """Velocity within a step, discrete components being frozen."""

    @abstractmethod
    def commit(self, x: Any, t: Tensor, s: Tensor) -> Any:
        """The state after an accepted step from t to s; discrete components jump here."""

    @abstractmethod
    def time(self, t: float) -> Tensor:
        """A time as the `(batch,)` tensor that fields take."""

    def leap_end(self, t: Tensor, end: Tensor, share: float) -> Tensor:
        """The time up to which a leap is expected to change a share of the tokens, after `begin`.

        Args:
            t: `(batch,)`, its start.
            end: `(batch,)`, the latest that it may be.
            share: of each sample's tokens that move at all.
        """
        raise CapabilityError(
            f"solver: {type(self).__name__} has no tokens to leap. Use a Runge-Kutta solver."
        )

    def scores(self, x: Any, t: Tensor, names: Sequence[str]) -> Mapping[str, Tensor]:
        """Gradient of log p_t for some components, without another evaluation.

        Args:
            x: where velocity was evaluated last.
            t: `(batch,)`, the time of that.
            names: of the components; a lone one is named "x".
        """
        raise CapabilityError(
            "solver: there is no density along the noisy paths of a stochastic solver. The law of "
            "its samples is that of the ODE: use Dopri5 or another Runge-Kutta solver."
        )

    def noise_levels(self, t: Tensor, names: Sequence[str]) -> Mapping[str, Tensor]:
        """Standard deviation of the Gaussian part of x_t, `(batch,)`, for some components."""
        return dict.fromkeys(names, t)

    def noise(self, x: Any, names: Sequence[str]) -> Mapping[str, Tensor]:
        """Standard normal tangents for some components, zero where points rest."""
        return {}

    def renoise(self, x: Any, t: Tensor, s: Tensor) -> Any:
        """Back from t to s < t by adding noise; discrete components are taken back here.

        Args:
            x: the continuous state at t.
            t: `(batch,)`.
            s: `(batch,)`.
        """
        raise CapabilityError(
            f"solver: {type(self).__name__} cannot go back in time. Use a solver without rounds."
        )

    @abstractmethod
    def record(self, x: Any) -> Any:
        """The whole state, for the trajectory."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The end of a solve, and the states at the times that were asked for."""

    x: Any
    states: list[Any]
    accepted: int
    rejected: int


class Solver(ABC):
    """Follows a field from one time to the next.

    A fixed-step method writes `step` in `FixedStepSolver`; see `Euler` for the smallest.

    Attributes:
        evaluates: what of the path must be finite where it steps, in words.
    """

    evaluates: str = "velocity"

    def interval(self, path: StatePath) -> Interval:
        """Where this solver can step: where the velocity of the path is finite."""
        return path.interval

    def before(self, times: Sequence[float], edge: float) -> tuple[Solver, float]:
        """The solver for all but the last step, which is conditional, and where that one begins.

        Asked where the velocity is infinite at the end of a forward solve. The default goes on to
        the edge; a method that does not evaluate at the end of a step leaves its own last one out.

        Args:
            times: the start, those to stop at, and the end; the velocity is infinite at the last.
            edge: the last time at which it is finite.
        """
        return self, edge

    @abstractmethod
    def solve(self, dynamics: Dynamics, x: Any, times: Sequence[float]) -> Trajectory:
        """Integrate through `times` (strictly monotone, the start first), recording each."""
