"""The kernel distance between two sets of features."""

from __future__ import annotations

from torch import Tensor

from flowatlas_image.metrics._features import as_features

__all__ = ["kernel_distance"]


def kernel_distance(x: Tensor, y: Tensor) -> float:
    r"""Squared maximum mean discrepancy with kernel $k(a, b) = (a \cdot b / d + 1)^3$.

    $$\frac{\sum_{i \ne j} k(x_i, x_j)}{n (n - 1)} + \frac{\sum_{i \ne j} k(y_i, y_j)}{m (m - 1)}
    - \frac{2 \sum_{i, j} k(x_i, y_j)}{n m}$$

    Unbiased for any number of rows, so that it is about zero, and as often below as above, for two
    sets of one law. With features of Inception-v3 this is KID.

    Args:
        x: features `(n, d)`, n at least 2.
        y: features `(m, d)`.

    Raises:
        ShapeError: what is given is no two sets of features.

    Reference: Demystifying MMD GANs, Binkowski et al., 2018, arXiv:1801.01401, section 4, who
    average over blocks of the sets; here all pairs are taken.

    Example:
        ```python
        from flowatlas_image.metrics import kernel_distance

        kernel_distance(torch.randn(1000, 8), torch.randn(1000, 8))  # about 0
        ```
    """
    x, y = as_features(x, y, 2)
    n, m = len(x), len(y)
    within = _off_diagonal(x) / (n * (n - 1)) + _off_diagonal(y) / (m * (m - 1))
    return float(within - 2 * _kernel(x, y).mean())


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.mT / a.shape[1] + 1) ** 3


def _off_diagonal(x: Tensor) -> Tensor:
    gram = _kernel(x, x)
    return gram.sum() - gram.trace()
