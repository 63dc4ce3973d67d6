"""The benchmark of backbones, at the size of a test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flowatlas.benchmarks import Task, run
from flowatlas.errors import ConfigError
from flowatlas.solvers import Euler
from flowatlas_molecules import Backbone, BackboneSystem, connected, packaged_chains, read_structure
from flowatlas_molecules.benchmarks import BackboneMethod, BackbonePreset
from flowatlas_molecules.benchmarks.backbone import BACKBONE
from flowatlas_molecules.metrics import backbone_metrics

pytest.importorskip("tmtools")
TINY = replace(
    BACKBONE.preset("demo"), width=16, pair_width=8, depth=1, heads=2, steps=6, samples=3, pairs=2
)


@pytest.mark.parametrize("method", sorted(BACKBONE.methods))
def test_every_method_trains_samples_and_scores(method: str, tmp_path: Path) -> None:
    fast = replace(BACKBONE.method(method), solver_steps=5)
    result = run(BACKBONE, preset=TINY, method=fast, output=tmp_path)
    metrics = {name: value or 0.0 for name, value in result.metrics.items()}
    assert result.arrays is not None
    for prefix in ("", "heldout/", "train/", "torsions/"):
        for name in ("ca_valid", "ca_spacing", "clashes", "compactness", "tm_diversity"):
            assert math.isfinite(metrics[prefix + name]), prefix + name
    # Real chains, and chains of ideal bonds, have the spacing of proteins.
    for prefix in ("heldout/", "train/", "torsions/"):
        assert metrics[prefix + "ca_valid"] > 0.95
    assert metrics["ca_valid"] < 0.5
    folder = (tmp_path / result.arrays).parent
    files = sorted((folder / "samples").glob("*.pdb"))
    chains = [read_structure(file).chains[0] for file in files]
    assert [len(chain) for chain in chains] == [32, 32, 32]
    spacing = backbone_metrics(chains, pairs=2)["ca_spacing"]
    assert spacing == pytest.approx(result.metrics["ca_spacing"], abs=1e-3)
    types = {letter for chain in chains for letter in chain.sequence}
    assert (types == {"G"}) == (method != "codesign")
    shares = [result.metrics.get(f"{prefix}composition") for prefix in ("", "train/")]
    if method == "codesign":
        assert shares[0] is not None
        assert shares[1] is not None
        assert 0 < shares[1] < shares[0] <= 1
    else:
        assert shares == [None, None]
    system = BackboneSystem.load(folder / "system")
    assert system.network.residues == (method == "codesign")
    again = system.draw(3, seed=0)
    assert [len(chain) for chain in again] == [32, 32, 32]
    for file, chain in zip(files, again, strict=True):
        found = read_structure(file).chains[0].atoms
        torch.testing.assert_close(found, chain.atoms.to(found.dtype), atol=2e-3, rtol=0)
    with np.load(tmp_path / result.arrays) as arrays:
        pictures = BACKBONE.figures(dict(arrays), "title")
    assert len(pictures) == 3


def test_a_run_that_was_cut_short_ends_as_one_that_was_not(tmp_path: Path) -> None:
    fast = replace(BACKBONE.method("frames"), solver_steps=3)
    whole = run(BACKBONE, preset=TINY, method=fast, output=tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(_Interrupted(), preset=TINY, method=fast, output=tmp_path / "b")
    again = run(BACKBONE, preset=TINY, method=fast, output=tmp_path / "b", resume=True)
    for name in ("ca_valid", "ca_spacing", "compactness"):
        assert again.metrics[name] == pytest.approx(whole.metrics[name], rel=1e-5)


class _Interrupted(type(BACKBONE)):  # type: ignore[misc]
    """Stops once training is over and before anything is scored."""

    def score(self, fitted: object, task: object) -> None:
        raise KeyboardInterrupt


def test_chains_are_judged_by_their_spacing(tmp_path: Path) -> None:
    task: Task[BackboneMethod, BackbonePreset] = Task(
        method=BACKBONE.method(None), preset=TINY, seed=0, directory=tmp_path
    )
    judge = BACKBONE.judge(task)
    assert BACKBONE.couplings == {"independent": BACKBONE.default_method}
    real = packaged_chains(32).test
    stretched = [replace(chain, atoms=chain.atoms * 1.2) for chain in real]
    assert judge(_Given(real), Euler(1)) == 1.0
    assert judge(_Given(stretched), Euler(1)) < 0.1
    half = [*real[: len(real) // 2], *stretched[: len(real) // 2]]
    assert judge(_Given(half), Euler(1)) == pytest.approx(0.5, abs=0.02)


class _Given(BackboneSystem):
    """Chains that are given."""

    def __init__(self, chains: Sequence[Backbone]) -> None:
        object.__setattr__(self, "chains", list(chains))

    def draw(self, count: int, **_: object) -> list[Backbone]:
        return self.chains  # type: ignore[attr-defined, no-any-return]


def test_packaged_chains_are_whole_and_of_different_chains() -> None:
    split = packaged_chains(32)
    assert len(split.train) > 100
    assert len(split.test) > 40
    assert all(connected(chain.atoms).all() for chain in (*split.train, *split.test))
    sides = [{chain.name.rsplit("_", 1)[0] for chain in part} for part in (split.train, split.test)]
    assert not sides[0] & sides[1]
    with pytest.raises(ConfigError, match="too short"):
        packaged_chains(600)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="heads: got 7; it must be a divisor of width"):
        replace(TINY, heads=7)
    with pytest.raises(ConfigError, match="max_length"):
        BackbonePreset(width=8, depth=1, batch=1, lr=1e-3, steps=1, min_length=9, max_length=8)
    with pytest.raises(ConfigError, match="rotation_rate"):
        BackboneMethod(name="x", summary="x", rotation_rate=-1.0)
