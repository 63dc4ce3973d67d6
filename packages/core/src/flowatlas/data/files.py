"""Where the file of a data set is, and whether it is the right one."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from flowatlas.data.dataset import DataSet
from flowatlas.errors import DataError

__all__ = ["ROOT_VARIABLE", "cache_directory", "find", "verify", "where"]

#: Names a directory that holds data files, for every command and every test.
ROOT_VARIABLE = "FLOWATLAS_DATA"


def cache_directory() -> Path:
    """The platform's cache directory for FlowAtlas: where downloads go."""
    import pooch

    return Path(pooch.os_cache("flowatlas"))


def find(data: DataSet, data_root: str | os.PathLike[str] | None = None) -> Path | None:
    """Path of the verified file of `data`; None if the set has no file.

    It is looked for in `data_root` (or the directory that FLOWATLAS_DATA names), then in the cache,
    and is else downloaded into the cache.

    Raises:
        DataError: the file is nowhere and cannot be downloaded, or is not the right one.
    """
    if data.file is None:
        return None
    path = where(data, data_root)
    if path is None:
        return _download(data, _root(data_root))
    verify(data, path)
    return path


def where(data: DataSet, data_root: str | os.PathLike[str] | None = None) -> Path | None:
    """Where the file of `data` lies, unverified; None if it is in none of the places."""
    if data.file is None:
        return None
    root = _root(data_root)
    for place in ([] if root is None else [root]) + [cache_directory()]:
        if (place / data.file).exists():
            return place / data.file
    return None


def _root(data_root: str | os.PathLike[str] | None) -> Path | None:
    """The directory that the caller or the environment names."""
    root = data_root if data_root is not None else os.environ.get(ROOT_VARIABLE)
    if not root:
        return None
    if not Path(root).is_dir():
        raise DataError(
            f"data_root: {str(root)!r} is no directory. Name an existing one with --data-root or "
            f"{ROOT_VARIABLE}, or leave both out to use the cache, {cache_directory()}."
        )
    return Path(root)


def verify(data: DataSet, path: Path) -> None:
    """Raise unless the file at `path` is the one that `data` names.

    Raises:
        DataError: it cannot be read, or its sha256 is another; the message has both and the fix.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). Check its permissions."
        ) from error
    if data.sha256 in (hashlib.sha256(content).hexdigest(), _canonical_sha256(data, content)):
        return
    raise DataError(
        f"{path}: not the file of {data.name}: {_mistaken(data, content)}expected sha256 "
        f"{data.sha256}, found {hashlib.sha256(content).hexdigest()} ({len(content)} bytes). "
        f"Delete it and {_how_to_get(data)}."
    )


def _canonical_sha256(data: DataSet, content: bytes) -> str | None:
    if data.canonical is None:
        return None
    try:
        return hashlib.sha256(data.canonical(content)).hexdigest()
    except ValueError:
        return None


def _mistaken(data: DataSet, content: bytes) -> str:
    """Which other set the content is of, if it is one we know."""
    from flowatlas.data.registry import builtin_sets

    for other in builtin_sets():
        if other.name != data.name and other.sha256 is not None:
            digests = {hashlib.sha256(content).hexdigest(), _canonical_sha256(other, content)}
            if other.sha256 in digests:
                return f"its content is that of {other.name}; "
    return "" if content else "it is empty; "


def _how_to_get(data: DataSet) -> str:
    if data.url is None:
        return f"restore the file made from {data.origin}"
    return f"fetch {data.url} again"


def _download(data: DataSet, root: Path | None) -> Path:
    assert data.file is not None
    places = f"{(root or Path('DATA_ROOT')) / data.file} (named by --data-root or {ROOT_VARIABLE})"
    target = cache_directory() / data.file
    if data.url is None:
        raise DataError(
            f"{data.name}: the file {data.file} was not found, and has no public address: it is "
            f"made from {data.origin}. Put it at {places} or {target}; its sha256 is {data.sha256}."
        )
    temporary = target.with_name(target.name + ".part")
    try:
        _retrieve(data.url, temporary)
    except Exception as error:
        # requests, urllib3 and pooch raise a dozen unrelated kinds for "no network".
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise DataError(
            f"{data.name}: the file {data.file} was not found and could not be downloaded "
            f"({reason}). Fetch {data.url} on a machine with network access and put it at "
            f"{places} or {target}; its sha256 is {data.sha256}"
            f"{' (of the file, or of its rows in canonical form)' if data.canonical else ''}."
        ) from error
    try:
        verify(data, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _retrieve(url: str, path: Path) -> None:
    """Download with pooch. The sha256 is checked by `verify`, which knows canonical forms."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        pooch.retrieve(
            url,
            known_hash=None,
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(timeout=30),
        )
    finally:
        logger.setLevel(level)
