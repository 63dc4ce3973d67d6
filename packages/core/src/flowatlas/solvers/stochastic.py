"""Solvers that add noise, and take it away by the score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.solvers.base import Dynamics
from flowatlas.solvers.diffusion import ConstantDiffusion, Diffusion
from flowatlas.solvers.runge_kutta import FixedStepSolver, combined, scaled
from flowatlas.solvers.time_grid import TimeGrid
from flowatlas.state import broadcast_time

if TYPE_CHECKING:
    from flowatlas.paths.base import StatePath
    from flowatlas.paths.interval import Interval

__all__ = ["EulerMaruyama", "StochasticHeun", "StochasticSolver"]

#: Epsilon of each component that has noise, `(batch,)`.
Rates = Mapping[str, Tensor]


class StochasticSolver(FixedStepSolver):
    r"""Fixed steps of $dx = (v_t(x) + \epsilon_t s_t(x)) \, dt + \sqrt{2 \epsilon_t} \, dW$.

    With $s_t = \nabla \log p_t$, every marginal is that of the ODE, whatever $\epsilon_t \ge 0$.
    Backward in time the score's sign is the other one: $dx = (v_t - \epsilon_t s_t) \, dt$ and
    noise. Velocity and score come from one evaluation of the network.

    A solve stops where the score becomes infinite, just before t = 1, and takes one last step
    without noise: the conditional one, to the predicted x_1. At that edge $\sigma_t$ is 0.001 or
    so, and the step errs by its square. Padding and fixed points get no noise; tokens jump after
    each step as with other solvers. The noise of a component is drawn after the network is
    evaluated, one number for each of the state's.

    Args:
        steps: number of equal steps.
        grid: where to put the knots instead; give one of the two.
        diffusion: epsilon: a number, a `Diffusion`, or a mapping of such by component; components
            that the mapping leaves out have none.

    Raises:
        ConfigError: neither or both of steps and grid given; a diffusion that is none; on a solve,
            a component that the path does not have.
        CapabilityError: on a solve, a component with noise whose score is not known.
    """

    evaluates = "score"

    def __init__(
        self,
        steps: int | None = None,
        *,
        grid: TimeGrid | None = None,
        diffusion: float | Diffusion | Mapping[str, float | Diffusion],
    ) -> None:
        super().__init__(steps, grid=grid)
        self.diffusion: Diffusion | dict[str, Diffusion]
        if isinstance(diffusion, Mapping):
            self.diffusion = {name: _checked(one) for name, one in diffusion.items()}
        else:
            self.diffusion = _checked(diffusion)

    def interval(self, path: StatePath) -> Interval:
        components = {k: p for k, p in path.components.items() if isinstance(p, ContinuousPath)}
        if isinstance(self.diffusion, Mapping):
            unknown = sorted(set(self.diffusion) - set(components))
            if unknown:
                raise ConfigError(
                    f"diffusion: no continuous component {unknown}; there are "
                    f"{sorted(components)} (a lone path is named 'x')."
                )
        whole = path.interval
        for name in self._noisy(components):
            whole = whole & components[name].score_interval
        return whole

    def _noisy(self, components: Any) -> dict[str, Diffusion]:
        """The components that get noise, by name."""
        if isinstance(self.diffusion, Diffusion):
            names = ("x",) if isinstance(components, Tensor) else tuple(components)
            return {} if self.diffusion.zero else dict.fromkeys(names, self.diffusion)
        return {name: one for name, one in self.diffusion.items() if not one.zero}

    def step(self, dynamics: Dynamics, x: Any, t: Tensor, h: Tensor, first: Any) -> Any:
        noisy = self._noisy(x)
        now = _rates(dynamics, noisy, t)
        return self.stochastic_step(dynamics, x, t, h, _drift(dynamics, x, t, h, first, now), noisy)

    @abstractmethod
    def stochastic_step(
        self,
        dynamics: Dynamics,
        x: Any,
        t: Tensor,
        h: Tensor,
        first: Any,
        noisy: Mapping[str, Diffusion],
    ) -> Any:
        """The continuous state at t + h, given the drift `first` at (x, t)."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(grid={self.grid!r}, diffusion={self.diffusion!r})"


class EulerMaruyama(StochasticSolver):
    r"""Weak order 1, one evaluation a step; `Euler` where epsilon is zero.

    $$x_{t+h} = x_t + h (v_t + \epsilon_t s_t) + \sqrt{2 h \epsilon_t} \, z, \qquad z \sim N(0, I)$$

    Args:
        steps: number of equal steps.
        grid: where to put the knots instead; give one of the two.
        diffusion: epsilon; see `StochasticSolver`.

    Reference: Stochastic Interpolants: A Unifying Framework for Flows and Diffusions, Albergo,
    Boffi and Vanden-Eijnden, 2023, arXiv:2303.08797, for the equation; Numerical Solution of
    Stochastic Differential Equations, Kloeden and Platen, 1992, for the method.

    Example:
        ```python
        path = AffinePath()
        solver = EulerMaruyama(steps=100, diffusion=LevelDiffusion(0.5))
        x = sample(model, path, shape=(1024, 2), solver=solver)
        ```
    """

    def stochastic_step(
        self,
        dynamics: Dynamics,
        x: Any,
        t: Tensor,
        h: Tensor,
        first: Any,
        noisy: Mapping[str, Diffusion],
    ) -> Any:
        noise = _noise(dynamics, x, h, noisy, _rates(dynamics, noisy, t))
        return dynamics.manifold.expmap(x, _added(scaled(h, first), noise))


class StochasticHeun(StochasticSolver):
    r"""Weak order 2, two evaluations a step; `Heun` where epsilon is zero.

    With the drift $f = v + \epsilon s$,

    $$\hat x = x_t + h f_t(x_t) + \Delta, \qquad
      x_{t+h} = x_t + \tfrac{h}{2} (f_t(x_t) + f_{t+h}(\hat x)) + \Delta, \qquad
      \Delta \sim N(0, h (\epsilon_t + \epsilon_{t+h}) I).$$

    The noise does not depend on the state, which is what makes the method of second order; its
    variance is the integral of $2 \epsilon$ by the trapezoidal rule.

    Args:
        steps: number of equal steps.
        grid: where to put the knots instead; give one of the two.
        diffusion: epsilon; see `StochasticSolver`.

    Reference: Numerical Solution of Stochastic Differential Equations, Kloeden and Platen, 1992,
    chapter 15, explicit schemes of weak order 2 for additive noise, there with a constant factor.

    Example:
        ```python
        path = AffinePath()
        x = sample(model, path, shape=(64, 2), solver=StochasticHeun(steps=50, diffusion=0.5))
        ```
    """

    def stochastic_step(
        self,
        dynamics: Dynamics,
        x: Any,
        t: Tensor,
        h: Tensor,
        first: Any,
        noisy: Mapping[str, Diffusion],
    ) -> Any:
        then = _rates(dynamics, noisy, t + h)
        mean = {name: 0.5 * (e + then[name]) for name, e in _rates(dynamics, noisy, t).items()}
        noise = _noise(dynamics, x, h, noisy, mean)
        manifold = dynamics.manifold
        u = _added(scaled(h, first), noise)
        point = manifold.retract(x, u)
        velocity = dynamics.velocity(point, t + h)
        second = manifold.pullback(x, u, _drift(dynamics, point, t + h, h, velocity, then))
        return manifold.retract(x, _added(combined(h, (0.5, 0.5), (first, second)), noise))


def _checked(diffusion: Any) -> Diffusion:
    if isinstance(diffusion, Diffusion):
        return diffusion
    if isinstance(diffusion, int | float) and not isinstance(diffusion, bool):
        return ConstantDiffusion(diffusion)
    raise ConfigError(
        f"diffusion: got {diffusion!r}; it must be a number, a Diffusion such as "
        "LevelDiffusion(0.5), or a mapping of such by component."
    )


def _rates(dynamics: Dynamics, noisy: Mapping[str, Diffusion], t: Tensor) -> Rates:
    """Epsilon of each component that has noise, at t."""
    rates = {}
    for name, level in dynamics.noise_levels(t, tuple(noisy)).items() if noisy else ():
        epsilon = noisy[name](t, level)
        fits = isinstance(epsilon, Tensor) and epsilon.shape == t.shape
        if not fits or not bool((epsilon >= 0).all()):
            raise ConfigError(
                f"diffusion: {noisy[name]!r} must return numbers of zero or more of shape "
                f"{tuple(t.shape)}, one for each time; got {epsilon}."
            )
        rates[name] = epsilon
    return rates


def _drift(dynamics: Dynamics, x: Any, t: Tensor, h: Tensor, velocity: Any, rates: Rates) -> Any:
    """Velocity plus epsilon times the score: minus, where time runs backward."""
    if not rates:
        return velocity
    scores = dynamics.scores(x, t, tuple(rates))
    ahead = {name: rates[name] * h.sign() for name in rates}
    return _with(velocity, {k: broadcast_time(ahead[k].to(s), s) * s for k, s in scores.items()})


def _noise(
    dynamics: Dynamics, x: Any, h: Tensor, noisy: Mapping[str, Diffusion], rates: Rates
) -> dict[str, Tensor]:
    """Normal numbers of variance 2 epsilon |h|."""
    drawn = {}
    for name, z in dynamics.noise(x, tuple(noisy)).items() if noisy else ():
        deviation = (2 * rates[name] * h.abs()).sqrt().to(z)
        drawn[name] = broadcast_time(deviation, z) * z
    return drawn


def _added(u: Any, noise: Mapping[str, Tensor]) -> Any:
    return _with(u, noise) if noise else u


def _with(u: Any, more: Mapping[str, Tensor]) -> Any:
    """`u` plus what there is for some of its components."""
    if isinstance(u, Tensor):
        return u + more["x"]
    return {name: value + more[name] if name in more else value for name, value in u.items()}
