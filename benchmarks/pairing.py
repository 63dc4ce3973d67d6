"""Exact optimal pairing of a batch of noise with a batch of data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Call, Case, Rival, Settings, available
from flowatlas import Euclidean, MinibatchOT

__all__ = ["cases"]

#: Dimension, and the target for our time over that of torchcfm's `sample_plan`.
DIMENSIONS = ((2, 1.0), (3072, 0.45))
BATCHES = (256, 1024)


def cases(settings: Settings) -> Iterator[Case]:
    """Two clouds of noise, as an untrained comparison would have, then noise against clusters."""
    batches = BATCHES[:1] if settings.quick else BATCHES
    for dimension, limit in DIMENSIONS[:1] if settings.quick else DIMENSIONS:
        for batch in batches:
            for data in ("noise", "clusters"):
                yield _case(batch, dimension, data, limit)


def _case(batch: int, dimension: int, data: str, limit: float) -> Case:
    g = torch.Generator().manual_seed(0)
    x_0 = torch.randn(batch, dimension, generator=g)
    x_1 = torch.randn(batch, dimension, generator=g)
    if data == "clusters":
        centres = 3 * torch.randn(10, dimension, generator=g)
        x_1 = 0.3 * x_1 + centres[torch.randint(10, (batch,), generator=g)]
    coupling = MinibatchOT(Euclidean())

    def ours() -> Any:
        return x_0[coupling.pair(x_0, x_1)], x_1

    def torchcfm() -> Call:
        from torchcfm.optimal_transport import OTPlanSampler

        sampler = OTPlanSampler(method="exact")
        return lambda: sampler.sample_plan(x_0, x_1)

    calls = available({"torchcfm": torchcfm})
    facts = {"ours": _facts(ours(), x_0)}
    for name, call in calls.items():
        np.random.seed(0)
        facts[name] = _facts(call(), x_0)
    # The plan is the same; theirs is drawn from with replacement, so that pairs differ.
    rivals = [Rival(name, call, limit, compare=False) for name, call in calls.items()]
    return Case(f"pair with {data}", f"{batch} x {dimension}", ours, rivals, facts=facts)


def _facts(pair: tuple[Tensor, Tensor], x_0: Tensor) -> dict[str, float]:
    """Mean squared distance of the pairs, and the share of the noise that is used at all."""
    start, end = pair
    cost = (start - end).double().square().sum(1).mean().item()
    return {"cost": cost, "used": len(torch.unique(start, dim=0)) / len(x_0)}
