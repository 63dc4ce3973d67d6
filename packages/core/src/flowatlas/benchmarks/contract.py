"""What a benchmark declares, what it is asked for, and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from numpy.typing import NDArray

from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.preset import Preset
from flowatlas.errors import ConfigError
from flowatlas.plugins import close_matches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]
M = TypeVar("M", bound=Method)
P = TypeVar("P", bound=Preset)

__all__ = ["Benchmark", "Metric", "Outcome", "Published", "Task"]


@dataclass(frozen=True, slots=True)
class Metric:
    """How a number is to be read.

    Attributes:
        key: name in `metrics`.
        label: heading in tables.
        better: `"lower"`, `"higher"`, or `""` for numbers that are no score.
        digits: after the point.
    """

    key: str
    label: str
    better: str = "lower"
    digits: int = 3


@dataclass(frozen=True, slots=True)
class Published:
    """A number from the literature.

    Attributes:
        metric: key of the metric it is to be read beside.
        method: as its authors call it.
        value: mean.
        spread: standard deviation over their seeds, None if not stated.
        reference: authors, year and identifier.
        comparable: whether data and protocol are the same as here.
        note: what differs.
    """

    metric: str
    method: str
    value: float
    spread: float | None
    reference: str
    comparable: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Generic[M, P]):
    """One run that was asked for.

    Attributes:
        method: what to train.
        preset: how large and how long.
        seed: of the split, the initial weights, the training and the samples.
        directory: for checkpoints; nobody else writes there.
        resume: whether to go on from a checkpoint in `directory`.
        data_root: directory with data files, None for the default places.
        progress: whether to show progress bars.
    """

    method: M
    preset: P
    seed: int
    directory: Path
    resume: bool = False
    data_root: Path | None = None
    progress: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run found.

    Attributes:
        metrics: numbers by name.
        nfe: evaluations of the field per sample drawn.
        arrays: what the pictures need, by name.
        notes: what else to remember, in words: how a choice was made.
    """

    metrics: Mapping[str, float]
    nfe: int
    arrays: Mapping[str, Array]
    notes: Mapping[str, str] = field(default_factory=dict)


class Benchmark(ABC, Generic[M, P]):
    """Data, methods, presets, metrics and published values under one name.

    ```python
    class Mine(Benchmark[PointMethod, PointPreset]):
        name, summary = "mine/first", "a thing worth measuring"
        data, licence = "mine/stars", "CC BY 4.0"
        methods = {"condot": METHODS["condot"]}
        presets = {"demo": PointPreset(width=64, depth=2, batch=256, lr=1e-3, steps=200)}
        metrics = (Metric("nll", "test NLL"),)

        def run(self, task): ...              # an Outcome
        def figures(self, arrays, title): ...  # {caption: matplotlib figure}
    ```

    Declared in the entry-point group `flowatlas.benchmarks` (an instance of it), it shows up in
    `flowatlas bench list`, runs with `flowatlas bench run` and has its section in the report.

    Attributes:
        name: `group/benchmark`.
        summary: one line.
        data: what data it runs on, stand-ins named as such.
        licence: of the data.
        methods: by name; the first is the default.
        presets: by name, some of `demo`, `cpu` and `gpu`. A demo preset needs no data beyond what
            ships inside dependencies.
        metrics: in the order of the columns; the first is the headline.
        baselines: what the method is compared with on the same data, as prefix and label: the
            metric `kde/nll` is the `nll` of the baseline `kde`.
        published: numbers from the literature.
        protocol: how data are split and choices made, in a sentence or two.
    """

    name: str
    summary: str
    data: str
    licence: str
    methods: Mapping[str, M]
    presets: Mapping[str, P]
    metrics: tuple[Metric, ...]
    baselines: Mapping[str, str] = MappingProxyType({})
    published: tuple[Published, ...] = ()
    protocol: str = ""

    @abstractmethod
    def run(self, task: Task[M, P]) -> Outcome:
        """Train, sample and score."""

    @abstractmethod
    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        """Pictures by caption, from the arrays of an outcome.

        Args:
            arrays: as in `Outcome.arrays`.
            title: to put above each.
        """

    @property
    def default_method(self) -> str:
        """Name of the first method."""
        return next(iter(self.methods))

    def method(self, name: str | None) -> M:
        """A method of this benchmark, the default one if `name` is None.

        Raises:
            ConfigError: it has no such method.
        """
        found: M = _named(self.name, "method", self.methods, name or self.default_method)
        return found

    def preset(self, name: str) -> P:
        """A preset of this benchmark.

        Raises:
            ConfigError: it has no such preset.
        """
        found: P = _named(self.name, "preset", self.presets, name)
        return found


def _named(benchmark: str, what: str, known: Mapping[str, Any], name: str) -> Any:
    if name not in known:
        raise ConfigError(
            f"{what}: {benchmark} has no {what} {name!r}.{close_matches(name, known)} "
            f"Allowed: {', '.join(known)}."
        )
    return known[name]
