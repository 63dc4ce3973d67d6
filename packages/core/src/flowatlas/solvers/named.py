"""Solvers of ordinary flows by name, as command lines and settings choose them."""

from __future__ import annotations

from collections.abc import Callable

from flowatlas.errors import ConfigError
from flowatlas.plugins import close_matches
from flowatlas.solvers.base import Solver
from flowatlas.solvers.dopri5 import Dopri5
from flowatlas.solvers.runge_kutta import RK4, Euler, Heun, Midpoint

__all__ = ["STAGES", "fixed_step_solver", "named_solver"]

_FIXED: dict[str, Callable[..., Solver]] = {
    "euler": Euler,
    "midpoint": Midpoint,
    "heun": Heun,
    "rk4": RK4,
}
#: Evaluations of the field per step.
STAGES = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}


def fixed_step_solver(name: str, steps: int) -> Solver:
    """Euler, midpoint, Heun or RK4 with that many equal steps."""
    return _FIXED[name](steps=steps)


def named_solver(name: str, steps: int | None = None) -> Solver:
    """A solver by name.

    Args:
        name: `"euler"`, `"midpoint"`, `"heun"`, `"rk4"` or `"dopri5"`.
        steps: of a solver with fixed steps; Dopri5 chooses its own, at the default tolerances.

    Raises:
        ConfigError: an unknown name, steps for Dopri5, or none for another.

    Example:
        ```python
        from flowatlas.solvers import named_solver

        solver = named_solver("midpoint", 8)
        ```
    """
    if name == "dopri5":
        if steps is not None:
            raise ConfigError(f"steps: got {steps}; dopri5 chooses its own. Leave them out.")
        return Dopri5()
    if name not in _FIXED:
        known = [*_FIXED, "dopri5"]
        raise ConfigError(f"solver: got {name!r}.{close_matches(name, known)}")
    if steps is None or steps < 1:
        raise ConfigError(f"steps: got {steps}; {name} needs 1 or more.")
    return fixed_step_solver(name, steps)
