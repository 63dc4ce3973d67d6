"""The network over crystals: blind to origin, windings, numbering and padding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError, ShapeError
from flowatlas_molecules import Lattice
from flowatlas_molecules.networks import PeriodicNetwork

State = dict[str, Tensor]
T = torch.tensor([0.1, 0.6, 0.95])


def network(seed: int = 0) -> PeriodicNetwork:
    torch.manual_seed(seed)
    return PeriodicNetwork(width=32, depth=2, frequencies=6).eval().requires_grad_(False)


def crystals(n: int = 7, seed: int = 0) -> tuple[State, Tensor]:
    g = torch.Generator().manual_seed(seed)
    angles = torch.deg2rad(75 + 30 * torch.rand(3, 3, generator=g))
    lattice = torch.cat([3 + 3 * torch.rand(3, 3, generator=g), angles], -1)
    elements = torch.randint(1, 60, (3, n), generator=g)
    return {"fractional": torch.rand(3, n, 3, generator=g), "lattice": lattice}, elements


def gap(one: State, other: State) -> float:
    assert set(one) == set(other) == {"fractional", "lattice"}
    return max((one[name] - other[name]).abs().max().item() for name in one)


def test_moves_by_integers_and_as_a_whole_change_nothing() -> None:
    model, (x, elements) = network(), crystals()
    g = torch.Generator().manual_seed(1)
    windings = torch.randint(-3, 4, x["fractional"].shape, generator=g)
    shift = torch.rand(3, 1, 3, generator=g)
    before = model(x, T, {"elements": elements})
    for moved in (x["fractional"] + windings, x["fractional"] + shift):
        assert gap(model({**x, "fractional": moved}, T, {"elements": elements}), before) < 2e-5
    # Moving one atom does change something.
    off = x["fractional"] + 0.1 * (torch.arange(7) == 2)[:, None]
    assert gap(model({**x, "fractional": off}, T, {"elements": elements}), before) > 1e-3


def test_predictions_follow_a_permutation_of_the_atoms() -> None:
    model, (x, elements) = network(), crystals()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2))
    before = model(x, T, {"elements": elements})
    permuted = {**x, "fractional": x["fractional"][:, order]}
    after = model(permuted, T, {"elements": elements[:, order]})
    expected = {**before, "fractional": before["fractional"][:, order]}
    assert gap(after, expected) < 2e-6
    # Positions permuted without their elements are another crystal.
    assert gap(model(permuted, T, {"elements": elements}), expected) > 1e-3


def test_padding_of_any_content_changes_nothing() -> None:
    model, (x, elements) = network(), crystals()
    before = model(x, T, {"elements": elements})
    for content, number in ((torch.nan, 99), (1e30, -5)):
        padded = {
            **x,
            "fractional": torch.cat([x["fractional"], torch.full((3, 4, 3), content)], 1),
        }
        more = torch.cat([elements, torch.full((3, 4), number)], 1)
        mask = torch.arange(11).expand(3, -1) < 7
        for given in (mask, {"fractional": mask}):
            after = model(padded, T, {"elements": more}, mask=given)
            assert (after["fractional"][:, 7:] == 0).all()
            cut = {**after, "fractional": after["fractional"][:, :7]}
            assert gap(cut, before) < 2e-6


def test_every_input_matters_and_velocities_have_no_mean() -> None:
    model, (x, elements) = network(), crystals()
    before = model(x, T, {"elements": elements})
    assert before["fractional"].mean(1).abs().max() < 1e-6
    Lattice().check_point(before["lattice"])
    others = (
        model(x, T.flip(0), {"elements": elements}),
        model({**x, "lattice": x["lattice"] * 1.1}, T, {"elements": elements}),
        model(x, T, {"elements": elements + 1}),
    )
    for other in others:
        for name, value in before.items():
            assert (other[name] - value).abs().max() > 1e-4, name


def test_waves_are_those_of_the_formula() -> None:
    """One pair, one axis, one frequency, by hand."""
    model, (x, _) = network(), crystals()
    waves = model._waves(x["fractional"].double())
    assert waves.shape == (3, 7, 7, 36)
    apart = x["fractional"].double()[1, 4, 2] - x["fractional"].double()[1, 3, 2]
    angle = 2 * torch.pi * 5 * apart
    axis_and_frequency = 2 * 6 + 4
    assert waves[1, 3, 4, axis_and_frequency].item() == pytest.approx(angle.sin().item())
    assert waves[1, 3, 4, 18 + axis_and_frequency].item() == pytest.approx(angle.cos().item())


def test_pulls_are_sines_of_learned_strengths_one_pair_at_a_time() -> None:
    """Shares of the atoms, sines alone, and the strengths of each frequency added up by axis."""
    model, (x, _) = network(), crystals()
    pull = model.pull
    pairs = model._waves(x["fractional"])
    h = torch.randn(3, 7, pull.receiver.in_features, generator=torch.Generator().manual_seed(4))
    share = torch.full((3, 7), 1 / 7)
    found = pull(h, pairs, share)
    apart = x["fractional"][1] - x["fractional"][1, 2]
    total = torch.zeros(3)
    for j in range(7):
        both = pull.receiver(h[1, 2]) + pull.sender(h[1, j]) + pull.pair(pairs[1, 2, j])
        strength = pull.strength(nn.functional.silu(both)).view(3, 6)
        sines = (2 * torch.pi * torch.arange(1, 7) * apart[j].unsqueeze(-1)).sin()
        total += (strength * sines).sum(-1) / 7
    assert total.abs().max() > 1e-2
    assert torch.allclose(found[1, 2], total, atol=1e-5)


def test_gradients_are_finite_beside_padding() -> None:
    model, (x, elements) = network().requires_grad_(True), crystals()
    x["fractional"][0, 3:] = torch.nan
    mask = torch.arange(7).expand(3, -1) < torch.tensor([[3], [7], [1]])
    output = model(x, T, {"elements": elements}, mask=mask)
    loss = output["fractional"].square().sum() + output["lattice"].square().sum()
    for gradient in torch.autograd.grad(loss, list(model.parameters())):
        assert torch.isfinite(gradient).all()


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    model, (x, elements) = network(), crystals()
    model.save_pretrained(tmp_path)
    again = PeriodicNetwork.from_pretrained(tmp_path)
    condition = {"elements": elements}
    assert gap(again(x, T, condition), model(x, T, condition)) == 0.0


def test_bad_input_is_named() -> None:
    model, (x, elements) = network(), crystals()
    condition = {"elements": elements}
    with pytest.raises(ConfigError, match="depth"):
        PeriodicNetwork(depth=0)
    with pytest.raises(ShapeError, match=r"x: got \['fractional'\]"):
        model({"fractional": x["fractional"]}, T, condition)
    with pytest.raises(ShapeError, match="needs the atomic numbers"):
        model(x, T)
    with pytest.raises(ShapeError, match="needs the atomic numbers"):
        model(x, T, {"composition": elements})
    with pytest.raises(ShapeError, match="beside elements of shape"):
        model(x, T, {"elements": elements[:, :4]})
    with pytest.raises(ShapeError, match="beside elements of shape"):
        model(x, T, {"elements": elements[0]})
