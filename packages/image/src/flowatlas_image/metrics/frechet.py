"""The Frechet distance between Gaussians fitted to two sets of features."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas_image.metrics._features import as_features

__all__ = ["frechet_distance", "gaussian_frechet_distance"]


def gaussian_frechet_distance(
    mean_x: Tensor, covariance_x: Tensor, mean_y: Tensor, covariance_y: Tensor
) -> Tensor:
    r"""$|m_x - m_y|^2 + \operatorname{tr}(C_x + C_y - 2 (C_x^{1/2} C_y C_x^{1/2})^{1/2})$.

    The squared 2-Wasserstein distance of the two Gaussians. The roots are those of symmetric
    matrices, by eigenvalues, of which negative ones (rounding) count as zero: covariances may be
    singular.

    Args:
        mean_x: `(k,)`.
        covariance_x: `(k, k)`.
        mean_y: `(k,)`.
        covariance_y: `(k, k)`.

    Reference: The Frechet distance between multivariate normal distributions, Dowson and Landau,
    1982, J. Multivariate Analysis 12.
    """
    values, vectors = torch.linalg.eigh(covariance_x)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    shared = torch.linalg.eigvalsh(root @ covariance_y @ root).clamp(min=0).sqrt().sum()
    apart = (mean_x - mean_y).square().sum()
    found: Tensor = apart + covariance_x.trace() + covariance_y.trace() - 2 * shared
    return found


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """The distance between the Gaussians with the means and covariances of two sets; 0 if equal.

    With features of Inception-v3 this is FID; with those of a classifier trained here it is called
    FD-clf, and numbers of different classifiers cannot be compared. It is biased upward for few
    rows: read it beside the value of two sets of data of the same sizes.

    Args:
        x: features `(n, k)`, n at least 2.
        y: features `(m, k)`.

    Raises:
        ShapeError: what is given is no two sets of features.

    Reference: GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium,
    Heusel et al., 2017, arXiv:1706.08500.

    Example:
        ```python
        from flowatlas_image.metrics import frechet_distance

        frechet_distance(torch.randn(1000, 8), torch.randn(1000, 8) + 1)  # about 8
        ```
    """
    x, y = as_features(x, y, 2)
    value = gaussian_frechet_distance(x.mean(0), _covariance(x), y.mean(0), _covariance(y))
    return float(value)


def _covariance(x: Tensor) -> Tensor:
    centred = x - x.mean(0)
    return centred.mT @ centred / (len(x) - 1)
