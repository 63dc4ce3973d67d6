"""`mixed/toy`: the plane, the sphere and tokens in one flow, with a joint law that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.contract import Array, Benchmark, Metric, Outcome, Task
from flowatlas.benchmarks.fitting import fit_network, load_fitted, loss_arrays
from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.metrics import energy_distance
from flowatlas.benchmarks.preset import Preset
from flowatlas.data.mixed import MixedLaw, mixed_toy
from flowatlas.manifolds import Sphere
from flowatlas.objectives import FlowMatching
from flowatlas.sampling import sample
from flowatlas.solvers.named import STAGES, fixed_step_solver
from flowatlas.training import TensorData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flowatlas.networks import ProductMLP

__all__ = ["TOY", "MixedBenchmark", "MixedMethod", "MixedPreset", "distances"]

State = dict[str, Tensor]
_TRAIN, _VALIDATION, _TEST, _KEPT = 50_000, 1000, 4000, 2000


@dataclass(frozen=True, kw_only=True)
class MixedMethod(Method):
    """A product path, and how it is sampled.

    Attributes:
        source: of the tokens, `"mask"` or `"uniform"`.
        token_weight: of their loss beside the two squared errors, which are per dimension.
        solver: `"euler"`, `"midpoint"`, `"heun"` or `"rk4"`; tokens jump after each of its steps.
        solver_steps: of it.
    """

    source: str = "mask"
    token_weight: float = 0.3
    solver: str = "midpoint"
    solver_steps: int = 50

    def __post_init__(self) -> None:
        require(self.source in ("mask", "uniform"), "source", self.source, "mask or uniform")
        require(self.token_weight >= 0, "token_weight", self.token_weight, "0 or more")
        require(self.solver in STAGES, "solver", self.solver, f"one of {', '.join(STAGES)}")
        require(self.solver_steps >= 1, "solver_steps", self.solver_steps, "1 or more")

    @property
    def nfe(self) -> int:
        """Evaluations of the field per sample."""
        return STAGES[self.solver] * self.solver_steps


@dataclass(frozen=True, kw_only=True)
class MixedPreset(Preset):
    """Network and budget.

    Attributes:
        width: units of each hidden layer.
        depth: hidden layers.
        The others are those of `Preset`.
    """

    width: int
    depth: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")


MixedTask = Task[MixedMethod, MixedPreset]
_METHODS = {
    method.name: method
    for method in (
        MixedMethod(name="mask", summary="product path, tokens from the mask", source="mask"),
        MixedMethod(name="uniform", summary="product path, uniform tokens", source="uniform"),
    )
}
_CPU = MixedPreset(
    width=128, depth=3, batch=512, lr=2e-3, steps=8000, samples=4096, ema=0.999, threads=1
)
_PRESETS = {
    "demo": replace(_CPU, width=64, depth=2, batch=256, steps=400, ema=0.98, samples=512),
    "cpu": _CPU,
    "gpu": replace(_CPU, width=512, depth=4, batch=4096, lr=1e-3, steps=30_000, device="auto"),
}


def distances(x: State, law: MixedLaw, test: State) -> dict[str, float]:
    """How far draws are from the law, by several measures.

    Args:
        x: draws.
        law: that they are to have.
        test: exact draws, for the scale of the features and for the energy distance.
    """
    found, scale = law.features(x).mean(0), law.features(test).std(0)
    error = ((found - law.mean_features()) / scale).square()
    flow = law.flow(law.path())
    shares = flow.responsibilities(x, torch.ones(len(x["token"]))).mean(0)
    return {
        "dependence": float(error[law.alone :].mean().sqrt()),
        "alone": float(error[: law.alone].mean().sqrt()),
        "energy": energy_distance(_embedded(x), _embedded(test)),
        "kl_token": _token_divergence(x["token"], law),
        "tv_class": float(0.5 * (shares - law.weights).abs().sum()),
    }


def _embedded(x: State) -> Tensor:
    """One vector per state: coordinates, and corners of a simplex at unit distance."""
    corners = torch.nn.functional.one_hot(x["token"]).flatten(1) / 2**0.5
    return torch.cat([x["place"], x["direction"], corners], 1).double()


def _token_divergence(tokens: Tensor, law: MixedLaw) -> float:
    """KL divergence of the shares of token triples from their law, nats."""
    place = law.vocab ** torch.arange(law.positions)
    share = torch.bincount((tokens * place).sum(1), minlength=law.vocab**law.positions)
    states = torch.cartesian_prod(*[torch.arange(law.vocab)] * law.positions).flip(1)
    index = torch.arange(law.positions)
    exact = sum(
        w * each[index, states].prod(1) for w, each in zip(law.weights, law.tokens, strict=True)
    )
    share = share.double() / len(tokens)
    return float(torch.special.xlogy(share, share / exact).sum())


def _network(law: MixedLaw, preset: MixedPreset, seed: int) -> ProductMLP:
    from flowatlas.networks import ProductMLP

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ProductMLP(
            {"place": (2,), "direction": (3,), "token": (law.positions,)},
            manifolds={"direction": Sphere()},
            vocab={"token": law.vocab},
            width=preset.width,
            depth=preset.depth,
        )


class MixedBenchmark(Benchmark[MixedMethod, MixedPreset]):
    """Learn a joint law over three kinds of space, and compare samples with it.

    The law is a mixture of four products; that the components share their class is all that binds
    them. A flow that learned each component by itself has the distances of `apart`.
    """

    name = "mixed/toy"
    summary = "a point of the plane, one of the sphere and three tokens; the joint law is known"
    data = "a mixture of four products: 50000 training, 1000 validation and 4000 test draws"
    licence = "drawn here, none needed"
    protocol = (
        "Dependence is the root mean square error of the means of all products of two features of "
        "different components (coordinates and indicators), in standard deviations of each; alone "
        "is the same for single features. N exact draws have N^-1/2 on average. Energy distance is "
        "to 4000 exact draws. KL is of the 64 token triples, TV of the four class shares."
    )
    baselines = {  # noqa: RUF012
        "exact": "as many exact draws",
        "field": "exact field, same solver",
        "apart": "components independent",
    }
    methods = _METHODS
    presets = _PRESETS
    metrics = (
        Metric("dependence", "dependence", "lower", 4),
        Metric("alone", "alone", "lower", 4),
        Metric("energy", "energy distance", "lower", 4),
        Metric("kl_token", "KL of tokens", "lower", 4),
        Metric("tv_class", "TV of classes", "lower", 4),
        Metric("seconds_training", "training, s", "", 0),
    )

    def run(self, task: MixedTask) -> Outcome:
        preset, method, law = task.preset, task.method, mixed_toy()
        generator = torch.Generator().manual_seed(task.seed)
        train, validation, test = (
            law.sample(n, generator)[0] for n in (_TRAIN, _VALIDATION, _TEST)
        )
        path = law.path(method.source, token_weight=method.token_weight)
        data = TensorData(
            {"x_1": train}, {"x_1": validation}, batch_size=preset.batch, seed=task.seed
        )
        network = _network(law, preset, task.seed)
        result = fit_network(network, FlowMatching(path), data, task)
        n, exact = preset.samples, law.flow(path)
        trained = load_fitted(result.checkpoint, preset)
        x = _drawn(trained, law, task, preset.torch_device)
        found = distances(x, law, test)
        found["seconds_training"] = result.seconds
        draws = [law.sample(n, generator)[0] for _ in range(2)]
        shuffled = [_apart(one, generator) for one in draws]
        references = {
            "exact": _mean([distances(one, law, test) for one in draws]),
            "field": distances(_drawn(exact, law, task, torch.device("cpu")), law, test),
            "apart": _mean([distances(one, law, test) for one in shuffled]),
        }
        for name, values in references.items():
            found |= {f"{name}/{key}": value for key, value in values.items()}
        kept = {f"samples_{name}": value[:_KEPT].numpy() for name, value in x.items()}
        kept |= {f"points_{name}": value[:_KEPT].numpy() for name, value in test.items()}
        arrays: dict[str, Array] = {
            **kept,
            "covariance": _covariance(law, x),
            "exact_covariance": _covariance(law, None),
            **loss_arrays(result.log),
        }
        return Outcome(metrics=found, nfe=method.nfe, arrays=arrays)

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import loss_curve
        from flowatlas.plots.mixed import dependence, mixed_states

        validation = (arrays["validation_steps"], arrays["validation"])
        return {
            "draws and samples, coloured by their first token": mixed_states(arrays, title=title),
            "dependence": dependence(arrays["exact_covariance"], arrays["covariance"], title=title),
            "loss": loss_curve(
                arrays["loss_steps"], arrays["loss"], validation=validation, title=title
            ),
        }


def _drawn(field: object, law: MixedLaw, task: MixedTask, device: torch.device) -> State:
    """Samples of a field, on the CPU."""
    method = task.method
    x: State = sample(
        field,  # type: ignore[arg-type]
        law.path(method.source, token_weight=method.token_weight),
        shape=law.shape(task.preset.samples),
        solver=fixed_step_solver(method.solver, method.solver_steps),
        device=device,
        dtype=torch.float32,
        generator=torch.Generator().manual_seed(task.seed + 1),
    )
    return {name: value.cpu() for name, value in x.items()}


def _apart(x: State, generator: torch.Generator) -> State:
    """The same values, each component's in an order of its own."""
    return {
        name: value[torch.randperm(len(value), generator=generator)] for name, value in x.items()
    }


def _mean(found: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in found) / len(found) for name in found[0]}


def _covariance(law: MixedLaw, x: State | None) -> Array:
    """Covariances of tokens (rows) with coordinates of place and direction; exact ones if None."""
    mean = law.mean_features() if x is None else law.features(x).mean(0)
    tokens = law.positions * law.vocab
    own, products = mean[: law.alone], mean[law.alone :]
    place, direction, shown = own.split([2, 3, tokens])
    _, of_place, of_direction = products.split([6, 2 * tokens, 3 * tokens])
    joint = torch.cat([of_place.view(2, tokens), of_direction.view(3, tokens)])
    covariance = joint - torch.cat([place, direction]).unsqueeze(1) * shown
    return np.asarray(covariance.T)


TOY = MixedBenchmark()
