"""The benchmark of enhancement, from data to pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from flowatlas import load_system
from flowatlas.benchmarks import run
from flowatlas.benchmarks.contract import Task
from flowatlas.errors import ConfigError
from flowatlas.solvers import Euler
from flowatlas_audio import ComplexSpectrogram, Dnsmos, Enhanced, Enhancer, FrameNetwork, si_sdr
from flowatlas_audio.benchmarks import enhancement
from flowatlas_audio.benchmarks.enhancement import ENHANCEMENT, AtSource, scores
from flowatlas_audio.benchmarks.settings import EnhancementMethod, EnhancementPreset
from flowatlas_audio.corpus import corpus
from flowatlas_audio.mixtures import Mixtures

SETTINGS = {"steps": 40, "width": 24, "depth": 2, "noises": 2, "samples": 12, "batch": 8}


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="solver_steps: got 5"):
        EnhancementMethod(name="a", summary="b", sigma=0.0, solver_steps=5)
    with pytest.raises(ConfigError, match="speech: got 'sung'"):
        EnhancementPreset(
            speech="sung", noises=1, width=1, depth=1, batch=1, lr=1.0, steps=1
        )  # fmt: skip


def test_networks_have_two_million_parameters_at_most_and_five_evaluations() -> None:
    from flowatlas_audio import FrameNetwork

    for preset in ENHANCEMENT.presets.values():
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
    assert result.nfe == 1
    # The flow is asked with more evaluations too, and they are not the same.
    assert ("two/gain" in found) == ("five/gain" in found) == (method == "flow")
    assert method != "flow" or len({found[f"{n}gain"] for n in ("", "two/", "five/")}) == 3
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


def test_enhancers_are_judged_between_the_noisy_wave_and_the_oracle(tmp_path: Path) -> None:
    task: Task[EnhancementMethod, EnhancementPreset] = Task(
        method=ENHANCEMENT.method(None), preset=ENHANCEMENT.preset("demo"), seed=3,
        directory=tmp_path,
    )  # fmt: skip
    judge = ENHANCEMENT.judge(task)
    assert ENHANCEMENT.couplings == {"independent": ENHANCEMENT.default_method}
    front = ComplexSpectrogram()

    def oracle(test: Mixtures) -> Tensor:
        noisy, clean = front.transform(test.noisy), front.transform(test.clean)
        return front.inverse(torch.polar(clean.abs(), noisy.angle()), test.noisy.shape[1])

    asked: list[Mixtures] = []

    def half(test: Mixtures) -> Tensor:
        """With noise at a level that halves the oracle's gain."""
        asked.append(test)
        noisy, best = si_sdr(test.noisy, test.clean), si_sdr(oracle(test), test.clean)
        share = 10 ** (-float((best - noisy).mean()) / 40)
        return test.clean + share * (test.noisy - test.clean)

    assert judge(_given(oracle), Euler(1)) == pytest.approx(1.0)
    assert judge(_given(lambda test: test.noisy), Euler(1)) == 0.0
    assert judge(_given(half), Euler(1)) == pytest.approx(0.5, abs=0.02)
    worse = judge(_given(lambda test: 2 * test.noisy - test.clean), Euler(1))
    assert worse == 0.0
    expected = corpus("generated", 8000, 3).test(12, 24000, 3)
    assert torch.equal(asked[0].noisy, expected.noisy)


def test_the_solver_that_is_judged_is_the_one_that_draws(tmp_path: Path) -> None:
    task: Task[EnhancementMethod, EnhancementPreset] = Task(
        method=ENHANCEMENT.method(None), preset=ENHANCEMENT.preset("demo"), seed=0,
        directory=tmp_path,
    )  # fmt: skip
    seen: list[object] = []
    given = _given(lambda test: test.clean, seen)
    ENHANCEMENT.judge(task)(given, solver := Euler(3))
    assert seen == [solver]


def test_ratings_are_means_of_the_first_excerpts(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")

    def rating(wave: Tensor, rate: int) -> Dnsmos:
        assert rate == 8000
        return Dnsmos(speech=0, background=0, overall=float(wave[0]), p808=float(wave[1]))

    monkeypatch.setattr(enhancement, "dnsmos", rating)
    test = corpus("generated", 8000, 0).test(3, 24000, 0)
    found = test.clean.clone()
    found[:, 0], found[:, 1] = torch.tensor([1.0, 2, 9]), torch.tensor([3.0, 5, 9])
    values = scores(found, test, 2)
    assert (values["dnsmos"], values["p808"]) == (1.5, 4.0)
    assert not {"dnsmos", "p808"} & set(scores(found, test))


@pytest.mark.parametrize("installed", [True, False])
def test_a_run_rates_if_it_can(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    monkeypatch.setattr(enhancement, "can_rate", lambda: installed)
    asked = []

    def counted(found: Tensor, test: Mixtures, rated: int = 0) -> dict[str, float]:
        asked.append(rated)
        return {}

    monkeypatch.setattr(enhancement, "scores", counted)
    settings = {**SETTINGS, "steps": 1, "rated": 2}
    run(ENHANCEMENT, preset="demo", output=tmp_path, settings=settings)
    assert set(asked) == {2 if installed else 0} and len(asked) == 6


@dataclass(frozen=True, kw_only=True)
class _Given(Enhancer):
    """An enhancer that is told what to answer."""

    answer: Callable[[Mixtures], Tensor]
    seen: list[object]

    def enhanced(self, test: Mixtures, *, seed: int = 0, solver: object = None) -> Enhanced:
        self.seen.append(solver)
        return Enhanced(test, self.answer(test), self.rate)


def _given(answer: Callable[[Mixtures], Tensor], seen: list[object] | None = None) -> _Given:
    network = FrameNetwork(129, width=1, depth=1)
    return _Given(
        network=network, front=ComplexSpectrogram(), rate=8000, answer=answer,
        seen=[] if seen is None else seen,
    )  # fmt: skip
