"""Runs that are killed or starved, through the command line in a process of its own."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from flowatlas.cli import main
from flowatlas.training import load_checkpoint, read_log

#: One thread, since bits depend on their number, and no limit of time, which is no part of a run.
SETTINGS = ["width=16", "depth=2", "batch=64", "scales=", "max_seconds=none", "threads=1"]
STEPS = 400
COMMAND = "import sys; from flowatlas.cli import main; sys.exit(main())"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "points.npy"
    np.save(path, np.random.default_rng(0).normal(size=(300, 2)))
    return path


def words(data: Path, output: Path, *more: str, steps: int = STEPS) -> list[str]:
    """Words of `flowatlas train`."""
    head = ["train", "--data", str(data), "--output", str(output), "--preset", "demo", "--quiet"]
    return [*head, *more, "--set", f"steps={steps}", *SETTINGS]


def steps_in(log: Path) -> int:
    """How many steps a loss log has so far."""
    return log.read_text().count('"loss"') if log.exists() else 0


def test_kill_9_then_resume_has_the_loss_curve_of_an_uninterrupted_run(
    data: Path, tmp_path: Path
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    log = killed / "training" / "losses.jsonl"
    checkpoint = killed / "training" / "checkpoint.safetensors"
    process = subprocess.Popen([sys.executable, "-c", COMMAND, *words(data, killed)])
    try:
        deadline = time.monotonic() + 240
        while steps_in(log) < 50 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
    finally:
        os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    # It was in the middle: there is a checkpoint, and neither all of the curve nor a flow.
    reached = load_checkpoint(checkpoint)["global_step"]
    assert 0 < reached < STEPS
    assert 50 <= steps_in(log) < STEPS
    assert not (killed / "system.json").exists()

    resumed = [sys.executable, "-c", COMMAND, *words(data, killed, "--resume")]
    subprocess.run(resumed, check=True, timeout=240, stdout=subprocess.DEVNULL)
    assert main(words(data, whole)) == 0
    curve = [line["loss"] for line in read_log(log) if "loss" in line]
    assert len(curve) == STEPS
    assert log.read_bytes() == (whole / "training" / "losses.jsonl").read_bytes()
    resumed_weights, weights = (
        load_file(flow / "network" / "model.safetensors") for flow in (killed, whole)
    )
    for name, value in weights.items():
        assert torch.equal(resumed_weights[name], value), name


def test_another_seed_has_another_curve(data: Path, tmp_path: Path) -> None:
    """What makes the comparison of curves above a test."""
    curves = []
    for seed in ("0", "1"):
        assert main(words(data, tmp_path / seed, "--seed", seed, steps=20)) == 0
        curves.append((tmp_path / seed / "training" / "losses.jsonl").read_bytes())
    assert curves[0] != curves[1]


def test_a_write_that_fails_half_way_leaves_the_previous_checkpoint(
    data: Path, tmp_path: Path
) -> None:
    flow = tmp_path / "flow"
    assert main(words(data, flow, steps=40)) == 0
    checkpoint = flow / "training" / "checkpoint.safetensors"
    before = checkpoint.read_bytes()
    limit = len(before) // 2
    starved = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
    done = subprocess.run(
        [sys.executable, "-c", starved + COMMAND, *words(data, flow, "--resume", steps=80)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("flowatlas: error: ") and done.stderr.count("\n") == 1
    for word in (str(checkpoint), "File too large", "previous file is intact", "ulimit -f"):
        assert word in done.stderr
    assert checkpoint.read_bytes() == before
    assert [path.name for path in checkpoint.parent.glob(".*")] == []
    # With room again the run goes on.
    assert main(words(data, flow, "--resume", steps=80)) == 0
    assert load_checkpoint(checkpoint)["global_step"] == 80


def test_samples_that_do_not_fit_leave_the_previous_ones(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flow, samples = tmp_path / "flow", tmp_path / "samples.npy"
    assert main(words(data, flow, steps=1)) == 0
    draw = ["sample", str(flow), "--output", str(samples), "--steps", "1", "--count"]
    assert main([*draw, "10"]) == 0
    before = samples.read_bytes()
    capsys.readouterr()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main([*draw, "1000"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("flowatlas: error: ") and message.count("\n") == 1
    for word in (str(samples), "No space left", "previous file is intact", "Free disk space"):
        assert word in message
    assert samples.read_bytes() == before
