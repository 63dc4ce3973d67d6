"""Checks of times, and the promise that spares reading them."""

from __future__ import annotations

import pytest
import torch

from flowatlas.errors import IntervalError
from flowatlas.manifolds import Sphere
from flowatlas.paths import AffinePath, GeodesicPath
from flowatlas.paths.interval import Interval, times_within
from flowatlas.schedulers import CondOT, Exponential

UNREADABLE = torch.empty(4, device="meta")


def test_times_are_not_read_where_they_are_promised() -> None:
    interval = Interval(0.0, 0.9)
    with pytest.raises(RuntimeError, match="meta"):
        interval.check(UNREADABLE, "it")
    for start, end in ((0.1, 0.9), (0.9, 0.0)):
        with times_within(start, end):
            interval.check(UNREADABLE, "it")
    with pytest.raises(RuntimeError, match="meta"):
        interval.check(UNREADABLE, "it")


def test_a_promise_that_is_too_wide_is_none() -> None:
    for start, end in ((0.0, 1.0), (-0.1, 0.5)):
        with (
            pytest.raises(IntervalError, match=r"got values in \[0\.95, 0\.95\]"),
            times_within(start, end),
        ):
            Interval(0.0, 0.9).check(torch.tensor(0.95), "it")
    # And the error ended it.
    with pytest.raises(RuntimeError, match="meta"):
        Interval(0.0, 1.0).check(UNREADABLE, "it")


def test_promises_nest() -> None:
    with times_within(0.0, 1.0):
        with times_within(0.2, 0.5):
            Interval(0.1, 0.6).check(UNREADABLE, "it")
        with pytest.raises(RuntimeError, match="meta"):
            Interval(0.1, 0.6).check(UNREADABLE, "it")


@pytest.mark.parametrize(
    "path",
    [AffinePath(prediction="target"), GeodesicPath(Sphere(), prediction="target")],
    ids=["affine", "geodesic"],
)
def test_the_interval_is_that_of_the_latest_schedule(path: AffinePath | GeodesicPath) -> None:
    """What was found for one schedule is not kept for the next."""
    fast = path.with_schedule(Exponential(10.0))
    straight = path.with_schedule(CondOT()).interval
    assert fast.interval != straight
    assert fast.with_schedule(CondOT()).interval == straight
    assert fast.as_sampled().with_schedule(CondOT()).interval == straight
