"""What fixes a run of `pointcloud/upsampling`: how clouds are paired, how many, how long."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.contract import Task
from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.preset import Preset

__all__ = ["CLOUD_METHODS", "CLOUD_PRESETS", "LEAST", "CloudMethod", "CloudPreset", "CloudTask"]

#: Fewest clouds that a preset may score: those of the picture.
LEAST = 4


@dataclass(frozen=True, kw_only=True)
class CloudMethod(Method):
    """How clouds are paired and drawn.

    Attributes:
        align: whether dense points are in the order of the least work from the interpolation.
        jitter: noise on the interpolation, in units of the spacing of the sparse points.
        evaluations: Euler steps, of the headline numbers.
    """

    align: bool = True
    jitter: float = 0.005
    evaluations: int = 2

    def __post_init__(self) -> None:
        require(self.jitter >= 0, "jitter", self.jitter, "0 or more")
        require(self.evaluations >= 1, "evaluations", self.evaluations, "1 or more")


@dataclass(frozen=True, kw_only=True)
class CloudPreset(Preset):
    """Network and clouds.

    Attributes:
        width: of the network's features.
        channels: arrows of each point.
        depth: times that points hear from each other.
        sparse: points given.
        factor: how many times as many are wanted.
        shapes: generated, to learn from.
        clouds: to learn from, of each shape in turn; a tenth of them for validation.
        files: whether meshes are learned from and tried beside generated shapes.
        The others are those of `Preset`; `samples` counts clouds of held-out shapes.
    """

    width: int = 48
    channels: int = 16
    depth: int = 2
    sparse: int = 128
    factor: int = 4
    shapes: int = 400
    clouds: int = 1000
    files: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "channels", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.sparse >= 16, "sparse", self.sparse, "16 or more")
        require(2 <= self.factor <= 5, "factor", self.factor, "from 2 to 5")
        require(self.shapes >= 1, "shapes", self.shapes, "1 or more")
        require(self.clouds >= 20, "clouds", self.clouds, "20 or more")
        require(self.samples >= LEAST, "samples", self.samples, f"{LEAST} or more")


CloudTask = Task[CloudMethod, CloudPreset]
_CPU = CloudPreset(
    batch=8,
    optimizer="muon",
    lr=1e-2,
    weight_decay=0.01,
    warmup=20,
    steps=1200,
    ema=0.98,
    samples=80,
    threads=1,
)
_DEMO = replace(_CPU, width=32, sparse=64, clouds=200, steps=150, ema=0.95, samples=24, files=False)
_GPU = replace(
    _CPU,
    width=128,
    channels=32,
    depth=4,
    sparse=512,
    shapes=2000,
    clouds=10_000,
    batch=32,
    lr=5e-3,
    warmup=200,
    steps=20_000,
    ema=0.999,
    samples=200,
    threads=None,
    device="auto",
)
CLOUD_METHODS = {
    method.name: method
    for method in (
        CloudMethod(name="aligned", summary="from jittered midpoints, in the order of least work"),
        CloudMethod(name="unaligned", summary="the same in random order", align=False),
    )
}
CLOUD_PRESETS = {"demo": _DEMO, "cpu": _CPU, "gpu": _GPU}
