"""Flow matching for every modality and every manifold.

The names typed most are importable from here; the folders hold the rest, one concept a file:
`manifolds`, `paths`, `sources`, `couplings`, `objectives`, `solvers`, `sampling`, `exact`,
`networks`, `training`, `benchmarks`.

Nothing is imported until it is used (PEP 562), torch included: `import flowatlas` costs
milliseconds, and `flowatlas.Sphere` imports manifolds alone.
"""

from typing import TYPE_CHECKING

#: Module -> the names that are importable from `flowatlas` itself. Type checkers read the block
#: under TYPE_CHECKING instead; a test holds the two together.
_NAMES: dict[str, tuple[str, ...]] = {
    "flowatlas.couplings": (
        "Aligned",
        "Coupling",
        "GibbsWeighted",
        "Independent",
        "MinibatchOT",
        "Paired",
        "Pairing",
        "Sinkhorn",
        "WithinCondition",
    ),
    "flowatlas.guidance": (
        "RAAG",
        "Autoguidance",
        "CFGZero",
        "Classifier",
        "ClassifierFree",
        "Composition",
        "Energy",
        "Guidance",
        "TokenClassifier",
    ),
    "flowatlas.manifolds": (
        "SE3",
        "SO3",
        "SPD",
        "Euclidean",
        "FlatTorus",
        "GeooptManifold",
        "Lorentz",
        "Manifold",
        "Mesh",
        "ProductManifold",
        "Simplex",
        "Sphere",
        "UnitQuaternions",
    ),
    "flowatlas.metrics": (
        "DiagonalMetric",
        "LandMetric",
        "RbfMetric",
        "RiemannianMetric",
    ),
    "flowatlas.objectives": (
        "FlowMatching",
        "LossOutput",
        "MultiMarginal",
        "PathEnergy",
    ),
    "flowatlas.paths": (
        "AffinePath",
        "BiharmonicDistance",
        "BridgePath",
        "CatFlowPath",
        "ContinuousPath",
        "DiffusionDistance",
        "DirichletPath",
        "DiscretePath",
        "GeodesicPath",
        "Jumps",
        "MetricPath",
        "MixturePath",
        "PathSample",
        "PerPosition",
        "PerToken",
        "ProductPath",
        "SpectralPath",
    ),
    "flowatlas.sampling": (
        "Exact",
        "Hutchinson",
        "Replacement",
        "Solution",
        "encode",
        "integrate",
        "interpolate",
        "log_prob",
        "sample",
        "sample_with_log_prob",
        "token_bound",
    ),
    "flowatlas.schedulers": (
        "CondOT",
        "ConvexCosine",
        "Cosine",
        "Cubic",
        "Exponential",
        "LinearVP",
        "Polynomial",
        "Scheduler",
        "VariancePreserving",
    ),
    "flowatlas.solvers": (
        "RK4",
        "AdaptiveTauLeaping",
        "Dopri5",
        "Euler",
        "EulerMaruyama",
        "GivenGrid",
        "Heun",
        "Midpoint",
        "PerSample",
        "Resampling",
        "Shared",
        "ShiftedGrid",
        "StochasticHeun",
        "TauLeaping",
        "UniformGrid",
    ),
    "flowatlas.sources": (
        "IGSO3",
        "Categorical",
        "Dirichlet",
        "Empirical",
        "Gaussian",
        "HarmonicChain",
        "Mask",
        "Source",
        "StudentT",
        "Uniform",
        "UniformTokens",
        "WrappedNormal",
    ),
    "flowatlas.system": ("System", "load_system"),
    "flowatlas.time_samplers": (
        "Beta",
        "LogitNormal",
        "Shifted",
        "TimeSampler",
        "UShaped",
        "UniformTime",
    ),
}

#: Folders and files that are reached as attributes, `flowatlas.exact`, after `import flowatlas`.
_MODULES = (
    "benchmarks",
    "couplings",
    "data",
    "errors",
    "exact",
    "field",
    "guidance",
    "manifolds",
    "metrics",
    "networks",
    "objectives",
    "paths",
    "plots",
    "plugins",
    "sampling",
    "schedulers",
    "solvers",
    "sources",
    "state",
    "system",
    "testing",
    "time_samplers",
    "training",
)

_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [*_MODULE_OF, "__version__"]

if TYPE_CHECKING:
    from flowatlas import benchmarks as benchmarks
    from flowatlas import couplings as couplings
    from flowatlas import data as data
    from flowatlas import errors as errors
    from flowatlas import exact as exact
    from flowatlas import field as field
    from flowatlas import guidance as guidance
    from flowatlas import manifolds as manifolds
    from flowatlas import metrics as metrics
    from flowatlas import networks as networks
    from flowatlas import objectives as objectives
    from flowatlas import paths as paths
    from flowatlas import plots as plots
    from flowatlas import plugins as plugins
    from flowatlas import sampling as sampling
    from flowatlas import schedulers as schedulers
    from flowatlas import solvers as solvers
    from flowatlas import sources as sources
    from flowatlas import state as state
    from flowatlas import system as system
    from flowatlas import testing as testing
    from flowatlas import time_samplers as time_samplers
    from flowatlas import training as training
    from flowatlas.couplings import Aligned as Aligned
    from flowatlas.couplings import Coupling as Coupling
    from flowatlas.couplings import GibbsWeighted as GibbsWeighted
    from flowatlas.couplings import Independent as Independent
    from flowatlas.couplings import MinibatchOT as MinibatchOT
    from flowatlas.couplings import Paired as Paired
    from flowatlas.couplings import Pairing as Pairing
    from flowatlas.couplings import Sinkhorn as Sinkhorn
    from flowatlas.couplings import WithinCondition as WithinCondition
    from flowatlas.guidance import RAAG as RAAG
    from flowatlas.guidance import Autoguidance as Autoguidance
    from flowatlas.guidance import CFGZero as CFGZero
    from flowatlas.guidance import Classifier as Classifier
    from flowatlas.guidance import ClassifierFree as ClassifierFree
    from flowatlas.guidance import Composition as Composition
    from flowatlas.guidance import Energy as Energy
    from flowatlas.guidance import Guidance as Guidance
    from flowatlas.guidance import TokenClassifier as TokenClassifier
    from flowatlas.manifolds import SE3 as SE3
    from flowatlas.manifolds import SO3 as SO3
    from flowatlas.manifolds import SPD as SPD
    from flowatlas.manifolds import Euclidean as Euclidean
    from flowatlas.manifolds import FlatTorus as FlatTorus
    from flowatlas.manifolds import GeooptManifold as GeooptManifold
    from flowatlas.manifolds import Lorentz as Lorentz
    from flowatlas.manifolds import Manifold as Manifold
    from flowatlas.manifolds import Mesh as Mesh
    from flowatlas.manifolds import ProductManifold as ProductManifold
    from flowatlas.manifolds import Simplex as Simplex
    from flowatlas.manifolds import Sphere as Sphere
    from flowatlas.manifolds import UnitQuaternions as UnitQuaternions
    from flowatlas.metrics import DiagonalMetric as DiagonalMetric
    from flowatlas.metrics import LandMetric as LandMetric
    from flowatlas.metrics import RbfMetric as RbfMetric
    from flowatlas.metrics import RiemannianMetric as RiemannianMetric
    from flowatlas.objectives import FlowMatching as FlowMatching
    from flowatlas.objectives import LossOutput as LossOutput
    from flowatlas.objectives import MultiMarginal as MultiMarginal
    from flowatlas.objectives import PathEnergy as PathEnergy
    from flowatlas.paths import AffinePath as AffinePath
    from flowatlas.paths import BiharmonicDistance as BiharmonicDistance
    from flowatlas.paths import BridgePath as BridgePath
    from flowatlas.paths import CatFlowPath as CatFlowPath
    from flowatlas.paths import ContinuousPath as ContinuousPath
    from flowatlas.paths import DiffusionDistance as DiffusionDistance
    from flowatlas.paths import DirichletPath as DirichletPath
    from flowatlas.paths import DiscretePath as DiscretePath
    from flowatlas.paths import GeodesicPath as GeodesicPath
    from flowatlas.paths import Jumps as Jumps
    from flowatlas.paths import MetricPath as MetricPath
    from flowatlas.paths import MixturePath as MixturePath
    from flowatlas.paths import PathSample as PathSample
    from flowatlas.paths import PerPosition as PerPosition
    from flowatlas.paths import PerToken as PerToken
    from flowatlas.paths import ProductPath as ProductPath
    from flowatlas.paths import SpectralPath as SpectralPath
    from flowatlas.sampling import Exact as Exact
    from flowatlas.sampling import Hutchinson as Hutchinson
    from flowatlas.sampling import Replacement as Replacement
    from flowatlas.sampling import Solution as Solution
    from flowatlas.sampling import encode as encode
    from flowatlas.sampling import integrate as integrate
    from flowatlas.sampling import interpolate as interpolate
    from flowatlas.sampling import log_prob as log_prob
    from flowatlas.sampling import sample as sample
    from flowatlas.sampling import sample_with_log_prob as sample_with_log_prob
    from flowatlas.sampling import token_bound as token_bound
    from flowatlas.schedulers import CondOT as CondOT
    from flowatlas.schedulers import ConvexCosine as ConvexCosine
    from flowatlas.schedulers import Cosine as Cosine
    from flowatlas.schedulers import Cubic as Cubic
    from flowatlas.schedulers import Exponential as Exponential
    from flowatlas.schedulers import LinearVP as LinearVP
    from flowatlas.schedulers import Polynomial as Polynomial
    from flowatlas.schedulers import Scheduler as Scheduler
    from flowatlas.schedulers import VariancePreserving as VariancePreserving
    from flowatlas.solvers import RK4 as RK4
    from flowatlas.solvers import AdaptiveTauLeaping as AdaptiveTauLeaping
    from flowatlas.solvers import Dopri5 as Dopri5
    from flowatlas.solvers import Euler as Euler
    from flowatlas.solvers import EulerMaruyama as EulerMaruyama
    from flowatlas.solvers import GivenGrid as GivenGrid
    from flowatlas.solvers import Heun as Heun
    from flowatlas.solvers import Midpoint as Midpoint
    from flowatlas.solvers import PerSample as PerSample
    from flowatlas.solvers import Resampling as Resampling
    from flowatlas.solvers import Shared as Shared
    from flowatlas.solvers import ShiftedGrid as ShiftedGrid
    from flowatlas.solvers import StochasticHeun as StochasticHeun
    from flowatlas.solvers import TauLeaping as TauLeaping
    from flowatlas.solvers import UniformGrid as UniformGrid
    from flowatlas.sources import IGSO3 as IGSO3
    from flowatlas.sources import Categorical as Categorical
    from flowatlas.sources import Dirichlet as Dirichlet
    from flowatlas.sources import Empirical as Empirical
    from flowatlas.sources import Gaussian as Gaussian
    from flowatlas.sources import HarmonicChain as HarmonicChain
    from flowatlas.sources import Mask as Mask
    from flowatlas.sources import Source as Source
    from flowatlas.sources import StudentT as StudentT
    from flowatlas.sources import Uniform as Uniform
    from flowatlas.sources import UniformTokens as UniformTokens
    from flowatlas.sources import WrappedNormal as WrappedNormal
    from flowatlas.system import System as System
    from flowatlas.system import load_system as load_system
    from flowatlas.time_samplers import Beta as Beta
    from flowatlas.time_samplers import LogitNormal as LogitNormal
    from flowatlas.time_samplers import Shifted as Shifted
    from flowatlas.time_samplers import TimeSampler as TimeSampler
    from flowatlas.time_samplers import UniformTime as UniformTime
    from flowatlas.time_samplers import UShaped as UShaped

    __version__: str
else:
    # Out of sight of type checkers, to which a module with `__getattr__` has every name.
    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in _MODULE_OF:
            value = getattr(import_module(_MODULE_OF[name]), name)
        elif name in _MODULES:
            value = import_module(f"flowatlas.{name}")
        elif name == "__version__":
            from importlib.metadata import version

            value = version("flowatlas")
        else:
            raise AttributeError(f"module 'flowatlas' has no attribute {name!r}", name=name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
