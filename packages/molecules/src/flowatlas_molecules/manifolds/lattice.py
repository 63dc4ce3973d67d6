"""Unit cells of crystals: three lengths and three angles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.manifolds import Capability, FlatTorus, Manifold
from flowatlas.sources import Gaussian, Source

__all__ = ["Lattice", "LatticePrior"]

#: Radians. Reduced (Niggli) cells have angles from 60 to 120 degrees, ends included.
LOW, HIGH = math.radians(59.9), math.radians(120.1)


class Lattice(Manifold):
    r"""Lengths a, b, c and angles $\alpha, \beta, \gamma$ of unit cells, in a flat chart.

    $$\phi(x) = \Big(\log a, \log b, \log c,\; \mathrm{logit} \tfrac{\alpha - l}{h - l}, \dots\Big),
      \qquad \exp_x(u) = \phi^{-1}(\phi(x) + u),$$

    with l = 59.9 and h = 120.1 degrees. Points are `(..., 6)`, angstrom and radians; tangents are
    velocities of $\phi$, in which the metric is the plain one. Lengths stay positive and angles
    within bounds, wherever a flow goes. Angles near the bounds are far out in the chart: those of
    exactly 60 or 120 degrees make heavy tails.

    Cells must be reduced (Niggli) to fit, as by pymatgen's `get_reduced_structure()`. In the
    extreme corner of three angles near 120 degrees no cell exists.

    Reference: FlowMM: Generating Materials with Riemannian Flow Matching, Miller et al., 2024,
    arXiv:2406.04713. There raw lengths are interpolated; here their logarithms.

    Example:
        ```python
        import math
        from flowatlas_molecules import Lattice

        cubic = torch.tensor([4.0, 4.0, 4.0] + 3 * [math.pi / 2])
        larger = Lattice().expmap(cubic, torch.tensor([0.1, 0.1, 0.1, 0.0, 0.0, 0.0]))
        ```
    """

    capabilities = frozenset({Capability.TANGENT_BASIS, Capability.WRAPPED})

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        if x.ndim < 1 or x.shape[-1] != 6:
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; points of {self!r} are (..., 6): a, b, c in "
                "angstrom, then alpha, beta, gamma in radians."
            )

    def check_point(self, x: Tensor, name: str = "x") -> None:
        self.check_shape(x, name)
        if x.is_floating_point() and bool(torch.isfinite(x).all()) and x.numel():
            lengths, angles = x[..., :3], x[..., 3:]
            low, high = (v.item() for v in torch.aminmax(angles))
            if not (lengths > 0).all() or low <= LOW or high >= HIGH:
                raise GeometryError(
                    f"{name}: got lengths of at least {lengths.min().item():.3g} and angles from "
                    f"{math.degrees(low):.1f} to {math.degrees(high):.1f} degrees; lengths are "
                    "positive, angles (in radians) between 59.9 and 120.1 degrees. Reduce the "
                    "cells, as pymatgen's get_reduced_structure() does."
                )
        super().check_point(x, name)

    def chart(self, x: Tensor) -> Tensor:
        """The flat coordinates phi(x) of cells `(..., 6)`."""
        share = (x[..., 3:] - LOW) / (HIGH - LOW)
        return torch.cat([x[..., :3].log(), share.log() - torch.log1p(-share)], -1)

    def from_chart(self, z: Tensor) -> Tensor:
        """The cells with flat coordinates `(..., 6)`: the inverse of `chart`."""
        return torch.cat([z[..., :3].exp(), LOW + (HIGH - LOW) * z[..., 3:].sigmoid()], -1)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return self.from_chart(self.chart(x) + u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return self.chart(y) - self.chart(x)

    def projx(self, x: Tensor) -> Tensor:
        edge = 1e-4
        return torch.cat(
            [x[..., :3].clamp(min=1e-3), x[..., 3:].clamp(min=LOW + edge, max=HIGH - edge)], -1
        )

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(-1)

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        u = self.logmap(x_0, x_1)
        return self.expmap(x_0, s.unsqueeze(-1) * u), u

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        return self.expmap(x, u)

    def pushforward(self, x: Tensor, u: Tensor) -> Tensor:
        angles = x[..., 3:]
        slope = (angles - LOW) * (HIGH - angles) / (HIGH - LOW)
        return u * torch.cat([x[..., :3], slope], -1)

    def tangent_basis(self, x: Tensor) -> Tensor:
        return torch.eye(6, dtype=x.dtype, device=x.device).expand(*x.shape[:-1], 6, 6)

    def exp_preimages(self, x: Tensor, y: Tensor, images: int) -> Tensor:
        return self.logmap(x, y).unsqueeze(0)

    def log_det_expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return u.new_zeros(u.shape[:-1])

    def residual(self, x: Tensor) -> Tensor:
        # projx keeps away from the bounds, where the chart is infinite; points need not.
        low, high = LOW - x[..., 3:], x[..., 3:] - HIGH
        gap = torch.maximum(torch.maximum(low, high), -x[..., :3]).amax(-1)
        return gap.clamp(min=0.0)


class LatticePrior(Source):
    r"""Log-normal lengths, fitted to data, and uniform angles.

    $$\log a \sim N(m_a, s_a^2), \qquad \alpha \sim U(59.9°, 120.1°)$$

    Densities are with respect to the volume of `Lattice`: in its chart a uniform angle is logistic.

    Args:
        mean: of the three log-lengths.
        std: of the three log-lengths.

    Raises:
        ConfigError: not three numbers each, or a spread that is not positive.

    Reference: FlowMM: Generating Materials with Riemannian Flow Matching, Miller et al., 2024,
    arXiv:2406.04713.

    Example:
        ```python
        from flowatlas_molecules import LatticePrior

        x_0 = LatticePrior((1.4, 1.4, 1.4), (0.1, 0.1, 0.1)).sample((8, 6))
        ```
    """

    has_density = True

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.log_mean, self.log_std = tuple(mean), tuple(std)
        if len(self.log_mean) != 3 or len(self.log_std) != 3:
            raise ConfigError(
                f"mean, std: got {len(self.log_mean)} and {len(self.log_std)} numbers; cells have "
                "three lengths, so three of each."
            )
        if not all(math.isfinite(m) for m in self.log_mean):
            raise ConfigError(f"mean: got {self.log_mean}; it must be finite.")
        if not all(0 < s < math.inf for s in self.log_std):
            raise ConfigError(f"std: got {self.log_std}; it must be positive and finite.")

    @classmethod
    def fitted(cls, x: Tensor) -> LatticePrior:
        """The prior whose log-lengths have the moments of cells `(n, 6)`; spreads of at least .01.

        Raises:
            ShapeError: fewer than two cells, or points that are none.
        """
        Lattice().check_shape(x)
        if x.ndim != 2 or len(x) < 2:
            raise ShapeError(f"x: got shape {tuple(x.shape)}; need (n, 6) with n of at least 2.")
        log = x[:, :3].double().log()
        # Equal lengths would leave nothing to flow.
        return cls(log.mean(0).tolist(), log.std(0).clamp(min=0.01).tolist())

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Any = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        shape = tuple(shape)
        if shape[-1:] != (6,):
            raise ShapeError(f"shape: got {shape}; cells are (..., 6).")
        half = (*shape[:-1], 3)
        options: dict[str, Any] = {"generator": generator, "dtype": dtype, "device": device}
        log = Gaussian().sample(half, **options)
        share = FlatTorus(1.0).random_uniform(half, **options)
        log = log * log.new_tensor(self.log_std) + log.new_tensor(self.log_mean)
        # The ends themselves are infinitely far away.
        edge = torch.finfo(share.dtype).eps
        return torch.cat([log.exp(), LOW + (HIGH - LOW) * share.clamp(edge, 1 - edge)], -1)

    def log_prob(self, x: Tensor) -> Tensor:
        z = Lattice().chart(x)
        mean, std = x.new_tensor(self.log_mean), x.new_tensor(self.log_std)
        score = (z[..., :3] - mean) / std
        lengths = -0.5 * score.square() - std.log() - 0.5 * math.log(2 * math.pi)
        angles = torch.nn.functional.logsigmoid(torch.stack([z[..., 3:], -z[..., 3:]])).sum(0)
        return lengths.sum(-1) + angles.sum(-1)

    def __repr__(self) -> str:
        return f"LatticePrior({self.log_mean}, {self.log_std})"
