"""The rotation that brings one cloud of points closest to another."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["kabsch"]


def kabsch(x: Tensor, y: Tensor) -> Tensor:
    r"""$\arg\min_{R \in SO(d)} \sum_n |R x_n - y_n|^2$.

    With the singular values of $\sum_n x_n y_n^T = U S V^T$, it is $R = V D U^T$, where
    $D = \mathrm{diag}(1, \ldots, 1, \operatorname{sign} \det V U^T)$ keeps it from being a
    reflection, as about half of the optima are for clouds that have nothing to do with each other.
    Clouds in a plane or on a line leave a choice, and any of the best is returned.

    Args:
        x: `(batch, points, d)`, float64, centred.
        y: of the same shape.

    Returns:
        `(batch, d, d)`.

    Reference: A solution for the best rotation to relate two sets of vectors, Kabsch, 1976.
    """
    u, _, vh = torch.linalg.svd(x.mT @ y)
    v = vh.mT
    # The determinant is 1 or -1; sign() of one that has underflowed would be 0.
    proper = torch.where(torch.linalg.det(v @ u.mT) < 0, -1.0, 1.0).to(x)
    v = torch.cat([v[..., :-1], v[..., -1:] * proper.view(-1, 1, 1)], -1)
    rotation: Tensor = v @ u.mT
    return rotation
