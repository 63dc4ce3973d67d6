"""The command line: help, errors in one line, and the whole way from data to scores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from flowatlas.cli import main
from flowatlas.cli.main import COMMANDS
from flowatlas.cli.options import seeds
from flowatlas.errors import ConfigError

FAST = [
    *("width=16", "depth=1", "batch=64", "steps=20", "score_points=40", "samples=50"),
    *("select_points=40", "scales=", "rtol=0.01", "atol=0.01"),
]


def flowatlas(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    code = "import sys; from flowatlas.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "example:" in text and f"flowatlas {' '.join(command)}" in text
    for line in text.splitlines():
        assert len(line) <= 100, line


def test_overview_shows_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert " ".join(command) in text
    assert main(["bench", "--help"]) == 0
    assert "bench run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["bnech"], "Did you mean bench"),
        (["bench", "rnu"], "Did you mean run"),
        (["bench", "run", "toy/two_moon"], "Did you mean toy/two_moons"),
        (["bench", "run", "toy/two_moons", "--prest", "demo"], "Did you mean --preset"),
        (["bench", "run", "toy/two_moons", "--preset", "cpux"], "Did you mean cpu"),
        (["bench", "run", "toy/two_moons", "--method", "condott"], "Did you mean condot"),
        (["bench", "run", "toy/two_moons", "--set", "stesp=3"], "Did you mean steps"),
        (["bench", "run", "toy/two_moons", "--set", "steps"], "KEY=VALUE"),
        (["bench", "run", "toy/two_moons", "--seed", "x"], "0-2"),
        (["bench", "run"], "required"),
        (["bench", "list", "--preset", "tpu"], "demo, cpu, gpu"),
        (["bench", "report", "/nowhere"], "not found"),
        (["data", "verify", "earth/moon"], "no dataset is called"),
        (["train", "--data", "nothing.npy"], "not found"),
        (["train", "--data", "nothing"], "no dataset is called"),
        (["train", "--data", "demo/cities", "--preset", "x"], "preset"),
        (["sample", "/nowhere"], "no such directory"),
        (["score", "/nowhere", "--data", "x.npy"], "no such directory"),
        (["sample", "/nowhere", "--count", "0"], "1 or more"),
        (["bench", "run", "toy/two_moons", "--config", "/nowhere.yaml"], "does not exist"),
    ],
    ids=" ".join,
)
def test_errors_are_one_line_and_exit_code_two(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("flowatlas: error: ")
    assert captured.err.count("\n") == 1
    assert complaint in captured.err


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ConfigError):
        main(["bench", "run", "toy/nothing", "--debug"])


def test_config_files_hold_options_and_unknown_keys_are_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("sed: 3\n")
    words = ["bench", "run", "toy/two_moons", "--config", str(config)]
    assert main(words) == 2
    assert "sed" in capsys.readouterr().err
    config.write_text("set: [stepz=3]\n")
    assert main(words) == 2
    assert "Did you mean steps" in capsys.readouterr().err


def test_list_of_a_preset_is_one_name_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "list", "--preset", "demo"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert {"demo/cities", "demo/digits", "toy/two_moons", "so3/toy"} <= set(names)
    assert not any(name.startswith("earth/") for name in names)
    assert main(["bench", "list"]) == 0
    assert "earth/volcano" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3", [3]), (4, [4]), ("0-2", [0, 1, 2]), ("5,1,1", [5, 1]), ([1, 2], [1, 2])],
)
def test_seeds(text: object, expected: list[int]) -> None:
    assert seeds(text) == expected


def test_info_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for word in ("flowatlas ", "torch", "flowatlas-image", "flowatlas.benchmarks", "earth/volcano"):
        assert word in text
    assert main(["data", "list"]) == 0
    assert "demo/cities" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()


def test_verify_reads_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "verify", "demo/*"]) == 0
    assert "demo/cities: good" in capsys.readouterr().out


def test_bench_run_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "run", "toy/two_moons", "--preset", "demo", "--quiet", "--seed", "0-1"]
    words += ["--output", str(tmp_path), "--set", *FAST]
    assert main(words) == 0
    assert "test NLL" in capsys.readouterr().out
    assert main(["bench", "report", str(tmp_path)]) == 0
    assert "report.html" in capsys.readouterr().out
    assert "±" in (tmp_path / "report.md").read_text()


def test_train_sample_score_on_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    data = tmp_path / "points.csv"
    values = rng.normal(loc=[100.0, -3.0], scale=[5.0, 0.2], size=(300, 2))
    np.savetxt(data, values, delimiter=",", header="a,b", comments="")
    flow = tmp_path / "flow"
    words = ["train", "--data", str(data), "--preset", "demo", "--output", str(flow), "--quiet"]
    assert main([*words, "--set", *FAST]) == 0
    samples, picture = tmp_path / "samples.npy", tmp_path / "samples.png"
    words = ["sample", str(flow), "--count", "400", "--output", str(samples), "--steps", "10"]
    assert main([*words, "--plot", str(picture)]) == 0
    x = np.load(samples)
    assert x.shape == (400, 2) and picture.stat().st_size > 2000
    # Data are standardised before training, and samples are put back.
    np.testing.assert_allclose(x.mean(0), values.mean(0), atol=3.0)
    scores = tmp_path / "scores.csv"
    assert main(["score", str(flow), "--data", str(data), "--output", str(scores)]) == 0
    out = capsys.readouterr().out
    assert "300 points: mean log-likelihood" in out
    found = np.loadtxt(scores, skiprows=1)
    # The entropy of this Gaussian; twenty steps leave a flow near its source, which it is.
    entropy = np.log(2 * np.pi * np.e * 5.0 * 0.2)
    assert -found.mean() == pytest.approx(entropy, abs=0.5)


def test_train_replaces_nothing_unless_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, flow = tmp_path / "points.npy", tmp_path / "flow"
    np.save(data, np.random.default_rng(0).normal(size=(100, 2)))
    words = ["train", "--data", str(data), "--preset", "demo", "--output", str(flow), "--quiet"]
    fast = ["--set", *FAST]
    assert main([*words, *fast]) == 0

    def weights() -> bytes:
        tensors = load_file(flow / "network" / "model.safetensors")
        return b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))

    first = weights()

    def refused(what: str) -> None:
        capsys.readouterr()
        assert main([*words, "--seed", "1", *fast]) == 2
        message = capsys.readouterr().err
        for word in (str(flow), f"holds {what}", "--resume", "--overwrite", "another directory"):
            assert word in message
        assert message.count("\n") == 1

    refused("a trained system")
    assert main([*words, "--resume", "--overwrite", *fast]) == 2
    assert "give one" in capsys.readouterr().err
    assert main([*words, "--resume", *fast]) == 0
    assert weights() == first
    # Killed before the flow was written.
    (flow / "system.json").unlink()
    refused("an unfinished training")
    assert weights() == first
    assert main([*words, "--overwrite", "--seed", "1", *fast]) == 0
    assert weights() != first and (flow / "system.json").exists()


def test_an_overwrite_that_ends_early_leaves_no_old_flow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flowatlas.benchmarks import training

    data, flow = tmp_path / "points.npy", tmp_path / "flow"
    np.save(data, np.random.default_rng(0).normal(size=(100, 2)))
    words = ["train", "--data", str(data), "--preset", "demo", "--output", str(flow), "--quiet"]
    assert main([*words, "--set", *FAST]) == 0

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train_flow", interrupted)
    capsys.readouterr()
    assert main([*words, "--overwrite", "--set", *FAST]) == 130
    again = capsys.readouterr().err.splitlines()[-1]
    assert "--resume" in again and "--overwrite" not in again
    assert main(["sample", str(flow)]) == 2
    assert "holds no trained system" in capsys.readouterr().err


def test_train_on_degrees_and_score_wrong_shapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    places = tmp_path / "places.npz"
    np.savez(places, where=rng.uniform([-60, -180], [60, 180], size=(200, 2)), what=np.arange(3))
    flow = tmp_path / "flow"
    words = ["train", "--data", str(places), "--manifold", "sphere", "--output", str(flow)]
    words += ["--quiet", "--preset", "demo"]
    assert main(words) == 2
    assert "--key" in capsys.readouterr().err
    assert main([*words, "--key", "where"]) == 2
    assert "--degrees" in capsys.readouterr().err
    fitted = ["--method", "geodesic-fitted", "--set", *FAST]
    assert main([*words, "--key", "where", "--degrees", *fitted]) == 0
    assert main(["sample", str(flow), "--output", str(tmp_path / "s.csv"), "--count", "20"]) == 0
    rows = np.loadtxt(tmp_path / "s.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    capsys.readouterr()
    assert main(["score", str(flow), "--data", "toy/two_moons"]) == 2
    assert "was trained on (3,)" in capsys.readouterr().err
    (flow / "system.json").write_text("{}")
    assert main(["sample", str(flow)]) == 2
    assert "corrupt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.txt", b"", "unknown format"),
        ("a.npy", b"\x93NUMPY garbage", "cannot be read"),
        ("a.csv", b"1,2\n3\n", "row 2"),
        ("a.csv", b"1,2\nx,y\n", "row 2"),
        ("a.csv", b"", "empty"),
        ("a.csv", b"1,2\nnan,3\n", "NaN"),
    ],
)
def test_damaged_files_are_errors(
    name: str, content: bytes, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert main(["train", "--data", str(path), "--output", str(tmp_path / "flow")]) == 2
    assert complaint in capsys.readouterr().err


def test_interruption_says_how_to_resume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from flowatlas.cli import bench_run

    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_run, "run", interrupted)
    assert main(["bench", "run", "earth/*", "--output", str(tmp_path)]) == 130
    message = capsys.readouterr().err
    assert f"flowatlas bench run 'earth/*' --output {tmp_path} --resume" in message


def test_no_permission_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    words = ["bench", "run", "toy/two_moons", "--preset", "demo", "--output", str(blocked)]
    assert main([*words, "--quiet", "--set", *FAST]) == 2
    assert "--output" in capsys.readouterr().err


def test_a_process_of_its_own() -> None:
    listed = flowatlas("bench", "list", "--preset", "demo")
    assert listed.returncode == 0 and "toy/two_moons" in listed.stdout.splitlines()
    wrong = flowatlas("bench", "run", "toy/none")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("flowatlas: error: ") and "Traceback" not in wrong.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, flowatlas\n"
        "before = set(sys.modules)\n"
        "from flowatlas.cli import main\n"
        "main(['bench', 'run', '--help'])\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new & {'torch', 'lightning', 'matplotlib', 'scipy', 'sklearn', 'pandas'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_signal_leaves_a_run_that_resumes(tmp_path: Path) -> None:
    # Whoever runs the tests in the background has interrupts ignored, and so would this.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from flowatlas.cli import main; sys.exit(main())"
    )
    words = ["bench", "run", "toy/two_moons", "--preset", "demo", "--output", str(tmp_path)]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            code,
            *words,
            "--quiet",
            "--set",
            *FAST,
            "steps=400000",
            "max_seconds=none",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "runs" / "toy-two_moons" / "condot-demo-0" / "losses.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if log.exists() and len(log.read_text().splitlines()) > 2:  # in the midst of training
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    try:
        _, message = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "flowatlas bench run toy/two_moons" in message
    assert "--resume" in message
    assert "Traceback" not in message
