"""Benchmarks on points of a manifold: likelihood, samples, and kernel estimates beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowatlas.benchmarks.baselines import fixed_bandwidth, gaussian_fit, neighbour_bandwidth
from flowatlas.benchmarks.contract import Metric, Outcome, Published, Task
from flowatlas.benchmarks.metrics import (
    embed,
    energy_distance,
    negative_log_likelihood,
    sampling_noise,
    sliced_wasserstein,
)
from flowatlas.benchmarks.pictures import Picture
from flowatlas.benchmarks.point_method import PointMethod
from flowatlas.benchmarks.point_preset import PointPreset
from flowatlas.benchmarks.point_system import PointSystem
from flowatlas.benchmarks.problem import Problem
from flowatlas.benchmarks.system_benchmark import Fitted, Judge, SystemBenchmark, closeness
from flowatlas.errors import SolverError
from flowatlas.manifolds import Euclidean
from flowatlas.sampling import sample
from flowatlas.solvers import Solver
from flowatlas.solvers.named import STAGES, fixed_step_solver

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PointBenchmark"]

Array = NDArray[Any]
PointTask = Task[PointMethod, PointPreset]
#: Solvers and evaluations of the field for the curve of quality against cost.
_CURVE_SOLVERS = ("euler", "midpoint", "rk4")
_CURVE_NFE = (2, 4, 8, 16, 32, 64)
#: Points drawn for the comparison across benchmarks, at most.
_JUDGED = 2048
_PROTOCOL = (
    "NLL is minus the mean log density of the test points, by Dopri5 with the exact divergence. "
    "Bandwidths, fitted sources and checkpoints are chosen on validation points; test points enter "
    "no choice."
)


@dataclass(frozen=True)
class PointBenchmark(SystemBenchmark[PointMethod, PointPreset, PointSystem]):
    """Train a flow on points, score the likelihood of test points and the quality of samples.

    Attributes:
        load: `(seed, data_root)` to the problem; the split depends on the seed.
        picture: what is kept and drawn.
        compare: baselines: any of `kde_fixed`, `kde_neighbour`, `gaussian`.
        The others are those of `Benchmark`.
    """

    name: str
    summary: str
    data: str
    licence: str
    methods: Mapping[str, PointMethod]
    presets: Mapping[str, PointPreset]
    load: Callable[[int, Path | None], Problem]
    picture: Picture
    compare: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = (
        Metric("nll", "test NLL"),
        Metric("nll_distinct", "test NLL, no copies"),
        Metric("nll_source", "NLL of the source", "", 2),
        Metric("energy", "energy distance", "lower", 5),
        Metric("sliced_wasserstein", "sliced Wasserstein", "lower", 4),
        Metric("seconds_training", "training, s", "", 0),
    )
    published: tuple[Published, ...] = ()
    protocol: str = _PROTOCOL
    measure: str = "root of: energy distance of as many real points, over that of the samples"
    baselines: Mapping[str, str] = field(
        default_factory=lambda: {
            "kde_fixed": "kernel estimate, one bandwidth",
            "kde_neighbour": "kernel estimate, bandwidth by neighbours",
            "gaussian": "one Gaussian",
            "exact": "the best possible: exact density; two sets of data",
        }
    )

    def train(self, task: PointTask) -> Fitted[PointSystem]:
        # Lightning takes seconds to import, and lists of benchmarks do not need it.
        from flowatlas.benchmarks.training import train_flow

        problem = self.load(task.seed, task.data_root)
        trained = train_flow(
            task.method,
            task.preset,
            problem.manifold,
            problem.split.train,
            problem.split.validation,
            seed=task.seed,
            directory=task.directory,
            resume=task.resume,
            progress=task.progress,
        )
        shape = problem.event_shape
        system = PointSystem(
            field=trained.field,
            path=trained.path,
            method=task.method,
            manifold=problem.manifold,
            event_shape=shape,
            mean=torch.zeros(shape, dtype=torch.float64),
            scale=torch.ones(shape, dtype=torch.float64),
            about={"benchmark": self.name, "seed": task.seed, "steps": trained.steps},
        )
        return Fitted(
            system=system,
            steps=trained.steps,
            seconds=trained.seconds,
            losses=trained.losses,
            notes=trained.notes,
        )

    def score(self, fitted: Fitted[PointSystem], task: PointTask) -> Outcome:
        problem = self.load(task.seed, task.data_root)
        metrics = _likelihood(fitted, problem, task)
        notes = dict(fitted.notes)
        if task.preset.baselines:
            found, chosen = self._baselines(problem, task)
            metrics |= found
            notes |= chosen
        draw = _Sampler(fitted.system, problem, task)
        samples = draw(task.method.build_solver(), task.preset.samples)
        quality, curves = _quality(draw, samples, problem)
        pictured = self.picture.arrays(fitted.system, problem, samples)
        return Outcome(
            metrics={**metrics, **quality},
            nfe=task.method.nfe,
            arrays={**curves, **fitted.losses, **pictured},
            notes=notes,
        )

    @property
    def couplings(self) -> Mapping[str, str]:
        default = self.default_method
        named = {"independent": default, "optimal transport": f"{default}-ot"}
        return {coupling: method for coupling, method in named.items() if method in self.methods}

    def judge(self, task: PointTask) -> Judge[PointSystem]:
        problem = self.load(task.seed, task.data_root)
        manifold, parts = problem.manifold, problem.split
        count = min(task.preset.samples, _JUDGED, len(parts.test))
        test = embed(manifold, parts.test[:count])
        floor = sampling_noise(embed(manifold, parts.train), test, count=count)

        def judged(system: PointSystem, solver: Solver) -> float:
            x = system.draw(count, seed=task.seed + 1, solver=solver)
            return closeness(energy_distance(embed(manifold, x), test), floor)

        return judged

    def _baselines(
        self, problem: Problem, task: PointTask
    ) -> tuple[dict[str, float], dict[str, str]]:
        parts, distinct = problem.split, problem.distinct
        metrics: dict[str, float] = {}
        notes = {}
        fits = {"kde_fixed": fixed_bandwidth, "kde_neighbour": neighbour_bandwidth}
        test = parts.test[: task.preset.score_points]
        for name in self.compare:
            if name == "gaussian":
                metrics["gaussian/nll"] = gaussian_fit(parts.train, test)
                continue
            found = fits[name](problem.manifold, parts.train, parts.validation)
            value = found.density.log_prob(test)
            metrics |= _nll(value, distinct, prefix=f"{name}/")
            notes[name] = found.setting
        return metrics, notes

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import loss_curve, nfe_curve

        made = {"data, samples and density": self.picture.figure(arrays, title)}
        curves = {
            name: (arrays["curve_nfe"], arrays[f"curve_{name}"])
            for name in _CURVE_SOLVERS
            if f"curve_{name}" in arrays
        }
        if curves:
            curves = {
                name: (nfe[np.isfinite(values)], values[np.isfinite(values)])
                for name, (nfe, values) in curves.items()
            }
            floor = float(arrays["curve_floor"])
            made["quality against evaluations"] = nfe_curve(curves, floor=floor, title=title)
        made["loss"] = loss_curve(
            arrays["loss_steps"],
            arrays["loss"],
            validation=(arrays["validation_steps"], arrays["validation"]),
            title=title,
        )
        return made


def _nll(log_prob: Tensor, distinct: Tensor | None, prefix: str = "") -> dict[str, float]:
    """NLL of all points, and of those that are no copies of training points."""
    found = {f"{prefix}nll": -float(log_prob.double().mean())}
    if distinct is not None:
        rows = distinct[: len(log_prob)].to(log_prob.device)
        if bool(rows.any()):
            found[f"{prefix}nll_distinct"] = -float(log_prob[rows].double().mean())
    return found


def _likelihood(fitted: Fitted[PointSystem], problem: Problem, task: PointTask) -> dict[str, float]:
    preset, parts, system = task.preset, problem.split, fitted.system
    device = next(system.field.parameters()).device
    test = parts.test[: preset.score_points]
    x = test.float().to(device)
    found = negative_log_likelihood(
        system.field, system.path, x, rtol=preset.rtol, atol=preset.atol
    )
    metrics = _nll(found.log_prob, problem.distinct)
    metrics |= {
        "nll_standard_error": found.standard_error,
        "nll_evaluations": float(found.nfe),
        "points_scored": float(len(test)),
        "seconds_training": fitted.seconds,
        "steps": float(fitted.steps),
    }
    if system.path.source.has_density:
        metrics["nll_source"] = -float(system.path.source.log_prob(x).double().mean())
    if problem.distinct is not None:
        metrics["copies"] = 1.0 - float(problem.distinct.double().mean())
    if problem.law is not None and problem.law.has_density:
        metrics["exact/nll"] = -float(problem.law.log_prob(test).mean())
    return metrics


class _Sampler:
    """Draws of a flow, from the same source samples for every solver."""

    def __init__(self, system: PointSystem, problem: Problem, task: PointTask) -> None:
        self.system = system
        self.shape = problem.event_shape
        self.seed = task.seed
        self.device = next(system.field.parameters()).device

    def __call__(self, solver: Solver, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + 1)
        x_0 = self.system.path.source.sample(
            (count, *self.shape), generator=generator, dtype=torch.float32
        )
        drawn: Tensor = sample(
            self.system.field, self.system.path, x_init=x_0.to(self.device), solver=solver
        )
        return drawn


def _quality(
    draw: _Sampler, samples: Tensor, problem: Problem
) -> tuple[dict[str, float], dict[str, Array]]:
    """Distances of samples to test points, and how they fall with evaluations of the field."""
    parts, manifold = problem.split, problem.manifold
    test = embed(manifold, parts.test[: len(samples)])
    train = embed(manifold, parts.train[: len(samples)])
    made = embed(manifold, samples.double().cpu())
    noise = sampling_noise(embed(manifold, parts.train), test, count=len(test))
    metrics = {"energy": energy_distance(made, test), "exact/energy": noise}
    if isinstance(manifold, Euclidean):
        for name, x in (("", made), ("exact/", train)):
            generator = torch.Generator().manual_seed(0)
            metrics[f"{name}sliced_wasserstein"] = sliced_wasserstein(x, test, generator=generator)
    count = min(len(samples), 2048)
    curves: dict[str, Array] = {
        "curve_nfe": np.array(_CURVE_NFE),
        "curve_floor": np.array(noise),
    }
    for name in _CURVE_SOLVERS:
        values = []
        for nfe in _CURVE_NFE:
            steps = nfe // STAGES[name]
            if steps == 0:
                values.append(np.nan)
                continue
            try:
                x = draw(fixed_step_solver(name, steps), count)
            except SolverError:
                # Steps too long for the field; the curve starts where they no longer are.
                values.append(np.nan)
                continue
            values.append(energy_distance(embed(manifold, x.double().cpu()), test))
        curves[f"curve_{name}"] = np.array(values)
    return metrics, curves
