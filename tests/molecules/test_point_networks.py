"""Networks over clouds of atoms: equivariant, blind to padding, and able to learn a molecule."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas import SO3, AffinePath, Aligned, Euler, FlowMatching, sample
from flowatlas.errors import ConfigError, ShapeError
from flowatlas_molecules.backbone_flow import time_weight
from flowatlas_molecules.graphs import graphs_from_padded, radius_graph
from flowatlas_molecules.metrics import superposed_rmsd
from flowatlas_molecules.networks import EGNN, PointNetwork, TensorFieldNetwork

pytest.importorskip("e3nn")

Make = Callable[..., PointNetwork]
T = torch.tensor([0.2, 0.9])


def egnn(**settings: Any) -> PointNetwork:
    return EGNN(width=16, depth=2, **settings)


def tensors(**settings: Any) -> PointNetwork:
    return TensorFieldNetwork(width=8, depth=2, **settings)


def handed(**settings: Any) -> PointNetwork:
    return TensorFieldNetwork(width=8, depth=2, mirror=False, **settings)


MAKERS = pytest.mark.parametrize("make", [egnn, tensors, handed])


def network(make: Make, seed: int = 0, **settings: Any) -> PointNetwork:
    """One whose every part matters: the initial one moves little."""
    torch.manual_seed(seed)
    made = make(**settings)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made.eval().requires_grad_(False)


def cloud(n: int = 9, seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    condition = {
        "kind": torch.randint(5, (2, n), generator=generator),
        "features": torch.randn(2, n, 3, generator=generator),
    }
    return 2 * torch.randn(2, n, 3, generator=generator), condition


def turns() -> Tensor:
    return SO3().random_uniform((2, 3, 3), generator=torch.Generator().manual_seed(1))


@MAKERS
@pytest.mark.parametrize("radius", [None, 3.0])
def test_predictions_turn_with_the_state_and_do_not_see_where_it_is(
    make: Make, radius: float | None
) -> None:
    """Below 1e-4 in float32, relative to the size of what is predicted."""
    model = network(make, kinds=5, features=3, radius=radius)
    x, condition = cloud()
    turn, shift = turns(), torch.tensor([[[30.0, -20.0, 5.0]], [[0.0, 40.0, 1.0]]])
    one = model(x, T, condition)
    other = model(x @ turn.mT + shift, T, condition)
    size = max(1.0, one.abs().max().item())
    assert (other - one @ turn.mT).abs().max() < 1e-4 * size
    # It does something that could have failed.
    moved = one - (x - x.mean(1, keepdim=True))
    assert moved.norm(dim=-1).mean() > 0.05
    assert one.mean(1).abs().max() < 1e-5 * size


@MAKERS
def test_mirror_images_are_told_apart_by_the_one_network_that_may(make: Make) -> None:
    model = network(make, kinds=5, features=3)
    x, condition = cloud()
    one, mirrored = model(x, T, condition), model(-x @ turns().mT, T, condition)
    gap = (mirrored + one @ turns().mT).abs().max().item()
    if make is handed:
        assert gap > 1e-2
    else:
        assert gap < 1e-4 * max(1.0, one.abs().max().item())


@MAKERS
def test_predictions_change_places_with_the_points(make: Make) -> None:
    model = network(make, kinds=5, features=3)
    x, condition = cloud()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    shuffled = {name: value[:, order] for name, value in condition.items()}
    one, other = model(x, T, condition), model(x[:, order], T, shuffled)
    assert torch.allclose(other, one[:, order], atol=1e-5)
    # Time, kinds and features matter.
    changed = {**condition, "kind": (condition["kind"] + 1) % 5}
    assert (model(x, T, changed) - one).abs().max() > 1e-2
    changed = {**condition, "features": condition["features"] + 1}
    assert (model(x, T, changed) - one).abs().max() > 1e-2
    assert (model(x, T.flip(0), condition) - one).abs().max() > 1e-2


@MAKERS
@pytest.mark.parametrize("joint", [False, True])
def test_padding_of_any_content_and_the_rest_of_the_batch_change_nothing(
    make: Make, joint: bool
) -> None:
    """Samples of 9 and 6 points together, padded with nonsense, and each by itself."""
    model = network(make, kinds=5, joint=joint)
    x, condition = cloud(12)
    mask = torch.arange(12) < torch.tensor([[9], [6]])
    x = torch.where(mask.unsqueeze(-1), x, torch.nan)
    kind = torch.where(mask, condition["kind"], 99)

    def predict(x: Tensor, kind: Tensor, t: Tensor, mask: Any) -> dict[str, Tensor]:
        if not joint:
            found = model(x, t, {"kind": kind}, mask=mask)
            assert isinstance(found, Tensor)
            return {"position": found}
        state = {"position": x, "kind": kind}
        found = model(state, t, mask=None if mask is None else dict.fromkeys(state, mask))
        assert isinstance(found, dict)
        assert found["kind"].shape == (*kind.shape, 5)
        return found

    together = predict(x, kind, T, mask)
    for i, n in enumerate((9, 6)):
        alone = predict(x[i : i + 1, :n], kind[i : i + 1, :n], T[i : i + 1], None)
        for name, value in alone.items():
            assert torch.allclose(together[name][i, :n], value[0], atol=1e-5), name
            assert not together[name][i, n:].any()


@MAKERS
def test_points_beyond_the_radius_are_not_seen(make: Make) -> None:
    """What happens within one of two far clusters does not change what is told of the other."""
    x, condition = cloud()
    x = x * 0.5 + 50 * (torch.arange(9) >= 5)[:, None]
    changed = x + torch.randn(9, 3) * (torch.arange(9) >= 5)[:, None]
    for radius, sees in ((6.0, False), (None, True)):
        model = network(make, kinds=5, features=3, residual=False, radius=radius)
        one, other = (model(state, T, condition)[:, :5] for state in (x, changed))
        gap = (other - other[:, :1]) - (one - one[:, :1])
        assert (gap.abs().max() > 1e-3) == sees


@MAKERS
def test_pyg_batches_are_the_same_clouds(make: Make) -> None:
    model = network(make, kinds=5, features=3, radius=3.0)
    x, condition = cloud()
    mask = torch.arange(9) < torch.tensor([[9], [6]])
    expected = model(x, T, condition, mask=mask)[mask]
    near = radius_graph(x[mask], torch.repeat_interleave(mask.sum(1)), 3.0)
    graphs = graphs_from_padded({"pos": x, **condition}, mask, edge_index=near)
    assert torch.allclose(model.on_graphs(graphs, T), expected, atol=1e-5)
    # And edges of one's own are what counts.
    graphs.edge_index = graphs.edge_index[:, :4]
    assert (model.on_graphs(graphs, T) - expected).abs().max() > 1e-2


@MAKERS
def test_gradients_are_finite_where_points_coincide_or_are_alone(make: Make) -> None:
    model = network(make).requires_grad_(True)
    x = torch.randn(3, 4, 3)
    x[0, 1] = x[0, 0]
    x[1] = 0.0
    x.requires_grad_(True)
    mask = torch.arange(4) < torch.tensor([[4], [4], [1]])
    loss = model(x, torch.rand(3), mask=mask).square().sum()
    wanted = [x, *(p for p in model.parameters() if p.requires_grad)]
    for gradient in torch.autograd.grad(loss, wanted, allow_unused=True):
        assert gradient is None or torch.isfinite(gradient).all()
        assert gradient is None or gradient.abs().max() < 1e6


def test_a_layer_of_egnn_is_what_its_formula_says() -> None:
    """One pair at a time."""
    model = network(egnn, residual=False)
    assert isinstance(model, EGNN)
    model.layers = model.layers[:1]
    x, t = torch.randn(1, 5, 3), torch.tensor([0.3])
    found = model(x, t)[0]
    layer: Any = model.layers[0]
    bumps = model.bumps
    s = model.enter(model.time(t)).expand(5, -1) + model.kind.weight[0]
    seen = layer.norm(s)
    moved = torch.zeros(5, 3)
    for i in range(5):
        for j in set(range(5)) - {i}:
            d = (x[0, j] - x[0, i]).norm().view(1)
            m = layer.message(torch.cat([seen[i], seen[j], bumps(d), bumps(d)]))
            moved[i] += (x[0, j] - x[0, i]) / (1 + d) * layer.pull(m) / 4
    assert torch.allclose(found, moved - moved.mean(0), atol=1e-5)


@MAKERS
def test_saved_loaded_and_copied(make: Make, tmp_path: Path) -> None:
    model = network(make, kinds=5, features=3, radius=4.0)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    x, condition = cloud()
    expected = model(x, T, condition)
    assert torch.equal(again(x, T, condition), expected)
    assert torch.equal(copy.deepcopy(model)(x, T, condition), expected)


#: N, CA, C, O, CB and H of L-alanine, angstrom: ideal bonds and angles.
ALANINE = torch.tensor(
    [
        [-0.966, 0.493, 1.500],
        [0.257, 0.418, 0.692],
        [-0.094, 0.017, -0.716],
        [-1.056, -0.682, -0.923],
        [1.204, -0.620, 1.296],
        [0.661, 0.439, -1.742],
    ]
)


@pytest.mark.parametrize("either_hand", [True, False])
def test_one_molecule_is_learned_by_heart(either_hand: bool) -> None:
    """Samples of a flow are the molecule: either hand by EGNN, the right one by a handed network.

    EGNN commutes with reflections, so it must draw both hands alike often: with 32 samples fewer
    than 7 of one have a probability of 1e-3.
    """
    torch.manual_seed(0)
    model: PointNetwork
    if either_hand:
        model, lr = EGNN(32, 3, kinds=6), 5e-3
    else:
        model, lr = TensorFieldNetwork(16, 2, degree=1, mirror=False, kinds=6), 1e-2
    path = AffinePath(prediction="target", time_weight=time_weight)
    objective = FlowMatching(path, coupling=Aligned(permute=False))
    generator, steps = torch.Generator().manual_seed(0), 300
    optimizer = torch.optim.Adam(model.parameters(), lr)
    x_1 = (ALANINE - ALANINE.mean(0)).expand(32, -1, -1)
    condition = {"kind": torch.arange(6).expand(32, -1)}
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        loss = objective(model, x_1, condition=condition, generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    drawn = sample(
        model.eval().requires_grad_(False),
        path,
        shape=(32, 6, 3),
        condition=condition,
        solver=Euler(steps=20),
        generator=generator,
    )
    rmsd, mirrored = superposed_rmsd(drawn, x_1), superposed_rmsd(-drawn, x_1)
    assert superposed_rmsd(-x_1, x_1).min() > 0.8
    right = int((rmsd < mirrored).sum())
    if either_hand:
        assert torch.minimum(rmsd, mirrored).median() < 0.15
        assert 7 <= right <= 25
    else:
        assert rmsd.median() < 0.15
        assert right >= 30


def test_wrong_states_and_settings_are_refused() -> None:
    x, condition = cloud()
    model = network(egnn, kinds=5, features=3)
    with pytest.raises(ShapeError, match=r"condition\['kind'\]: got nothing"):
        model(x, T)
    for kind in (condition["kind"] + 1, condition["kind"].float(), condition["kind"] - 5):
        with pytest.raises(ConfigError, match=r"takes integers from 0 to 4\. Atomic numbers need"):
            model(x, T, {**condition, "kind": kind})
    with pytest.raises(ShapeError, match=r"condition\['features'\]: got shape \(2, 9, 2\)"):
        model(x, T, {**condition, "features": condition["features"][..., 1:]})
    with pytest.raises(ShapeError, match=r"got a tensor \(2, 9, 2\); EGNN\(joint=False\)"):
        model(x[..., :2], T, condition)
    with pytest.raises(ShapeError, match=r"got a mapping of \['position'\]"):
        network(egnn, kinds=5, joint=True)({"position": x}, T)
    with pytest.raises(ConfigError, match="one kind is nothing to predict"):
        EGNN(joint=True)
    with pytest.raises(ConfigError, match="radius: got -1"):
        EGNN(radius=-1.0)
    with pytest.raises(ConfigError, match="width, depth, kinds, features: got 64, 0"):
        EGNN(depth=0)
    with pytest.raises(ConfigError, match="bumps, reach"):
        EGNN(reach=0.0)
    with pytest.raises(ConfigError, match="a width of 2 to the power"):
        TensorFieldNetwork(width=2, degree=2)
