"""Events on the Earth: volcanic eruptions, earthquakes, floods and fires.

Reference: Riemannian Score-Based Generative Modelling, De Bortoli et al., 2022, arXiv:2202.02763,
section 5.1, whose repository is the origin of the files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowatlas.data.dataset import DataSet
from flowatlas.errors import DataError
from flowatlas.manifolds import Sphere

__all__ = ["EARTHQUAKE", "FIRE", "FLOOD", "VOLCANO", "canonical_csv", "degrees", "unit_vectors"]

_REPOSITORY = "oxcsml/riemannian-score-sde"
_COMMIT = "5b48a7f7e175894afb6933f5e5f367b5a0eb65d7"


def unit_vectors(latitude: Tensor, longitude: Tensor) -> Tensor:
    """Points of the sphere `(..., 3)`: x towards (0, 0), y towards 90 degrees east, z north.

    Args:
        latitude: degrees north, `(...)`.
        longitude: degrees east, `(...)`.
    """
    lat, lon = torch.deg2rad(latitude), torch.deg2rad(longitude)
    return torch.stack(
        [torch.cos(lat) * torch.cos(lon), torch.cos(lat) * torch.sin(lon), torch.sin(lat)], -1
    )


def degrees(x: Tensor) -> tuple[Tensor, Tensor]:
    """Latitude and longitude in degrees of points `(..., 3)`: the inverse of `unit_vectors`."""
    latitude = torch.atan2(x[..., 2], torch.linalg.vector_norm(x[..., :2], dim=-1))
    return torch.rad2deg(latitude), torch.rad2deg(torch.atan2(x[..., 1], x[..., 0]))


def canonical_csv(content: bytes) -> bytes:
    """The rows as `lat,lon` shortest decimals: one form for the files' several headers and zeros.

    Raises:
        ValueError: a row that is not two numbers.
    """
    rows = _rows(content.decode("ascii"))
    return "".join(["lat,lon\n", *(f"{lat!r},{lon!r}\n" for lat, lon in rows)]).encode("ascii")


def _rows(text: str) -> list[tuple[float, float]]:
    """Rows of numbers after any comment and one line of column names.

    Raises:
        ValueError: other than two columns, or columns that are not latitude and longitude.
    """
    rows: list[tuple[float, float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.split(",")]
        try:
            latitude, longitude = (float(cell) for cell in cells)
        except ValueError:
            if not rows and _is_header(cells):
                continue
            raise ValueError(
                f"line {number} is {line[:40]!r}; expected latitude,longitude in degrees"
            ) from None
        if not (abs(latitude) <= 90 and abs(longitude) <= 180):
            raise ValueError(
                f"line {number} has latitude {latitude}, longitude {longitude}; they must lie in "
                "[-90, 90] and [-180, 180] degrees. Are the columns swapped?"
            )
        rows.append((latitude, longitude))
    if not rows:
        raise ValueError("no rows of numbers")
    return rows


def _is_header(cells: list[str]) -> bool:
    """Whether a line before the numbers is a comment, prose, or the names of the right columns."""
    names = [cell.lower() for cell in cells]
    swapped = len(names) >= 2 and names[0].startswith("lon") and names[1].startswith("lat")
    return not swapped and not all(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read(path: Path | None) -> Tensor:
    assert path is not None
    try:
        rows = _rows(path.read_text(encoding="ascii"))
    except ValueError as error:
        raise DataError(f"{path}: {error}.") from error
    latitude, longitude = torch.from_numpy(np.array(rows, dtype=np.float64)).unbind(-1)
    return unit_vectors(latitude, longitude)


def _earth(name: str, upstream: str, sha256: str, summary: str, provider: str) -> DataSet:
    return DataSet(
        name=f"earth/{name}",
        summary=f"{summary}; unit vectors from latitude and longitude",
        manifold=Sphere,
        read=_read,
        origin=f"{_REPOSITORY}@{_COMMIT[:12]}/data/{upstream}",
        licence=f"none stated ({provider})",
        file=f"earth/{name}.csv",
        sha256=sha256,
        url=f"https://raw.githubusercontent.com/{_REPOSITORY}/{_COMMIT}/data/{upstream}",
        canonical=canonical_csv,
    )


VOLCANO = _earth(
    "volcano",
    "volerup.csv",
    "38fd467d104fb0693aa558c13b89388d8fc11e9e940fa75c4a3b969cb82ec117",
    "827 volcanic eruptions",
    "NOAA",
)
EARTHQUAKE = _earth(
    "earthquake",
    "quakes_all.csv",
    "a633e81ba576bf8fbccd1bfec8ca454b02bd5be96472a917e731bf5732993a5c",
    "6120 earthquakes",
    "NOAA",
)
FLOOD = _earth(
    "flood",
    "flood.csv",
    "aa51e9db41c739291bc8f66500730a507943f21dbca2430ea0c3779f3b628153",
    "4875 floods",
    "Dartmouth Flood Observatory",
)
FIRE = _earth(
    "fire",
    "fire.csv",
    "a39988c7ed48bfbf4d1b3e1ba440f7425fb042ad5899fef299599b0e26c97e0a",
    "12809 fires",
    "NASA FIRMS",
)
