"""Trajectories of joints, from points of the torus to commands."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.errors import ShapeError
from flowatlas_robotics.manifolds import JointTorus

__all__ = ["unwrap"]


def unwrap(angles: Tensor) -> Tensor:
    """Joint angles without jumps: each step is the shortest turn from the last.

    q_0 = theta_0 and q_{k+1} = q_k + log_{theta_k}(theta_{k+1}). A motor that were sent the points
    of the torus themselves would turn back by 2 pi wherever they wrap.

    Args:
        angles: `(..., steps, joints)`, radians.

    Returns:
        The same shape; equal to `angles` modulo 2 pi.

    Raises:
        ShapeError: fewer than two axes, or no step.
    """
    if angles.ndim < 2 or angles.shape[-2] == 0:
        raise ShapeError(
            f"angles: got shape {tuple(angles.shape)}; allowed is (..., steps, joints) with at "
            "least one step. For one joint, pass angles.unsqueeze(-1)."
        )
    turns = JointTorus().logmap(angles[..., :-1, :], angles[..., 1:, :])
    return torch.cat([angles[..., :1, :], turns], -2).cumsum(-2)
