"""Grids put their knots where they say, in either direction, and refuse what is no grid."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from flowatlas.errors import ConfigError, IntervalError
from flowatlas.paths import AffinePath
from flowatlas.sampling import integrate, sample
from flowatlas.solvers import Euler, GivenGrid, Midpoint, ShiftedGrid, TimeGrid, UniformGrid

GRIDS = [UniformGrid(7), ShiftedGrid(7, 3.0), GivenGrid([0.0, 0.1, 0.4, 0.45, 0.8, 1.0])]


def drift(x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
    return torch.ones_like(x)


def visited(grid: TimeGrid, **options: Any) -> list[float]:
    """The times at which Euler asked for the velocity."""
    seen: list[float] = []

    def field(x: Tensor, t: Tensor) -> Tensor:
        seen.append(t[0].item())
        return torch.ones_like(x)

    x = torch.zeros(1, 1, dtype=torch.float64)
    integrate(field, AffinePath(), x, solver=Euler(grid=grid), **options)
    return seen


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@given(ends=st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda e: abs(e[0] - e[1]) > 1e-3))
def test_knots_are_monotone_and_end_where_asked(grid: TimeGrid, ends: tuple[float, float]) -> None:
    start, end = ends
    knots = grid.knots(start, end)
    assert (knots[0], knots[-1]) == (start, end)
    sign = 1 if start < end else -1
    assert all(sign * (s - t) > 0 for t, s in pairwise(knots))
    assert grid.knots(end, start)[::-1] == pytest.approx(knots, abs=1e-12)


def test_uniform() -> None:
    assert UniformGrid(4).knots(0.5, 1.0) == [0.5, 0.625, 0.75, 0.875, 1.0]
    assert visited(UniformGrid(4), start=1.0, end=0.0) == [1.0, 0.75, 0.5, 0.25]


def test_shifted() -> None:
    assert ShiftedGrid(5, 1.0).knots(0.0, 1.0) == pytest.approx(UniformGrid(5).knots(0.0, 1.0))
    # Esser et al., eq. 23, whose noise is at 1: t' = s t / (1 + (s - 1) t).
    noise = [1 - t for t in ShiftedGrid(4, 3.0).knots(0.0, 1.0)]
    assert noise == pytest.approx([3 * u / (1 + 2 * u) for u in (1.0, 0.75, 0.5, 0.25, 0.0)])
    # More steps near the source.
    assert ShiftedGrid(10, 3.0).knots(0.0, 1.0)[5] < 0.5


def test_shifts_compose_by_multiplying() -> None:
    def shift(u: float, s: float) -> float:
        knots = ShiftedGrid(1000, s).knots(0.0, 1.0)
        return knots[round(1000 * u)]

    for u in (0.2, 0.5, 0.9):
        once = u / (2 - u)
        assert shift(u, 2.0) == pytest.approx(once)
        assert once / (3 - 2 * once) == pytest.approx(shift(u, 6.0))


def test_given_times_are_honoured_in_either_direction() -> None:
    assert visited(GivenGrid([0.0, 0.3, 1.0])) == [0.0, 0.3]
    assert visited(GivenGrid([0.0, 0.3, 1.0]), start=1.0, end=0.0) == [1.0, 0.3]
    assert visited(GivenGrid([1.0, 0.3, 0.0])) == [0.0, 0.3]
    assert visited(GivenGrid([0.0, 0.25, 0.75, 1.0]), start=0.5) == [0.5, 0.75]


@pytest.mark.parametrize("start", [0.5, 0.0])
def test_the_start_is_where_it_is(start: float) -> None:
    """From 0.5 to 1 a unit velocity moves a point by 0.5, and back by -0.5."""
    x = torch.zeros(2, 3)
    for solver in (Euler(steps=4), Midpoint(steps=3), Euler(grid=GivenGrid([start, 1.0]))):
        forward = integrate(drift, AffinePath(), x, start=start, solver=solver).x
        assert torch.allclose(forward, torch.full_like(x, 1 - start))
        back = integrate(drift, AffinePath(), x, start=1.0, end=start, solver=solver).x
        assert torch.allclose(back, torch.full_like(x, start - 1))


def test_one_step() -> None:
    x = torch.zeros(2, 3)
    found = integrate(drift, AffinePath(), x, solver=Euler(steps=1))
    assert found.nfe == 1 and torch.equal(found.x, torch.ones(2, 3))


def test_there_is_no_default_solver() -> None:
    """An unasked-for single step would be a silently wrong answer."""
    with pytest.raises(TypeError, match="solver"):
        sample(drift, AffinePath(), shape=(2, 3))  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"Euler takes exactly one.*steps=50"):
        Euler()
    with pytest.raises(ConfigError, match="exactly one"):
        Euler(steps=3, grid=UniformGrid(3))


@pytest.mark.parametrize("steps", [0, -1, 2.5, math.nan, math.inf])
def test_steps_are_counted(steps: Any) -> None:
    with pytest.raises(ConfigError, match="steps: got"):
        Euler(steps=steps)
    with pytest.raises(ConfigError, match="steps: got"):
        ShiftedGrid(steps, 2.0)


@pytest.mark.parametrize("shift", [0.0, -1.0, math.nan, math.inf])
def test_shift_is_positive(shift: float) -> None:
    with pytest.raises(ConfigError, match="shift: got"):
        ShiftedGrid(4, shift)


@pytest.mark.parametrize(
    "times", [[0.0, 0.7, 0.3, 1.0], [0.0, 0.5, 0.5, 1.0], [0.5], [], [0.0, math.nan, 1.0]]
)
def test_given_times_must_be_monotone(times: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"times: got .* strictly rising or falling"):
        GivenGrid(times)


@pytest.mark.parametrize("times", [[0.0, 0.5, 1.5], [-0.1, 1.0], [0, 10, 20]])
def test_given_times_must_lie_in_the_interval(times: list[float]) -> None:
    with pytest.raises(IntervalError, match=r"times: got .* 0 .source. to 1 .data."):
        GivenGrid(times)


class Fixed(TimeGrid):
    def __init__(self, *knots: float) -> None:
        self._knots = list(knots)

    def knots(self, start: float, end: float) -> list[float]:
        return self._knots


@pytest.mark.parametrize(
    "knots", [(0.0, 0.5), (0.0, 0.6, 0.4, 1.0), (0.0, 0.5, 0.5, 1.0), (1.0, 0.0), (0.0,)]
)
def test_a_grid_of_ones_own_is_checked(knots: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"grid: .* strictly monotone"):
        integrate(drift, AffinePath(), torch.zeros(1, 1), solver=Euler(grid=Fixed(*knots)))


def test_requested_times_become_knots() -> None:
    x = torch.zeros(1, 1, dtype=torch.float64)
    found = integrate(drift, AffinePath(), x, times=(0.1, 0.55), solver=Euler(steps=2))
    assert found.t == (0.0, 0.1, 0.55, 1.0)
    assert [x_t.item() for x_t in found.x_t] == pytest.approx([0.0, 0.1, 0.55, 1.0])
    assert found.nfe == found.accepted == 4
    # 0.3 is a knot of ten steps but for rounding: no step of 5e-17 is made of that.
    found = integrate(drift, AffinePath(), x, times=(0.3, 0.6), solver=Euler(steps=10))
    assert found.nfe == 10 and len(found.x_t) == 4
