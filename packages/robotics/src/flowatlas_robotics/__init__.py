"""Flow matching for robot motion.

Here now: the manifold of revolute joints, found by the name `joint-torus`, and `unwrap`, which
turns its points into joint angles without jumps. To come: pose trajectories, policies
and benchmarks.
"""

from importlib.metadata import version as _version

from flowatlas_robotics.manifolds import JointTorus as JointTorus
from flowatlas_robotics.trajectories import unwrap as unwrap

__version__ = _version("flowatlas-robotics")
