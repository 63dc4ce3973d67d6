"""Distances between points of a mesh that eigenfunctions make."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from torch import Tensor

from flowatlas.errors import ConfigError

__all__ = ["BiharmonicDistance", "DiffusionDistance", "Premetric"]


class Premetric(ABC):
    r"""$d(x, y)^2 = \sum_i w(\lambda_i) (\phi_i(x) - \phi_i(y))^2$.

    ```python
    class CommuteTime(Premetric):
        def weights(self, eigenvalues):
            return 1 / eigenvalues
    ```

    Zero for equal points alone, positive elsewhere, smooth enough to go down its gradient: that is
    all a `SpectralPath` asks of a distance.
    """

    @abstractmethod
    def weights(self, eigenvalues: Tensor) -> Tensor:
        """w of positive eigenvalues `(k,)`."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class BiharmonicDistance(Premetric):
    r"""$w = 1 / \lambda^2$: the distance of the biharmonic kernel.

    Reference: Biharmonic Distance, Lipman, Rustamov and Funkhouser, 2010, ACM Trans. Graph. 29(3).
    """

    def weights(self, eigenvalues: Tensor) -> Tensor:
        return eigenvalues.pow(-2)


class DiffusionDistance(Premetric):
    r"""$w = e^{-2 \tau \lambda}$: how differently heat spreads from both points in time $\tau$.

    Args:
        time: tau, in squared lengths of the mesh.

    Raises:
        ConfigError: a time that is not positive and finite.

    Reference: Diffusion Maps, Coifman and Lafon, 2006, Appl. Comput. Harmon. Anal. 21(1).
    """

    def __init__(self, time: float) -> None:
        if not 0 < time < math.inf:
            raise ConfigError(f"time: got {time}; it must be positive and finite.")
        self.time = time

    def weights(self, eigenvalues: Tensor) -> Tensor:
        # Distances count relative to each other alone: the first weight is one.
        return (-2 * self.time * (eigenvalues - eigenvalues[0])).exp()

    def __repr__(self) -> str:
        return f"DiffusionDistance({self.time})"
