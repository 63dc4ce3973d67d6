"""Image files in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowatlas.errors import DataError, ShapeError

__all__ = ["read_png", "write_png"]

_MODES = {1: "L", 3: "RGB"}


def read_png(path: str | Path, *, channels: int = 3) -> Tensor:
    """The pixels of an image file, uint8 `(channels, height, width)`.

    Colours become grey, and grey is repeated, as `channels` asks; transparency is dropped. Formats
    other than PNG that Pillow knows are read too.

    Args:
        path: of the file.
        channels: 1 for grey, 3 for red, green and blue.

    Raises:
        DataError: the file is missing, truncated or no image; the message names it.
        ShapeError: a number of channels that is neither.
    """
    _mode(channels)
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.array(image.convert(_MODES[channels]), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"{path}: cannot be read as an image ({reason}). It is missing, truncated or of "
            "another format: open it in a viewer, and save it again as PNG."
        ) from error
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


def write_png(pixels: Tensor, path: str | Path) -> Path:
    """Write one image without loss; folders are made where they are missing.

    Args:
        pixels: uint8 `(channels, height, width)` with one channel or three; `to_pixels` makes them
            from samples.
        path: of the file, ending in `.png`.

    Returns:
        The path.

    Raises:
        ShapeError: a tensor that is no image.
        DataError: the file cannot be written, or is not called `.png`.

    Example:
        ```python
        from flowatlas_image import to_pixels
        from flowatlas_image.data import write_png

        write_png(to_pixels(torch.rand(3, 32, 32) * 2 - 1), "sample.png")
        ```
    """
    path = Path(path)
    if pixels.dtype != torch.uint8 or pixels.ndim != 3:
        raise ShapeError(
            f"pixels: got shape {tuple(pixels.shape)}, {pixels.dtype}; need uint8 (channels, "
            "height, width). Use to_pixels(x) for samples in [-1, 1]."
        )
    mode = _mode(pixels.shape[0])
    if path.suffix.lower() != ".png":
        raise DataError(f"{path}: must end in .png, which loses nothing. Rename it.")
    array = pixels.permute(1, 2, 0).cpu().numpy()
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(array[..., 0] if mode == "L" else array))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, format="PNG")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}). Check the folder."
        ) from error
    return path


def _mode(channels: int) -> str:
    if channels not in _MODES:
        raise ShapeError(f"channels: got {channels}; 1 for grey, 3 for colours.")
    return _MODES[channels]
