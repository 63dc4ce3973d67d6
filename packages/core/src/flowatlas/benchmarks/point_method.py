"""Methods on points of a manifold: objective, path, coupling and solver, as config."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.method import Method
from flowatlas.couplings import Independent, MinibatchOT
from flowatlas.errors import ConfigError
from flowatlas.exact import EmpiricalFlow
from flowatlas.manifolds import Capability, Euclidean, Manifold, Simplex
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath, DirichletPath, GeodesicPath
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.plugins import close_matches
from flowatlas.schedulers import CondOT, Cosine, LinearVP, Polynomial, Scheduler
from flowatlas.solvers import Solver
from flowatlas.solvers.named import STAGES, fixed_step_solver
from flowatlas.sources import Dirichlet, Gaussian, Source, Uniform
from flowatlas.time_samplers import Beta, TimeSampler, UniformTime

__all__ = ["METHODS", "PointMethod", "method_names", "named_method"]

_SCHEDULERS: dict[str, type[Scheduler]] = {
    "condot": CondOT,
    "cosine": Cosine,
    "linear-vp": LinearVP,
}
_TIMES: dict[str, TimeSampler] = {"uniform": UniformTime(), "late": Beta(1.0, 0.5)}


@dataclass(frozen=True, kw_only=True)
class PointMethod(Method):
    r"""One way to train and sample a flow on points of a manifold.

    Attributes:
        path: `"affine"` (flat space), `"geodesic"`, or `"dirichlet"` (the simplex).
        scheduler: `"condot"`, `"cosine"`, `"linear-vp"` or `"quadratic"` (geodesic paths: the
            convex ones, condot and quadratic).
        source: `"gaussian"`, `"uniform"`, `"dirichlet"` (of concentration one, on the simplex),
            `"wrapped"`: a wrapped normal law with the mean and spread of the training points, for
            spaces of infinite volume, or `"fitted"`: a kernel estimate of the training points whose
            bandwidth is chosen on validation points.
        coupling: `"independent"`, or `"ot"`: exact optimal transport within the minibatch.
        prediction: what the network predicts.
        regression: on the velocity of each pair, `"conditional"`, or on that of all the training
            points at once, `"marginal"` (geodesic paths from the uniform law).
        times: how t is drawn in training: `"uniform"`, or `"late"`, with a density of
            $\tfrac12 (1 - t)^{-1/2}$, for laws with detail that only the end of the flow makes.
        solver: for samples: `"euler"`, `"midpoint"`, `"heun"` or `"rk4"`.
        solver_steps: of it.
        The others are those of `Method`.
    """

    path: str
    scheduler: str = "condot"
    source: str
    coupling: str = "independent"
    prediction: str = "velocity"
    regression: str = "conditional"
    times: str = "uniform"
    solver: str = "midpoint"
    solver_steps: int = 50

    def __post_init__(self) -> None:
        for name, allowed in (
            ("path", ("affine", "geodesic", "dirichlet")),
            ("scheduler", (*_SCHEDULERS, "quadratic")),
            ("source", ("gaussian", "uniform", "dirichlet", "wrapped", "fitted")),
            ("coupling", ("independent", "ot")),
            ("prediction", ("velocity", "target", "noise", "score", "logits")),
            ("regression", ("conditional", "marginal")),
            ("times", tuple(_TIMES)),
            ("solver", tuple(STAGES)),
        ):
            value = getattr(self, name)
            require(value in allowed, name, value, f"one of {', '.join(allowed)}")
        require(self.solver_steps >= 1, "solver_steps", self.solver_steps, "1 or more")
        if self.path == "geodesic" and self.scheduler not in ("condot", "quadratic"):
            raise ConfigError(
                f"scheduler: got {self.scheduler!r}; a geodesic path needs a convex one, condot or "
                "quadratic."
            )
        if self.path == "affine" and self.source in ("uniform", "wrapped"):
            raise ConfigError(
                f"source: got {self.source!r}; flat space has no uniform law, and what would be "
                "wrapped there is gaussian: an affine path takes gaussian or fitted."
            )
        if self.path == "geodesic" and self.source == "gaussian":
            raise ConfigError(
                "source: a Gaussian lives in flat space; a geodesic path takes uniform, wrapped or "
                "fitted."
            )
        if self.path == "geodesic" and self.source == "dirichlet":
            raise ConfigError(
                "source: a geodesic path takes uniform or fitted; dirichlet is for straight and "
                "Dirichlet paths."
            )
        dirichlet = (self.path == "dirichlet", self.prediction == "logits")
        if any(dirichlet) and not (all(dirichlet) and self.source == "dirichlet"):
            raise ConfigError(
                f"path: got {self.path!r} from {self.source!r} with prediction "
                f"{self.prediction!r}; a Dirichlet path has source dirichlet and prediction logits."
            )
        if self.prediction in ("noise", "score") and (
            self.source != "gaussian" or self.coupling != "independent"
        ):
            raise ConfigError(
                f"prediction: {self.prediction!r} needs a gaussian source and the independent "
                "coupling."
            )

        if self.regression == "marginal" and (
            self.path != "geodesic" or self.source != "uniform" or self.coupling != "independent"
        ):
            raise ConfigError(
                "regression: 'marginal' is known for a geodesic path from the uniform source with "
                "the independent coupling."
            )

    @property
    def nfe(self) -> int:
        """Evaluations of the field per sample."""
        return STAGES[self.solver] * self.solver_steps

    def fits(self, manifold: Manifold) -> bool:
        """Whether this method works on `manifold`."""
        if self.source == "dirichlet":
            return isinstance(manifold, Simplex)
        needs = {"uniform": Capability.UNIFORM, "wrapped": Capability.WRAPPED}.get(self.source)
        if needs is not None and needs not in manifold.capabilities:
            return False
        # A cut locus makes the mean of points ambiguous.
        if self.source == "wrapped" and math.isfinite(manifold.injectivity_radius):
            return False
        return (self.path == "affine") == isinstance(manifold, Euclidean)

    def build_path(self, manifold: Manifold, fitted: Source | None = None) -> ContinuousPath:
        """The path, its source included.

        Args:
            manifold: of the points.
            fitted: the source for methods whose source is fitted or wrapped.

        Raises:
            ConfigError: the method is not for this manifold, or a fitted source is not given.
        """
        if not self.fits(manifold):
            raise ConfigError(
                f"method: the path of {self.name!r} is {self.path}, which is not for {manifold!r}."
            )
        if self.source in ("fitted", "wrapped") and fitted is None:
            raise ConfigError(f"method: {self.name!r} needs a source fitted to the training data.")
        if self.path == "dirichlet":
            assert isinstance(manifold, Simplex)
            if manifold.categories is None:
                raise ConfigError(
                    f"manifold: {self.name!r} needs the number of categories; use Simplex(K)."
                )
            return DirichletPath(manifold.categories, scheduler=self._scheduler())
        if self.path == "affine":
            flat: dict[str, Source | None] = {"fitted": fitted, "dirichlet": Dirichlet(1.0)}
            source = flat.get(self.source, Gaussian())
            return AffinePath(self._scheduler(), source=source, prediction=self.prediction)
        source = fitted if self.source in ("fitted", "wrapped") else Uniform(manifold)
        return GeodesicPath(manifold, source, self._scheduler(), prediction=self.prediction)

    def _scheduler(self) -> Scheduler:
        return Polynomial(2.0) if self.scheduler == "quadratic" else _SCHEDULERS[self.scheduler]()

    def build_objective(self, path: ContinuousPath, train: Tensor) -> FlowMatching:
        """The objective on that path.

        Args:
            path: of `build_path`.
            train: `(n, *point_shape)`, the training points.
        """
        assert isinstance(path.manifold, Manifold)
        coupling = MinibatchOT(path.manifold) if self.coupling == "ot" else Independent()
        marginal = None
        if self.regression == "marginal":
            marginal = EmpiricalFlow(path.manifold, train, self._scheduler())
        return FlowMatching(
            path, coupling=coupling, time_sampler=_TIMES[self.times], marginal=marginal
        )

    def build_solver(self) -> Solver:
        """The solver for samples."""
        return fixed_step_solver(self.solver, self.solver_steps)


#: The methods that have names; `method_names` says which of them work on a manifold.
METHODS = {
    method.name: method
    for method in (
        PointMethod(
            name="geodesic",
            summary="geodesic path from the uniform law, independent coupling",
            path="geodesic",
            source="uniform",
        ),
        PointMethod(
            name="geodesic-late",
            summary="geodesic path from the uniform law, independent coupling, at late times",
            path="geodesic",
            source="uniform",
            times="late",
        ),
        PointMethod(
            name="geodesic-ot",
            summary="geodesic path from the uniform law, minibatch optimal transport",
            path="geodesic",
            source="uniform",
            coupling="ot",
        ),
        PointMethod(
            name="geodesic-marginal",
            summary="geodesic path from the uniform law, regression on all points, at late times",
            path="geodesic",
            source="uniform",
            regression="marginal",
            times="late",
        ),
        PointMethod(
            name="geodesic-fitted",
            summary="geodesic path from a kernel estimate of the training points",
            path="geodesic",
            source="fitted",
        ),
        PointMethod(
            name="geodesic-wrapped",
            summary="geodesic path from a wrapped normal law fitted to the training points",
            path="geodesic",
            source="wrapped",
        ),
        PointMethod(
            name="geodesic-wrapped-ot",
            summary="geodesic path from a fitted wrapped normal law, minibatch optimal transport",
            path="geodesic",
            source="wrapped",
            coupling="ot",
        ),
        PointMethod(
            name="condot",
            summary="straight path from a Gaussian, independent coupling",
            path="affine",
            source="gaussian",
        ),
        PointMethod(
            name="condot-ot",
            summary="straight path from a Gaussian, minibatch optimal transport",
            path="affine",
            source="gaussian",
            coupling="ot",
        ),
        PointMethod(
            name="cosine",
            summary="variance-preserving cosine path from a Gaussian",
            path="affine",
            scheduler="cosine",
            source="gaussian",
        ),
        PointMethod(
            name="condot-target",
            summary="straight path from a Gaussian, the network predicting the data",
            path="affine",
            source="gaussian",
            prediction="target",
        ),
    )
}


def method_names(manifold: Manifold) -> tuple[str, ...]:
    """The named methods that work on `manifold`, the default first."""
    return tuple(name for name, method in METHODS.items() if method.fits(manifold))


def named_method(name: str) -> PointMethod:
    """A method by name.

    Raises:
        ConfigError: there is none; the message has close ones.
    """
    if name not in METHODS:
        raise ConfigError(f"method: no method is called {name!r}.{close_matches(name, METHODS)}")
    return METHODS[name]
