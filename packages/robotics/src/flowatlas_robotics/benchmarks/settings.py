"""What fixes a run of a benchmark of policies: how chunks are drawn, how large, how long."""

from __future__ import annotations

from dataclasses import dataclass

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.contract import Task
from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.preset import Preset

__all__ = ["METHODS", "PolicyMethod", "PolicyPreset", "PolicyTask"]


@dataclass(frozen=True, kw_only=True)
class PolicyMethod(Method):
    """A flow policy, and how its chunks are drawn.

    Attributes:
        evaluations: Euler steps for a chunk, of the headline numbers.
        scaling: of observations and actions, `"limits"` or `"standard"`.
        prediction: of the network, `"velocity"` or `"target"`.
    """

    evaluations: int = 4
    scaling: str = "limits"
    prediction: str = "velocity"

    def __post_init__(self) -> None:
        require(self.evaluations >= 1, "evaluations", self.evaluations, "1 or more")
        allowed = self.scaling in ("limits", "standard")
        require(allowed, "scaling", self.scaling, "limits or standard")
        known = self.prediction in ("velocity", "target")
        require(known, "prediction", self.prediction, "velocity or target")


@dataclass(frozen=True, kw_only=True)
class PolicyPreset(Preset):
    """Network, demonstrations and trials.

    Attributes:
        width: units of each hidden layer.
        depth: hidden layers.
        cloud_width: of the encoder of clouds of points, where they are observed.
        demonstrations: episodes to learn from; a tenth of them, at least one, for validation.
        The others are those of `Preset`; `samples` counts trials of each policy.
    """

    width: int = 512
    depth: int = 4
    demonstrations: int = 50
    cloud_width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "depth", "cloud_width"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.demonstrations >= 2, "demonstrations", self.demonstrations, "2 or more")


PolicyTask = Task[PolicyMethod, PolicyPreset]
METHODS = {
    method.name: method
    for method in (
        PolicyMethod(name="flow", summary="chunks of actions by a flow from noise"),
        PolicyMethod(
            name="target",
            summary="the same flow, by a network that predicts the chunk itself",
            prediction="target",
        ),
    )
}
