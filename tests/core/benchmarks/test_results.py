"""JSON lines: whole, in order, and safe from crashes; tables and reports made of them."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from flowatlas.benchmarks import Result, benchmark, report
from flowatlas.benchmarks.results import FILE_NAME, append, latest, read
from flowatlas.benchmarks.tables import section
from flowatlas.errors import DataError, FlowAtlasError

RESULT = Result(
    benchmark="earth/flood",
    method="geodesic",
    preset="cpu",
    config={"steps": 10},
    seed=0,
    versions={"python": "3.11"},
    machine={"system": "Linux", "processor": "a processor", "cores": 2, "threads": 1},
    wall_time=1.5,
    nfe=100,
    metrics={"nll": 0.5, "nll_distinct": 0.6, "kde_fixed/nll": 0.56, "copies": 0.003},
)


def variant(**changes: object) -> Result:
    return dataclasses.replace(RESULT, **changes)  # type: ignore[arg-type]


def test_lines_come_back_as_they_were(tmp_path: Path) -> None:
    second = variant(seed=1, notes={"checkpoint": "step 3"})
    for result in (RESULT, second):
        append(tmp_path, result)
    assert read(tmp_path) == [RESULT, second]
    for line in (tmp_path / FILE_NAME).read_text().splitlines():
        assert set(json.loads(line)) >= {
            *("benchmark", "method", "config", "seed", "versions", "machine"),
            *("wall_time", "nfe", "metrics"),
        }


def test_numbers_that_json_has_not_become_null(tmp_path: Path) -> None:
    append(tmp_path, variant(metrics={"nll": float("nan"), "energy": float("inf")}))
    assert read(tmp_path)[0].metrics == {"nll": None, "energy": None}


def test_a_line_cut_short_costs_only_itself(tmp_path: Path) -> None:
    append(tmp_path, RESULT)
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write('{"benchmark": "earth/fl')
    append(tmp_path, variant(seed=2))
    assert [result.seed for result in read(tmp_path)] == [0, 2]


def test_a_foreign_line_is_an_error_with_its_number(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"epoch": 3}\n')
    with pytest.raises(DataError, match="line 1"):
        read(tmp_path)
    with pytest.raises(DataError, match="not found"):
        read(tmp_path / "nowhere")


def test_an_unwritable_directory_is_an_error_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FlowAtlasError, match="--output"):
        append(tmp_path / "file", RESULT)


def test_a_later_line_replaces_an_earlier_one() -> None:
    newer = variant(metrics={"nll": 0.4})
    assert latest([RESULT, variant(seed=1), newer]) == [newer, variant(seed=1)]


def test_seeds_are_averaged_and_kinds_kept_apart() -> None:
    results = [RESULT, variant(seed=1, metrics={"nll": 0.7, "kde_fixed/nll": 0.60})]
    table = section(benchmark("earth/flood"), results)
    rows = {row.kind: row for row in table.rows}
    cell = rows["method"].cells["nll"]
    assert cell.mean == pytest.approx(0.6) and cell.count == 2
    assert cell.spread == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert rows["baseline"].cells["nll"].mean == pytest.approx(0.58)
    assert "Riemannian" in rows["published"].label
    best = table.best("published")
    assert best is not None and best.cells["nll"].mean == 0.42


def test_commands_name_changed_settings() -> None:
    declared = benchmark("earth/flood")
    from flowatlas.benchmarks.config import changed, settings

    preset = changed(declared.presets["cpu"], {"steps": 77})
    config = json.loads(json.dumps({**settings(preset), **settings(declared.methods["geodesic"])}))
    (command,) = section(
        declared, [variant(config=config), variant(config=config, seed=1)]
    ).commands
    assert command == (
        "flowatlas bench run earth/flood --method geodesic --preset cpu --seed 0,1 --set steps=77 "
        "--output DIR"
    )


class _Resources(HTMLParser):
    """Every address in the page that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = ("src", "srcset", "data", "poster") + (("href",) if tag == "link" else ())
        self.found += [value or "" for name, value in attrs if name in names]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Results of two seeds, with arrays to draw."""
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(50, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    np.savez(
        tmp_path / "arrays.npz",
        points=unit,
        samples=unit,
        log_density=np.full((60, 120), -2.5),
        curve_nfe=np.array([2, 4]),
        curve_euler=np.array([0.1, 0.01]),
        curve_floor=np.array(0.001),
        loss_steps=np.arange(10.0),
        loss=rng.random(10),
        validation_steps=np.array([5.0]),
        validation=np.array([0.5]),
    )
    for seed in (0, 1):
        append(tmp_path, variant(seed=seed, arrays="arrays.npz", notes={"checkpoint": "<last>"}))
    return tmp_path


def test_a_report_labels_its_numbers_and_needs_nothing_else(directory: Path) -> None:
    written = report(directory)
    markdown = written.markdown.read_text()
    html = written.html.read_text()
    for text in (markdown, html):
        for label in ("(measured)", "(published)", "0.500 ± 0.000", "0.42", "arXiv:2302.03660"):
            assert label in text
        assert "flowatlas bench run earth/flood" in text
    resources = _Resources()
    resources.feed(html)
    assert len(resources.found) == 3
    assert all(address.startswith("data:image/png;base64,") for address in resources.found)
    assert not re.search(r"@import|url\(", html)
    assert "&lt;last&gt;" in html
    for path in re.findall(r"!\[.*?\]\((.*?)\)", markdown):
        assert (directory / path).is_file()


def test_a_report_is_written_without_pictures_if_need_be(directory: Path) -> None:
    (directory / "arrays.npz").unlink()
    written = report(directory)
    assert "0.500" in written.markdown.read_text()


def test_a_report_of_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("")
    with pytest.raises(DataError, match="no results"):
        report(tmp_path)
