"""Sets of images with classes: the files, the division, and what is said of corrupt ones."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from flowatlas.errors import DataError, ShapeError
from flowatlas_image.data import (
    CIFAR10,
    DIGITS,
    FASHION,
    MNIST,
    ImageParts,
    ImageSet,
    LabelledImages,
    read_cifar10,
)

TRAIN = [f"data_batch_{i}.bin" for i in range(1, 6)]


def labelled(count: int) -> LabelledImages:
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    return LabelledImages(pixels, torch.arange(count) % 3)


@pytest.mark.parametrize("images", [MNIST, FASHION])
def test_official_files(images: ImageSet, data_root: Path) -> None:
    parts = images.load(data_root)
    assert (len(parts.train), len(parts.test)) == (60_000, 10_000)
    assert parts.event_shape == (1, 28, 28)
    assert torch.equal(parts.test.labels.unique(), torch.arange(10))
    # Published means: 0.1307 of MNIST, 0.2860 of Fashion-MNIST, of pixels in [0, 1].
    mean = float(parts.train.pixels.double().mean()) / 255
    assert mean == pytest.approx(
        {"image/mnist": 0.1307, "image/fashion": 0.2860}[images.name], abs=1e-4
    )


def test_first_labels_are_in_original_order(data_root: Path) -> None:
    assert MNIST.load(data_root).train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert FASHION.load(data_root).train.labels[:5].tolist() == [9, 0, 0, 3, 0]


def test_digits_are_divided_once() -> None:
    parts, again = DIGITS.load(), DIGITS.load()
    assert (len(parts.train), len(parts.test)) == (1297, 500)
    assert torch.equal(parts.test.pixels, again.test.pixels)
    assert int(parts.train.pixels.max()) == 255
    assert float(parts.train.x_1.min()) == -1.0
    counts = torch.bincount(parts.test.labels, minlength=10)
    assert int(counts.min()) >= 30


def test_the_core_sees_points_of_flat_space() -> None:
    points = DIGITS.points
    x = points.checked(points.read(None), "digits")
    assert x.shape == (1297, 1, 8, 8)
    assert float(x.abs().max()) <= 1


def test_division_is_a_partition() -> None:
    whole = labelled(30)
    whole = LabelledImages(whole.pixels, torch.arange(30) // 10)
    first, second = whole.divided(10, seed=1)
    both = torch.cat([first.pixels, second.pixels])[:, 0, 0, 0]
    assert sorted(both.tolist()) == list(range(30))
    assert len(first) == 10
    # Rows that are sorted by class must not stay together.
    assert first.labels.unique().numel() == 3
    for part in (first, second):
        assert torch.equal(part.labels, part.pixels[:, 0, 0, 0].long() // 10)
    assert torch.equal(whole.divided(10, seed=1)[0].labels, first.labels)
    assert not torch.equal(whole.divided(10, seed=2)[0].labels, first.labels)
    with pytest.raises(DataError, match="both parts need images"):
        labelled(3).divided(3, seed=0)


def test_labelled_images_are_checked() -> None:
    with pytest.raises(ShapeError, match="pixels: got shape"):
        LabelledImages(torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(3).long())
    with pytest.raises(ShapeError, match="one label per image"):
        LabelledImages(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.zeros(2).long())
    with pytest.raises(DataError, match="there are 2 classes"):
        ImageParts(labelled(3), labelled(3), ("a", "b"))
    with pytest.raises(DataError, match="labels go from -1 to 1"):
        ImageParts(
            LabelledImages(labelled(3).pixels, torch.tensor([0, -1, 1])), labelled(3), ("a",) * 3
        )
    with pytest.raises(DataError, match="holds no images"):
        ImageParts(labelled(3), labelled(0), ("a", "b", "c"))


def test_corrupt_npz(tmp_path: Path) -> None:
    good = tmp_path / "good.npz"
    arrays = {
        "train_images": np.zeros((2, 28, 28), np.uint8),
        "train_labels": np.zeros(2, np.uint8),
        "test_images": np.zeros((1, 28, 28), np.uint8),
        "test_labels": np.zeros(1, np.uint8),
    }
    np.savez(good, **arrays)  # type: ignore[arg-type]
    assert len(MNIST.read(good).train) == 2
    content = good.read_bytes()
    bad = tmp_path / "bad.npz"
    for damaged in (b"", b"no archive", content[: len(content) // 2]):
        bad.write_bytes(damaged)
        with pytest.raises(DataError, match=r"bad\.npz.*train_images"):
            MNIST.read(bad)
    np.savez(bad, **{**arrays, "train_images": np.zeros((2, 27, 28), np.uint8)})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"expected uint8 \(n, 28, 28\)"):
        MNIST.read(bad)
    np.savez(bad, **{**arrays, "train_images": np.zeros((2, 28, 28), np.float32)})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="float32; expected uint8"):
        MNIST.read(bad)
    np.savez(bad, **{**arrays, "test_labels": np.zeros(3, np.uint8)})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one per image"):
        MNIST.read(bad)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mnist.npz").write_bytes(b"something else")
    with pytest.raises(DataError, match="sha256"):
        MNIST.load(tmp_path)


def record(label: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    return bytes([label]) + rng.integers(256, size=3072, dtype=np.uint8).tobytes()


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """A folder as the official archive has it, of three images a file."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for i, name in enumerate([*TRAIN, "test_batch.bin"]):
        (folder / name).write_bytes(b"".join(record(i, 10 * i + k) for k in range(3)))
    return folder


def archive(folder: Path) -> Path:
    path = folder.parent / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as made:
        made.add(folder, arcname=folder.name)
    return path


def test_cifar10_layout(cifar: Path) -> None:
    from_folder, from_archive = read_cifar10(cifar), read_cifar10(archive(cifar))
    for parts in (from_folder, from_archive):
        assert parts.train.labels.tolist() == [i for i in range(5) for _ in range(3)]
        assert parts.test.labels.tolist() == [5, 5, 5]
        assert parts.event_shape == (3, 32, 32)
    assert torch.equal(from_folder.train.pixels, from_archive.train.pixels)
    # The plane of green begins after 1024 bytes of red; rows are of 32.
    raw = record(0, 1)[1:]
    assert int(from_folder.train.pixels[1, 1, 2, 3]) == raw[1024 + 2 * 32 + 3]


def test_cifar10_damage_is_named(cifar: Path) -> None:
    bad = cifar / "data_batch_3.bin"
    good = bad.read_bytes()
    for content, words in (
        (good[:-1], "9218 bytes; records are of 3073"),
        (b"", "0 bytes"),
        (bytes([12]) + good[1:], "has a label 12"),
    ):
        bad.write_bytes(content)
        with pytest.raises(DataError, match=rf"data_batch_3\.bin.*{words}"):
            read_cifar10(cifar)
    bad.unlink()
    with pytest.raises(DataError, match=r"data_batch_3\.bin: cannot be read"):
        read_cifar10(cifar)
    with pytest.raises(DataError, match="pickles"):
        read_cifar10(archive(cifar))
    broken = cifar.parent / "broken.tar.gz"
    broken.write_bytes(archive(cifar).read_bytes()[:2000])
    with pytest.raises(DataError, match=r"broken\.tar\.gz: is no archive"):
        read_cifar10(broken)


def test_cifar10_pickles_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as made:
        entry = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        entry.size = 4
        made.addfile(entry, io.BytesIO(b"\x80\x04N."))
    with pytest.raises(DataError, match="binary version"):
        read_cifar10(path)


def test_absent_cifar10_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowatlas.data.files.cache_directory", lambda: tmp_path / "cache")

    def offline(url: str, path: Path) -> None:
        raise OSError("no network")

    monkeypatch.setattr("flowatlas.data.files._retrieve", offline)
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz.*c4a38c50a1bc5f3a") as caught:
        CIFAR10.load(tmp_path)
    assert "put it at" in str(caught.value)
