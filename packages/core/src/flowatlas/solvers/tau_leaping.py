"""Steps for states that only jump."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flowatlas.errors import CapabilityError
from flowatlas.solvers.base import Dynamics
from flowatlas.solvers.runge_kutta import FixedStepSolver

__all__ = ["TauLeaping", "check_tokens_alone"]


class TauLeaping(FixedStepSolver):
    r"""Jumps at the rates of the start of each step; for tokens alone.

    One evaluation a step. How tokens jump is the path's: `MixturePath.jump` draws who jumps and
    then where to, which is exact at any step where the posterior is constant, and of first order
    elsewhere. Temperature, nucleus and corrector are the path's too (`MixturePath.with_jumps`), so
    that each component of a product has its own. In a product with continuous components, tokens
    leap in the same way after every step of a Runge-Kutta solver.

    Args:
        steps: number of equal steps.
        grid: where to put the knots instead; give one of the two.

    Raises:
        ConfigError: neither or both given, or fewer than one step.
        CapabilityError: on `solve`, if there is a continuous component.

    Reference: Approximate accelerated stochastic simulation of chemically reacting systems,
    Gillespie, 2001, for leaping; for tokens, A Continuous Time Framework for Discrete Denoising
    Models, Campbell et al., 2022, arXiv:2205.14987, section 4.3. Here tokens are categorical, so
    that two jumps in a step are one to the second's end.

    Example:
        ```python
        path = MixturePath(vocab=27)
        model = lambda x, t: torch.zeros(*x.shape, 27)
        x = sample(model, path, shape=(32, 256), solver=TauLeaping(steps=50))
        ```
    """

    def step(self, dynamics: Dynamics, x: Any, t: Tensor, h: Tensor, first: Any) -> Any:
        check_tokens_alone(x, "TauLeaping")
        return x


def check_tokens_alone(x: Any, solver: str) -> None:
    """Raise `CapabilityError` if there is a continuous part of the state."""
    if isinstance(x, Tensor) or x:
        names = "the state" if isinstance(x, Tensor) else f"the components {sorted(x)}"
        raise CapabilityError(
            f"solver: {solver} moves tokens alone, but {names} cannot jump. Use Euler or another "
            "Runge-Kutta solver: tokens then leap after each of its steps."
        )
