"""Flow matching for robot motion.

Policies that answer an observation with a chunk of actions (`FlowPolicy`, beside
`RegressionPolicy`) and may see clouds of points (`CloudEncoder`), their windows and scales
(`Episodes`, `Horizon`, `Normalizer`), their trial in an environment (`rollout`, `proportion`,
`entropy`), tasks with two right answers (`TwoRoutes`, and `PointRoutes`, seen as points),
Meta-World with its scripted experts, Push-T with its demonstrations by people (`load_pusht`), the
manifolds of revolute joints, of poses over time and of parts to be put together, and `unwrap`,
which turns angles into commands.
"""

from importlib.metadata import version as _version

from flowatlas_robotics.arenas import Arena as Arena
from flowatlas_robotics.arenas import arena as arena
from flowatlas_robotics.avoidance import TwoRoutes as TwoRoutes
from flowatlas_robotics.avoidance import demonstrate_routes as demonstrate_routes
from flowatlas_robotics.films import save_gif as save_gif
from flowatlas_robotics.horizon import Episodes as Episodes
from flowatlas_robotics.horizon import Horizon as Horizon
from flowatlas_robotics.horizon import Windows as Windows
from flowatlas_robotics.horizon import windows as windows
from flowatlas_robotics.manifolds import JointTorus as JointTorus
from flowatlas_robotics.manifolds import PartPoses as PartPoses
from flowatlas_robotics.manifolds import PoseTrajectory as PoseTrajectory
from flowatlas_robotics.metaworld import METAWORLD_TASKS as METAWORLD_TASKS
from flowatlas_robotics.metaworld import demonstrate_metaworld as demonstrate_metaworld
from flowatlas_robotics.metaworld import metaworld_environment as metaworld_environment
from flowatlas_robotics.network import ChunkMLP as ChunkMLP
from flowatlas_robotics.network import SeeingMLP as SeeingMLP
from flowatlas_robotics.normalizer import Normalizer as Normalizer
from flowatlas_robotics.observation import CloudEncoder as CloudEncoder
from flowatlas_robotics.observation import ObservationEncoder as ObservationEncoder
from flowatlas_robotics.observation import StateEncoder as StateEncoder
from flowatlas_robotics.point_routes import PointRoutes as PointRoutes
from flowatlas_robotics.point_routes import (
    demonstrate_point_routes as demonstrate_point_routes,
)
from flowatlas_robotics.policy import ChunkPolicy as ChunkPolicy
from flowatlas_robotics.policy import FlowPolicy as FlowPolicy
from flowatlas_robotics.policy_system import PolicySystem as PolicySystem
from flowatlas_robotics.pusht import PUSHT as PUSHT
from flowatlas_robotics.pusht import load_pusht as load_pusht
from flowatlas_robotics.pusht import mirrored_pusht as mirrored_pusht
from flowatlas_robotics.pusht import pusht_coverage as pusht_coverage
from flowatlas_robotics.pusht import pusht_environment as pusht_environment
from flowatlas_robotics.pusht import pusht_state as pusht_state
from flowatlas_robotics.regression import RegressionPolicy as RegressionPolicy
from flowatlas_robotics.rollouts import Trial as Trial
from flowatlas_robotics.rollouts import rollout as rollout
from flowatlas_robotics.statistics import Proportion as Proportion
from flowatlas_robotics.statistics import entropy as entropy
from flowatlas_robotics.statistics import proportion as proportion
from flowatlas_robotics.trajectories import unwrap as unwrap

__version__ = _version("flowatlas-robotics")
