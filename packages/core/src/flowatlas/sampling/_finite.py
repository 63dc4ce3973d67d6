"""What an integration must end in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._points import by_name
from flowatlas.errors import SolverError
from flowatlas.solvers.base import Solver
from flowatlas.state import State

__all__ = ["check_finite"]


def check_finite(solver: Solver, times: Sequence[float], states: Sequence[State]) -> None:
    """Raise `SolverError` if the last state holds NaN or infinity; free while compiling.

    One look at the end is enough, since neither ever goes away.

    Args:
        solver: that came there.
        times: of the states.
        states: from the start to the end.
    """
    if torch.compiler.is_compiling() or _is_finite(states[-1]):
        return
    first = next(i for i, state in enumerate(states) if not _is_finite(state))
    raise SolverError(
        f"solver: {solver!r} came to NaN or infinity between t = {times[max(first - 1, 0)]:g} and "
        f"t = {times[first]:g}. Check what the network returns there: if its weights are not "
        "finite, train with a lower learning rate; if its output is steep, take more steps. "
        "validate=False returns the result as it is."
    )


def _is_finite(x: State) -> bool:
    return all(_all_finite(value.detach()) for value in by_name(x).values())


def _all_finite(x: Tensor) -> bool:
    # A finite sum has finite terms, and takes one pass over them.
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())
