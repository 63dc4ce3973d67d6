"""Data files: found, verified, canonical; every failure says what to do."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from flowatlas.data import DataSet, files, find, verify
from flowatlas.data.earth import FLOOD, VOLCANO, canonical_csv
from flowatlas.data.torsion import GENERAL
from flowatlas.errors import ConfigError, DataError

ROWS = b"lat,lon\n38.0,25.3\n-4.5,151.0\n"
#: The same rows as a publisher may write them.
FOREIGN = b"# from somewhere, 2012\nLatitude,Longitude\n38,25.30\r\n-4.500,151"


def tiny(**changes: object) -> DataSet:
    """A data set whose file is the two rows above."""
    made = dataclasses.replace(
        VOLCANO, name="earth/tiny", file="earth/tiny.csv", sha256=hashlib.sha256(ROWS).hexdigest()
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no data root, and no network."""
    directory = tmp_path / "cache"
    monkeypatch.setattr(files, "cache_directory", lambda: directory)
    monkeypatch.delenv(files.ROOT_VARIABLE, raising=False)

    def offline(url: str, path: Path) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(files, "_retrieve", offline)
    return directory


def put(root: Path, content: bytes) -> Path:
    path = root / "earth" / "tiny.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_data_root_comes_before_the_variable_and_the_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, variable = tmp_path / "named", tmp_path / "variable"
    paths = [put(root, ROWS) for root in (named, variable, cache)]
    monkeypatch.setenv(files.ROOT_VARIABLE, str(variable))
    assert find(tiny(), named) == paths[0]
    assert find(tiny()) == paths[1]
    monkeypatch.delenv(files.ROOT_VARIABLE)
    assert find(tiny()) == paths[2]


def test_canonical_form_is_one_for_the_ways_of_writing_the_rows(tmp_path: Path) -> None:
    assert canonical_csv(FOREIGN) == canonical_csv(ROWS) == ROWS
    path = put(tmp_path, FOREIGN)
    verify(tiny(), path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"lon,lat\n25.3,38.0\n", "lon,lat"),
        (b"lat,lon\n151.0,-4.5\n", "swapped"),
        (b"lat,lon\n", "no rows"),
        (b"lat,lon\n1.0,2.0,3.0\n", "line 2"),
        (b"lat,lon\n1.0,2.0\nnonsense\n", "line 3"),
    ],
)
def test_columns_and_ranges_are_checked(content: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        canonical_csv(content)


def test_absent_offline_says_url_sha256_and_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find(tiny(), tmp_path)
    message = str(caught.value)
    wanted = (tiny().url, tiny().sha256, str(tmp_path / "earth" / "tiny.csv"), "no route to host")
    for text in wanted:
        assert str(text) in message


def test_absent_without_an_address_says_what_it_is_made_from() -> None:
    with pytest.raises(DataError, match=r"no public address.*733 PDB chains.*sha256"):
        find(GENERAL)


def test_truncated_file_is_an_error_with_both_digests(tmp_path: Path) -> None:
    path = put(tmp_path, ROWS[:-8])
    with pytest.raises(DataError) as caught:
        find(tiny(), tmp_path)
    message = str(caught.value)
    found = hashlib.sha256(ROWS[:-8]).hexdigest()
    for text in (str(path), str(tiny().sha256), found, "Delete it"):
        assert text in message


def test_mislabelled_file_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowatlas.data import registry

    known = tiny(name="earth/known")
    monkeypatch.setattr(registry, "builtin_sets", lambda: (known,))
    path = put(tmp_path, ROWS)
    with pytest.raises(DataError, match="its content is that of earth/known"):
        verify(dataclasses.replace(FLOOD, file="earth/tiny.csv"), path)


def test_a_data_root_that_is_no_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no directory"):
        find(tiny(), tmp_path / "nowhere")


def test_a_download_is_verified_before_it_is_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(content: bytes) -> None:
        def retrieve(url: str, path: Path) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

        monkeypatch.setattr(files, "_retrieve", retrieve)

    serve(b"<html>not found</html>")
    with pytest.raises(DataError, match="expected sha256"):
        find(tiny())
    assert not list(cache.rglob("*.csv*"))
    serve(FOREIGN)
    assert find(tiny()) == cache / "earth" / "tiny.csv"


def test_declarations_are_checked() -> None:
    with pytest.raises(ConfigError, match="sha256"):
        tiny(sha256=None)
