"""OBJ files: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flowatlas.errors import DataError
from flowatlas.manifolds import Mesh

GOOD = """\
# a square and a triangle beside it
o thing
v 0 0 0
v 1 0 0 1.0
v 1 1 0  # a corner
v 0 1 0
vt 0.5 0.5
vn 0 0 1
v 2 0.5 0
f 1/1/1 2/1/1 3//1 4
f -1 3 2
"""


def written(path: Path, text: str) -> Path:
    file = path / "mesh.obj"
    file.write_text(text, encoding="utf-8")
    return file


def test_polygons_texture_and_negative_numbers_are_read(tmp_path: Path) -> None:
    mesh = Mesh.from_file(written(tmp_path, GOOD))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [4, 2, 1]]
    assert mesh.area == pytest.approx(1.5)
    assert mesh.has_boundary
    torch.testing.assert_close(mesh.vertices[4], torch.tensor([2.0, 0.5, 0.0]).double())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("f -1 3 2", "f 9 3 2", "names vertex 9, and there are 5"),
        ("f -1 3 2", "f 0 3 2", "numbered from 1"),
        ("f -1 3 2", "f 3 2", "three corners"),
        ("f -1 3 2", "f a 3 2", "line 11"),
        ("v 2 0.5 0", "v 2 0.5", "three finite coordinates"),
        ("v 2 0.5 0", "v 2 0.5 nan", "three finite coordinates"),
        ("f ", "x ", "no faces"),
    ],
)
def test_corrupt_files_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Mesh.from_file(written(tmp_path, GOOD.replace(old, new)))


def test_files_that_are_no_text_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "mesh.obj"
    with pytest.raises(DataError, match="cannot be read"):
        Mesh.from_file(file)
    file.write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="no text"):
        Mesh.from_file(file)
