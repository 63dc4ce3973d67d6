"""A trained flow of backbones: kept, found again, and drawn from by the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flowatlas import load_system
from flowatlas.cli import main
from flowatlas.errors import ConfigError, DataError
from flowatlas.solvers import Euler
from flowatlas_molecules import Backbone, BackboneSystem, read_structure
from flowatlas_molecules.networks import FrameTransformer


def system(**changes: object) -> BackboneSystem:
    """An untrained one, of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = FrameTransformer(16, 8, 1, 2)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    made = BackboneSystem(network=network.eval(), lengths=(6, 9), steps=3)
    return replace(made, **changes)  # type: ignore[arg-type]


def same(one: Backbone, other: Backbone, atol: float = 0.0) -> bool:
    return one.atoms.shape == other.atoms.shape and torch.allclose(
        one.atoms.float(), other.atoms.float(), atol=atol, rtol=0
    )


def test_it_comes_back_and_draws_the_same(tmp_path: Path) -> None:
    made = system(rotation_rate=4.0)
    again = load_system(made.save(tmp_path / "made"))
    assert isinstance(again, BackboneSystem)
    assert not any(p.requires_grad for p in again.network.parameters())
    drawn = made.draw(4, seed=2)
    assert {len(chain) for chain in drawn} <= {6, 9}
    assert all(same(a, b) for a, b in zip(drawn, again.draw(4, seed=2), strict=True))
    assert [len(chain) for chain in made.draw(2, lengths=[5, 7])] == [5, 7]
    # What is stored matters: seeds, the schedule of rotations, steps.
    lengths = [7, 7]
    known = made.draw(2, lengths=lengths)
    for other in (
        made.draw(2, seed=1, lengths=lengths),
        replace(made, rotation_rate=0.0).draw(2, lengths=lengths),
        made.draw(2, solver=Euler(steps=2), lengths=lengths),
    ):
        assert not same(known[0], other[0], atol=1e-2)
    files = again.write(tmp_path / "chains", count=2, seed=2)
    assert [file.name for file in files] == ["000.pdb", "001.pdb"]
    assert same(read_structure(files[1]).chains[0], made.draw(2, seed=2)[1], atol=2e-3)


def test_what_is_damaged_or_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lengths: got \(\)"):
        system(lengths=())
    made = system().save(tmp_path)
    (made / "network" / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"no model.safetensors"):
        load_system(made)


def test_trained_resumed_and_sampled_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tmtools")
    made, chains, picture = tmp_path / "made", tmp_path / "chains", tmp_path / "chains.png"
    train = ["train", "molecules/backbone", "--preset", "demo", "--quiet", "--output", str(made)]
    train += ["--method", "linear"]
    tiny = ["width=16", "pair_width=8", "depth=1", "heads=2", "solver_steps=4", "ema=0"]
    assert main([*train, "--set", "steps=2", *tiny]) == 0
    assert main([*train, "--set", "steps=2", *tiny]) == 2
    assert "holds a trained system" in capsys.readouterr().err
    assert main([*train, "--resume", "--set", "steps=2", *tiny]) == 0
    assert load_system(made).rotation_rate == 0.0  # type: ignore[attr-defined]
    words = ["sample", str(made), "--count", "3", "--steps", "2", "--output", str(chains)]
    assert main([*words, "--plot", str(picture)]) == 0
    assert "3 samples by Euler" in capsys.readouterr().out
    files = sorted(chains.glob("*.pdb"))
    assert [len(read_structure(file).chains[0]) for file in files] == [32, 32, 32]
    assert picture.stat().st_size > 10_000
