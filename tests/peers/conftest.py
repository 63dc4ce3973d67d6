"""What the peer tests share: a note of what a peer does, and the smallest discrete path."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

#: Notes what a peer does in the test report, without a verdict: a peer that has been repaired is no
#: failure of ours.
Observe = Callable[[str, Callable[[], Any]], Any]


@pytest.fixture
def observe(record_property: Callable[[str, object], None]) -> Observe:
    """`observe(name, fn)`: the result of `fn`, or the exception it raises, put on record."""

    def run(name: str, fn: Callable[[], Any]) -> Any:
        try:
            result = fn()
        except Exception as error:
            result = error
        record_property(name, repr(result))
        return result

    return run


@pytest.fixture(scope="session")
def two_tokens() -> ModuleType:
    """The module with `TwoTokenMaskPath`, which stands for discrete paths."""
    file = Path(__file__).parents[1] / "core" / "paths" / "two_tokens.py"
    spec = importlib.util.spec_from_file_location("two_tokens", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
