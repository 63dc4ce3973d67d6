"""Paths that follow the data: learned interpolants, short in a metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowatlas._autodiff import jvp
from flowatlas.errors import ConfigError
from flowatlas.manifolds.euclidean import Euclidean
from flowatlas.paths._velocity_only import VelocityOnlyPath
from flowatlas.paths.base import PathSample
from flowatlas.paths.continuous import TimeWeight
from flowatlas.schedulers import CondOT
from flowatlas.sources.base import Source
from flowatlas.sources.gaussian import Gaussian
from flowatlas.state import broadcast_time

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MetricPath"]


class MetricPath(VelocityOnlyPath):
    r"""$x_t = (1 - t) x_0 + t x_1 + t (1 - t) \varphi(x_0, x_1, t)$ in $\mathbb{R}^n$.

    The network $\varphi$ is trained, before the flow is, to make the curves short in a metric
    (`fit_interpolant`), such as one that data define (`LandMetric`, `RbfMetric`): they then follow
    the data instead of cutting through the void. With $\varphi = 0$ the path is the straight one.

    The velocity is exact,
    $\dot x_t = x_1 - x_0 + (1 - 2t) \varphi + t (1 - t) \partial_t \varphi$, with the derivative of
    the network from forward differentiation. The loss of a flow does not move the interpolant.

    Only velocity prediction has a meaning: as the curve depends on both ends, $E[x_1 | x_t]$ does
    not determine the velocity. For the same reason the schedule cannot be changed afterwards.

    Args:
        interpolant: $\varphi$, a module `(x_0, x_1, t) -> (batch, *event)`, such as `Interpolant`.
        source: the law of x_0; a standard Gaussian if None.
        point_ndim: trailing axes that make one point, for masks (see `Euclidean`).
        weight: factor of this component's loss.
        time_weight: function of t, `(batch,)` to `(batch,)`, that multiplies the loss.
        loss: function of the mean squared error per point.

    Raises:
        ConfigError: an interpolant that cannot be called, a negative weight.

    Reference: Metric Flow Matching for Smooth Interpolations on the Data Manifold, Kapusniak et
    al., 2024, arXiv:2405.14780.

    Example:
        ```python
        path = MetricPath(Interpolant((2,)), source=Empirical(x_0))
        metric = LandMetric(torch.cat([x_0, x_1]), sigma=0.5)
        fit_interpolant(path, metric, x_0, x_1, steps=3, progress=False)
        loss = FlowMatching(path, coupling=MinibatchOT(path))(model, x_1).loss
        ```
    """

    def __init__(
        self,
        interpolant: nn.Module,
        *,
        source: Source | None = None,
        point_ndim: int = 1,
        weight: float = 1.0,
        time_weight: TimeWeight | None = None,
        loss: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if not isinstance(interpolant, torch.nn.Module):
            raise ConfigError(
                f"interpolant: got {type(interpolant).__name__}; it must be a module (x_0, x_1, t) "
                "-> (batch, *event), such as Interpolant((2,))."
            )
        super().__init__(
            Euclidean(point_ndim),
            Gaussian(point_ndim=point_ndim) if source is None else source,
            prediction="velocity",
            scheduler=CondOT(),
            weight=weight,
            time_weight=time_weight,
            loss=loss,
        )
        self.interpolant = interpolant

    def interpolate(
        self, x_0: Tensor, x_1: Tensor, t: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        # A flow's loss is zero for a path that stands still: it must not reach the interpolant.
        frozen = {name: p.detach() for name, p in self.interpolant.named_parameters()}
        return self._curve(
            x_0, x_1, t, lambda *ends: torch.func.functional_call(self.interpolant, frozen, ends)
        )

    def curve(self, x_0: Tensor, x_1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x_t and its time derivative, with gradients for the weights of the interpolant.

        Args:
            x_0: `(batch, *event)`.
            x_1: the same shape.
            t: `(batch,)`.
        """
        return self._curve(x_0, x_1, t, self.interpolant)

    def _curve(
        self, x_0: Tensor, x_1: Tensor, t: Tensor, bend: Callable[..., Tensor]
    ) -> tuple[Tensor, Tensor]:
        phi, d_phi = jvp(lambda s: bend(x_0, x_1, s), (t,), (torch.ones_like(t),))
        s = broadcast_time(t, x_1)
        straight = x_1 - x_0
        x_t = x_0 + s * (straight + (1 - s) * phi)
        return x_t, straight + (1 - 2 * s) * phi + s * (1 - s) * d_phi

    def squared_error(self, prediction: Tensor, sample: PathSample) -> Tensor:
        assert isinstance(sample.dx_t, Tensor)
        error = (prediction - sample.dx_t).square()
        axes = tuple(range(error.ndim - self.point_ndim, error.ndim))
        return error.mean(axes) if axes else error
