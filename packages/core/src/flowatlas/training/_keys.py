"""Seeds that are functions of what they are for: the root of exact resumes."""

from __future__ import annotations

import torch

__all__ = ["generator_for", "key"]

_MASK = (1 << 64) - 1


def key(*parts: int) -> int:
    """A 64-bit seed for a tuple of integers; close tuples get unrelated seeds.

    Reference: Fast splittable pseudorandom number generators, Steele, Lea and Flood, 2014: the
    finaliser of SplitMix64, once for each part.
    """
    state = 0
    for part in parts:
        state = (state + (part & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def generator_for(*parts: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by `key(*parts)`."""
    return torch.Generator(device=device).manual_seed(key(*parts))
