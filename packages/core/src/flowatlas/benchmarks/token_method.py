"""Methods and presets of benchmarks on sequences of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.preset import Preset
from flowatlas.paths import MixturePath
from flowatlas.schedulers import CondOT, ConvexCosine, Cubic, Scheduler

__all__ = ["TOKEN_METHODS", "TokenMethod", "TokenPreset"]

_SCHEDULERS: dict[str, type[Scheduler]] = {
    "condot": CondOT,
    "cubic": Cubic,
    "cosine": ConvexCosine,
}


@dataclass(frozen=True, kw_only=True)
class TokenMethod(Method):
    """One way to train and sample a flow on tokens.

    Attributes:
        source: `"mask"` or `"uniform"`.
        scheduler: `"condot"`, `"cubic"` or `"cosine"`, all convex.
        prediction: `"logits"`, the posterior, or `"denoiser"`, what the other tokens say.
        loss: `"cross_entropy"` or `"generalized_kl"`.
        solver_steps: leaps of a sample.
    """

    source: str = "mask"
    scheduler: str = "condot"
    prediction: str = "denoiser"
    loss: str = "cross_entropy"
    solver_steps: int = 128

    def __post_init__(self) -> None:
        for name, allowed in (
            ("source", ("mask", "uniform")),
            ("scheduler", tuple(_SCHEDULERS)),
            ("prediction", ("logits", "denoiser")),
            ("loss", ("cross_entropy", "generalized_kl")),
        ):
            value = getattr(self, name)
            require(value in allowed, name, value, f"one of {', '.join(allowed)}")
        require(self.solver_steps >= 1, "solver_steps", self.solver_steps, "1 or more")

    @property
    def nfe(self) -> int:
        """Evaluations of the field per sample."""
        return self.solver_steps

    def build_path(self, vocab: int) -> MixturePath:
        """The path over a vocabulary of that size."""
        return MixturePath(
            vocab,
            self.source,
            _SCHEDULERS[self.scheduler](),
            prediction=self.prediction,
            loss=self.loss,
        )


@dataclass(frozen=True, kw_only=True)
class TokenPreset(Preset):
    """Transformer, budget and scoring of one run on rows of tokens.

    Attributes:
        width: of the transformer.
        depth: layers.
        heads: of the attention.
        length: tokens of a row.
        stride: tokens from one training row to the next.
        bound_times: evaluations of the network for the bound on each test row.
        curve_steps: numbers of leaps for the curve of quality against cost, none if empty.
        corrected_steps: the same for sampling with a corrector.
        The others are those of `Preset`.
    """

    width: int
    depth: int
    heads: int = 4
    length: int = 128
    stride: int = 8
    bound_times: int = 32
    curve_steps: tuple[float, ...] = (8, 16, 32, 64, 128, 256)
    corrected_steps: tuple[float, ...] = (8, 16, 32, 64)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "depth", "heads", "stride", "bound_times"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.length >= 8, "length", self.length, "8 or more")
        for name in ("curve_steps", "corrected_steps"):
            value = getattr(self, name)
            whole = all(steps == int(steps) and steps >= 1 for steps in value)
            require(whole, name, value, "whole numbers of at least 1")


TOKEN_METHODS = {
    method.name: method
    for method in (
        TokenMethod(name="mask", summary="from a mask, linear schedule, cross-entropy"),
        TokenMethod(
            name="mask-cosine",
            summary="from a mask, cosine schedule, cross-entropy",
            scheduler="cosine",
        ),
        TokenMethod(
            name="mask-kl",
            summary="from a mask, linear schedule, generalised KL",
            loss="generalized_kl",
        ),
        TokenMethod(
            name="uniform",
            summary="from uniform tokens, linear schedule, cross-entropy",
            source="uniform",
        ),
        TokenMethod(
            name="uniform-cubic",
            summary="from uniform tokens, cubic schedule, cross-entropy",
            source="uniform",
            scheduler="cubic",
        ),
        TokenMethod(
            name="uniform-kl",
            summary="from uniform tokens, linear schedule, generalised KL",
            source="uniform",
            loss="generalized_kl",
        ),
    )
}
