"""Kernel density estimates: what a flow has to beat, and the sources that are fitted to data.

Bandwidths and the weight of the uniform background are chosen on validation points alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.data.kernel_mixture import KernelMixture
from flowatlas.data.kernels import kernel_for
from flowatlas.manifolds import Capability, Manifold

__all__ = ["Baseline", "fixed_bandwidth", "gaussian_fit", "neighbour_bandwidth"]

#: Weights of the uniform law that are tried.
_BACKGROUNDS = (0.0, 0.003, 0.01, 0.03, 0.1)
#: The narrowest kernels, radians: 1e-4 is 640 m on the Earth. Where test points are copies of
#: training points the likelihood grows without bound as kernels narrow: this is what bounds it.
_FLOORS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
_FACTORS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
_PAIRS = 2**24


@dataclass(frozen=True, slots=True)
class Baseline:
    """A fitted density and how it was chosen.

    Attributes:
        density: the estimate.
        validation_nll: the number it was chosen by, nats.
        setting: the choice, in words.
    """

    density: KernelMixture
    validation_nll: float
    setting: str


def fixed_bandwidth(
    manifold: Manifold, train: Tensor, validation: Tensor, *, points: int = 2000
) -> Baseline:
    """A kernel of one bandwidth around every training point, over a uniform background.

    Args:
        manifold: with a kernel (see `flowatlas.data.kernels`).
        train: `(n, *point_shape)`.
        validation: `(m, *point_shape)`.
        points: how many validation points decide.
    """
    train = train.double()
    validation = validation[: max(100, min(points, _PAIRS // len(train)))].double()
    trial = _Trial(manifold, train, validation)
    scale = _scale(manifold, train)

    def best_of(bandwidths: list[float]) -> _Choice:
        choices = [trial(torch.tensor(b, dtype=torch.float64)) for b in bandwidths]
        return min(choices, key=lambda choice: choice.nll)

    coarse = float(best_of([scale * 10 ** (-0.25 * i) for i in range(15)]).bandwidth)
    best = best_of([coarse * 10 ** (0.05 * i) for i in range(-4, 5)])
    bandwidth = float(best.bandwidth)
    density = KernelMixture(manifold, train, bandwidth, background=best.background)
    setting = f"bandwidth {bandwidth:.3g}, background {best.background:g}"
    return Baseline(density, -float(density.log_prob(validation).mean()), setting)


def neighbour_bandwidth(
    manifold: Manifold, train: Tensor, validation: Tensor, *, points: int = 2000
) -> Baseline:
    r"""A kernel around every training point, as wide as its neighbours are far.

    $b_i = \max(c\, d_k(i), b_{min})$, with $d_k(i)$ the distance of training point i to its k-th
    neighbour among the training points; k, c and $b_{min} \ge 10^{-4}$ are chosen on validation.

    Args:
        manifold: with a kernel.
        train: `(n, *point_shape)`.
        validation: `(m, *point_shape)`.
        points: how many validation points decide.
    """
    train = train.double()
    validation = validation[: max(100, min(points, _PAIRS // len(train)))].double()
    orders = [k for k in (1, 2, 3, 5, 8, 12, 20) if k < len(train) // 4]
    near = _neighbour_distances(manifold, train, orders)
    scale = _scale(manifold, train)
    trial = _Trial(manifold, train, validation, nearest=1000)

    def bandwidth(k: int, c: float, floor: float) -> Tensor:
        return (c * near[k]).clamp(min=floor * scale)

    best, chosen = _Choice(math.inf, torch.tensor(0.0), 0.0), (0, 0.0, 0.0)
    for k in orders:
        # For each neighbour the factor, the floor, and the factor again; two starts, because the
        # likelihood of data with copies has two optima.
        for c, floor in ((0.7, 1e-2), (1.0, 1e-4)):
            for name in ("c", "floor", "c"):
                tried = [(a, floor) for a in _FACTORS] if name == "c" else [(c, b) for b in _FLOORS]
                found = [trial(bandwidth(k, a, b)) for a, b in tried]
                i = min(range(len(found)), key=lambda i: found[i].nll)
                c, floor = tried[i]
                if found[i].nll < best.nll:
                    best, chosen = found[i], (k, c, floor)
    density = KernelMixture(manifold, train, best.bandwidth, background=best.background)
    setting = (
        f"neighbour {chosen[0]}, factor {chosen[1]:g}, floor {chosen[2] * scale:.3g}, "
        f"background {best.background:g}"
    )
    return Baseline(density, -float(density.log_prob(validation).mean()), setting)


def gaussian_fit(train: Tensor, x: Tensor) -> float:
    """NLL of `x` under the Gaussian with the mean and covariance of `train`, points `(n, d)`."""
    train, x = train.double(), x.double()
    law = torch.distributions.MultivariateNormal(train.mean(0), train.T.cov())
    return -float(law.log_prob(x).mean())


@dataclass(frozen=True, slots=True)
class _Choice:
    nll: float
    bandwidth: Tensor
    background: float


class _Trial:
    """Validation NLL of many bandwidths, from one table of energies.

    Args:
        manifold: with a kernel.
        train: centres `(n, *point_shape)`.
        validation: `(m, *point_shape)`.
        nearest: how many centres are looked at for each validation point; all if None. Wide
            kernels around more distant ones are then left out, which is fine for choosing.
    """

    def __init__(
        self, manifold: Manifold, train: Tensor, validation: Tensor, *, nearest: int | None = None
    ) -> None:
        self.kernel = kernel_for(manifold)
        self.dimension = manifold.dimension(tuple(train.shape[1:]))
        self.count = len(train)
        # Differences in float64, kept in float32, which is enough to choose by.
        energies = self.kernel.energy(validation, train)
        self.index: Tensor | None = None
        if nearest is not None and nearest < self.count:
            energies, self.index = energies.topk(nearest, dim=1, largest=False, sorted=False)
        self.energies = energies.float()
        has_uniform = Capability.UNIFORM in manifold.capabilities
        self.backgrounds = _BACKGROUNDS if has_uniform else (0.0,)
        self.uniform = manifold.uniform_log_prob(validation) if has_uniform else torch.tensor(0.0)

    def __call__(self, bandwidth: Tensor) -> _Choice:
        level = -self.kernel.log_normaliser(bandwidth, self.dimension).float()
        rate = -bandwidth.float().pow(-2)
        if self.index is not None:
            level, rate = level[self.index], rate[self.index]
        # Not a log-sum-exp, which takes three times as long: with the clamp nothing underflows,
        # and exp is slow where it would.
        kernel = torch.addcmul(level, self.energies, rate).clamp_(min=-80).exp_()
        kernels = kernel.sum(1).double().log() - math.log(self.count)
        found = []
        for epsilon in self.backgrounds:
            value = kernels
            if epsilon > 0:
                uniform = self.uniform + math.log(epsilon)
                value = torch.logaddexp(kernels + math.log1p(-epsilon), uniform)
            found.append(_Choice(-float(value.mean()), bandwidth, epsilon))
        return min(found, key=lambda choice: choice.nll)


def _neighbour_distances(
    manifold: Manifold, train: Tensor, orders: Sequence[int]
) -> dict[int, Tensor]:
    """Distance of every training point to its k-th neighbour, for each k."""
    kernel = kernel_for(manifold)
    found = []
    for part in torch.split(train, max(1, _PAIRS // len(train))):
        # The point itself comes first, at distance zero up to rounding.
        energy = kernel.energy(part, train).topk(max(orders) + 1, largest=False).values
        found.append((2 * energy).sqrt())
    near = torch.cat(found)
    return {k: near[:, k] for k in orders}


def _scale(manifold: Manifold, train: Tensor) -> float:
    """One radian on compact manifolds, one standard deviation in flat space."""
    if Capability.UNIFORM in manifold.capabilities:
        return 1.0
    return float(train.std(0).mean())
