"""How every picture looks, and how it becomes a file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.errors import FlowAtlasError

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = [
    "BASELINE",
    "DATA",
    "MODEL",
    "PALETTE",
    "cyclic_colours",
    "density_colours",
    "figure",
    "png",
    "refine",
    "save",
    "style",
]

#: Data, the model, and what the model is compared with.
DATA, MODEL, BASELINE = "#e4572e", "#1f5f8b", "#8d96a3"
#: Lines that are told apart by colour.
PALETTE = ("#1f5f8b", "#e4572e", "#2e8b6f", "#edae49", "#7a5195", "#5d6d7e")
INK, FAINT = "#22303c", "#c9d1d9"

_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.labelsize": 9.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def style() -> Iterator[None]:
    """The project's settings of matplotlib, for as long as the block lasts."""
    try:
        import matplotlib
    except ImportError as error:
        raise FlowAtlasError(
            "matplotlib: not installed, and pictures need it. Run: pip install matplotlib "
            "(or: pip install 'flowatlas[plots]')"
        ) from error
    with matplotlib.rc_context(_SETTINGS):
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, drawn without a display or global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def density_colours() -> Colormap:
    """From paper white, for nothing, to dark blue."""
    from matplotlib.colors import LinearSegmentedColormap

    stops = ["#f8fafc", "#d3e3ef", "#92bfdc", "#4a90bf", "#1f5f8b", "#0c2f4f"]
    return LinearSegmentedColormap.from_list("flowatlas", stops)


def cyclic_colours() -> Colormap:
    """For angles: its two ends meet."""
    from matplotlib.colors import LinearSegmentedColormap

    stops = ["#7a5195", "#1f5f8b", "#2e8b6f", "#edae49", "#e4572e", "#7a5195"]
    return LinearSegmentedColormap.from_list("flowatlas_cyclic", stops)


def refine(values: NDArray[Any], factor: int, *, wrap: tuple[bool, bool]) -> NDArray[Any]:
    """Cell values on a grid `factor` times finer in both directions, by linear interpolation.

    Args:
        values: `(rows, columns)`.
        factor: how many new cells each is cut into.
        wrap: which axes are periodic; others continue with their last value.
    """
    for axis in (0, 1):
        n = values.shape[axis]
        padding = [(0, 0), (0, 0)]
        padding[axis] = (1, 1)
        padded = np.pad(values, padding, mode="wrap" if wrap[axis] else "edge")
        place = (np.arange(n * factor) + 0.5) / factor + 0.5
        low = np.floor(place).astype(int)
        part = (place - low).reshape((-1, 1) if axis == 0 else (1, -1))
        below, above = np.take(padded, low, axis), np.take(padded, low + 1, axis)
        values = (1 - part) * below + part * above
    return values


def png(made: Figure, *, dpi: int = 120) -> bytes:
    """The picture as PNG, with a palette of 256 colours: a third of the size, no worse to see."""
    from PIL import Image

    full, small = io.BytesIO(), io.BytesIO()
    with style():
        made.savefig(full, format="png", dpi=dpi)
    image = Image.open(full).convert("RGB")
    image.quantize(256, method=Image.Quantize.MEDIANCUT).save(small, "png", optimize=True)
    return small.getvalue()


def save(made: Figure, path: str | Path, *, dpi: int = 160) -> Path:
    """Write the picture to a file whose suffix names the format (png, pdf, svg)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        path.write_bytes(png(made, dpi=dpi))
    else:
        with style():
            made.savefig(path, dpi=dpi)
    return path
