"""CIFAR-10, from the official archive in its binary version; nothing is unpickled."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path

import numpy as np
import torch

from flowatlas.errors import DataError
from flowatlas_image.data.image_set import ImageSet
from flowatlas_image.data.labelled import ImageParts, LabelledImages

__all__ = ["CIFAR10", "read_cifar10"]

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
_SHAPE = (3, 32, 32)
#: One byte of label, then the red, green and blue planes, row by row.
_RECORD = 1 + 3 * 32 * 32
_FOLDER = "cifar-10-batches-bin"
_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_TEST = "test_batch.bin"
_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"


def read_cifar10(path: Path | None) -> ImageParts:
    """Both parts, from `cifar-10-binary.tar.gz` or from the folder with its files.

    A file is a sequence of records: a byte with the label, then 1024 bytes each of red, green and
    blue, row by row.

    Raises:
        DataError: a file that is missing, truncated, or has labels that are none; the message names
            it.

    Reference: Learning Multiple Layers of Features from Tiny Images, Krizhevsky, 2009; the layout
    is described on the set's page, https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    assert path is not None
    if path.is_dir():
        files = {name: _file(path / name) for name in (*_TRAIN, _TEST)}
    else:
        files = _archive(path)
    parts = {name: _records(f"{path}: {name}", content) for name, content in files.items()}
    train = LabelledImages(
        torch.cat([parts[name].pixels for name in _TRAIN]),
        torch.cat([parts[name].labels for name in _TRAIN]),
    )
    return ImageParts(train, parts[_TEST], CLASSES)


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). The folder must hold "
            f"{', '.join((*_TRAIN, _TEST))}, as cifar-10-binary.tar.gz has them."
        ) from error


def _archive(path: Path) -> dict[str, bytes]:
    files = {}
    try:
        with tarfile.open(path) as archive:
            for name in (*_TRAIN, _TEST):
                # Read, not extracted: no path of the archive touches the disc.
                member = archive.extractfile(f"{_FOLDER}/{name}")
                if member is None:
                    raise KeyError(f"{_FOLDER}/{name} is no file")
                files[name] = member.read()
    except (KeyError, OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(
            f"{path}: is no archive with {_FOLDER}/{_TRAIN[0]} and the other files of the binary "
            f"version ({error}). Fetch {_URL} again; the Python version holds pickles, which are "
            "not read here."
        ) from error
    return files


def _records(where: str, content: bytes) -> LabelledImages:
    if not content or len(content) % _RECORD:
        raise DataError(
            f"{where}: has {len(content)} bytes; records are of {_RECORD}. It is truncated or of "
            f"another format. Fetch {_URL} again."
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, _RECORD)
    labels = torch.from_numpy(records[:, 0].astype(np.int64))
    if int(labels.max()) >= len(CLASSES):
        raise DataError(
            f"{where}: has a label {int(labels.max())}; they go from 0 to {len(CLASSES) - 1}. "
            f"It is corrupt. Fetch {_URL} again."
        )
    return LabelledImages(torch.from_numpy(records[:, 1:].copy()).view(-1, *_SHAPE), labels)


#: Photographs in colour, 32 x 32 pixels, from the official binary archive.
CIFAR10 = ImageSet(
    name="image/cifar10",
    summary="60 000 photographs of ten kinds of things, colour, 32 x 32 pixels",
    read=read_cifar10,
    origin="https://www.cs.toronto.edu/~kriz/cifar.html, binary version",
    licence="none stated",
    file="images/cifar-10-binary.tar.gz",
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    url=_URL,
)
