"""Permutations and rotations of clouds: the best there are, rotations only, padding left alone."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch import Tensor

from flowatlas.couplings import Aligned, Coupling
from flowatlas.couplings._kabsch import kabsch
from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.manifolds import SO3
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath, ProductPath

DOUBLE = torch.float64


def clouds(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x_0, x_1 = torch.randn(2, *shape, generator=g, dtype=DOUBLE)
    return x_0 + 1.5, 2 * x_1 - 0.7


def centred(x: Tensor) -> Tensor:
    return x - x.mean(-2, keepdim=True)


def cost(x_0: Tensor, x_1: Tensor) -> Tensor:
    return (x_0 - x_1).square().sum((-2, -1))


def rotations(n: int, seed: int = 5) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return SO3().random_uniform((n, 3, 3), generator=g, dtype=DOUBLE)


def same_points(x: Tensor, y: Tensor) -> bool:
    return torch.equal(x.sort(-2).values, y.sort(-2).values)


# Kabsch.


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_rotations_are_proper(dim: int) -> None:
    """det R = 1; without the sign about half would be reflections."""
    x, y = (centred(x) for x in clouds(400, 6, dim))
    r = kabsch(x, y)
    eye = torch.eye(dim, dtype=DOUBLE)
    torch.testing.assert_close(r @ r.mT, eye.expand_as(r), rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.linalg.det(r), torch.ones(400, dtype=DOUBLE))
    u, _, vh = torch.linalg.svd(x.mT @ y)
    reflected = (torch.linalg.det(vh.mT @ u.mT) < 0).double().mean()
    assert 0.35 < reflected < 0.65


def test_rotation_is_that_of_scipy() -> None:
    x, y = (centred(x) for x in clouds(30, 7, 3))
    for a, b, r in zip(x, y, kabsch(x, y), strict=True):
        expected, _ = Rotation.align_vectors(b.numpy(), a.numpy())
        torch.testing.assert_close(r, torch.from_numpy(expected.as_matrix()), atol=1e-9, rtol=0)


def test_a_rotation_is_found_again() -> None:
    x, _ = clouds(20, 5, 3)
    turn = rotations(20)
    torch.testing.assert_close(kabsch(centred(x), centred(x) @ turn.mT), turn)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_flat_clouds_are_turned_as_well_as_can_be(rank: int) -> None:
    x, y = (centred(x) for x in clouds(20, 6, 3))
    x[..., rank:] = 0
    y = y @ rotations(20).mT
    r = kabsch(x, y)
    torch.testing.assert_close(torch.linalg.det(r), torch.ones(20, dtype=DOUBLE))
    found = cost(x @ r.mT, y)
    # The sum of the singular values is the bound, which flat clouds reach without a reflection.
    bound = (
        x.square().sum((1, 2))
        + y.square().sum((1, 2))
        - 2 * torch.linalg.matrix_norm(x.mT @ y, "nuc")
    )
    torch.testing.assert_close(found, bound)


# Permutations.


@pytest.mark.parametrize("n", [1, 2, 5])
def test_no_permutation_of_points_is_better(n: int) -> None:
    x_0, x_1 = clouds(10, n, 3)
    found = Aligned(rotate=False).couple(x_0, x_1)
    assert isinstance(found, Tensor) and same_points(found, x_0)
    best = torch.stack(
        [cost(x_0[:, list(order)], x_1) for order in itertools.permutations(range(n))]
    ).amin(0)
    torch.testing.assert_close(cost(found, x_1), best)


def test_no_permutation_within_blocks_is_better() -> None:
    x_0, x_1 = clouds(12, 6, 2)
    label = torch.randint(3, (12, 6), generator=torch.Generator().manual_seed(1))
    found = Aligned(rotate=False, blocks="element").couple(x_0, x_1, condition={"element": label})
    free = Aligned(rotate=False).couple(x_0, x_1)
    assert isinstance(found, Tensor) and isinstance(free, Tensor)
    for i in range(12):
        orders = [list(o) for o in itertools.permutations(range(6))]
        kept = [o for o in orders if torch.equal(label[i, o], label[i])]
        best = min(cost(x_0[i, o], x_1[i]).item() for o in kept)
        assert cost(found[i], x_1[i]).item() == pytest.approx(best)
        for value in label[i].unique():
            assert same_points(found[i][label[i] == value], x_0[i][label[i] == value])
    # Power: blocks hold some permutations back.
    assert (cost(found, x_1) > cost(free, x_1) + 1e-6).any()


# Both.


def test_turns_end_where_no_rotation_and_no_swap_helps() -> None:
    x_0, x_1 = clouds(6, 8, 3)
    found = Aligned(rounds=50).couple(x_0, x_1)
    assert isinstance(found, Tensor)
    reached = cost(centred(found), centred(x_1))
    for i in range(6):
        a, b = centred(found[i]), centred(x_1[i])
        for one, other in itertools.combinations(range(8), 2):
            order = list(range(8))
            order[one], order[other] = other, one
            assert cost(a[order], b) >= reached[i] - 1e-9

        def turned(v: Any, a: Tensor = a, b: Tensor = b) -> float:
            r = torch.from_numpy(Rotation.from_rotvec(v).as_matrix())
            return float(cost(a @ r.mT, b))

        assert minimize(turned, [0.01, -0.02, 0.01]).fun >= reached[i] - 1e-6


COUPLINGS = [Aligned(), Aligned(rotate=False), Aligned(permute=False)]


@pytest.mark.parametrize("coupling", COUPLINGS, ids=repr)
@pytest.mark.parametrize("dim", [2, 3])
def test_pairs_are_never_longer(coupling: Coupling, dim: int) -> None:
    for dtype, slack in ((DOUBLE, 1e-9), (torch.float32, 1e-4)):
        x_0, x_1 = (x.to(dtype) for x in clouds(200, 7, dim))
        found = coupling.couple(x_0, x_1)
        assert isinstance(found, Tensor) and found.dtype == dtype
        assert (cost(found, x_1) <= cost(x_0, x_1) + slack).all()
        assert cost(found, x_1).mean() < 0.95 * cost(x_0, x_1).mean()
        # The centre stays, and so do the distances within the cloud.
        torch.testing.assert_close(found.mean(1), x_0.mean(1))
        inside, before = (torch.cdist(x, x).flatten(1).sort(1).values for x in (found, x_0))
        torch.testing.assert_close(inside, before, rtol=1e-5, atol=2e-3)


def test_more_rounds_are_no_worse_and_both_are_better_than_one() -> None:
    x_0, x_1 = clouds(100, 9, 3)

    def mean(coupling: Coupling) -> float:
        found = coupling.couple(x_0, x_1)
        assert isinstance(found, Tensor)
        return cost(found, x_1).mean().item()

    rounds = [mean(Aligned(rounds=k)) for k in (1, 2, 4, 30)]
    assert rounds == sorted(rounds, reverse=True) and rounds[-1] < rounds[0]
    assert rounds[-1] < min(mean(Aligned(rotate=False)), mean(Aligned(permute=False)))


def test_what_the_data_are_turned_by_turns_the_source() -> None:
    """For R x_1 it is R x_0, about the centre; how x_0 was turned and numbered does not matter."""
    x_0, x_1 = clouds(20, 6, 3)
    turn, g = rotations(20), torch.Generator().manual_seed(3)
    order = torch.stack([torch.randperm(6, generator=g) for _ in range(20)])
    places = order.unsqueeze(-1).expand(-1, -1, 3)
    middle = x_0.mean(1, keepdim=True)
    rotation, permutation = Aligned(permute=False), Aligned(rotate=False)
    found = rotation.couple(x_0, x_1)
    assert isinstance(found, Tensor)
    expected = (found - middle) @ turn.mT + middle
    torch.testing.assert_close(rotation.couple(x_0, x_1 @ turn.mT), expected)
    torch.testing.assert_close(rotation.couple((x_0 - middle) @ turn.mT + middle, x_1), found)
    found = permutation.couple(x_0, x_1)
    assert isinstance(found, Tensor)
    again = permutation.couple(x_0.gather(1, places), x_1)
    assert isinstance(again, Tensor) and torch.equal(again, found)
    renumbered = permutation.couple(x_0, x_1.gather(1, places))
    assert isinstance(renumbered, Tensor)
    torch.testing.assert_close(renumbered, found.gather(1, places))


# Masks, states, objectives.


@pytest.mark.parametrize("coupling", COUPLINGS, ids=repr)
def test_padding_stays_and_does_not_count(coupling: Coupling) -> None:
    x_0, x_1 = clouds(8, 9, 3)
    counts = torch.tensor([9, 5, 1, 0, 7, 2, 3, 8])
    g = torch.Generator().manual_seed(2)
    mask = torch.stack([(torch.arange(9) < n)[torch.randperm(9, generator=g)] for n in counts])
    found = coupling.couple(x_0, x_1.masked_fill(~mask.unsqueeze(-1), torch.nan), mask=mask)
    assert isinstance(found, Tensor)
    assert torch.equal(found[~mask], x_0[~mask])
    for i in range(8):
        alone = coupling.couple(x_0[i : i + 1, mask[i]], x_1[i : i + 1, mask[i]])
        assert isinstance(alone, Tensor)
        torch.testing.assert_close(found[i, mask[i]], alone[0])


def test_degenerate_clouds() -> None:
    same, x_1 = torch.zeros(3, 5, 3), clouds(3, 5, 3)[1].float()
    assert torch.equal(Aligned().couple(same, x_1), same)  # type: ignore[arg-type]
    for line in (torch.linspace(-1, 1, 5).view(1, 5, 1) * torch.ones(3, 1, 3), x_1):
        found = Aligned().couple(line, x_1)
        assert isinstance(found, Tensor) and torch.isfinite(found).all()
        assert (cost(found, x_1) <= cost(line, x_1) + 1e-5).all()
    empty = torch.zeros(0, 5, 3)
    assert Aligned().couple(empty, empty).shape == (0, 5, 3)  # type: ignore[union-attr]


def test_gradients_reach_a_learned_source() -> None:
    x_0, x_1 = clouds(4, 5, 3)
    x_0.requires_grad_()
    found = Aligned().couple(x_0, x_1)
    assert isinstance(found, Tensor)
    (gradient,) = torch.autograd.grad(found.square().sum(), x_0)
    # A rotation about the centre and a permutation: |x|^2 is what it was.
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(gradient.norm(), (2 * x_0).norm())


def test_objectives_leave_out_padding_and_given_points() -> None:
    x_0, x_1 = (x.float() for x in clouds(6, 8, 3))
    exists = torch.arange(8).expand(6, 8) < 6
    given = torch.arange(8).expand(6, 8) < 2
    seen = {}

    def model(x: Tensor, t: Tensor, condition: Any = None, /, **_: Any) -> Tensor:
        seen["x"] = x
        return torch.zeros_like(x)

    objective = FlowMatching(AffinePath(), coupling=Aligned(blocks="kind"))
    kind = torch.arange(8).expand(6, 8) % 2
    rest: Any = {"mask": exists, "fixed": (given, x_1), "condition": {"kind": kind}}
    objective(model, x_1, x_0=x_0, t=torch.zeros(6), **rest)
    expected = Aligned(blocks="kind").couple(
        x_0, x_1, mask=exists & ~given, condition={"kind": kind}
    )
    assert isinstance(expected, Tensor)
    free = exists & ~given
    torch.testing.assert_close(seen["x"][free], expected[free])
    assert torch.equal(seen["x"][given], x_1[given])
    # It pays: the loss of the field at rest is the length of the pairs.
    before = FlowMatching(AffinePath())(model, x_1, x_0=x_0, t=torch.zeros(6)).loss
    assert FlowMatching(AffinePath(), coupling=Aligned())(model, x_1, x_0=x_0).loss < before


def test_one_component_of_a_product() -> None:
    x_0, x_1 = ({"a": a, "b": a.flip(1)} for a in clouds(4, 5, 3))
    found = Aligned(component="b").couple(x_0, x_1, mask={"a": torch.zeros(4, 5).bool()})
    assert isinstance(found, dict)
    assert torch.equal(found["a"], x_0["a"])
    assert torch.equal(found["b"], Aligned().couple(x_0["b"], x_1["b"]))  # type: ignore[arg-type]
    path = ProductPath(a=AffinePath(), b=AffinePath())

    def model(x: Any, t: Tensor, condition: Any = None, /, **_: Any) -> Any:
        return x

    FlowMatching(path, coupling=Aligned(component="b"))(model, x_1)


def test_errors() -> None:
    x_0, x_1 = clouds(4, 5, 3)
    with pytest.raises(ConfigError, match="aligns nothing"):
        Aligned(permute=False, rotate=False)
    with pytest.raises(ConfigError, match="blocks"):
        Aligned(permute=False, blocks="element")
    with pytest.raises(ConfigError, match="rounds"):
        Aligned(rounds=0)
    for condition in (None, {"other": torch.zeros(4, 5)}):
        with pytest.raises(ConfigError, match="'element'"):
            Aligned(blocks="element").couple(x_0, x_1, condition=condition)
    with pytest.raises(ShapeError, match="one value per point"):
        Aligned(blocks="e").couple(x_0, x_1, condition={"e": torch.zeros(4)})
    with pytest.raises(ShapeError, match="batch, points, d"):
        Aligned().couple(x_0[0], x_1[0])
    with pytest.raises(ShapeError, match="must be equal"):
        Aligned().couple(x_0[:2], x_1)
    with pytest.raises(ShapeError, match="mask"):
        Aligned().couple(x_0, x_1, mask=torch.ones(4, 6).bool())
    with pytest.raises(ShapeError, match="component"):
        Aligned().couple({"a": x_0}, {"a": x_1})
    with pytest.raises(ShapeError, match="leave it out"):
        Aligned(component="a").couple(x_0, x_1)
    x_1[2, 0, 0] = torch.nan
    with pytest.raises(GeometryError, match=r"x_1: rows \[2\]"):
        Aligned().couple(x_0, x_1)
