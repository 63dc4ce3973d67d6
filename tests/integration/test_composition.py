"""The table of what composes is what the code does today."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from flowatlas.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "_generate_composition.py"))


def test_the_page_is_that_of_the_code(generator: dict[str, Any]) -> None:
    assert (DOCS / "composition.md").read_text(encoding="utf-8") == generator["render"](), (
        "docs/composition.md is out of date: run python docs/_generate_composition.py"
    )


def test_errors_of_the_library_are_notes_and_others_are_not_hidden(
    generator: dict[str, Any],
) -> None:
    def refused(row: Any) -> None:
        raise ConfigError("x: got 1 | 2;\n use 3.")

    def broken(row: Any) -> None:
        raise RuntimeError("a bug")

    row = generator["ROWS"][0]
    assert generator["reason"](refused, row) == "x: got 1 \\| 2; use 3."
    assert generator["reason"](lambda row: None, row) is None
    with pytest.raises(RuntimeError, match="a bug"):
        generator["reason"](broken, row)
