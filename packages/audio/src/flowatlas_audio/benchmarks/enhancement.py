"""`audio/enhancement`: speech out of noise, of speakers and kinds that training has not heard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from flowatlas.benchmarks.contract import Array, Metric, Outcome, Task
from flowatlas.benchmarks.system_benchmark import Fitted, Judge, SystemBenchmark
from flowatlas.objectives import FlowMatching
from flowatlas.solvers import Euler, Solver
from flowatlas.time_samplers import Beta, TimeSampler
from flowatlas_audio.benchmarks.settings import (
    METHODS,
    PRESETS,
    EnhancementMethod,
    EnhancementPreset,
)
from flowatlas_audio.corpus import corpus
from flowatlas_audio.enhancer import (
    Enhancer,
    enhanced_arrays,
    enhancement_path,
    regression_path,
)
from flowatlas_audio.metrics import estoi, pesq, si_sdr
from flowatlas_audio.mixtures import Mixtures
from flowatlas_audio.network import FrameNetwork
from flowatlas_audio.ratings import can_rate, dnsmos
from flowatlas_audio.spectrogram import ComplexSpectrogram
from flowatlas_audio.subtraction import spectral_subtraction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ENHANCEMENT", "EnhancementBenchmark"]

RATE = 8000


EnhancementTask = Task[EnhancementMethod, EnhancementPreset]
#: Samples of an excerpt to train on: 64 frames.
_EXCERPT = 127 * 64


class EnhancementBenchmark(SystemBenchmark[EnhancementMethod, EnhancementPreset, Enhancer]):
    """Clean speech from a mixture with noise.

    The network sees the noisy spectrogram and the state of the flow; waves come back by the inverse
    transform, with the phase that the flow has found.
    """

    name = "audio/enhancement"
    summary = "speech out of noise at 0 to 15 dB; speakers and kinds of noise are held out"
    data = (
        "spoken digits (FSDD, 4 speakers to train, 2 to test), 32 LJSpeech sentences (train), 5 "
        "LibriVox sentences (test), 8 kHz; noises are generated"
    )
    licence = "CC BY-SA 4.0 (FSDD), public domain (LJSpeech), BSD-2-Clause (LibriVox)"
    protocol = (
        "Training noises: random spectra, gusts, hum, knocks, babble of training voices. Test "
        "noises: brown, engine, rain, babble of test voices, at 0, 5, 10 and 15 dB, three seconds "
        "each. PESQ is narrow-band. Oracle is the clean magnitude with the noisy phase: what a "
        "perfect change of magnitudes reaches. DNSMOS is the mean of the first 12 excerpts, where "
        "its extra is installed. The demo preset runs on synthetic vowels."
    )
    baselines = {  # noqa: RUF012
        "noisy": "noisy input",
        "subtraction": "spectral subtraction",
        "oracle": "clean magnitude, noisy phase",
        "two": "flow, 2 evaluations",
        "five": "flow, 5 evaluations",
    }
    methods = METHODS
    presets = PRESETS
    metrics = (
        Metric("gain", "SI-SDR gain, dB", "higher", 2),
        Metric("si_sdr", "SI-SDR, dB", "higher", 2),
        Metric("pesq", "PESQ", "higher", 3),
        Metric("estoi", "ESTOI", "higher", 3),
        Metric("dnsmos", "DNSMOS overall", "higher", 2),
        Metric("p808", "DNSMOS P.808", "higher", 2),
        Metric("gain/brown", "gain, brown", "higher", 2),
        Metric("gain/engine", "gain, engine", "higher", 2),
        Metric("gain/rain", "gain, rain", "higher", 2),
        Metric("gain/babble", "gain, babble", "higher", 2),
        Metric("parameters", "parameters", "", 0),
        Metric("seconds_training", "training, s", "", 0),
    )
    measure = "SI-SDR gain, over that of the clean magnitudes with the noisy phase"

    @property
    def couplings(self) -> Mapping[str, str]:
        """The flow alone: each mixture has its own source, so that there is nothing to pair."""
        return {"independent": "flow"}

    def judge(self, task: EnhancementTask) -> Judge[Enhancer]:
        """Gains over that of the oracle; 0 for waves that are no better than the noisy ones."""
        preset, seed = task.preset, task.seed
        voices = corpus(preset.speech, RATE, seed, task.data_root)
        test = voices.test(preset.samples, 3 * RATE, seed)

        def judged(system: Enhancer, solver: Solver) -> float:
            found = system.enhanced(test, seed=seed, solver=solver).waves
            return max(0.0, _gain(found, test) / _gain(_oracle(system.front, test), test))

        return judged

    def train(self, task: EnhancementTask) -> Fitted[Enhancer]:
        from flowatlas.benchmarks.fitting import fit_network, load_fitted, loss_arrays
        from flowatlas.training import DrawnData

        preset, method = task.preset, task.method
        voices = corpus(preset.speech, RATE, task.seed, task.data_root)
        bank = voices.bank(preset.noises, _EXCERPT, task.seed, vary=preset.vary)
        first = bank.draw(64, torch.Generator().manual_seed(task.seed))
        front = ComplexSpectrogram(256, 128, preset.power).fitted([first.noisy])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(task.seed)
            network = FrameNetwork(front.bins, width=preset.width, depth=preset.depth)
        result = fit_network(
            network,
            _objective(method, front),
            DrawnData(
                lambda count, drawn: _batch(front, bank.draw(count, drawn), preset.balance),
                _batch(front, first, preset.balance),
                batch_size=preset.batch,
                seed=task.seed,
            ),
            task,
        )
        fitted = load_fitted(result.checkpoint, preset, network)
        assert isinstance(fitted, FrameNetwork)
        enhancer = Enhancer(
            network=fitted,
            front=front,
            rate=RATE,
            sigma=method.sigma,
            steps=method.solver_steps,
            speech=preset.speech,
        )
        return Fitted(
            system=enhancer,
            steps=result.step,
            seconds=result.seconds,
            losses=loss_arrays(result.log),
        )

    def score(self, fitted: Fitted[Enhancer], task: EnhancementTask) -> Outcome:
        enhancer, count, seed = fitted.system, task.preset.samples, task.seed
        drawn = enhancer.draw(count, seed=seed, data_root=task.data_root)
        test, found = drawn.mixtures, drawn.waves
        rated = task.preset.rated if can_rate() else 0
        values = scores(found, test, rated)
        values["seconds_training"] = fitted.seconds
        values["parameters"] = float(sum(p.numel() for p in enhancer.network.parameters()))
        references = {
            "noisy": test.noisy,
            "subtraction": spectral_subtraction(test.noisy, enhancer.front),
            "oracle": _oracle(enhancer.front, test),
            **{
                name: enhancer.enhanced(test, seed=seed, solver=Euler(steps=steps)).waves
                for name, steps in (("two", 2), ("five", 5))
                if enhancer.sigma > 0
            },
        }
        for name, wave in references.items():
            values |= {f"{name}/{key}": value for key, value in scores(wave, test, rated).items()}
        arrays = {**enhanced_arrays(drawn), **_by_level(found, test), **fitted.losses}
        return Outcome(metrics=values, nfe=enhancer.steps, arrays=arrays)

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import loss_curve
        from flowatlas_audio.plots import gain_by_level, spectrograms

        validation = (arrays["validation_steps"], arrays["validation"])
        return {
            "clean, noisy and enhanced speech": spectrograms(arrays, RATE, title=title),
            "SI-SDR by level of the input": gain_by_level(arrays, title=title),
            "loss": loss_curve(
                arrays["loss_steps"], arrays["loss"], validation=validation, title=title
            ),
        }


def scores(found: Tensor, test: Mixtures, rated: int = 0) -> dict[str, float]:
    """Means over the test waves, and the gain for each kind of noise.

    Args:
        found: enhanced waves.
        test: what they were made of.
        rated: so many of them have DNSMOS ratings.
    """
    reached = si_sdr(found, test.clean)
    gain = reached - si_sdr(test.noisy, test.clean)
    values = {"gain": float(gain.mean()), "si_sdr": float(reached.mean())}
    pairs = list(zip(found, test.clean, strict=True))
    values["pesq"] = float(np.mean([pesq(a, b, RATE) for a, b in pairs]))
    values["estoi"] = float(np.mean([estoi(a, b, RATE) for a, b in pairs]))
    if rated > 0:
        heard = [dnsmos(wave, RATE) for wave in found[:rated]]
        values["dnsmos"] = float(np.mean([one.overall for one in heard]))
        values["p808"] = float(np.mean([one.p808 for one in heard]))
    for kind in dict.fromkeys(test.kinds):
        chosen = torch.tensor([one == kind for one in test.kinds])
        values[f"gain/{kind}"] = float(gain[chosen].mean())
    return values


def _gain(found: Tensor, test: Mixtures) -> float:
    """Of SI-SDR in dB, in the mean."""
    return float((si_sdr(found, test.clean) - si_sdr(test.noisy, test.clean)).mean())


def _objective(method: EnhancementMethod, front: ComplexSpectrogram) -> FlowMatching:
    """Regression is the flow's first evaluation alone: t = 0, and a source at rest."""
    if method.sigma > 0:
        times = Beta(method.early, 1.0)
        return FlowMatching(enhancement_path(method.sigma), time_sampler=times)
    return FlowMatching(regression_path(front.dim), time_sampler=AtSource())


class AtSource(TimeSampler):
    """t = 0, always; `log_prob` is the logarithm of its mass."""

    def quantile(self, u: Tensor) -> Tensor:
        return torch.zeros_like(u)

    def log_prob(self, t: Tensor) -> Tensor:
        return torch.where(t == 0, 0.0, -torch.inf)


def _batch(front: ComplexSpectrogram, pairs: Mixtures, balance: float) -> dict[str, object]:
    """What is learnt from; the weights of a batch have mean one."""
    noisy = front.encode(pairs.noisy)
    weight = (1 + 10 ** (pairs.snr / 10)) ** balance
    return {
        "x_1": front.encode(pairs.clean) - noisy,
        "condition": {"noisy": noisy},
        "weight": weight / weight.mean(),
    }


def _oracle(front: ComplexSpectrogram, test: Mixtures) -> Tensor:
    noisy, clean = front.transform(test.noisy), front.transform(test.clean)
    return front.inverse(torch.polar(clean.abs(), noisy.angle()), test.noisy.shape[1])


def _by_level(found: Tensor, test: Mixtures) -> dict[str, Array]:
    levels = test.snr.unique()
    rows = {"enhanced": si_sdr(found, test.clean), "noisy": si_sdr(test.noisy, test.clean)}
    return {
        "levels": levels.numpy(),
        **{
            f"si_sdr_{name}": np.array([float(v[test.snr == at].mean()) for at in levels])
            for name, v in rows.items()
        },
    }


ENHANCEMENT = EnhancementBenchmark()
