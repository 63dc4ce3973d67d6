"""Backbones by flow matching: the path, the objective, and samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas import SO3, CondOT, Euler
from flowatlas.errors import ConfigError
from flowatlas_molecules import (
    Backbone,
    BackboneGeometry,
    PaddedChains,
    atoms_from_frames,
    backbone_objective,
    backbone_path,
    pad_chains,
    read_structure,
    sample_backbones,
)
from flowatlas_molecules.backbone_flow import time_weight
from flowatlas_molecules.metrics import superposed_rmsd
from flowatlas_molecules.networks import FrameTransformer

FILE = Path(pytest.importorskip("tmtools").__file__).parent / "data" / "2gtl.pdb"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def batch() -> PaddedChains:
    globin = read_structure(FILE).chains[0]
    return pad_chains(
        [
            Backbone(globin.atoms[i : i + n], globin.sequence[i : i + n])
            for i, n in ((0, 30), (40, 22), (80, 25))
        ]
    )


class Oracle:
    """Predicts one chain, whatever the state: the exact field of a law of one point."""

    def __init__(self, target: Mapping[str, Tensor]) -> None:
        self.target = target

    def __call__(
        self, x: Mapping[str, Tensor], t: Tensor, condition: Any = None, *, mask: Tensor
    ) -> Any:
        found = {name: self.target[name].expand(len(t), *self.target[name].shape) for name in x}
        if "residue" in x:
            found["residue"] = 50.0 * torch.nn.functional.one_hot(found["residue"], 20).float()
        return found


def truth(
    batch: PaddedChains, names: tuple[str, ...] = ("rotation", "translation")
) -> dict[str, Tensor]:
    return {name: batch.state[name] for name in names}


@pytest.mark.parametrize("steps", [2, 10])
@pytest.mark.parametrize("residues", [False, True])
def test_the_exact_field_of_one_chain_draws_that_chain(
    batch: PaddedChains, steps: int, residues: bool
) -> None:
    """With any number of steps and either schedule of rotations: geodesics end at their target."""
    target = {name: value[0] for name, value in batch.state.items()}
    expected = atoms_from_frames(target["rotation"], target["translation"])
    for schedule in (None, CondOT()):
        chains = sample_backbones(
            Oracle(target),
            [30, 30],
            residues=residues,
            solver=Euler(steps=steps),
            rotation_schedule=schedule,
            generator=seeded(),
        )
        for chain in chains:
            assert (chain.atoms - expected).abs().max() < 1e-3
            letters = "X" * 30 if not residues else None
            assert chain.sequence == (letters or read_structure(FILE).chains[0].sequence[:30])


def test_loss_is_zero_for_the_truth_and_what_it_says_elsewhere(batch: PaddedChains) -> None:
    """One turn by .3 rad and one move by 2 angstrom, of all residues: by hand."""
    x_1 = truth(batch)
    objective = backbone_objective(geometry=0.0)
    t = torch.tensor([0.0, 0.5, 0.98])
    turn = SO3().expmap(torch.eye(3), torch.tensor([0.3, 0.0, 0.0]))

    def turned(x: Any, t: Tensor, condition: Any = None, *, mask: Tensor) -> dict[str, Tensor]:
        shift = torch.tensor([0.0, 2.0, 0.0])
        return {"rotation": x_1["rotation"] @ turn, "translation": x_1["translation"] + shift}

    def exact(x: Any, t: Tensor, condition: Any = None, *, mask: Tensor) -> dict[str, Tensor]:
        return x_1

    assert objective(exact, x_1, t=t, mask=batch.mask).loss < 1e-8
    found = objective(turned, x_1, t=t, mask=batch.mask).per_sample
    scale = torch.tensor([1.0, 4.0, 1 / 0.03**2])
    expected = scale * (0.3**2 / 3 + 2 * (0.1 * 2.0) ** 2 / 3)
    assert torch.allclose(found, expected, rtol=1e-4)
    assert torch.allclose(time_weight(t), scale)


def test_padding_is_no_part_of_loss_or_gradient(batch: PaddedChains) -> None:
    """The middle chain alone, and in a batch where it is padded with nonsense."""
    torch.manual_seed(0)
    model = FrameTransformer(width=16, pair_width=8, depth=1, heads=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    objective = backbone_objective()
    t = torch.tensor([0.7])
    n = 22
    alone = {name: value[1:2, :n] for name, value in truth(batch).items()}
    x_0 = objective.path.draw(alone, generator=seeded())
    padded = {name: value[1:2].clone() for name, value in truth(batch).items()}
    padded["translation"][:, n:] = torch.nan
    filled = objective.path.draw(padded, generator=seeded(3))
    longer = {name: torch.cat([x_0[name], filled[name][:, n:]], 1) for name in x_0}
    results = []
    for x_1, start, mask in (
        (alone, x_0, torch.ones(1, n, dtype=torch.bool)),
        (padded, longer, batch.mask[1:2]),
    ):
        model.zero_grad()
        loss = objective(model, x_1, x_0=start, t=t, mask=mask).loss
        loss.backward()
        results.append((loss, [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    (one, g), (other, h) = results
    assert torch.allclose(one, other, rtol=1e-4)
    assert all(torch.allclose(a, b, rtol=1e-2, atol=1e-4) for a, b in zip(g, h, strict=True))


def test_geometry_is_zero_for_the_truth_and_counts_late_times_alone(batch: PaddedChains) -> None:
    """A move of all atoms by 2 angstrom keeps distances: half of (.2)^2 times the weight of t."""
    x_1 = truth(batch)
    path = backbone_path()
    x_0 = path.draw(x_1, generator=seeded())
    t = torch.tensor([0.4, 0.6, 0.8])
    sample = path.sample(x_0, x_1, t)
    sample = replace(sample, exists=dict.fromkeys(x_1, batch.mask))
    regularizer = BackboneGeometry()
    assert regularizer(sample, x_1).abs().max() < 1e-7
    moved = {**x_1, "translation": x_1["translation"] + torch.tensor([0.0, 0.0, 2.0])}
    expected = 0.5 * 0.04 * time_weight(t) * (t > 0.5)
    assert torch.allclose(regularizer(sample, moved), expected, rtol=1e-4)
    # Frames swapped between two neighbours change distances too.
    order = [1, 0, *range(2, 30)]
    swapped = {name: value[:, order] for name, value in x_1.items()}
    far = regularizer(sample, swapped)
    assert far[1] > 0.01
    apart = {**x_1, "translation": torch.where(batch.mask[..., None], x_1["translation"], 1e6)}
    assert torch.allclose(regularizer(sample, apart), torch.zeros(3), atol=1e-7)
    with pytest.raises(ConfigError, match="weight is zero or more"):
        BackboneGeometry(-1.0)


def test_geometry_is_its_formula_one_pair_at_a_time(batch: PaddedChains) -> None:
    """Atoms of 22 residues, moved at random: pairs within 6 angstrom, in units of ten."""
    x_1 = {name: value[1:2] for name, value in truth(batch).items()}
    path = backbone_path()
    t = torch.tensor([0.7])
    sample = path.sample(path.draw(x_1, generator=seeded()), x_1, t)
    sample = replace(sample, exists=dict.fromkeys(x_1, batch.mask[1:2]))
    moves = torch.randn(x_1["translation"].shape, generator=seeded(2))
    found = BackboneGeometry(2.5, 0.5)(sample, {**x_1, "translation": x_1["translation"] + moves})
    true = atoms_from_frames(x_1["rotation"], x_1["translation"])[0, :22, :3].double()
    moved = true + moves[0, :22].unsqueeze(1)
    true, moved = true.reshape(-1, 3), moved.reshape(-1, 3)
    errors = []
    for a in range(66):
        for b in range(66):
            far = float((true[a] - true[b]).norm())
            if far < 6.0:
                errors.append((float((moved[a] - moved[b]).norm()) - far) ** 2 / 100)
    place = float((moved - true).square().sum(-1).mean()) / 100
    expected = 2.5 / 2 / 0.3**2 * (place + sum(errors) / len(errors))
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_chains_drawn_by_seeds_of_their_own_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    model = FrameTransformer(width=16, pair_width=8, depth=1, heads=2)
    torch.nn.init.normal_(model.blocks[0].update.last.weight, std=0.1)  # type: ignore[union-attr,arg-type]
    lengths = [12, 20, 16]
    seeds = [seeded(k) for k in range(3)]
    # A chain's noise is that of its padded length, so lengths in a chunk are alike here.
    together = sample_backbones(model, [20] * 3, solver=Euler(steps=3), generator=seeds)
    alone = sample_backbones(model, [20], solver=Euler(steps=3), generator=[seeded(1)])
    assert torch.allclose(together[1].atoms, alone[0].atoms, atol=1e-3)
    chains = sample_backbones(
        model, lengths, solver=Euler(steps=3), chunk_size=2, generator=seeded()
    )
    assert [len(chain) for chain in chains] == lengths
    for chain in chains:
        assert chain.atoms[:, 1].mean(0).abs().max() < 1e-3
    with pytest.raises(ConfigError, match="positive numbers"):
        sample_backbones(model, [])


def test_types_and_frames_learn_together(batch: PaddedChains) -> None:
    """A few steps on three chains lower every component."""
    torch.manual_seed(0)
    model = FrameTransformer(width=32, pair_width=16, depth=2, heads=4, residues=True)
    objective = backbone_objective(residues=True)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    t = torch.tensor([0.5, 0.7, 0.9])
    losses = []
    for _ in range(60):
        output = objective(model, batch.state, t=t, mask=batch.mask, generator=seeded())
        losses.append(output.components)
        optimizer.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    for name in ("rotation", "translation", "residue"):
        assert losses[-1][name] < 0.7 * losses[0][name], name


@pytest.mark.slow
def test_overfits_one_protein_of_a_hundred_residues() -> None:
    """C-alpha RMSD of samples to it below 1 angstrom, mirror images excluded."""
    globin = read_structure(FILE).chains[0]
    target = Backbone(globin.atoms[:100], globin.sequence[:100])
    data = pad_chains(4 * [target])
    torch.manual_seed(0)
    model = FrameTransformer(width=64, depth=2)
    objective = backbone_objective(geometry=1.0)
    steps, lr, generator = 4000, 2e-3, seeded()
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 30) * max(0.05, 1 - step / steps)
        loss = objective(model, truth(data), mask=data.mask, generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    chains = sample_backbones(model, 4 * [100], solver=Euler(steps=100), generator=seeded(1))
    rmsd = torch.stack([superposed_rmsd(c.atoms[:, 1], target.atoms[:, 1]) for c in chains])
    print(f"C-alpha RMSD of four samples: {rmsd.min():.3f} to {rmsd.max():.3f} angstrom")
    assert rmsd.max() < 1.0, rmsd
