"""The benchmark of crystal structures, its scores and its system, at the size of a test."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flowatlas import load_system
from flowatlas.benchmarks import run
from flowatlas.errors import ConfigError, DataError
from flowatlas.solvers import Euler
from flowatlas_molecules import (
    Crystal,
    CrystalSystem,
    LatticePrior,
    ideal_perovskites,
    lattice_matrix,
    read_cif,
)
from flowatlas_molecules.benchmarks.perov import PEROV
from flowatlas_molecules.crystal_metrics import (
    copied_structures,
    crystal_metrics,
    displacements,
)
from flowatlas_molecules.crystal_plots import formula
from flowatlas_molecules.networks import PeriodicNetwork

pytest.importorskip("pymatgen.core")
TINY = replace(
    PEROV.preset("demo"),
    width=12,
    depth=1,
    frequencies=2,
    batch=8,
    steps=4,
    samples=6,
    curve_samples=2,
)


def named(*numbers: int) -> Crystal:
    return next(c for c in ideal_perovskites() if c.elements.tolist() == list(numbers))


TITANATE = named(38, 22, 8, 8, 8)


def changed(
    crystal: Crystal, fractional: torch.Tensor | None = None, scale: float = 1.0
) -> Crystal:
    lattice = crystal.lattice.clone()
    lattice[:3] *= scale
    return Crystal(
        crystal.elements, crystal.fractional if fractional is None else fractional, lattice
    )


def test_displacements_are_root_mean_squares_in_units_of_the_edge_of_an_atom() -> None:
    """One oxygen moved along its axis: by hand, less the move of the whole that is best."""
    off = 0.05
    moved = TITANATE.fractional.clone()
    moved[2, 2] += off
    found = displacements([changed(TITANATE, moved)], [TITANATE]).item()
    assert crystal_metrics([changed(TITANATE, moved)], [TITANATE])["close"] == 1.0
    far = TITANATE.fractional.clone()
    far[2, 2] += 4 * off
    scores = crystal_metrics([changed(TITANATE, far)], [TITANATE])
    assert (scores["match_rate"], scores["close"]) == (1.0, 0.0)
    volume = lattice_matrix(TITANATE.lattice).det().item()
    edge = (volume / 5) ** (1 / 3)
    length = TITANATE.lattice[0].item()
    expected = length * off * math.sqrt((1 / 5) * (1 - 1 / 5)) / edge
    assert found == pytest.approx(expected, rel=1e-3)


def test_matches_are_those_of_the_published_tolerances() -> None:
    whole = TITANATE.fractional + torch.tensor([0.3, 0.1, 0.7])
    swapped = Crystal(TITANATE.elements[[1, 0, 2, 3, 4]], TITANATE.fractional, TITANATE.lattice)
    flat = Crystal(
        TITANATE.elements,
        TITANATE.fractional,
        torch.tensor([4.0, 4.0, 4.0] + 3 * [math.radians(120.05)]),
    )
    long = TITANATE.lattice.clone()
    long[0] *= 2.2
    stretched = Crystal(TITANATE.elements, TITANATE.fractional, long)
    cases = {
        "moved as a whole": (changed(TITANATE, whole), True),
        "scaled": (changed(TITANATE, scale=1.4), True),
        "A for B": (swapped, False),
        "no cell": (flat, False),
        "stretched": (stretched, False),
        "another element": (named(20, 22, 8, 8, 8), False),
    }
    off = displacements([one for one, _ in cases.values()], len(cases) * [TITANATE])
    assert [not math.isnan(value) for value in off.tolist()] == [yes for _, yes in cases.values()]
    scores = crystal_metrics([one for one, _ in cases.values()], len(cases) * [TITANATE])
    assert scores["match_rate"] == pytest.approx(2 / 6)
    assert scores["rmse"] == pytest.approx(0.0, abs=1e-3)
    assert scores["valid"] == pytest.approx(5 / 6)


def test_crystals_score_perfectly_against_themselves_and_noise_does_not() -> None:
    real = ideal_perovskites()[:12]
    perfect = crystal_metrics(real, real)
    assert perfect == pytest.approx(
        {"match_rate": 1.0, "rmse": 0.0, "close": 1.0, "valid": 1.0, "volume_error": 0.0}, abs=1e-6
    )
    g = torch.Generator().manual_seed(0)
    noise = [changed(one, torch.rand(5, 3, generator=g)) for one in real]
    assert crystal_metrics(noise, real)["match_rate"] < 0.3
    close = TITANATE.fractional.clone()
    close[1] = close[0] + 0.05
    assert crystal_metrics([changed(TITANATE, close)], [TITANATE])["valid"] == 0.0
    larger = crystal_metrics([changed(TITANATE, scale=1.1)], [TITANATE])
    assert larger["volume_error"] == pytest.approx(1.1**3 - 1)
    with pytest.raises(ConfigError, match="one for each"):
        crystal_metrics(real[:2], real[:3])


def test_copies_have_the_structure_of_their_nearest_neighbour() -> None:
    train = [named(56, 22, 8, 8, 8), named(55, 12, 53, 53, 53), named(57, 13, 16, 16, 16)]
    (copy,) = copied_structures([TITANATE.elements[[2, 1, 3, 0, 4]]], train)
    # Strontium takes the place of barium; the order of atoms is the one asked for.
    assert copy.elements.tolist() == [8, 22, 8, 38, 8]
    assert copy.lattice.equal(train[0].lattice)
    assert copy.name == "as 56-22-8"
    assert not displacements([copy], [TITANATE]).isnan().any()
    (same,) = copied_structures([TITANATE.elements], [*train, TITANATE])
    assert same.lattice.equal(TITANATE.lattice)
    with pytest.raises(ConfigError, match="no crystal of 2 atoms"):
        copied_structures([torch.tensor([11, 17])], train)


def system(**changes: object) -> CrystalSystem:
    """An untrained one, of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = PeriodicNetwork(16, 1, 4).eval()
    made = CrystalSystem(
        network=network,
        prior=LatticePrior((1.4, 1.5, 1.6), (0.1, 0.2, 0.3)),
        compositions=((38, 22, 8, 8, 8), (11, 17)),
        steps=3,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def gap(one: Crystal, other: Crystal) -> float:
    assert one.elements.equal(other.elements)
    off = one.fractional - other.fractional
    return max(
        (off - off.round()).abs().max().item(), (one.lattice - other.lattice).abs().max().item()
    )


def test_a_system_comes_back_and_draws_the_same(tmp_path: Path) -> None:
    made = system(slope=2.0)
    again = load_system(made.save(tmp_path / "made"))
    assert isinstance(again, CrystalSystem)
    drawn = made.draw(3, seed=2)
    assert [len(one) for one in drawn] == [5, 2, 5]
    assert max(gap(a, b) for a, b in zip(drawn, again.draw(3, seed=2), strict=True)) == 0.0
    others = (
        made.draw(3, seed=1),
        replace(made, slope=0.0).draw(3, seed=2),
        replace(made, prior=LatticePrior((1.8, 1.5, 1.6), (0.1, 0.2, 0.3))).draw(3, seed=2),
        made.draw(3, seed=2, solver=Euler(steps=2)),
    )
    for other in others:
        assert gap(drawn[0], other[0]) > 1e-4
    (asked,) = made.draw(1, compositions=[torch.tensor([55, 17])])
    assert asked.elements.tolist() == [55, 17]
    files = again.write(tmp_path / "crystals", count=2, seed=2)
    assert [file.name for file in files] == ["000.cif", "001.cif"]
    read = read_cif(files[0]).crystals[0]
    assert (read.lattice - made.draw(2, seed=2)[0].lattice).abs().max() < 1e-5
    with pytest.raises(ConfigError, match="compositions: got none"):
        system(compositions=())
    (tmp_path / "made" / "network" / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"no model.safetensors"):
        load_system(tmp_path / "made")


@pytest.mark.parametrize("method", sorted(PEROV.methods))
def test_every_method_trains_samples_and_scores(method: str, tmp_path: Path) -> None:
    fast = replace(PEROV.method(method), solver_steps=4)
    result = run(PEROV, preset=TINY, method=fast, output=tmp_path)
    assert result.arrays is not None
    for prefix in ("", "copied/", "source/"):
        assert 0 <= (result.metrics[prefix + "match_rate"] or 0.0) <= 1
        assert math.isfinite(result.metrics[prefix + "volume_error"] or math.nan)
    # Ideal cells are all alike: most copies are nearly right, and noise is not.
    assert (result.metrics["copied/match_rate"] or 0.0) > 0.5
    assert (result.metrics["source/close"] or 0.0) == 0.0
    folder = (tmp_path / result.arrays).parent
    assert len(sorted((folder / "samples").glob("*.cif"))) == TINY.samples
    loaded = load_system(folder / "system")
    assert isinstance(loaded, CrystalSystem)
    again = crystal_metrics(
        loaded.draw(TINY.samples),
        [named(*one) for one in loaded.compositions],
    )
    for name in ("match_rate", "valid", "volume_error"):
        assert again[name] == pytest.approx(result.metrics[name])
    with np.load(tmp_path / result.arrays) as arrays:
        pictures = PEROV.figures(dict(arrays), "title")
    assert len(pictures) == 4


def test_a_run_that_was_cut_short_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = replace(PEROV.method("aligned"), solver_steps=2)
    whole = run(PEROV, preset=TINY, method=fast, output=tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr("flowatlas.benchmarks.fitting.load_fitted", _stop)
        with pytest.raises(KeyboardInterrupt):
            run(PEROV, preset=TINY, method=fast, output=tmp_path / "b")
    again = run(PEROV, preset=TINY, method=fast, output=tmp_path / "b", resume=True)
    for name in ("match_rate", "valid", "volume_error"):
        assert again.metrics[name] == pytest.approx(whole.metrics[name], rel=1e-5)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_trained_and_sampled_by_the_command_line(tmp_path: Path) -> None:
    from flowatlas.cli import main

    made, crystals = tmp_path / "made", tmp_path / "crystals"
    tiny = ["width=12", "depth=1", "frequencies=2", "steps=2", "samples=3", "curve_samples=1"]
    train = ["train", "molecules/perov-5", "--preset", "demo", "--quiet", "--output", str(made)]
    assert main([*train, "--set", *tiny]) == 0
    picture = tmp_path / "crystals.png"
    words = ["sample", str(made), "--count", "3", "--steps", "2", "--output", str(crystals)]
    assert main([*words, "--plot", str(picture)]) == 0
    files = sorted(crystals.glob("*.cif"))
    assert [len(read_cif(file).crystals[0]) for file in files] == [5, 5, 5]
    assert picture.stat().st_size > 10_000


def test_formulas_and_settings() -> None:
    assert formula(TITANATE) == "SrTiO3"
    with pytest.raises(ConfigError, match="curve_samples: got 9; it must be from 1 to samples"):
        replace(TINY, curve_samples=9)
    with pytest.raises(ConfigError, match="slope"):
        replace(PEROV.method("aligned"), slope=-1.0)
