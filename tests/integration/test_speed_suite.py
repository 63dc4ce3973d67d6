"""The speed suite runs and writes its tables; how fast anything is, is no matter of a test."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).parents[2] / "benchmarks" / "run.py"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """`python benchmarks/run.py` in a process of its own: it sets threads and warnings."""
    return subprocess.run(
        [sys.executable, str(RUN), *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


def test_help_says_what_there_is() -> None:
    done = run("--help")
    assert done.returncode == 0, done.stderr
    for word in ("--only", "--quick", "--output", "path_loss", "pairing", "python benchmarks/run"):
        assert word in done.stdout


def test_an_unknown_family_is_an_error_that_lists_them(tmp_path: Path) -> None:
    done = run("--only", "path_los", "--output", str(tmp_path / "made"))
    assert done.returncode == 2
    said = done.stdout + done.stderr
    for word in ("--only", "'path_los'", "path_loss", "pairing"):
        assert word in said
    assert "Traceback" not in said
    assert not (tmp_path / "made").exists()


def test_tables_are_written(tmp_path: Path) -> None:
    done = run("--quick", "--only", "path_loss", "pair*", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "speed.md").read_text()
    stored = json.loads((tmp_path / "speed.json").read_text())
    assert {"date", "processor", "versions"} <= set(stored["machine"])
    assert list(stored["families"]) == ["Path, target and loss", "Optimal pairing"]
    for family, results in stored["families"].items():
        assert f"## {family}" in page
        for result in results:
            assert result["name"] in page and result["size"] in page
            check_rows(result["rows"])
    # Bare loops are there whatever is installed.
    rows = [row for result in stored["families"]["Path, target and loss"] for row in result["rows"]]
    assert "bare" in {row["name"] for row in rows}
    assert "targets met" in done.stdout and str(tmp_path / "speed.md") in done.stdout


def check_rows(rows: list[dict[str, Any]]) -> None:
    """Ours first, without a ratio to itself; every time and ratio is a positive number."""
    assert rows[0]["name"] == "ours" and rows[0]["ratio"] is None
    spreads = [row["seconds"] for row in rows] + [row["ratio"] for row in rows[1:]]
    for spread in spreads:
        assert 0 < spread["low"] <= spread["median"] <= spread["high"] < math.inf
    for row in rows[1:]:
        met = None if row["at_most"] is None else row["ratio"]["median"] <= row["at_most"]
        assert row["met"] is met


@pytest.mark.parametrize("words", [["--only"], ["--onyl", "x"]], ids=" ".join)
def test_wrong_options_are_errors(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert "usage:" in done.stderr and "Traceback" not in done.stderr
