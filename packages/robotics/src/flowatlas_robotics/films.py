"""Episodes as moving pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.errors import ConfigError, DataError, ShapeError

__all__ = ["discs", "save_gif"]

Array = NDArray[Any]


def discs(
    across: Array, up: Array, shown: Iterable[tuple[Array, float, tuple[int, int, int]]]
) -> NDArray[np.uint8]:
    """A picture of discs on white, later ones above earlier ones.

    Args:
        across: places of the columns of pixels.
        up: places of the rows, from the top.
        shown: centre, radius and colour of each disc.

    Returns:
        `(rows, columns, 3)`.
    """
    picture = np.full((len(up), len(across), 3), 255, np.uint8)
    for (x, y), radius, colour in shown:
        # Only the square around a disc is looked at: a trail has many, and small ones.
        columns = np.flatnonzero(np.abs(across - x) < radius)
        rows = np.flatnonzero(np.abs(up - y) < radius)
        inside = np.hypot(across[columns] - x, (up[rows] - y)[:, None]) < radius
        i, j = inside.nonzero()
        picture[rows[i], columns[j]] = colour
    return picture


def save_gif(frames: Sequence[Array], path: Path, *, rate: float = 20.0) -> Path:
    """Write frames as an animation that repeats, and whose last frame stays for a second.

    Args:
        frames: pictures `(height, width, 3)` of 8 bits.
        path: of the file, ending in .gif.
        rate: frames per second, at most 50: viewers slow faster ones down.

    Raises:
        ConfigError: another rate or ending.
        ShapeError: no frame, or frames that are no such pictures.
        DataError: the file cannot be written.

    Example:
        ```python
        from pathlib import Path

        import numpy as np

        from flowatlas_robotics import save_gif

        shades = [np.full((32, 32, 3), shade, np.uint8) for shade in (0, 120, 240)]
        save_gif(shades, Path("shades.gif"))
        ```
    """
    if not 0 < rate <= 50 or path.suffix != ".gif":
        raise ConfigError(
            f"rate, path: got {rate}, {path.name}; the rate must be in (0, 50], and the path end "
            "in .gif."
        )
    shapes = {(frame.shape, frame.dtype) for frame in frames}
    if len(shapes) != 1 or next(iter(shapes))[0][2:] != (3,) or frames[0].dtype != np.uint8:
        raise ShapeError(
            f"frames: got {sorted(map(str, shapes))}; all must be (height, width, 3) of uint8."
        )
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames]
    # Times in a file are hundredths of a second.
    step = 10 * round(100 / rate)
    times = [step] * (len(pictures) - 1) + [1000]
    try:
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=times, loop=0)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}).") from error
    return path
