"""How long `text/*` trains, and how much it draws."""

from __future__ import annotations

from dataclasses import replace

from flowatlas.benchmarks.token_method import TokenPreset

__all__ = ["TEXT_PRESETS"]

_CPU = TokenPreset(
    width=128,
    depth=3,
    batch=16,
    optimizer="muon",
    lr=4e-3,
    weight_decay=0.01,
    steps=800,
    max_seconds=300.0,
    ema=0.98,
    bound_times=16,
    samples=64,
    curve_steps=(8, 16, 32, 64, 128),
    corrected_steps=(16, 64),
    threads=1,
)
TEXT_PRESETS = {
    "demo": replace(
        _CPU,
        width=64,
        depth=2,
        length=64,
        stride=16,
        steps=250,
        max_seconds=12.0,
        ema=0.95,
        bound_times=4,
        samples=32,
        curve_steps=(8, 32),
        corrected_steps=(),
    ),
    "cpu": _CPU,
    "gpu": replace(
        _CPU,
        width=384,
        depth=8,
        heads=6,
        length=256,
        batch=256,
        lr=2e-3,
        weight_decay=0.1,
        steps=5000,
        max_seconds=1500.0,
        ema=0.999,
        bound_times=64,
        samples=1024,
        curve_steps=(8, 16, 32, 64, 128, 256),
        corrected_steps=(8, 16, 32, 64, 128),
        threads=None,
        device="auto",
    ),
}
