"""The benchmark of enhancement, from data to pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flowatlas import load_system
from flowatlas.benchmarks import run
from flowatlas.errors import ConfigError
from flowatlas_audio import Enhancer
from flowatlas_audio.benchmarks.enhancement import ENHANCEMENT, AtSource
from flowatlas_audio.benchmarks.settings import EnhancementMethod, EnhancementPreset

SETTINGS = {"steps": 40, "width": 24, "depth": 2, "noises": 2, "samples": 12, "batch": 8}


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="solver_steps: got 5"):
        EnhancementMethod(name="a", summary="b", sigma=0.0)
    with pytest.raises(ConfigError, match="speech: got 'sung'"):
        EnhancementPreset(
            speech="sung", noises=1, width=1, depth=1, batch=1, lr=1.0, steps=1
        )  # fmt: skip


def test_networks_have_two_million_parameters_at_most_and_five_evaluations() -> None:
    from flowatlas_audio import FrameNetwork

    for name in ("demo", "cpu"):
        preset = ENHANCEMENT.preset(name)
        network = FrameNetwork(129, width=preset.width, depth=preset.depth)
        assert sum(p.numel() for p in network.parameters()) <= 2_000_000
    assert max(method.solver_steps for method in ENHANCEMENT.methods.values()) <= 5


def test_regression_is_asked_at_the_source_alone() -> None:
    assert (AtSource().sample(5) == 0).all()
    assert AtSource().log_prob(torch.tensor([0.0, 0.5])).tolist() == [0.0, -torch.inf]


@pytest.mark.parametrize("method", ["flow", "regression"])
def test_a_run_from_end_to_end(method: str, tmp_path: Path) -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    result = run(
        ENHANCEMENT, method=method, preset="demo", seed=0, output=tmp_path, settings=SETTINGS
    )
    found = {name: float(value or 0.0) for name, value in result.metrics.items()}
    assert found["noisy/gain"] == 0
    # By construction the levels of the test are 0, 5, 10 and 15 dB.
    assert found["noisy/si_sdr"] == pytest.approx(7.5, abs=0.2)
    assert found["oracle/si_sdr"] > found["noisy/si_sdr"] + 5
    assert found["oracle/pesq"] > found["noisy/pesq"] and found["oracle/estoi"] > 0.8
    assert np.isfinite(list(found.values())).all()
    assert result.nfe == (5 if method == "flow" else 1)
    # The flow is asked with fewer evaluations too, and they are not the same.
    assert ("one/gain" in found) == ("two/gain" in found) == (method == "flow")
    assert method != "flow" or len({found[f"{n}gain"] for n in ("", "one/", "two/")}) == 3
    folder = tmp_path / "runs" / "audio-enhancement" / f"{method}-demo-0"
    with np.load(folder / "arrays.npz") as arrays:
        kept = dict(arrays)
    assert list(kept["kinds"]) == ["brown", "engine", "rain", "babble"]
    enhancer = load_system(folder / "system")
    assert isinstance(enhancer, Enhancer)
    assert enhancer.steps == result.nfe and enhancer.rate == 8000
    figures = ENHANCEMENT.figures(kept, "title")
    assert len(figures) == 3
    again = run(
        ENHANCEMENT,
        method=method,
        preset="demo",
        seed=0,
        output=tmp_path,
        settings=SETTINGS,
        resume=True,
    )
    assert again.metrics == result.metrics
