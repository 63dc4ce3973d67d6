"""Methods and presets of benchmarks on images with classes."""

from __future__ import annotations

from dataclasses import dataclass

from flowatlas.benchmarks import Method, Preset
from flowatlas.benchmarks.config import require
from flowatlas.couplings import Coupling, Independent, MinibatchOT, WithinCondition
from flowatlas.manifolds import Euclidean
from flowatlas.solvers import Euler, Midpoint, Solver

__all__ = ["IMAGE_METHODS", "ImageMethod", "ImagePreset"]


@dataclass(frozen=True, kw_only=True)
class ImageMethod(Method):
    """One way to train and sample a flow of images with classes.

    Attributes:
        coupling: `"independent"`, or `"ot"`: minibatch optimal transport among the images of each
            class by themselves, which leaves the noise independent of the class.
        solver: `"euler"` or `"midpoint"`.
        evaluations: of the guided field, per sample; even for `"midpoint"`.
        scale: of classifier-free guidance; at 1 there is none, and above it a call is on twice the
            batch.
        dropout: probability with which training hides the class.
        given: share of the training images of which the network is given a part, for completions;
            at 0 it is built without a place for given pixels.
    """

    coupling: str = "independent"
    solver: str = "euler"
    evaluations: int = 10
    scale: float = 1.0
    dropout: float = 0.1
    given: float = 0.0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("coupling", ("independent", "ot")),
            ("solver", ("euler", "midpoint")),
        ):
            value = getattr(self, name)
            require(value in allowed, name, value, f"one of {', '.join(allowed)}")
        require(self.evaluations >= 1, "evaluations", self.evaluations, "1 or more")
        even = self.solver == "euler" or self.evaluations % 2 == 0
        require(even, "evaluations", self.evaluations, "even for midpoint")
        require(0 < self.dropout < 1, "dropout", self.dropout, "between 0 and 1")
        require(0 <= self.given <= 1, "given", self.given, "from 0 to 1")

    @property
    def nfe(self) -> int:
        """Evaluations of the field per sample."""
        return self.evaluations

    def build_coupling(self) -> Coupling:
        """The coupling, within classes."""
        if self.coupling == "independent":
            return Independent()
        return WithinCondition(MinibatchOT(Euclidean(point_ndim=0)), "label")

    def build_solver(self, evaluations: int) -> Solver:
        """The solver that asks for the field so often; Euler for a single time."""
        if self.solver == "euler" or evaluations < 2:
            return Euler(steps=evaluations)
        return Midpoint(steps=self.steps(evaluations))

    def steps(self, evaluations: int) -> int:
        """Steps of the solver for so many evaluations."""
        return evaluations if self.solver == "euler" else evaluations // 2


@dataclass(frozen=True, kw_only=True)
class ImagePreset(Preset):
    """Network, budget and scoring of one run on images.

    Attributes:
        width: channels of the U-Net's finest level; each further level has twice as many.
        levels: resolutions.
        patch: side of the squares of pixels that are channels to it.
        blocks: residual blocks of a level, each way.
        curve: numbers of evaluations for the curve of quality against cost.
        classifier_steps: of the classifier whose features are compared.
        completed: test images of which the lower half is taken away and filled.
        The others are those of `Preset`.
    """

    width: int
    levels: int = 2
    patch: int = 1
    blocks: int = 1
    curve: tuple[float, ...] = (1, 2, 4, 10)
    classifier_steps: int = 600
    completed: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.width >= 8 and self.width % 8 == 0, "width", self.width, "a multiple of 8")
        for name in ("levels", "patch", "blocks", "classifier_steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.completed >= 8, "completed", self.completed, "8 or more")
        require(self.samples >= 64, "samples", self.samples, "64 or more")
        whole = all(n == int(n) and n >= 1 for n in self.curve)
        require(whole, "curve", self.curve, "whole numbers of at least 1")

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each level of the network."""
        return tuple(self.width * 2**level for level in range(self.levels))


#: The ways to train, by name. Ways to sample a trained flow are curves of every run.
IMAGE_METHODS = {
    method.name: method
    for method in (
        ImageMethod(name="guided", summary="class-conditional, guided at 1.5, Euler", scale=1.5),
        ImageMethod(
            name="ot",
            summary="guided at 1.5, optimal transport within classes, Euler",
            scale=1.5,
            coupling="ot",
        ),
        ImageMethod(
            name="given",
            summary="guided at 1.5, half of the training images with given pixels, Euler",
            scale=1.5,
            given=0.5,
        ),
    )
}
