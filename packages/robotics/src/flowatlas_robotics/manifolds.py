"""Manifolds of robots, built on those of the core."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowatlas.errors import ShapeError
from flowatlas.manifolds import SE3, FlatTorus

__all__ = ["JointTorus", "PartPoses", "PoseTrajectory"]


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


class PoseTrajectory(SE3):
    r"""Poses of a hand over time: SE(3)^T, with the metric of `flowatlas.SE3` at each step.

    A trajectory is `(batch, steps, 4, 4)`, homogeneous matrices; its tangents `(batch, steps, 6)`
    are body-frame turns in radians and velocities in the world frame. `relative` and `absolute`
    change between poses in the world and poses seen from a first one, in which a policy needs to
    learn nothing about where the table stands.

    Example:
        ```python
        from flowatlas_robotics import PoseTrajectory

        poses = PoseTrajectory()
        x = poses.join(rotation.unsqueeze(1).expand(-1, 16, 3, 3), torch.randn(8, 16, 3))
        seen = poses.relative(x[:, :1], x)
        assert torch.allclose(poses.absolute(x[:, :1], seen), x, atol=1e-5)
        ```
    """

    def relative(self, base: Tensor, x: Tensor) -> Tensor:
        r"""Poses as seen from another, $B^{-1} X$.

        Args:
            base: `(..., 4, 4)`; an axis of size 1 stands for all steps.
            x: `(..., 4, 4)`.
        """
        self.check_shape(base, "base")
        self.check_shape(x)
        (r, p), (s, q) = self.split(base), self.split(x)
        turned = (r.mT @ (q - p).unsqueeze(-1)).squeeze(-1)
        return self.join(r.mT @ s, turned)

    def absolute(self, base: Tensor, x: Tensor) -> Tensor:
        """Poses in the world of poses seen from another, $B X$: the inverse of `relative`."""
        self.check_shape(base, "base")
        self.check_shape(x)
        (r, p), (s, q) = self.split(base), self.split(x)
        return self.join(r @ s, (r @ q.unsqueeze(-1)).squeeze(-1) + p)

    def __repr__(self) -> str:
        return "PoseTrajectory()"


class PartPoses(SE3):
    """Poses of the parts of an object that is to be put together: SE(3)^K.

    States are `(batch, parts, 4, 4)`, and `assemble` moves the parts' points. An assembly is
    the same wherever it stands; `centred` moves the mean of the parts' origins to zero.

    Example:
        ```python
        from flowatlas_robotics import PartPoses

        x = PartPoses().join(rotation.view(4, 2, 3, 3), torch.randn(4, 2, 3))
        points = PartPoses().assemble(x, torch.randn(4, 2, 100, 3))
        assert points.shape == (4, 2, 100, 3)
        ```
    """

    def assemble(self, x: Tensor, points: Tensor) -> Tensor:
        """Points of each part, turned and moved by its pose.

        Args:
            x: `(..., parts, 4, 4)`.
            points: `(..., parts, points, 3)`, each part in coordinates of its own.

        Raises:
            ShapeError: another number of parts.
        """
        self.check_shape(x)
        if points.ndim < 3 or points.shape[-1] != 3 or points.shape[-3] != x.shape[-3]:
            raise ShapeError(
                f"points: got shape {tuple(points.shape)} for poses {tuple(x.shape)}; it must be "
                "(..., parts, points, 3) with as many parts."
            )
        rotation, translation = self.split(x)
        return points @ rotation.mT + translation.unsqueeze(-2)

    def centred(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same assembly with the mean of its parts' origins at zero.

        Args:
            x: `(..., parts, 4, 4)`.
            mask: True where a part exists, `(..., parts)`; the others do not count.
        """
        self.check_shape(x)
        rotation, translation = self.split(x)
        weight = translation.new_ones(translation.shape[:-1]) if mask is None else mask.to(x)
        weight = weight.unsqueeze(-1)
        total = weight.sum(-2, keepdim=True).clamp(min=1)
        mean = (weight * torch.where(weight > 0, translation, 0.0)).sum(-2, keepdim=True) / total
        return self.join(rotation, translation - mean)

    def __repr__(self) -> str:
        return "PartPoses()"
