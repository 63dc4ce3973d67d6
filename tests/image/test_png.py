"""PNG files in and out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from flowatlas.errors import DataError, ShapeError
from flowatlas_image.data import read_png, write_png


@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_is_lost(channels: int, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (channels, 5, 7), dtype=torch.uint8, generator=generator)
    path = write_png(pixels, tmp_path / "new" / "image.png")
    assert torch.equal(read_png(path, channels=channels), pixels)


def test_axes_are_those_of_the_file(tmp_path: Path) -> None:
    pixels = torch.zeros(3, 2, 3, dtype=torch.uint8)
    pixels[0, 1, 2] = 255
    path = write_png(pixels, tmp_path / "red.png")
    with Image.open(path) as image:
        assert image.size == (3, 2)
        assert image.getpixel((2, 1)) == (255, 0, 0)


def test_other_modes(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (10, 20, 30, 128)).save(tmp_path / "a.png")
    assert read_png(tmp_path / "a.png")[:, 0, 0].tolist() == [10, 20, 30]
    Image.new("L", (4, 4), 77).save(tmp_path / "b.png")
    assert read_png(tmp_path / "b.png")[:, 0, 0].tolist() == [77, 77, 77]
    assert read_png(tmp_path / "b.png", channels=1).shape == (1, 4, 4)


def test_damage_is_named(tmp_path: Path) -> None:
    path = write_png(torch.full((3, 64, 64), 9, dtype=torch.uint8), tmp_path / "image.png")
    content = path.read_bytes()
    for damaged in (b"", b"text", content[:20], content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"image\.png: cannot be read as an image"):
            read_png(path)
    with pytest.raises(DataError, match=r"absent\.png"):
        read_png(tmp_path / "absent.png")


def test_images_too_large_to_open_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_png(torch.zeros(1, 64, 64, dtype=torch.uint8), tmp_path / "image.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"image\.png: cannot be read as an image"):
        read_png(path)


def test_folders_that_cannot_be_made_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match=r"image\.png: cannot be written"):
        write_png(torch.zeros(1, 4, 4, dtype=torch.uint8), tmp_path / "file" / "image.png")


def test_what_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="need uint8"):
        write_png(torch.rand(3, 4, 4), tmp_path / "a.png")
    with pytest.raises(ShapeError, match="channels: got 2"):
        write_png(torch.zeros(2, 4, 4, dtype=torch.uint8), tmp_path / "a.png")
    with pytest.raises(ShapeError, match="channels: got 4"):
        read_png(tmp_path / "a.png", channels=4)
    with pytest.raises(DataError, match=r"must end in \.png"):
        write_png(torch.zeros(1, 4, 4, dtype=torch.uint8), tmp_path / "a.jpg")
