"""Presets of benchmarks on points."""

from __future__ import annotations

from dataclasses import dataclass

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.preset import Preset

__all__ = ["PointPreset"]


@dataclass(frozen=True, kw_only=True)
class PointPreset(Preset):
    """Network, optimiser, budget and scoring of one run.

    Attributes:
        width: units of each hidden layer.
        depth: hidden layers.
        scales: lengths of the random Fourier features the network sees beside coordinates, on
            spaces that are not tori; none if empty.
        scale_features: directions for each length.
        harmonics: multiples of the angles the network sees on tori.
        select: how many checkpoints, the last included and evenly spread over the second half of
            training, compete on validation NLL; 1 takes the last.
        select_points: how many validation points decide.
        score_points: how many test points at most are scored, None for all.
        rtol, atol: tolerances of Dopri5 for likelihoods.
        baselines: whether to fit the kernel estimates that are shown beside the flow.
        The others are those of `Preset`.
    """

    width: int
    depth: int
    scales: tuple[float, ...] = ()
    scale_features: int = 32
    harmonics: int = 4
    select: int = 1
    select_points: int = 1000
    score_points: int | None = None
    rtol: float = 1e-5
    atol: float = 1e-5
    baselines: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "depth", "select", "select_points", "scale_features", "harmonics"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("rtol", "atol"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        require(all(s > 0 for s in self.scales), "scales", self.scales, "positive lengths")
        require(
            self.score_points is None or self.score_points >= 1,
            "score_points",
            self.score_points,
            "1 or more, or none for all",
        )
