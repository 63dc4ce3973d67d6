"""The network over frames: equivariant, blind to padding, not blind to mirrors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from flowatlas import SO3
from flowatlas.errors import ConfigError, ShapeError
from flowatlas_molecules import Backbone, chain_from_torsions, frames_from_atoms, pad_chains
from flowatlas_molecules.networks import FrameTransformer, InvariantPointAttention

State = dict[str, Tensor]


def network(seed: int = 0, **settings: bool) -> FrameTransformer:
    """One whose every part matters: the initial one moves no frame."""
    torch.manual_seed(seed)
    made = FrameTransformer(width=32, pair_width=16, depth=2, heads=4, **settings)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval().requires_grad_(False)


def state(batch: int = 2, n: int = 24, seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {
        "rotation": SO3().random_uniform((batch, n, 3, 3), generator=generator),
        "translation": 12 * torch.randn(batch, n, 3, generator=generator),
        "residue": torch.randint(21, (batch, n), generator=generator),
    }


T = torch.tensor([0.2, 0.9])


def test_predictions_turn_and_do_not_move_with_the_state() -> None:
    """Rotations and moves of the whole state, in float32: below 1e-4, relative to ten angstrom."""
    model, x = network(residues=True), state()
    turn = SO3().random_uniform((2, 3, 3), generator=torch.Generator().manual_seed(1))
    shift = torch.tensor([[[30.0, -20.0, 5.0]], [[0.0, 40.0, 1.0]]])
    turned = {
        "rotation": turn.unsqueeze(1) @ x["rotation"],
        "translation": x["translation"] @ turn.mT + shift,
        "residue": x["residue"],
    }
    one, other = model(x, T), model(turned, T)
    assert (other["rotation"] - turn.unsqueeze(1) @ one["rotation"]).abs().max() < 1e-4
    gap = other["translation"] - one["translation"] @ turn.mT
    assert gap.abs().max() < 1e-4 * max(10.0, one["translation"].abs().max().item())
    assert (other["residue"] - one["residue"]).abs().max() < 1e-4
    # It does something that could have failed.
    assert (one["rotation"] - x["rotation"]).abs().max() > 0.1
    assert one["translation"].mean(1).abs().max() < 1e-4
    SO3().check_point(one["rotation"])


def test_padding_of_any_content_changes_nothing() -> None:
    model, x = network(residues=True), state()
    alone = model(x, T)
    padded = {
        "rotation": torch.cat([x["rotation"], torch.full((2, 9, 3, 3), torch.nan)], 1),
        "translation": torch.cat([x["translation"], torch.full((2, 9, 3), 1e30)], 1),
        "residue": torch.cat([x["residue"], torch.full((2, 9), 17)], 1),
    }
    mask = torch.arange(33).expand(2, -1) < 24
    for given in (mask, dict.fromkeys(padded, mask)):
        found = model(padded, T, mask=given)
        for name, value in alone.items():
            assert torch.isfinite(found[name]).all()
            assert torch.allclose(found[name][:, :24], value, atol=2e-5, rtol=1e-5), name


def test_gradients_are_finite_beside_padding() -> None:
    model = network().requires_grad_(True)
    x = {name: value for name, value in state().items() if name != "residue"}
    mask = torch.arange(24).expand(2, -1) < torch.tensor([[24], [1]])
    x["translation"][1, 1:] = torch.nan
    output = model(x, T, mask=mask)
    loss = output["rotation"].square().sum() + output["translation"].square().sum()
    for gradient in torch.autograd.grad(loss, list(model.parameters())):
        assert torch.isfinite(gradient).all()


def test_a_mirrored_protein_is_told_apart() -> None:
    """A helix, its mirror image with frames of its own, and a turned copy, which is the same."""
    model = network(residues=True)
    helix = torch.tensor([-57.8, -47.0, 180.0]).deg2rad().expand(24, 3)
    atoms = chain_from_torsions(helix)
    (turn,) = SO3().random_uniform((1, 3, 3), generator=torch.Generator().manual_seed(2))
    mirror = atoms * torch.tensor([1.0, 1.0, -1.0])
    logits = [
        model(pad_chains([Backbone(one, 24 * "A")]).state, T[:1])["residue"]
        for one in (atoms, atoms @ turn.T, mirror)
    ]
    same, other = ((one - logits[0]).abs().max().item() for one in logits[1:])
    assert same < 1e-4
    assert other > 1e-2
    # The mirror image differs in nothing that distances see.
    assert torch.cdist(atoms[:, 1], atoms[:, 1]).allclose(torch.cdist(mirror[:, 1], mirror[:, 1]))
    assert torch.linalg.det(frames_from_atoms(mirror)[0]).sub(1).abs().max() < 1e-5


def test_the_order_of_residues_matters() -> None:
    model, x = network(residues=True), state()
    back = {name: value.flip(1) for name, value in x.items()}
    assert (model(back, T)["residue"].flip(1) - model(x, T)["residue"]).abs().max() > 1e-2


def test_at_first_the_prediction_is_the_centred_state() -> None:
    x = {name: value for name, value in state().items() if name != "residue"}
    found = FrameTransformer(width=32, depth=2)(x, T)
    centred = x["translation"] - x["translation"].mean(1, keepdim=True)
    assert torch.allclose(found["rotation"], x["rotation"], atol=1e-6)
    assert torch.allclose(found["translation"], centred, atol=1e-4)


def test_what_is_left_to_say_shrinks_with_the_time_that_is_left() -> None:
    r"""Updates are as large as the spread of the data given the state; at t = 1 there are none.

    The second half of every block is silenced, and the first of all but one, so that there is one
    update. If the network does not read the time, moves are in proportion to
    $(1 - t) / \sqrt{(1 - t)^2 + t^2}$, and so are the halves of the tangents of turns.
    """
    model, x = network(), {k: v for k, v in state(1).items() if k != "residue"}
    model.time.forward = lambda t: torch.ones(len(t), 32)  # type: ignore[method-assign]
    assert torch.allclose(model(x, torch.ones(1))["rotation"], x["rotation"], atol=1e-5)
    model.blocks = model.blocks[:1]
    again = model.blocks[0].update_again.last  # type: ignore[union-attr]
    near = model.blocks[0].near.push  # type: ignore[union-attr]
    for layer in (again, near):
        nn.init.zeros_(layer.weight)  # type: ignore[union-attr, arg-type]
        nn.init.zeros_(layer.bias)  # type: ignore[union-attr, arg-type]
    centred = x["translation"] - x["translation"].mean(1, keepdim=True)
    moves, turns = [], []
    for t in (0.0, 0.5, 0.9, 1.0):
        found = model(x, torch.tensor([t]))
        moves.append(found["translation"] - centred)
        turns.append((SO3().dist(found["rotation"], x["rotation"]) / 2).tan())
    assert moves[0].abs().max() > 0.1
    assert turns[0].min() > 0.01
    for move, turn, share in zip(moves, turns, (1.0, 0.5**0.5, 0.1 / 0.82**0.5, 0.0), strict=True):
        assert torch.allclose(move, share * moves[0], atol=1e-4)
        assert torch.allclose(turn, share * turns[0], rtol=1e-3, atol=1e-3)


def test_attention_is_softmax_of_minus_squared_distances() -> None:
    """Against the distances themselves, one pair at a time, in float64."""
    torch.manual_seed(0)
    layer = InvariantPointAttention(16, 4, heads=2, query_points=3, value_points=2).double()
    x = state(1, 7)
    s, z = torch.randn(1, 7, 16).double(), torch.randn(1, 7, 7, 4).double()
    r, p = x["rotation"].double(), 0.1 * x["translation"].double()
    mask = torch.ones(1, 7, dtype=torch.bool)
    found = layer(s, z, r, p, mask)
    q, k, v = layer.scalars(s).view(7, 3, 2, 8).unbind(1)
    local = layer.points(s).view(7, 2, 8, 3)
    points = torch.einsum("nij,nhpj->nhpi", r[0], local) + p[0, :, None, None]
    gathered = []
    for i in range(7):
        row = []
        for h in range(2):
            square = (points[i, h, :3] - points[:, h, 3:6]).square().sum((-1, -2))
            score = k[:, h] @ q[i, h] / 8**0.5 + layer.bias(z[0, i])[:, h]
            score = score - nn.functional.softplus(layer.gamma[h]) / 2 * (2 / 27) ** 0.5 * square
            a = torch.softmax((1 / 3) ** 0.5 * score, 0)
            mean = (torch.einsum("j,jpc->pc", a, points[:, h, 6:]) - p[0, i]) @ r[0, i]
            size = (mean.square().sum(-1) + 1e-6).sqrt()
            row.append(torch.cat([a @ v[:, h], mean.flatten(), size, a @ z[0, i]]))
        gathered.append(torch.cat(row))
    assert torch.allclose(found[0], layer.out(torch.stack(gathered)), atol=1e-10)


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = network(residues=True)
    model.save_pretrained(tmp_path)
    again = FrameTransformer.from_pretrained(tmp_path)
    assert isinstance(again, FrameTransformer)
    x = state()
    assert torch.equal(again(x, T)["residue"], model(x, T)["residue"])


def test_wrong_states_are_refused() -> None:
    model, x = network(), state()
    with pytest.raises(ShapeError, match=r"got \['residue', 'rotation', 'translation'\]"):
        model(x, T)
    del x["residue"]
    x["rotation"] = x["rotation"][:, 1:]
    with pytest.raises(ShapeError, match=r"x\['rotation'\]: got shape \(2, 23, 3, 3\)"):
        model(x, T)
    with pytest.raises(ConfigError, match="heads must divide width"):
        FrameTransformer(width=30, heads=4)
    with pytest.raises(ConfigError, match="at least one block"):
        FrameTransformer(depth=0)
