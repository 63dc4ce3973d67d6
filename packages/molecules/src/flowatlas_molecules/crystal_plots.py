"""Pictures of crystals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import INK, figure, style
from flowatlas_molecules.cif import load_pymatgen
from flowatlas_molecules.crystals import Crystal, lattice_matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["cell_gallery", "length_histogram", "match_curve"]

Array = NDArray[Any]
#: Of the eye: about the vertical, then about the horizontal.
_TURN, _TILT = np.deg2rad(24.0), np.deg2rad(14.0)
_CORNERS = np.array(list(product((0, 1), repeat=3)), dtype=float)


def cell_gallery(
    rows: Sequence[Sequence[Crystal]], *, names: Sequence[str], title: str = ""
) -> Figure:
    """Unit cells with their atoms, one row for each set of crystals, at one scale.

    Each crystal is moved so that its first atom is at a corner, for where it is as a whole means
    nothing. Atoms on faces, edges and corners are repeated there.

    Args:
        rows: sets of crystals.
        names: of the sets.
        title: of the whole.
    """
    columns = max(len(row) for row in rows)
    reach = max(float(one.lattice[:3].max()) for row in rows for one in row)
    with style():
        made = figure(1.75 * columns, 2.0 * len(rows) + 0.4)
        panels = made.subplots(len(rows), columns, squeeze=False)
        for axes in panels.flat:
            axes.axis("off")
        for row, name, line in zip(rows, names, panels, strict=True):
            for crystal, axes in zip(row, line, strict=False):
                _draw(axes, crystal, reach)
                axes.set_title(f"{name}: {formula(crystal)}", fontweight="normal", fontsize=7.5)
        if title:
            made.suptitle(title, fontsize=10, fontweight="bold", color=INK)
    return made


def length_histogram(samples: Array, real: Array, *, title: str = "") -> Figure:
    """Lengths of cells, those of samples beside the real ones.

    Args:
        samples: angstrom, `(n, 3)`.
        real: likewise, `(m, 3)`.
        title: of the whole.
    """
    low = min(samples.min(), real.min())
    high = max(samples.max(), real.max())
    bins = np.linspace(low, high, 41)
    with style():
        made = figure(7.4, 2.6)
        for axes, axis, letter in zip(
            made.subplots(1, 3, sharey=True), range(3), "abc", strict=True
        ):
            axes.hist(real[:, axis], bins, density=True, color="#b9c4cd", label="real")
            axes.hist(
                samples[:, axis],
                bins,
                density=True,
                histtype="step",
                color="#1f5f8b",
                lw=1.4,
                label="predicted",
            )
            axes.set(xlabel=f"{letter} (angstrom)")
        made.axes[0].set_ylabel("density")
        made.axes[0].legend(frameon=False, fontsize=8)
        if title:
            made.suptitle(title, fontsize=10, fontweight="bold", color=INK)
    return made


def match_curve(evaluations: Array, rates: Array, levels: Array, *, title: str = "") -> Figure:
    """What matches, and what matches closely, against the number of evaluations of the network.

    Args:
        evaluations: `(n,)`.
        rates: of matches, and of displacements below .1, `(n, 2)`, from 0 to 1.
        levels: the same two of copied structures, `(2,)`.
        title: of the whole.
    """
    with style():
        made = figure(4.6, 3.2)
        axes = made.subplots()
        for kind, colour, rate, level in zip(
            ("matched", "within .1"), ("#1f5f8b", "#c2571a"), rates.T, levels, strict=True
        ):
            axes.plot(evaluations, 100 * rate, "o-", color=colour, ms=4, label=kind)
            axes.axhline(100 * level, color=colour, lw=0.9, ls="--", label=f"{kind}, copied")
        axes.set_xscale("log")
        axes.set_xticks(evaluations, [str(int(n)) for n in evaluations])
        axes.minorticks_off()
        axes.set(xlabel="evaluations", ylabel="share (%)", ylim=(-2, 104))
        axes.legend(frameon=False, fontsize=7.5)
        if title:
            axes.set_title(title, fontsize=10)
    return made


def formula(crystal: Crystal) -> str:
    """The chemical formula, such as SrTiO3, elements in the order of the atoms."""
    names = [load_pymatgen().core.Element.from_Z(z).symbol for z in crystal.elements.tolist()]
    return "".join(
        name + (str(names.count(name)) if names.count(name) > 1 else "")
        for name in dict.fromkeys(names)
    )


def _draw(axes: Axes, crystal: Crystal, reach: float) -> None:
    import matplotlib
    from matplotlib.collections import LineCollection

    matrix = lattice_matrix(crystal.lattice.double()).numpy()
    eye = _eye()
    corners = (_CORNERS - 0.5) @ matrix @ eye.T
    edges = [
        (corners[i, :2], corners[j, :2])
        for i, j in product(range(8), repeat=2)
        if i < j and np.abs(_CORNERS[i] - _CORNERS[j]).sum() == 1
    ]
    axes.add_collection(LineCollection(edges, colors=INK, linewidths=0.7, alpha=0.6, zorder=-1e3))
    colours = matplotlib.colormaps["tab20"]
    for place, number in _repeated(crystal):
        x, y, depth = (place - 0.5) @ matrix @ eye.T
        size = 90 + 2.2 * number
        axes.scatter(
            x, y, s=size, color=colours(number * 7 % 20), edgecolor="white", lw=0.6, zorder=depth
        )
    side = 0.95 * reach
    axes.set(xlim=(-side, side), ylim=(-side, side), aspect="equal")


def _repeated(crystal: Crystal) -> list[tuple[Array, int]]:
    """Atoms in the closed cell, once for each face, edge and corner they are on."""
    numbers = crystal.elements.tolist()
    # The first atom goes to the corner.
    moved = (crystal.fractional - crystal.fractional[:1]).double().remainder(1.0).numpy()
    edge = 0.06
    found = []
    for place, number in zip(moved, numbers, strict=True):
        for turn in product((-1, 0, 1), repeat=3):
            image = place + np.array(turn)
            if (image > -edge).all() and (image < 1 + edge).all():
                found.append((image, number))
    return found


def _eye() -> Array:
    """Columns to the right, up, and towards the reader."""
    a, b = _TURN, _TILT
    about = np.array([[np.cos(a), np.sin(a), 0], [0, 0, 1], [np.sin(a), -np.cos(a), 0]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    eye: Array = tilt @ about
    return eye
