"""Messages between frames that are near."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from flowatlas import SO3
from flowatlas.errors import ConfigError
from flowatlas_molecules.networks.frame_neighbors import FrameBumps, FrameNeighbors


def layer(neighbors: int = 4) -> FrameNeighbors:
    torch.manual_seed(0)
    made = FrameNeighbors(8, neighbors).double()
    nn.init.normal_(made.push.weight)
    return made.requires_grad_(False)


def chain(n: int = 12, batch: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    s = torch.randn(batch, n, 8, generator=generator, dtype=torch.float64)
    rotation = SO3().random_uniform((batch, n, 3, 3), generator=generator, dtype=torch.float64)
    translation = torch.randn(batch, n, 3, generator=generator, dtype=torch.float64)
    return s, rotation, translation, torch.ones(batch, n, dtype=torch.bool)


def test_messages_are_the_formula_one_pair_at_a_time() -> None:
    model = layer()
    s, rotation, x, mask = chain()
    found, pushes = model(s, rotation, x, mask)
    seen = model.norm(s[0])
    for i in range(12):
        gaps = [(float((x[0, j] - x[0, i]).norm()), j) for j in range(12) if j != i]
        nearest = sorted(gaps)
        reach = nearest[4][0]
        total, norm, push = torch.zeros(8).double(), 0.0, torch.zeros(3).double()
        for distance, j in nearest[:4]:
            v = rotation[0, i].T @ (x[0, j] - x[0, i])
            features = model.bumps(v, rotation[0, i].T @ rotation[0, j])
            pair = model.pair(features) + model.along.weight[j - i + 32]
            message = model.message(pair + model.receiver(seen[i]) + model.sender(seen[j]))
            weight = 1 - distance**2 / reach**2
            total, norm = total + weight * message, norm + weight
            push = push + weight * model.push(message) * v / (0.5 + distance) / 2
        assert torch.allclose(found[0, i], total / norm, atol=1e-5)
        assert torch.allclose(pushes[0, i], push, atol=1e-5)


def test_features_tell_distances_apart_where_atoms_touch() -> None:
    """3.4 and 3.8 angstrom differ by more than a tenth in some bump; directions are bounded."""
    bumps, eye = FrameBumps(), torch.eye(3)
    near, far, further = (bumps(torch.tensor([d, 0.0, 0.0]), eye) for d in (0.34, 0.38, 50.0))
    assert near.shape == (FrameBumps.dim,)
    assert (near - far)[:16].abs().max() > 0.1
    assert further[:16].abs().max() < 1e-6
    assert further[16].item() == pytest.approx(1.0, abs=0.02)
    turn = SO3().expmap(eye, torch.tensor([0.0, 0.0, 0.5]))
    assert (bumps(torch.tensor([0.34, 0.0, 0.0]), turn) - near)[-9:].abs().max() > 0.4


def test_nothing_jumps_where_neighbours_change_places() -> None:
    """Two residues at about equal distance, one of them the last that is seen."""
    model = layer(2)
    s, rotation, x, mask = chain(4)
    x[0] = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])
    step = 1e-4
    results = []
    for sign in (-1, 1):
        moved = x.clone()
        moved[0, 2, 1] += sign * step
        results.append(torch.cat(model(s, rotation, moved, mask), -1)[0, 0])
    assert (results[0] - results[1]).abs().max() < 20 * step
    # Both are told apart where it counts.
    moved = x.clone()
    moved[0, 2, 1] = 0.6
    assert (torch.cat(model(s, rotation, moved, mask), -1)[0, 0] - results[0]).abs().max() > 0.01


@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_padding_and_short_chains(n: int) -> None:
    """What is not there sends nothing, even if there are fewer residues than neighbours."""
    model = layer(5)
    s, rotation, x, mask = chain(n)
    alone = model(s, rotation, x, mask)
    longer = [
        torch.cat([value, value[:, :1].expand(-1, 7, *value.shape[2:])], 1)
        for value in (s, rotation, x)
    ]
    padded = model(*longer, torch.arange(n + 7)[None] < n)
    for one, other in zip(alone, padded, strict=True):
        assert torch.isfinite(one).all()
        assert torch.allclose(one, other[:, :n], atol=1e-12)
    assert (n > 2) == bool((alone[0].abs() > 1e-3).any())


def test_gradients_are_finite_where_frames_are_at_one_place() -> None:
    model = layer(3).requires_grad_(True)
    s, rotation, x, mask = chain(6)
    x[0, 1:] = x[0, 0]
    x.requires_grad_(True)
    loss = sum(part.square().sum() for part in model(s, rotation, x, mask))
    for gradient in torch.autograd.grad(loss, [x, *model.parameters()], allow_unused=True):
        assert gradient is None or torch.isfinite(gradient).all()


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="width, neighbors: got 8 and 0"):
        FrameNeighbors(8, 0)
