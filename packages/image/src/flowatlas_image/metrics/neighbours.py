"""Precision, recall, density and coverage, from nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas_image.metrics._features import as_features

__all__ = ["Neighbours", "neighbours"]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """How two sets lie among each other.

    Attributes:
        precision: share of samples within the reach of some point of the data.
        recall: share of the data within the reach of some sample.
        density: how many points of the data reach a sample, over k; may be above 1.
        coverage: share of the data that have a sample within their own reach.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbours(data: Tensor, samples: Tensor, *, k: int = 5) -> Neighbours:
    r"""Compare sets by balls around their points that reach their k-th nearest neighbour.

    With $B(x_i)$ the ball around a point of the data that reaches its k-th neighbour among the
    data, precision is the mean over samples of $1[y \in \bigcup_i B(x_i)]$, density that of
    $\sum_i 1[y \in B(x_i)] / k$, coverage the share of balls that hold a sample; recall is
    precision with the sets exchanged. For equal laws density is 1 in the mean, and for sets of
    equal size coverage is $1 - 2^{-k}$ nearly.

    Args:
        data: features `(n, d)`, n above k.
        samples: features `(m, d)`, m above k.
        k: which neighbour sets the reach.

    Raises:
        ConfigError: k below 1.
        ShapeError: sets that are no features, or have too few rows.

    Reference: Improved Precision and Recall Metric, Kynkaanniemi et al., 2019, arXiv:1904.06991;
    Reliable Fidelity and Diversity Metrics for Generative Models, Naeem et al., 2020,
    arXiv:2002.09797.

    Example:
        ```python
        from flowatlas_image.metrics import neighbours

        neighbours(torch.randn(500, 4), torch.randn(500, 4)).precision
        ```
    """
    if k < 1:
        raise ConfigError(f"k: got {k}; at least 1.")
    data, samples = as_features(data, samples, k + 1)
    between = torch.cdist(data, samples)
    held = between <= _reach(data, k)[:, None]
    held_by_samples = between <= _reach(samples, k)[None]
    return Neighbours(
        precision=float(held.any(0).double().mean()),
        recall=float(held_by_samples.any(1).double().mean()),
        density=float(held.double().sum(0).mean() / k),
        coverage=float(held.any(1).double().mean()),
    )


def _reach(x: Tensor, k: int) -> Tensor:
    # The nearest of all is the point itself.
    return torch.cdist(x, x).kthvalue(k + 1, dim=1).values
