"""How large and how long: the settings that a preset fixes."""

from __future__ import annotations

from dataclasses import dataclass

from flowatlas.benchmarks.config import require

__all__ = ["PRESET_NAMES", "Preset"]

#: Seconds, about five minutes on one core, and up to half an hour on an accelerator.
PRESET_NAMES = ("demo", "cpu", "gpu")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Network, optimiser, budget and scoring of one run.

    Attributes:
        width: units of each hidden layer.
        depth: hidden layers.
        scales: lengths of the random Fourier features the network sees beside coordinates, on
            spaces that are not tori; none if empty.
        scale_features: directions for each length.
        harmonics: multiples of the angles the network sees on tori.
        batch: samples per step.
        optimizer: `"adamw"` or `"muon"`.
        lr: peak learning rate; a cosine takes it to zero.
        warmup: steps of linear warm-up.
        weight_decay: of AdamW.
        steps: optimiser steps.
        max_seconds: training stops at the next check after that, None for no limit.
        ema: decay of the averaged weights, which are the ones scored.
        select: how many checkpoints, the last included and evenly spread over the second half of
            training, compete on validation NLL; 1 takes the last.
        select_points: how many validation points decide.
        score_points: how many test points at most are scored, None for all.
        rtol, atol: tolerances of Dopri5 for likelihoods.
        samples: how many samples are drawn and compared.
        baselines: whether to fit the kernel estimates that are shown beside the flow.
        threads: of the CPU; None leaves PyTorch's default.
        device: `"cpu"`, `"cuda"`, or `"auto"`: an accelerator where there is one.
    """

    width: int
    depth: int
    scales: tuple[float, ...] = ()
    scale_features: int = 32
    harmonics: int = 4
    batch: int
    lr: float
    warmup: int = 100
    weight_decay: float = 0.0
    steps: int
    max_seconds: float | None = None
    optimizer: str = "adamw"
    ema: float = 0.999
    select: int = 1
    select_points: int = 1000
    score_points: int | None = None
    rtol: float = 1e-5
    atol: float = 1e-5
    samples: int = 4096
    baselines: bool = True
    threads: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        positive = (
            *("width", "depth", "batch", "steps", "select", "select_points", "samples"),
            *("scale_features", "harmonics"),
        )
        for name in positive:
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("lr", "rtol", "atol"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name in ("warmup", "weight_decay"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(all(s > 0 for s in self.scales), "scales", self.scales, "positive lengths")
        require(0 <= self.ema < 1, "ema", self.ema, "in [0, 1)")
        require(
            self.max_seconds is None or self.max_seconds > 0,
            "max_seconds",
            self.max_seconds,
            "positive, or none for no limit",
        )
        require(
            self.score_points is None or self.score_points >= 1,
            "score_points",
            self.score_points,
            "1 or more, or none for all",
        )
        require(
            self.threads is None or self.threads >= 1,
            "threads",
            self.threads,
            "1 or more, or none for the default",
        )
        require(self.optimizer in ("adamw", "muon"), "optimizer", self.optimizer, "adamw or muon")
        require(self.device in ("cpu", "cuda", "auto"), "device", self.device, "cpu, cuda or auto")
