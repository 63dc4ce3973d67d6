"""How structures of crystals are learned and drawn in benchmarks: methods and presets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.preset import Preset

__all__ = ["METHODS", "PRESETS", "CrystalMethod", "CrystalPreset"]


@dataclass(frozen=True, kw_only=True)
class CrystalMethod(Method):
    """How crystals are trained and drawn.

    Attributes:
        permute: whether alike atoms change places when source and data are aligned.
        slope: of the anti-annealing of coordinates; 0 for none.
        solver_steps: Euler steps.
        The others are those of `Method`.
    """

    permute: bool = True
    slope: float = 0.0
    solver_steps: int = 100

    def __post_init__(self) -> None:
        require(0 <= self.slope <= 100, "slope", self.slope, "from 0 to 100")
        require(self.solver_steps >= 1, "solver_steps", self.solver_steps, "1 or more")


@dataclass(frozen=True, kw_only=True)
class CrystalPreset(Preset):
    """Network, data and budget of one run.

    Attributes:
        width: of the features of atoms.
        depth: rounds of messages.
        frequencies: of the sines of distances.
        ideal: whether to train on cells made of ionic radii, not on those of the data folder.
        curve_samples: crystals whose matches are counted for each number of evaluations.
        The others are those of `Preset`; `samples` counts test crystals, each predicted once.
    """

    width: int
    depth: int
    frequencies: int = 16
    ideal: bool = False
    curve_samples: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "depth", "frequencies"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        allowed = f"from 1 to samples ({self.samples})"
        require(
            1 <= self.curve_samples <= self.samples, "curve_samples", self.curve_samples, allowed
        )


METHODS = {
    method.name: method
    for method in (
        CrystalMethod(
            name="aligned",
            summary="coordinates and cell, pairs aligned by translation and numbering",
            slope=60.0,
        ),
        CrystalMethod(
            name="translated",
            summary="pairs aligned by translation alone, as in the literature",
            permute=False,
            slope=60.0,
        ),
        CrystalMethod(
            name="plain-speed",
            summary="aligned, coordinates sampled without anti-annealing",
        ),
    )
}
_CPU = CrystalPreset(
    width=96,
    depth=3,
    batch=64,
    lr=2e-3,
    warmup=100,
    steps=9_000,  # the cosine ends before the time does, on a free core
    max_seconds=480.0,
    ema=0.995,
    samples=500,
    curve_samples=150,
    threads=1,
)
PRESETS = {
    "demo": replace(
        _CPU,
        width=48,
        depth=2,
        frequencies=8,
        batch=32,
        lr=4e-3,
        warmup=20,
        steps=900,
        max_seconds=30.0,
        ema=0.98,
        ideal=True,
        samples=60,
        curve_samples=20,
    ),
    "cpu": _CPU,
    "gpu": replace(
        _CPU,
        width=256,
        depth=6,
        batch=256,
        lr=1e-3,
        warmup=500,
        steps=40_000,
        max_seconds=1500.0,
        ema=0.999,
        samples=3785,
        curve_samples=500,
        threads=None,
        device="auto",
    ),
}
