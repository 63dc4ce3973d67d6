"""Damaged files and places that cannot be written end in an error that says what to do.

Every row of the tables damages a copy of a trained flow, or asks for what cannot be, through the
public API or the command line; see `test_robust.py` for calls with wrong arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowatlas import Sphere
from flowatlas.cli import main
from flowatlas.errors import DataError
from flowatlas.networks import from_pretrained
from flowatlas.training import load_checkpoint, load_network

SMALL = ["width=8", "depth=1", "batch=32", "scales=", "max_seconds=none", "threads=1"]


def train(data: Path, output: Path, *words: str, steps: int = 20) -> list[str]:
    """Words of a short training."""
    head = ["train", "--data", str(data), "--output", str(output), "--preset", "demo", "--quiet"]
    return [*head, *words, "--set", f"steps={steps}", *SMALL]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Every file of a trained flow, by its path below the flow's directory, and its data."""
    root = tmp_path_factory.mktemp("trained")
    data = root / "points.npy"
    np.save(data, np.random.default_rng(0).normal(size=(100, 2)))
    assert main(train(data, root / "flow")) == 0
    files = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def place(tmp_path: Path, trained: Mapping[str, bytes]) -> Path:
    """A copy of that flow, to be damaged, with a file beside it that is no directory."""
    for name, content in trained.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "file").write_text("no directory")
    return tmp_path


def flipped(path: Path) -> None:
    """Change a bit in the last tensor of a file."""
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    """Lose the second half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


CHECKPOINT = "flow/training/checkpoint.safetensors"
WEIGHTS = "flow/network/model.safetensors"

#: What happens to which file, what is then done, and what the error must say.
DAMAGE: list[tuple[str, Callable[[Path], object], Callable[[Path], Any], list[str]]] = [
    (
        CHECKPOINT,
        flipped,
        load_checkpoint,
        ["checkpoint.safetensors", "corrupt", "checksum", "Restore it from a copy"],
    ),
    (
        CHECKPOINT,
        cut,
        load_network,
        ["checkpoint.safetensors", "truncated, corrupt", "bytes", "Restore it from a copy"],
    ),
    (
        WEIGHTS,
        cut,
        lambda path: from_pretrained(path.parent),
        ["model.safetensors", "truncated, corrupt", "bytes", "Restore it from a copy"],
    ),
    (
        WEIGHTS,
        lambda path: path.write_bytes(b"\x80\x04a pickle"),
        lambda path: from_pretrained(path.parent),
        ["model.safetensors", "pickle", "never unpickles", "convert it"],
    ),
]


def check_message(message: str, words: list[str]) -> None:
    """All the words are there, and the message is a sentence of a readable length."""
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"
    assert 20 < len(message) < 700
    assert re.fullmatch(r"[^\n]+[.?]", message), message


@pytest.mark.parametrize(("name", "damage", "act", "words"), DAMAGE)
def test_damaged_checkpoints_are_refused(
    place: Path,
    name: str,
    damage: Callable[[Path], object],
    act: Callable[[Path], Any],
    words: list[str],
) -> None:
    act(place / name)
    damage(place / name)
    with pytest.raises(DataError) as caught:
        act(place / name)
    check_message(str(caught.value), words)


def moved(source: Path, target: Path) -> None:
    """Give a file another name."""
    target.parent.mkdir(exist_ok=True)
    source.rename(target)


def array(path: Path, change: Callable[[Any], Any]) -> None:
    """Rewrite an .npy file."""
    np.save(path, change(np.load(path)))


def bad(x: Any) -> Any:
    x[[3, 4], 0] = np.nan
    return x


#: What is done to the files, the command, and what its one line on standard error must say.
#: `{}` stands for the directory.
COMMANDS: list[tuple[str, Callable[[Path], object], list[str], list[str]]] = [
    (
        "resume from a corrupt checkpoint",
        lambda at: flipped(at / CHECKPOINT),
        ["--resume", *train(Path("{}/points.npy"), Path("{}/flow"))],
        ["checkpoint.safetensors", "corrupt", "Restore it from a copy"],
    ),
    (
        "sample with cut weights",
        lambda at: cut(at / WEIGHTS),
        ["sample", "{}/flow", "--output", "{}/s.npy"],
        ["model.safetensors", "truncated", "Restore it from a copy"],
    ),
    (
        "sample from a cut description",
        lambda at: cut(at / "flow/system.json"),
        ["sample", "{}/flow", "--output", "{}/s.npy"],
        ["system.json", "not valid JSON"],
    ),
    (
        "sample from nothing",
        lambda at: None,
        ["sample", "{}"],
        ["holds no trained system", "flowatlas train --output DIR"],
    ),
    (
        "train on a cut file",
        lambda at: cut(at / "points.npy"),
        train(Path("{}/points.npy"), Path("{}/new")),
        ["points.npy", "cannot be read as .npy", "200 elements", "Write it again"],
    ),
    (
        "train on NaN",
        lambda at: array(at / "points.npy", bad),
        train(Path("{}/points.npy"), Path("{}/new")),
        ["points.npy", "2 of 100", "NaN or infinity", "remove or impute"],
    ),
    (
        "train off the sphere",
        lambda at: array(at / "points.npy", lambda x: np.c_[x, x[:, :1]]),
        train(Path("{}/points.npy"), Path("{}/new"), "--manifold", "sphere"),
        ["points.npy", "Sphere()", "residual", "manifold.projx", "check units"],
    ),
    (
        "latitudes without saying so",
        lambda at: None,
        train(Path("{}/points.npy"), Path("{}/new"), "--manifold", "sphere"),
        ["points.npy", "Sphere()", "residual", "--degrees"],
    ),
    (
        "a file that is another",
        lambda at: moved(at / "points.npy", at / "points.npz"),
        train(Path("{}/points.npz"), Path("{}/new")),
        ["points.npz", "npz"],
    ),
    (
        "score points of another shape",
        lambda at: array(at / "points.npy", lambda x: np.c_[x, x]),
        ["score", "{}/flow", "--data", "{}/points.npy"],
        ["points.npy", "(4,)", "trained on (2,)"],
    ),
    (
        "a named set whose file is another",
        lambda at: moved(at / "points.npy", at / "earth/volcano.csv"),
        ["bench", "run", "earth/volcano", "--data-root", "{}", "--output", "{}/new"],
        ["volcano.csv", "not the file of earth/volcano", "sha256", "Delete it and fetch https"],
    ),
    (
        "train into a file",
        lambda at: None,
        train(Path("{}/points.npy"), Path("{}/file")),
        ["output", "file", "Not a directory", "can be written"],
    ),
    (
        "train below a file",
        lambda at: None,
        train(Path("{}/points.npy"), Path("{}/file/flow")),
        ["output", "file/flow", "Not a directory", "can be written"],
    ),
    (
        "train where nobody may write",
        lambda at: None,
        train(Path("{}/points.npy"), Path("/proc/flowatlas")),
        ["output", "/proc/flowatlas", "can be written"],
    ),
    (
        "sample where nobody may write",
        lambda at: None,
        ["sample", "{}/flow", "--count", "3", "--steps", "1", "--output", "/proc/s.npy"],
        ["/proc/s.npy", "cannot be written", "permissions of /proc", "another directory"],
    ),
    (
        "a benchmark below a file",
        lambda at: None,
        ["bench", "run", "toy/two_moons", "--preset", "demo", "--output", "{}/file/runs"],
        ["output", "file/runs", "Not a directory", "Choose another directory with --output"],
    ),
    (
        "unknown settings in a configuration file",
        lambda at: (at / "run.yaml").write_text("output: x\nstepz: 3\n"),
        ["bench", "run", "toy/two_moons", "--config", "{}/run.yaml"],
        ["stepz", "See flowatlas bench run --help"],
    ),
    (
        "an unknown manifold",
        lambda at: None,
        train(Path("{}/points.npy"), Path("{}/new"), "--manifold", "spehre"),
        ["'spehre'", "Did you mean sphere"],
    ),
]


@pytest.mark.parametrize(
    ("damage", "words", "said"),
    [case[1:] for case in COMMANDS],
    ids=[case[0] for case in COMMANDS],
)
def test_commands_end_in_one_line_that_names_the_fix(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], object],
    words: list[str],
    said: list[str],
) -> None:
    damage(place)
    words = [word.replace("{}", str(place)) for word in words]
    if words[0] == "--resume":
        words = [*words[1:], "--resume"]
    capsys.readouterr()
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("flowatlas: error: ") and captured.err.endswith("\n")
    check_message(captured.err.removesuffix("\n"), said)


def test_files_of_single_precision_are_points(place: Path) -> None:
    """Unit vectors in float32 are off the sphere in float64, by rounding alone."""
    vectors = Sphere().projx(torch.randn(100, 3, generator=torch.Generator().manual_seed(0)))
    np.save(place / "points.npy", vectors.numpy())
    words = train(place / "points.npy", place / "new", "--manifold", "sphere", steps=1)
    assert main(words) == 0
