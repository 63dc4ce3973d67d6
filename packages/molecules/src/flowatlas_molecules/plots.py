"""Pictures of backbones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import INK, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["backbone_angles", "chain_gallery"]

Array = NDArray[Any]


def chain_gallery(
    rows: Sequence[Sequence[Array]], *, names: Sequence[str], title: str = ""
) -> Figure:
    """Traces of CA as tubes from blue (N) to red (C), one row for each set of chains.

    Each chain lies in the plane of its two longest axes and has its own scale bar.

    Args:
        rows: sets of chains, each `(n, 3)` in angstrom.
        names: of the sets.
        title: of the whole.
    """
    import matplotlib
    from matplotlib.collections import LineCollection

    colours = matplotlib.colormaps["turbo"]
    columns = max(len(row) for row in rows)
    with style():
        made = figure(2.3 * columns, 2.3 * len(rows) + 0.4)
        panels = made.subplots(len(rows), columns, squeeze=False)
        for axes in panels.flat:
            axes.axis("off")
        for row, name, line in zip(rows, names, panels, strict=True):
            for chain, axes in zip(row, line, strict=False):
                centred = chain - chain.mean(0)
                _, _, principal = np.linalg.svd(centred, full_matrices=False)
                # A reflection would turn the hand of helices.
                principal[2] *= np.sign(np.linalg.det(principal))
                x = centred @ principal.T
                smooth = _smooth(x)
                pieces = np.stack([smooth[:-1], smooth[1:]], 1)
                share = np.linspace(0, 1, len(pieces))
                # From back to front, so that what is near covers what is far.
                order = np.argsort(pieces[:, :, 2].mean(1))
                for width, ink in ((4.2, "white"), (3.0, None)):
                    axes.add_collection(
                        LineCollection(
                            [piece[:, :2] for piece in pieces[order]],
                            colors=ink or colours(0.05 + 0.9 * share[order]),
                            linewidths=width,
                            capstyle="round",
                        )
                    )
                reach = 1.1 * np.abs(x[:, :2]).max()
                axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
                axes.plot([-reach, -reach + 10], [-0.97 * reach] * 2, color=INK, lw=1.2)
                axes.text(-reach, -0.94 * reach, "10 Å", fontsize=6, color=INK, va="bottom")
                axes.set_title(f"{name}: {len(chain)} residues", fontweight="normal", fontsize=8)
        if title:
            made.suptitle(title, fontsize=10, fontweight="bold", color=INK)
    return made


def _smooth(x: Array, points: int = 6) -> Array:
    """A spline through the points, `points` pieces a residue."""
    from scipy.interpolate import CubicSpline

    at = np.arange(len(x))
    fine: Array = CubicSpline(at, x)(np.linspace(0, len(x) - 1, points * (len(x) - 1) + 1))
    return fine


def backbone_angles(real: Array, samples: Array, *, title: str = "", most: int = 4000) -> Figure:
    """Ramachandran plots of real residues and of samples, side by side.

    Args:
        real: phi and psi in radians, `(n, 2)`.
        samples: likewise, `(m, 2)`.
        title: of the whole.
        most: residues drawn at most.
    """
    with style():
        made = figure(6.2, 3.4)
        for axes, angles, name in zip(
            made.subplots(1, 2, sharey=True),
            (real, samples),
            ("held-out chains", "samples"),
            strict=True,
        ):
            degrees = np.rad2deg(angles[:most])
            axes.scatter(*degrees.T, s=3, alpha=0.35, lw=0, color="#1f5f8b")
            axes.set(xlim=(-180, 180), ylim=(-180, 180), aspect="equal", xlabel=r"$\phi$ (degrees)")
            axes.set_xticks([-180, -90, 0, 90, 180])
            axes.set_yticks([-180, -90, 0, 90, 180])
            axes.set_title(f"{name}: {len(angles)} residues", fontweight="normal", fontsize=9)
            axes.axhline(0, color=INK, lw=0.4, alpha=0.35)
            axes.axvline(0, color=INK, lw=0.4, alpha=0.35)
        made.axes[0].set_ylabel(r"$\psi$ (degrees)")
        if title:
            made.suptitle(title, fontsize=10, fontweight="bold", color=INK)
    return made
