"""Pixels and numbers in [-1, 1]."""

from __future__ import annotations

import pytest
import torch

from flowatlas.errors import GeometryError
from flowatlas_image import from_pixels, to_pixels

ALL = torch.arange(256, dtype=torch.uint8)


def test_ends_and_middle() -> None:
    assert from_pixels(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
    assert from_pixels(ALL, dtype=torch.float64).mean().abs() < 1e-15


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_every_pixel_survives(dtype: torch.dtype) -> None:
    x = from_pixels(ALL, dtype=dtype)
    assert x.dtype == dtype
    assert torch.equal(to_pixels(x), ALL)


def test_to_pixels_is_nearest() -> None:
    x = torch.linspace(-1, 1, 10_001, dtype=torch.float64)
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64)
    nearest = (x[:, None] - levels).abs().min(1).values
    assert torch.allclose((x - levels[to_pixels(x).long()]).abs(), nearest, rtol=0, atol=1e-6)


def test_bfloat16_is_rounded_once() -> None:
    x = torch.linspace(-1, 1, 10_001).bfloat16()
    assert torch.equal(to_pixels(x), to_pixels(x.double()))


def test_overshoot_is_clamped() -> None:
    x = torch.tensor([-1.5, -1.001, 1.001, 40.0, float("inf")])
    assert to_pixels(x).tolist() == [0, 0, 255, 255, 255]


@pytest.mark.parametrize("pixels", [torch.zeros(3), torch.zeros(3, dtype=torch.int64)])
def test_scaled_numbers_are_refused(pixels: torch.Tensor) -> None:
    with pytest.raises(GeometryError, match=r"pixels: got dtype .* torch\.uint8"):
        from_pixels(pixels)


def test_pixels_and_nan_have_no_pixel() -> None:
    with pytest.raises(GeometryError, match=r"x: got dtype torch\.uint8"):
        to_pixels(ALL)
    with pytest.raises(GeometryError, match="NaN"):
        to_pixels(torch.tensor([0.0, float("nan")]))
