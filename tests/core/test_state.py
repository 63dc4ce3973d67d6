"""States and times: what is one sample, and how t meets the axes of a state."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from flowatlas.errors import ShapeError
from flowatlas.field import call_field
from flowatlas.state import batch_size, broadcast_time, leading, map_state, time_dtype

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple)


@given(SHAPES)
def test_time_multiplies_whole_samples(shape: tuple[int, ...]) -> None:
    """Equal lengths of batch and other axes change nothing."""
    x = torch.ones(shape)
    t = torch.arange(1.0, shape[0] + 1)
    product = broadcast_time(t, x) * x
    assert product.shape == shape
    for i in range(shape[0]):
        assert (product[i] == i + 1).all()


@given(SHAPES.filter(lambda shape: len(shape) > 1))
def test_times_of_points_multiply_whole_points(shape: tuple[int, ...]) -> None:
    x = torch.ones(shape)
    t = torch.rand(shape[:2])
    product = broadcast_time(t, x) * x
    assert product.shape == shape
    for i in range(shape[0]):
        for j in range(shape[1]):
            assert (product[i, j] == t[i, j]).all()


@pytest.mark.parametrize(
    ("time", "state"),
    [
        ((), (4, 3)),
        ((1,), (4, 3)),
        ((3,), (4, 3)),
        ((4, 1), (4, 3)),
        ((4, 4), (4,)),
        ((1, 3), (4, 3)),
        ((4,), ()),
    ],
    ids=str,
)
def test_other_times_are_refused(time: tuple[int, ...], state: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"torch\.full"):
        broadcast_time(torch.zeros(time), torch.zeros(state))


def test_gradients_reach_the_times() -> None:
    t = torch.tensor([0.5, 2.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(
        (broadcast_time(t, torch.ones(2, 3)) * torch.full((2, 3), 2.0)).sum(), t
    )
    assert torch.equal(gradient, torch.tensor([6.0, 6.0]))


@pytest.mark.parametrize(
    ("state", "time"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.int64, torch.float32),
    ],
)
def test_times_have_at_least_single_precision(state: torch.dtype, time: torch.dtype) -> None:
    assert time_dtype(state) == time


def test_batch_size() -> None:
    assert batch_size(torch.zeros(5, 2)) == 5
    assert batch_size({"a": torch.zeros(5, 2), "b": torch.zeros(5)}) == 5
    assert batch_size(torch.zeros(0, 2)) == 0
    for bad in (
        torch.tensor(1.0),
        {"a": torch.zeros(5), "b": torch.zeros(4)},
        {"a": torch.zeros(5), "b": torch.tensor(1.0)},
        {"a": torch.tensor(1.0)},
    ):
        with pytest.raises(ShapeError, match="state"):
            batch_size(bad)
    with pytest.raises(ShapeError, match="empty"):
        leading({})


def test_leading_component_is_a_floating_one_where_there_is_one() -> None:
    tokens, points = torch.zeros(2, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.float64)
    assert leading({"tokens": tokens, "points": points}) is points
    assert leading({"tokens": tokens}) is tokens
    assert leading(points) is points


def test_map_state_keeps_the_form() -> None:
    a, b = torch.ones(2), torch.full((2,), 3.0)
    added = map_state(torch.add, a, b)
    assert isinstance(added, Tensor) and torch.equal(added, torch.full((2,), 4.0))
    named = map_state(torch.add, {"x": a, "y": b}, {"y": b, "x": a})
    assert not isinstance(named, Tensor)
    assert list(named) == ["x", "y"]
    assert torch.equal(named["x"], 2 * a) and torch.equal(named["y"], 2 * b)


def test_fields_are_called_with_what_was_given() -> None:
    calls: list[tuple[tuple[object, ...], dict[str, object]]] = []

    def field(*inputs: object, **masks: object) -> object:
        calls.append((inputs, masks))
        return inputs[0]

    x, t, mask = torch.zeros(2, 3), torch.zeros(2), torch.ones(2, dtype=torch.bool)
    condition = {"label": torch.zeros(2)}
    call_field(field, x, t)
    call_field(field, x, t, condition)
    call_field(field, x, t, None, mask)
    call_field(field, x, t, condition, mask, mask)
    assert [(len(inputs), sorted(masks)) for inputs, masks in calls] == [
        (2, []),
        (3, []),
        (3, ["mask"]),
        (3, ["fixed", "mask"]),
    ]
