"""The energy of a learned interpolant."""

from __future__ import annotations

from torch import Tensor

from flowatlas._arguments import check_kind
from flowatlas._precision import full_precision
from flowatlas._random import Generators, rand
from flowatlas.couplings import Coupling, Independent
from flowatlas.errors import ShapeError
from flowatlas.metrics.base import RiemannianMetric
from flowatlas.objectives.base import LossOutput
from flowatlas.paths._checks import check_pair, check_tensor
from flowatlas.paths.metric import MetricPath

__all__ = ["PathEnergy"]


class PathEnergy:
    r"""Make the curves of a `MetricPath` short.

    $$E = E_{t, (x_0, x_1)} \, |\dot x_t|^2_{G(x_t)}$$

    with t uniform. Among the curves between two ends a geodesic at constant speed has the least
    energy, the square of their distance.

    Args:
        path: whose interpolant is to be trained.
        metric: G. A sample is one point of it: its axes are flattened.
        coupling: which x_0 meets which x_1; independent if None. It should be the one the flow is
            trained with, since the curves are learned between such pairs.

    Raises:
        ConfigError: arguments of another kind.

    Reference: Metric Flow Matching, Kapusniak et al., 2024, arXiv:2405.14780.

    Example:
        ```python
        path = MetricPath(Interpolant((2,)))
        energy = PathEnergy(path, LandMetric(x_1, sigma=0.5), coupling=MinibatchOT(path))
        energy(x_0, x_1, generator=generator).loss.backward()
        ```
    """

    def __init__(
        self, path: MetricPath, metric: RiemannianMetric, *, coupling: Coupling | None = None
    ) -> None:
        self.path = path
        self.metric = metric
        self.coupling = Independent() if coupling is None else coupling
        check_kind("path", path, MetricPath, "MetricPath(Interpolant((2,)))")
        check_kind("metric", metric, RiemannianMetric, "LandMetric(x, sigma=0.1)")
        check_kind("coupling", self.coupling, Coupling, "Independent()")

    def __call__(
        self,
        x_0: Tensor,
        x_1: Tensor,
        *,
        t: Tensor | None = None,
        generator: Generators = None,
    ) -> LossOutput:
        """Energy of a batch of curves; its gradient is that of the interpolant.

        Args:
            x_0: `(batch, *event)`.
            x_1: the same shape.
            t: `(batch,)`; uniform if None.
            generator: one, or one per sample.

        Raises:
            ShapeError: shapes that do not fit, or a batch of none.
        """
        check_tensor(x_0, "x_0")
        check_tensor(x_1, "x_1")
        if len(x_1) == 0:
            raise ShapeError("x_1: got a batch of 0 samples; pass one or more. Skip empty batches.")
        if t is None:
            t = rand((len(x_1),), generator=generator, dtype=x_1.dtype, device=x_1.device)
        check_pair(x_0, x_1, t, self.path.point_ndim)
        partner = self.coupling.couple(x_0, x_1, generator=generator)
        assert isinstance(partner, Tensor)
        with full_precision(x_1):
            x_t, dx_t = self.path.curve(partner, x_1, t)
            energy = self.metric.squared_norm(x_t.flatten(1), dx_t.flatten(1))
        loss = energy.mean()
        return LossOutput(loss, {"energy": loss.detach()}, energy.detach(), t)
