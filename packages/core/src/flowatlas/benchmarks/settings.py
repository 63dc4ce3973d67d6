"""The settings of every benchmark of points, in one place.

Networks of the `cpu` presets have at most 512 units and 6 layers, and train for about five minutes
on one core. The `gpu` presets follow the settings of Chen and Lipman, 2023 (arXiv:2302.03660,
appendix), cut to half an hour.
"""

from __future__ import annotations

from dataclasses import replace

from flowatlas.benchmarks.point_preset import PointPreset

__all__ = ["GENERAL", "PRESETS"]

_DEMO = PointPreset(
    width=128,
    depth=3,
    batch=512,
    lr=2e-3,
    steps=1000,
    max_seconds=20.0,
    ema=0.99,
    score_points=2000,
    rtol=1e-4,
    atol=1e-4,
    samples=2000,
)
_CPU = PointPreset(
    width=256,
    depth=4,
    batch=512,
    lr=1e-3,
    steps=12_000,  # the cosine ends before the time does, on a core of 2024
    max_seconds=300.0,
    ema=0.999,
    threads=1,
)
_GPU = PointPreset(
    width=512,
    depth=6,
    batch=8192,
    lr=5e-4,
    steps=50_000,
    max_seconds=1500.0,
    ema=0.999,
    device="auto",
)

#: For data of the user's own.
GENERAL: dict[str, PointPreset] = {"demo": _DEMO, "cpu": _CPU, "gpu": _GPU}

_PLANE = {name: replace(preset, scales=(1.0, 0.5)) for name, preset in GENERAL.items()}

#: Lengths, in radians, that the network resolves on the sphere.
_EARTH_SCALES = (1.0, 0.3, 0.1, 0.03)
# Chosen on validation points of seed 0. On a quiet core of 2024 the steps take four to five minutes
# with `geodesic-marginal`; `--set max_seconds=none` gives the same result on a loaded one.
_EARTH = replace(
    _CPU, batch=256, optimizer="muon", lr=4e-3, steps=7000, scales=_EARTH_SCALES, select=5
)
_EARTH_GPU = replace(_GPU, width=2048, scales=_EARTH_SCALES, lr=1e-4, select=10)
_TORSION = replace(_CPU, lr=2e-3, steps=5_000, harmonics=4, select=5, score_points=4096)
_TORSION_GPU = replace(_GPU, width=512, depth=6, harmonics=8, lr=2e-4, select=10)
# The exact divergence takes a backward pass for each of six or seven angles: few points decide.
_MANY_ANGLES = replace(
    _CPU, optimizer="muon", lr=4e-3, steps=4000, select=2, select_points=400, score_points=1000
)
# The exact divergence of matrices has many directions, and logarithms of matrices take time.
_CURVED = replace(_CPU, batch=256, steps=6000, score_points=2000)
# Without lengths a network of coordinates learns how far out the leaves are, and not where.
_HYPERBOLIC = {
    name: replace(preset, scales=(1.0, 0.3))
    for name, preset in {"demo": _DEMO, "cpu": _CURVED, "gpu": _GPU}.items()
}

PRESETS: dict[str, dict[str, PointPreset]] = {
    "toy/two_moons": _PLANE,
    "toy/eight_gaussians": _PLANE,
    "toy/checkerboard": _PLANE,
    "so3/toy": {"demo": _DEMO, "cpu": _CPU, "gpu": _GPU},
    "hyperbolic/lorentz": _HYPERBOLIC,
    "hyperbolic/poincare": _HYPERBOLIC,
    # No demo: after seconds of training, paths back from the data reach matrices that single
    # precision cannot tell from singular ones.
    "spd/two": {"cpu": _CURVED, "gpu": _GPU},
    "spd/three": {"cpu": _CURVED, "gpu": _GPU},
    "demo/digits": {
        "demo": replace(_DEMO, width=256, lr=1e-3, weight_decay=0.01, select=3, select_points=180),
        "cpu": replace(_CPU, weight_decay=0.01, steps=10_000, select=10, select_points=180),
        "gpu": replace(_GPU, weight_decay=0.01, steps=10_000, select=10, select_points=180),
    },
    "demo/cities": {
        "demo": replace(_DEMO, scales=(1.0, 0.3, 0.1), select=3, select_points=400),
        "cpu": _EARTH,
        "gpu": _EARTH_GPU,
    },
    "earth/volcano": {
        # Clusters of copies are much narrower than anywhere else.
        "cpu": replace(
            _EARTH, steps=12_000, weight_decay=0.01, scales=(*_EARTH_SCALES, 0.01, 0.003)
        ),
        "gpu": replace(_EARTH_GPU, depth=12, lr=2e-4, weight_decay=0.01),
    },
    "earth/earthquake": {
        "cpu": replace(_EARTH, weight_decay=0.1),
        "gpu": replace(_EARTH_GPU, depth=10, lr=1e-4, weight_decay=0.001),
    },
    "earth/flood": {
        # No copies, so that sharpness gains nothing: more steps fit the training set alone.
        "cpu": replace(_EARTH, steps=3000, weight_decay=0.3),
        "gpu": replace(_EARTH_GPU, depth=7, batch=16384, lr=1e-4, weight_decay=0.01),
    },
    "earth/fire": {
        "cpu": replace(_EARTH, weight_decay=0.01),
        "gpu": replace(_EARTH_GPU, depth=10, lr=5e-4, weight_decay=0.01),
    },
    "torsion/general": {"cpu": _TORSION, "gpu": _TORSION_GPU},
    "torsion/glycine": {"cpu": _TORSION, "gpu": _TORSION_GPU},
    "torsion/proline": {"cpu": _TORSION, "gpu": _TORSION_GPU},
    "torsion/prepro": {"cpu": _TORSION, "gpu": _TORSION_GPU},
    "torsion/rna": {"cpu": replace(_MANY_ANGLES, harmonics=8), "gpu": _TORSION_GPU},
    "torsion/sidechain": {"cpu": _MANY_ANGLES, "gpu": _TORSION_GPU},
    "torsion/sidechain-lysine": {"cpu": _MANY_ANGLES, "gpu": _TORSION_GPU},
}
