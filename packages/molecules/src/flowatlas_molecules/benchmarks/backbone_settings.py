"""How protein backbones are learned and drawn in benchmarks: methods and presets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.preset import Preset

__all__ = ["METHODS", "PRESETS", "BackboneMethod", "BackbonePreset"]


@dataclass(frozen=True, kw_only=True)
class BackboneMethod(Method):
    """How backbones are trained and drawn.

    Attributes:
        residues: whether residue types flow along.
        rotation_rate: of the exponential schedule along which rotations are sampled; 0 for the
            straight one.
        geometry: weight of the loss of atoms and near distances, late in the flow.
        solver_steps: Euler steps.
        The others are those of `Method`.
    """

    residues: bool = False
    rotation_rate: float = 10.0
    geometry: float = 3.0
    solver_steps: int = 100

    def __post_init__(self) -> None:
        for name in ("rotation_rate", "geometry"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(self.solver_steps >= 1, "solver_steps", self.solver_steps, "1 or more")


@dataclass(frozen=True, kw_only=True)
class BackbonePreset(Preset):
    """Network, data and budget of one run.

    Attributes:
        width: of the features of residues.
        pair_width: of the features of pairs.
        depth: blocks.
        heads: of the attention.
        neighbors: residues that are seen one by one in each block.
        packaged: whether to train on pieces of the structures that ship with tmtools, not on whole
            chains of the data folder.
        min_length: of the chains, in residues.
        max_length: of the chains, in residues.
        pairs: whose TM score is taken.
        The others are those of `Preset`; `samples` counts chains.
    """

    width: int
    pair_width: int = 32
    depth: int
    heads: int = 8
    neighbors: int = 16
    packaged: bool = False
    min_length: int = 40
    max_length: int = 128
    pairs: int = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "pair_width", "depth", "heads", "neighbors"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.width % self.heads == 0, "heads", self.heads, "a divisor of width")
        require(self.min_length >= 5, "min_length", self.min_length, "5 or more")
        require(
            self.max_length >= self.min_length,
            "max_length",
            self.max_length,
            "min_length or more",
        )


METHODS = {
    method.name: method
    for method in (
        BackboneMethod(
            name="frames",
            summary="SE(3) flow, rotations sampled along an exponential schedule",
        ),
        BackboneMethod(
            name="linear",
            summary="the same, rotations and translations sampled at one rate",
            rotation_rate=0.0,
        ),
        BackboneMethod(
            name="codesign",
            summary="residue types as a discrete third component",
            residues=True,
        ),
    )
}
_CPU = BackbonePreset(
    width=64,
    depth=2,
    batch=4,
    lr=5e-3,
    warmup=50,
    steps=3400,  # the cosine ends before the time does
    max_seconds=540.0,
    ema=0.995,
    samples=24,
    threads=1,
)
PRESETS = {
    "demo": replace(
        _CPU,
        width=48,
        pair_width=16,
        lr=6e-3,
        warmup=20,
        steps=600,
        max_seconds=40.0,
        ema=0.98,
        samples=8,
        packaged=True,
        min_length=32,
        max_length=32,
        pairs=10,
    ),
    "cpu": _CPU,
    "gpu": replace(
        _CPU,
        width=256,
        pair_width=64,
        depth=6,
        batch=32,
        lr=3e-4,
        warmup=500,
        steps=30_000,
        max_seconds=1500.0,
        ema=0.999,
        samples=128,
        pairs=500,
        threads=None,
        device="auto",
    ),
}
