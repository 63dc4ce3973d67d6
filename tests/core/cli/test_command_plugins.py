"""Commands that other packages add."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from flowatlas import plugins
from flowatlas.cli import main
from flowatlas.cli.main import commands, load_command
from flowatlas.errors import ConfigError

MODULE = """
import argparse

def parser():
    made = argparse.ArgumentParser(exit_on_error=False)
    made.add_argument("--turns", type=int, default=1)
    return made

def run(options):
    print("unwound", options.turns)
    return 3
"""


@pytest.fixture(autouse=True)
def _plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unwinding_command.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [EntryPoint("mine unwind", "unwinding_command", plugins.COMMANDS)]
    found = EntryPoints(points)
    monkeypatch.setattr(plugins, "entry_points", lambda group: found.select(group=group))
    monkeypatch.setattr(plugins, "distribution", lambda point: "mine")


def test_it_is_listed_without_an_import_and_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands()["mine", "unwind"] == "(of mine)"
    assert main(["--help"]) == 0
    assert "mine unwind" in capsys.readouterr().out
    assert main(["mine", "--help"]) == 0
    assert "mine unwind" in capsys.readouterr().out
    assert "unwinding_command" not in sys.modules
    assert main(["mine", "unwind", "--turns", "4"]) == 3
    assert capsys.readouterr().out == "unwound 4\n"
    sys.modules.pop("unwinding_command", None)


def test_errors_name_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mine", "unwnd"]) == 2
    assert "Did you mean unwind" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="rewind"):
        load_command(("mine", "rewind"))
