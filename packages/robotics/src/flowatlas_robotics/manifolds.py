"""Manifolds of robots, built on those of the core."""

from __future__ import annotations

import math

from flowatlas.manifolds import FlatTorus

__all__ = ["JointTorus"]


class JointTorus(FlatTorus):
    """Angles of revolute joints that turn without end, in radians: the flat torus of period 2 pi.

    Points are `(..., joints)`; a trajectory is `(batch, steps, joints)`. A joint with limits is no
    circle: give it a coordinate in `flowatlas.Euclidean`. `flowatlas_robotics.unwrap` turns a
    trajectory of points into commands without jumps.
    """

    def __init__(self) -> None:
        super().__init__(2 * math.pi)

    def __repr__(self) -> str:
        return "JointTorus()"
