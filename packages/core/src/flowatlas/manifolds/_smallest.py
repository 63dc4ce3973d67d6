"""What keeps lengths from zero."""

from __future__ import annotations

import math

import torch

__all__ = ["smallest"]


def smallest(dtype: torch.dtype) -> float:
    """A length below every rounding error whose square is still a number of `dtype`.

    Added to lengths, it makes quotients such as sin(a) / a and atan2(s, c) / s right at zero with
    their first derivatives, at the cost of one addition; the derivative of a norm is zero there.
    """
    return 4 * math.sqrt(torch.finfo(dtype).tiny)
