"""Safetensors files that are written whole or not at all, and read with suspicion."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from flowatlas.errors import DataError

__all__ = ["read_bytes", "read_json", "read_tensors", "write_bytes", "write_json", "write_tensors"]

#: How files begin that torch.save or pickle wrote.
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: whoever opens `path` finds the old content or the new, never a part.

    The bytes go to a temporary file beside it, reach the disk, and take its name.

    Raises:
        DataError: the file cannot be written. What was at `path` before is still there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            _remove(temporary)
            raise
    except OSError as error:
        kept = "The previous file is intact. " if path.exists() else ""
        raise DataError(
            f"{path}: cannot be written ({error.strerror}; {len(content)} bytes). {kept}Free disk "
            "space, raise the file-size limit (ulimit -f), correct the permissions of "
            f"{path.parent}, or name another directory."
        ) from error
    _sync_directory(path.parent)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # The error that led here says more.


def _sync_directory(path: Path) -> None:
    """Make a rename durable, where directories can be opened (not on Windows)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        return
    finally:
        os.close(descriptor)


def read_bytes(path: Path, what: str) -> bytes:
    """The content of `path`, or a `DataError` that says it is to be a `what`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: the {what} cannot be read ({error.strerror}). Check the path and its "
            "permissions."
        ) from error


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path, what: str) -> dict[str, object]:
    """The JSON object in `path`."""
    content = read_bytes(path, what)
    try:
        value = json.loads(content)
    except ValueError as error:
        raise DataError(f"{path}: the {what} is not valid JSON ({error}). Restore it.") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: the {what} must be a JSON object, not {type(value).__name__}.")
    return value


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors, atomically, with a checksum among the metadata.

    Raises:
        DataError: the file cannot be written.
    """
    from safetensors.torch import save

    ready = _apart(tensors)
    header = {"format": "pt", **(metadata or {})}
    write_bytes(path, save(ready, {**header, "crc32": _checksum(ready, header)}))


def read_tensors(
    path: Path, what: str, *, foreign: bool
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Nothing is ever unpickled.

    Args:
        path: of the file.
        what: it is, in messages.
        foreign: whether another library may have written it, without our checksum.

    Raises:
        DataError: the file cannot be read, is truncated, corrupt, or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = read_bytes(path, what)
    again = "Restore it from a copy, or write it again."
    try:
        tensors = load(content)
        metadata = _metadata(content)
    except (SafetensorError, ValueError, TypeError) as error:
        if content.startswith(_PICKLES):
            raise DataError(
                f"{path}: this is a pickle, not the safetensors file that a {what} is, and "
                "FlowAtlas never unpickles: that runs code from the file. If you trust where it "
                "comes from, convert it with safetensors.torch.save_file(torch.load(path, "
                "weights_only=True), new_path)."
            ) from error
        raise DataError(
            f"{path}: the {what} is truncated, corrupt, or no safetensors file ({error}; "
            f"{len(content)} bytes). {again}"
        ) from error
    stated = metadata.pop("crc32", None)
    if stated is None and not foreign:
        raise DataError(
            f"{path}: no {what}: it has no checksum, so it is corrupt, or weights that another "
            f"library wrote. {again}"
        )
    if stated is not None and stated != _checksum(tensors, metadata):
        raise DataError(f"{path}: the {what} is corrupt: its checksum does not match. {again}")
    return tensors, metadata


def _metadata(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return {str(key): str(value) for key, value in metadata.items()}


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors in host memory, no two of which share storage: the format wants that."""
    ready: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().to("cpu").contiguous()
        storage = tensor.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != tensor.numel() * tensor.element_size():
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        ready[name] = tensor
    return ready


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """CRC-32 of metadata, names, shapes, dtypes and bytes, in the order of the names."""
    value = zlib.crc32(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        value = zlib.crc32(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode(), value)
        if tensor.numel():
            content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
            value = zlib.crc32(content, value)
    return f"{value:08x}"
