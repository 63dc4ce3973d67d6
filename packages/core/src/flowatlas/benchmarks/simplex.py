"""`simplex/toy`: token laws of more and more categories, by three paths over the simplex.

All paths get the same network, a classifier of $x_1$ given $x_t$, trained by the same cross-entropy
on their own $x_t$; its probabilities make the velocity of each, exactly. What differs is the path.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.contract import Array, Benchmark, Metric, Outcome, Task
from flowatlas.benchmarks.point_method import PointMethod
from flowatlas.benchmarks.point_preset import PointPreset
from flowatlas.manifolds import Simplex
from flowatlas.objectives import FlowMatching
from flowatlas.paths import DirichletPath, GeodesicPath
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.sampling import sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flowatlas.networks import MLP

__all__ = ["TOY", "SimplexBenchmark", "SimplexPreset", "divergence", "vertex_field"]

Field = Callable[[Tensor, Tensor], Tensor]
#: Numbers of categories.
SIZES = (4, 20, 64, 160, 512)
#: Points of one sample, all of one law.
POSITIONS = 4


@dataclass(frozen=True, kw_only=True)
class SimplexPreset(PointPreset):
    """A preset that names how many categories there are.

    Attributes:
        sizes: numbers of categories, one flow for each.
        The others are those of `PointPreset`; `samples` counts sequences of four tokens.
    """

    sizes: tuple[float, ...] = SIZES

    def __post_init__(self) -> None:
        super().__post_init__()
        whole = all(size == int(size) and size >= 2 for size in self.sizes)
        require(bool(self.sizes) and whole, "sizes", self.sizes, "whole numbers of at least 2")


_METHODS = {
    method.name: method
    for method in (
        PointMethod(
            name="dirichlet",
            summary="Dirichlet path to alpha = 8, the category drawn at the end",
            path="dirichlet",
            source="dirichlet",
            prediction="logits",
            solver_steps=25,
        ),
        PointMethod(
            name="fisher-rao",
            summary="geodesics of the Fisher-Rao metric from its uniform law",
            path="geodesic",
            source="uniform",
            solver_steps=25,
        ),
        PointMethod(
            name="linear",
            summary="straight lines from uniform points",
            path="affine",
            source="dirichlet",
            prediction="target",
            solver_steps=25,
        ),
    )
}
SimplexTask = Task[PointMethod, SimplexPreset]
_CPU = SimplexPreset(
    width=128, depth=2, batch=256, lr=3e-3, steps=1200, samples=1024, ema=0.99, threads=1
)
_PRESETS = {
    "demo": replace(_CPU, width=64, lr=4e-3, steps=300, ema=0.98, sizes=(4, 20)),
    "cpu": _CPU,
    "gpu": replace(
        _CPU, width=512, depth=4, batch=2048, lr=1e-3, steps=10_000, samples=16_384, device="auto"
    ),
}


def divergence(tokens: Tensor, law: Tensor) -> float:
    """KL divergence of the shares of tokens from their law, nats.

    Args:
        tokens: any shape, integers in [0, K).
        law: `(K,)`, probabilities.
    """
    share = torch.bincount(tokens.flatten(), minlength=len(law)).double() / tokens.numel()
    return float(torch.special.xlogy(share, share / law.double()).sum())


def vertex_field(path: ContinuousPath, simplex: Simplex, classifier: Field) -> Field:
    """What `path` wants to be predicted, from the logits of a classifier of x_1.

    For a Dirichlet path, the logits. For a straight one, probabilities, which are $E[x_1 | x_t]$.
    For a geodesic one, the velocity: the mean logarithm of the vertices over 1 - t.
    """
    if isinstance(path, DirichletPath):
        return classifier

    def probabilities(x: Tensor, t: Tensor) -> Tensor:
        return torch.softmax(classifier(x, t), -1)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        left = (1 - t).clamp(min=1e-3).view(-1, *(1,) * (x.ndim - 1))
        return simplex.logmap_to_vertices(x, probabilities(x, t)) / left

    return velocity if isinstance(path, GeodesicPath) else probabilities


def _train(
    path: ContinuousPath, simplex: Simplex, law: Tensor, task: SimplexTask, losses: list[float]
) -> MLP:
    """A classifier of x_1 given x_t, its averaged weights in place."""
    from flowatlas.networks import MLP, Logs
    from flowatlas.training import EMA

    preset = task.preset
    generator = torch.Generator().manual_seed(task.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        model = MLP((POSITIONS, len(law)), width=preset.width, depth=preset.depth, features=Logs())
    model.to(law.device)
    optimizer = torch.optim.AdamW(model.parameters(), preset.lr, weight_decay=preset.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda n: min(1.0, (n + 1) / preset.warmup) * 0.5 * (1 + np.cos(np.pi * n / preset.steps)),
    )
    average, objective = EMA(preset.ema), FlowMatching(path)
    average.start(model)
    begin = time.monotonic()
    for step in range(preset.steps):
        tokens = torch.multinomial(
            law.cpu(), preset.batch * POSITIONS, replacement=True, generator=generator
        )
        tokens = tokens.view(-1, POSITIONS).to(law.device)
        x_1 = simplex.one_hot(tokens, dtype=torch.float32)
        draws = objective.draw(x_1, generator=generator)
        assert isinstance(draws.x_0, Tensor)
        x_t = path.sample(draws.x_0, x_1, draws.t, validate=False).x_t
        loss = cross_entropy(model(x_t, draws.t).flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update(model)
        if step % max(1, preset.steps // 200) == 0:
            losses.append(loss.item())
        if preset.max_seconds is not None and time.monotonic() - begin > preset.max_seconds:
            break
    average.copy_to(model)
    return model.eval().requires_grad_(False)


class SimplexBenchmark(Benchmark[PointMethod, SimplexPreset]):
    """Draw tokens by a flow over the simplex, and measure how far their shares are from the law.

    The law is the softmax of standard normal numbers, other ones for every number of categories and
    seed; a uniform guess is about half a nat away from it.
    """

    name = "simplex/toy"
    summary = "a categorical law of 4 to 512 categories; the law is known"
    data = "drawn from the softmax of normal numbers, four independent tokens a sample"
    licence = "drawn here, none needed"
    protocol = (
        "KL is the divergence of the shares of N sampled tokens from their law. Exact draws have "
        "(K - 1) / 2N of it on average, the plug-in floor; the baseline is the mean of 20 sets of "
        "as many. All paths have the same classifier, trained by the same cross-entropy."
    )
    baselines = {  # noqa: RUF012
        "exact": "as many exact draws",
        "floor": "(K - 1) / 2N",
        "uniform": "uniform guess",
    }

    methods = _METHODS
    presets = _PRESETS
    metrics = (
        *(Metric(f"kl_{k}", f"KL, K = {k}", "lower", 4) for k in SIZES),
        Metric("seconds_training", "training, s", "", 0),
    )

    def run(self, task: SimplexTask) -> Outcome:
        preset = task.preset
        sizes = [int(size) for size in preset.sizes]
        metrics: dict[str, float] = {}
        seconds = 0.0
        losses: list[float] = []
        for size in sizes:
            losses.clear()
            begin = time.monotonic()
            draw, law = _flow(size, task, losses)
            seconds += time.monotonic() - begin
            metrics[f"kl_{size}"] = divergence(draw(), law)
            metrics |= _references(law, preset.samples * POSITIONS, task.seed)
        metrics["seconds_training"] = seconds

        def column(prefix: str = "") -> Array:
            return np.array([metrics[f"{prefix}kl_{size}"] for size in sizes])

        arrays = {
            "sizes": np.array(sizes),
            "kl": column(),
            "exact": column("exact/"),
            "uniform": column("uniform/"),
            "loss": np.array(losses),
        }
        return Outcome(metrics=metrics, nfe=task.method.nfe, arrays=arrays)

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import kl_curve, loss_curve

        sizes = arrays["sizes"]
        return {
            "divergence against categories": kl_curve(
                {"flow": (sizes, arrays["kl"])},
                floor=(sizes, arrays["exact"]),
                guess=(sizes, arrays["uniform"]),
                title=title,
            ),
            "loss": loss_curve(np.linspace(0, 1, len(arrays["loss"])), arrays["loss"], title=title),
        }


def _flow(size: int, task: SimplexTask, losses: list[float]) -> tuple[Callable[[], Tensor], Tensor]:
    """A trained flow over that many categories, as a function that draws tokens, and their law."""
    preset = task.preset
    device = preset.torch_device
    simplex = Simplex(size)
    generator = torch.Generator().manual_seed(1000 * task.seed + size)
    law = torch.softmax(torch.randn(size, generator=generator), -1).to(device)
    path = task.method.build_path(simplex)
    model = _train(path, simplex, law, task, losses)
    field = vertex_field(path, simplex, model)

    def draw() -> Tensor:
        x: Tensor = sample(
            field,
            path,
            shape=(preset.samples, POSITIONS, size),
            solver=task.method.build_solver(),
            device=device,
            generator=torch.Generator().manual_seed(task.seed + 1),
        )
        return x.argmax(-1)

    return draw, law


def _references(law: Tensor, count: int, seed: int) -> dict[str, float]:
    """What `count` exact draws have, what they have on average, and what a uniform guess has."""
    law, size = law.cpu().double(), len(law)
    generator = torch.Generator().manual_seed(seed)
    exact = [
        divergence(torch.multinomial(law, count, replacement=True, generator=generator), law)
        for _ in range(20)
    ]
    flat = torch.full_like(law, 1 / size)
    return {
        f"exact/kl_{size}": sum(exact) / len(exact),
        f"floor/kl_{size}": (size - 1) / (2 * count),
        f"uniform/kl_{size}": float((flat * (flat / law).log()).sum()),
    }


TOY = SimplexBenchmark()
