"""Writes docs/composition.md: what composes with what, found by trying.

python docs/_generate_composition.py

Every mark is a call that ran on a tiny state when the page was written; every number is an error
that it raised. A test writes the page again and compares. A new path is a line of `ROWS`, a new
prediction, source, coupling, solver or use a line of its table.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any

import torch
from torch import Tensor

import flowatlas as fa
from flowatlas._points import by_name
from flowatlas.errors import CapabilityError, FlowAtlasError
from flowatlas.paths.base import StatePath
from flowatlas.paths.continuous import ContinuousPath

PAGE = File(__file__).with_name("composition.md")

#: Samples of a tiny batch, and points of each.
BATCH, POINTS = 4, 2


@dataclass(frozen=True)
class Row:
    """A path: how it is made, and data for it."""

    name: str
    kind: type[Any]
    args: tuple[Any, ...]
    data: Callable[[], Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, **options: Any) -> Any:
        """The path with other settings than its usual ones."""
        for name in options:
            self.takes(name)
        return self.kind(*self.args, **{**self.options, **options})

    def takes(self, option: str) -> None:
        """Raise unless the class has that setting."""
        if option not in inspect.signature(self.kind).parameters:
            raise CapabilityError(f"`{self.kind.__name__}` takes no `{option}=`.")


def _points(manifold: Any, *point: int) -> Callable[[], Tensor]:
    return lambda: manifold.projx(torch.randn(BATCH, POINTS, *point, generator=_generator()))


def _tokens() -> Tensor:
    return torch.randint(4, (BATCH, POINTS), generator=_generator())


def _vertices() -> Tensor:
    return torch.nn.functional.one_hot(_tokens(), 4).float()


def _three() -> dict[str, Tensor]:
    return {
        "place": torch.randn(BATCH, POINTS, 2, generator=_generator()),
        "direction": _points(fa.Sphere(), 3)(),
        "token": _tokens(),
    }


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class Product(fa.ProductPath):
    """A product of three kinds; settings go to the continuous ones."""

    def __init__(self, *, prediction: str = "velocity", scheduler: Any = None) -> None:
        super().__init__(
            place=fa.AffinePath(scheduler, prediction=prediction),
            direction=fa.GeodesicPath(fa.Sphere(), scheduler=scheduler, prediction=prediction),
            token=fa.MixturePath(4, scheduler=scheduler),
        )


MESH = fa.Mesh.icosphere(1)

ROWS = (
    Row("`AffinePath`", fa.AffinePath, (), _points(fa.Euclidean(), 3)),
    Row("`AffinePath`, VP", fa.AffinePath, (fa.LinearVP(),), _points(fa.Euclidean(), 3)),
    Row("`BridgePath`", fa.BridgePath, (0.5,), _points(fa.Euclidean(), 3)),
    Row("`GeodesicPath`, sphere", fa.GeodesicPath, (fa.Sphere(),), _points(fa.Sphere(), 3)),
    Row("`GeodesicPath`, SO(3)", fa.GeodesicPath, (fa.SO3(),), _points(fa.SO3(), 3, 3)),
    Row("`SpectralPath`", fa.SpectralPath, (MESH,), _points(MESH, 3), {"eigenfunctions": 20}),
    Row("`MixturePath`, mask", fa.MixturePath, (4,), _tokens),
    Row("`MixturePath`, uniform", fa.MixturePath, (4,), _tokens, {"source": "uniform"}),
    Row("`DirichletPath`", fa.DirichletPath, (4,), _vertices),
    Row("`CatFlowPath`", fa.CatFlowPath, (4,), _vertices),
    Row("`ProductPath` of three", Product, (), _three),
)

#: A use: raises a `FlowAtlasError` where it is not possible.
Use = Callable[[Row], Any]


class Still:
    """A field that predicts no motion, of the shapes that a path wants."""

    def __init__(self, path: StatePath) -> None:
        self.path = path

    def null_condition(self, condition: Any) -> Any:
        return condition

    def __call__(self, x: Any, t: Tensor, condition: Any = None, **masks: Any) -> Any:
        found = {}
        for name, component in self.path.components.items():
            value = by_name(x)[name]
            if not isinstance(component, ContinuousPath):
                found[name] = torch.zeros(*value.shape, component.vocab)  # type: ignore[attr-defined]
            elif component.prediction == "target":
                found[name] = value
            else:
                found[name] = value.new_zeros(component.prediction_shape(value))
        return found["x"] if isinstance(x, Tensor) else found


def _shape(x: Any) -> Any:
    shapes = {name: tuple(value.shape) for name, value in by_name(x).items()}
    return shapes["x"] if isinstance(x, Tensor) else shapes


def _train(path: StatePath, x_1: Any, *, coupling: Any = None, **options: Any) -> None:
    objective = fa.FlowMatching(path, coupling=coupling)
    loss = objective(Still(path), x_1, generator=_generator(), validate=True, **options).loss
    assert bool(torch.isfinite(loss)), loss


def _draw(path: StatePath, x_1: Any, solver: Any = None, **options: Any) -> Any:
    alone = all(not isinstance(one, ContinuousPath) for one in path.components.values())
    usual = fa.TauLeaping(2) if alone else fa.Euler(2)
    return fa.sample(
        Still(path),
        path,
        shape=_shape(x_1),
        solver=solver or usual,
        generator=_generator(),
        **options,
    )


def _predicts(kind: str) -> Use:
    def use(row: Row) -> None:
        path, x_1 = row.build(prediction=kind), row.data()
        _train(path, x_1)
        _draw(path, x_1)

    return use


def _space(row: Row) -> Any:
    path = row.build()
    if not isinstance(path, ContinuousPath):
        raise CapabilityError(f"{row.kind.__name__} has no manifold.")
    return path.manifold


def _starts(source: Callable[[Row], Any]) -> Use:
    def use(row: Row) -> None:
        row.takes("source")
        path, x_1 = row.build(source=source(row)), row.data()
        _train(path, x_1)
        _draw(path, x_1)

    return use


def _pairs(coupling: Callable[[StatePath], Any]) -> Use:
    def use(row: Row) -> None:
        path, x_1 = row.build(), row.data()
        _train(
            path,
            x_1,
            x_0=path.draw(x_1, generator=_generator()),
            coupling=coupling(path),
            condition={"label": torch.zeros(BATCH)},
        )

    return use


def _solves(solver: Callable[[], Any]) -> Use:
    return lambda row: _draw(row.build(), row.data(), solver())


def _likelihood(x: Any, *_: Any) -> Tensor:
    moving = [value for value in by_name(x).values() if value.is_floating_point()]
    return sum((value.flatten(1).sum(1) for value in moving), torch.zeros(BATCH))


def _guided(guidance: Callable[[Any, StatePath], Any]) -> Use:
    def use(row: Row) -> None:
        path, x_1 = row.build(), row.data()
        alone = all(not isinstance(one, ContinuousPath) for one in path.components.values())
        fa.sample(
            guidance(Still(path), path),
            path,
            shape=_shape(x_1),
            condition={"label": torch.zeros(BATCH)},
            solver=fa.TauLeaping(2) if alone else fa.Euler(2),
            generator=_generator(),
        )

    return use


def _first(row: Row, path: StatePath, x_1: Any) -> dict[str, Tensor]:
    """Masks of the first point of each component."""
    found = {}
    for name, component in path.components.items():
        value = by_name(x_1)[name]
        mask = torch.zeros(value.shape[: value.ndim - component.point_ndim], dtype=torch.bool)
        mask[:, :1] = True
        found[name] = mask
    return found


def _lone(named: Mapping[str, Any], x_1: Any) -> Any:
    return named["x"] if isinstance(x_1, Tensor) else named


def _masked(row: Row) -> None:
    path, x_1 = row.build(), row.data()
    mask = _lone(_first(row, path, x_1), x_1)
    _train(path, x_1, mask=mask)
    _draw(path, x_1, mask=mask)


def _held(row: Row) -> None:
    path, x_1 = row.build(), row.data()
    masks = _first(row, path, x_1)
    fixed = _lone({name: (mask, by_name(x_1)[name]) for name, mask in masks.items()}, x_1)
    _train(path, x_1, fixed=fixed)
    _draw(path, x_1, fixed=fixed)


def _replaced(row: Row) -> None:
    path, x_1 = row.build(), row.data()
    masks = _first(row, path, x_1)
    given = {name: fa.Replacement(mask, by_name(x_1)[name]) for name, mask in masks.items()}
    _draw(path, x_1, fixed=_lone(given, x_1))


def _timed(row: Row) -> None:
    _train(row.build(), row.data(), t=torch.rand(BATCH, POINTS, generator=_generator()))


def _scheduled(row: Row) -> None:
    path, x_1 = row.build(), row.data()
    if isinstance(path, fa.ProductPath):
        path = path.with_schedule(**{name: fa.Polynomial(2) for name in path.components})
    elif hasattr(path, "with_schedule"):
        path = path.with_schedule(fa.Polynomial(2))
    _draw(path, x_1)


def _encoded(row: Row) -> None:
    fa.encode(Still(row.build()), row.build(), row.data(), solver=fa.Euler(2))


def _scored(row: Row) -> None:
    fa.log_prob(Still(row.build()), row.build(), row.data(), solver=fa.Euler(2))


def _in_a_product(row: Row) -> None:
    path, x_1 = row.build(), row.data()
    both = fa.ProductPath(other=fa.AffinePath(), own=path)
    state = {"other": torch.zeros(BATCH, 2), "own": x_1}
    _train(both, state)
    _draw(both, state)


#: Tables by their heading, with the sentence above them and their columns.
TABLES: dict[str, tuple[str, dict[str, Use]]] = {
    "Predictions": (
        "`prediction=`: trained and sampled.",
        {
            kind: _predicts(kind)
            for kind in ("velocity", "target", "noise", "score", "logits", "denoiser")
        },
    ),
    "Sources": (
        "`source=`: trained and sampled.",
        {
            "`Gaussian`": _starts(lambda row: fa.Gaussian()),
            "`Uniform`": _starts(lambda row: fa.Uniform(_space(row))),
            "`WrappedNormal`": _starts(
                lambda row: fa.WrappedNormal(_space(row), row.data()[0, 0], 0.5)
            ),
            "`Empirical`": _starts(lambda row: fa.Empirical(row.data())),
            "`Dirichlet`": _starts(lambda row: fa.Dirichlet(1.0)),
            "`Mask`": _starts(lambda row: fa.Mask()),
            "`UniformTokens`": _starts(lambda row: fa.UniformTokens()),
        },
    ),
    "Couplings": (
        "`FlowMatching(path, coupling=)`, with the path's usual prediction.",
        {
            "`Independent`": _pairs(lambda path: fa.Independent()),
            "`MinibatchOT`": _pairs(fa.MinibatchOT),
            "`Sinkhorn`": _pairs(lambda path: fa.Sinkhorn(path, epsilon=5.0)),
            "`GibbsWeighted`": _pairs(lambda path: fa.GibbsWeighted(path, 2.0)),
            "`WithinCondition`": _pairs(
                lambda path: fa.WithinCondition(fa.MinibatchOT(path), "label")
            ),
            "`Paired`": _pairs(lambda path: fa.Paired()),
        },
    ),
    "Solvers": (
        "`sample(..., solver=)`.",
        {
            "`Euler`": _solves(lambda: fa.Euler(2)),
            "`Midpoint`": _solves(lambda: fa.Midpoint(2)),
            "`Heun`": _solves(lambda: fa.Heun(2)),
            "`RK4`": _solves(lambda: fa.RK4(2)),
            "`Dopri5`": _solves(lambda: fa.Dopri5(1e-2, 1e-2)),
            "`TauLeaping`": _solves(lambda: fa.TauLeaping(2)),
            "`AdaptiveTauLeaping`": _solves(lambda: fa.AdaptiveTauLeaping(0.5)),
            "`EulerMaruyama`": _solves(lambda: fa.EulerMaruyama(2, diffusion=0.1)),
            "`StochasticHeun`": _solves(lambda: fa.StochasticHeun(2, diffusion=0.1)),
            "`Resampling(Euler)`": _solves(lambda: fa.Resampling(fa.Euler(2), 2)),
        },
    ),
    "Guidance": (
        "`sample(guidance(field, path), path)`.",
        {
            "`ClassifierFree`": _guided(lambda f, path: fa.ClassifierFree(f, path, 2.0)),
            "with `rescale`": _guided(lambda f, path: fa.ClassifierFree(f, path, 2.0, rescale=0.5)),
            "`CFGZero`": _guided(lambda f, path: fa.CFGZero(f, path, 2.0)),
            "`RAAG`": _guided(lambda f, path: fa.RAAG(f, path, 2.0)),
            "`Autoguidance`": _guided(lambda f, path: fa.Autoguidance(f, f, path, 2.0)),
            "`Classifier`": _guided(lambda f, path: fa.Classifier(f, path, _likelihood)),
            "with `strength`": _guided(
                lambda f, path: fa.Classifier(f, path, _likelihood, strength=torch.ones_like)
            ),
            "`TokenClassifier`": _guided(
                lambda f, path: fa.TokenClassifier(f, path, lambda x, *_: torch.zeros(*x.shape, 4))
            ),
        },
    ),
    "The rest": (
        "`mask` and `fixed` in training and sampling, `Replacement` in sampling, a time for each "
        "point in training, another schedule in sampling, `encode`, `log_prob`, and a product "
        "with an `AffinePath`.",
        {
            "mask": _masked,
            "fixed": _held,
            "`Replacement`": _replaced,
            "times by point": _timed,
            "`with_schedule`": _scheduled,
            "`encode`": _encoded,
            "`log_prob`": _scored,
            "in a product": _in_a_product,
        },
    ),
}

HEAD = """\
# What composes with what

Every ● is a call that ran on a tiny state; every number is the error that it raised instead, below
its table. The page is written by `docs/_generate_composition.py`, which makes the calls, and a test
writes it again. What products are is told in [Products](concepts/products.md).
"""


def reason(use: Use, row: Row) -> str | None:
    """Why that does not work; None if it does."""
    try:
        use(row)
    except FlowAtlasError as error:
        text = " ".join(str(error).split()).replace("|", "\\|").replace("<", "&lt;")
        # How far off is a matter of what was drawn.
        return re.sub(r" with relative residual \S+ above the \S+ allowed in [\w.]+\.", ".", text)
    return None


def table(title: str) -> list[str]:
    """The lines of one table, with its notes."""
    sentence, columns = TABLES[title]
    notes: list[str] = []
    lines = ["", f"## {title}", "", sentence, ""]
    lines.append("| | " + " | ".join(columns) + " |")
    lines.append("|---" * (len(columns) + 1) + "|")
    for row in ROWS:
        cells = []
        for use in columns.values():
            why = reason(use, row)
            if why is not None and why not in notes:
                notes.append(why)
            cells.append("●" if why is None else str(notes.index(why) + 1))
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return [*lines, "", *(f"{i}. {note}" for i, note in enumerate(notes, 1))]


def render() -> str:
    """The page."""
    parts = [HEAD.rstrip(), *(line for title in TABLES for line in table(title))]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(PAGE)
