"""Fitting the interpolant of a metric path."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas._arguments import count
from flowatlas.couplings import Coupling
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.metrics.base import RiemannianMetric
from flowatlas.objectives.path_energy import PathEnergy
from flowatlas.paths.metric import MetricPath
from flowatlas.training.log import DivergenceError
from flowatlas.training.progress import progress_line

__all__ = ["InterpolantFit", "fit_interpolant"]


@dataclass(frozen=True, slots=True)
class InterpolantFit:
    """What fitting an interpolant came to.

    Attributes:
        energies: energy of the batch of each step, `(steps,)`.
        steps: that were taken.
        seconds: wall time.
    """

    energies: Tensor
    steps: int
    seconds: float


def fit_interpolant(
    path: MetricPath,
    metric: RiemannianMetric,
    x_0: Tensor,
    x_1: Tensor,
    *,
    coupling: Coupling | None = None,
    steps: int = 1000,
    batch: int = 256,
    lr: float = 3e-3,
    max_seconds: float | None = None,
    generator: torch.Generator | None = None,
    progress: bool = True,
) -> InterpolantFit:
    """Train the interpolant of `path` in place, so that its curves are short in `metric`.

    Adam, whose rate falls to zero by a cosine, on batches drawn with replacement from both sets.
    Afterwards the interpolant is frozen and in evaluation mode; save it with
    `path.interpolant.save_pretrained(directory)`.

    Args:
        path: whose interpolant is trained, from the weights it has.
        metric: in which to be short.
        x_0: points of the source, `(n, *event)`.
        x_1: points of the data, `(m, *event)`.
        coupling: which meets which in a batch; independent if None. Use that of the flow.
        steps: of the optimiser.
        batch: curves per step, one time on each.
        lr: peak rate.
        max_seconds: stop after that long; None for no limit.
        generator: of batches, times and pairs.
        progress: whether to draw a progress bar on standard error.

    Raises:
        ConfigError: a number outside its range, arguments of another kind.
        ShapeError: samples of different shapes, or none.
        DivergenceError: an energy that is NaN or infinite.

    Reference: Metric Flow Matching, Kapusniak et al., 2024, arXiv:2405.14780.

    Example:
        ```python
        path = MetricPath(Interpolant((2,)))
        found = fit_interpolant(path, LandMetric(x_1, sigma=0.5), x_0, x_1, steps=5, progress=False)
        found.energies[-1]
        ```
    """
    energy = PathEnergy(path, metric, coupling=coupling)
    count("steps", steps)
    count("batch", batch)
    if not lr > 0:
        raise ConfigError(f"lr: got {lr}; it must be above zero, such as 3e-3.")
    if x_0.ndim < 2 or x_0.shape[1:] != x_1.shape[1:] or 0 in (len(x_0), len(x_1)):
        raise ShapeError(
            f"x_0, x_1: got shapes {tuple(x_0.shape)} and {tuple(x_1.shape)}; need (n, *event) and "
            "(m, *event) with one sample or more and the same event."
        )
    interpolant = path.interpolant.train().requires_grad_(True)
    optimizer = torch.optim.Adam(interpolant.parameters(), lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    begin = time.monotonic()
    energies: list[Tensor] = []
    with progress_line("interpolant", steps, progress) as advance:
        for _ in range(steps):
            found = energy(
                _rows(x_0, batch, generator), _rows(x_1, batch, generator), generator=generator
            )
            optimizer.zero_grad()
            found.loss.backward()
            # The void is a thousand times as long as the data: single curves must not decide.
            torch.nn.utils.clip_grad_norm_(interpolant.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            energies.append(found.loss.detach())
            advance(energies[-1])
            if max_seconds is not None and time.monotonic() - begin > max_seconds:
                break
    interpolant.eval().requires_grad_(False)
    curve = torch.stack(energies).cpu()
    if not bool(torch.isfinite(curve).all()):
        step = int((~torch.isfinite(curve)).nonzero()[0])
        raise DivergenceError(
            f"energy: NaN or infinite at step {step}. Lower lr (now {lr:g}), or raise the metric's "
            "epsilon."
        )
    return InterpolantFit(curve, len(energies), time.monotonic() - begin)


def _rows(x: Tensor, batch: int, generator: torch.Generator | None) -> Tensor:
    index = torch.randint(len(x), (batch,), generator=generator)
    return x[index.to(x.device)]
