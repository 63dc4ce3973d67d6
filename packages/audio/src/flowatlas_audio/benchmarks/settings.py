"""Methods and presets of `audio/enhancement`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.preset import Preset
from flowatlas_audio.corpus import check_speech

__all__ = ["METHODS", "PRESETS", "EnhancementMethod", "EnhancementPreset"]


@dataclass(frozen=True, kw_only=True)
class EnhancementMethod(Method):
    """How the network is trained and asked.

    Attributes:
        sigma: deviation of the source around the noisy spectrogram; 0 for regression.
        early: a; times to train at have density t^(a - 1): below 1 those near the source are
            favoured, where everything is decided. Regression has t = 0 alone.
        solver_steps: Euler steps; 1 for regression.
    """

    sigma: float = 0.02
    early: float = 0.3
    solver_steps: int = 1

    def __post_init__(self) -> None:
        require(self.sigma >= 0, "sigma", self.sigma, "0 or more")
        require(self.early > 0, "early", self.early, "positive")
        require(self.solver_steps >= 1, "solver_steps", self.solver_steps, "1 or more")
        require(
            self.sigma > 0 or self.solver_steps == 1,
            "solver_steps",
            self.solver_steps,
            "1 for regression, sigma=0",
        )


@dataclass(frozen=True, kw_only=True)
class EnhancementPreset(Preset):
    """Data, network and budget.

    Attributes:
        speech: `"recorded"` or `"generated"`.
        noises: waves of each kind of noise to mix with; mixtures are made anew at every step.
        width: of the network.
        depth: of the network.
        power: of the magnitudes of the spectrogram, in (0, 1]. With 1 the loss is that of the wave,
            which SI-SDR is made of.
        balance: a mixture whose noise has a share p of the power weighs p^-balance in the loss:
            with 0 the noisiest decide it, with 1 all count about alike, as they do in decibels.
        vary: whether voices are filtered, and noises added to each other, filtered and made to
            swell, all at random.
        rated: how many test excerpts have DNSMOS ratings, which take a second each, if its extra is
            installed.
        The others are those of `Preset`; `samples` are test excerpts of three seconds.
    """

    speech: str = "recorded"
    noises: int
    width: int
    depth: int
    power: float = 1.0
    balance: float = 0.7
    vary: bool = True
    rated: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        check_speech(self.speech)
        for name in ("noises", "width", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 < self.power <= 1, "power", self.power, "in (0, 1]")
        for name in ("balance", "rated"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")


METHODS = {
    method.name: method
    for method in (
        EnhancementMethod(name="flow", summary="flow from the noisy spectrogram to the clean one"),
        EnhancementMethod(
            name="regression",
            summary="the same network, least squares, asked once",
            sigma=0.0,
        ),
    )
}
_CPU = EnhancementPreset(
    noises=60,
    width=96,
    depth=5,
    batch=16,
    optimizer="muon",
    lr=5e-3,
    warmup=50,
    steps=5000,
    ema=0.99,
    samples=48,
    threads=1,
    max_seconds=540,
)
PRESETS = {
    "demo": replace(
        _CPU,
        speech="generated",
        noises=8,
        width=64,
        depth=3,
        steps=250,
        ema=0.95,
        samples=12,
        rated=0,
        warmup=20,
        max_seconds=25,
    ),
    "cpu": _CPU,
    "gpu": replace(
        _CPU,
        noises=400,
        width=160,
        depth=7,
        batch=64,
        lr=2e-3,
        steps=20_000,
        ema=0.999,
        device="auto",
        max_seconds=1500,
    ),
}
