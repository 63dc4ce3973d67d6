"""From a field to samples."""

from flowatlas.solvers.adaptive_tau_leaping import AdaptiveTauLeaping as AdaptiveTauLeaping
from flowatlas.solvers.base import Dynamics as Dynamics
from flowatlas.solvers.base import Solver as Solver
from flowatlas.solvers.base import Trajectory as Trajectory
from flowatlas.solvers.control import Control as Control
from flowatlas.solvers.control import PerSample as PerSample
from flowatlas.solvers.control import Shared as Shared
from flowatlas.solvers.dopri5 import DORMAND_PRINCE as DORMAND_PRINCE
from flowatlas.solvers.dopri5 import Dopri5 as Dopri5
from flowatlas.solvers.dopri5 import StepSizeError as StepSizeError
from flowatlas.solvers.resampling import Resampling as Resampling
from flowatlas.solvers.runge_kutta import RK4 as RK4
from flowatlas.solvers.runge_kutta import Euler as Euler
from flowatlas.solvers.runge_kutta import FixedStepSolver as FixedStepSolver
from flowatlas.solvers.runge_kutta import Heun as Heun
from flowatlas.solvers.runge_kutta import Midpoint as Midpoint
from flowatlas.solvers.runge_kutta import RungeKutta as RungeKutta
from flowatlas.solvers.runge_kutta import Tableau as Tableau
from flowatlas.solvers.tau_leaping import TauLeaping as TauLeaping
from flowatlas.solvers.time_grid import GivenGrid as GivenGrid
from flowatlas.solvers.time_grid import ShiftedGrid as ShiftedGrid
from flowatlas.solvers.time_grid import TimeGrid as TimeGrid
from flowatlas.solvers.time_grid import UniformGrid as UniformGrid
