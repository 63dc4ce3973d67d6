"""The network of the cases that have one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["MLP"]


class MLP(nn.Module):
    """Four layers of 256 with SiLU, on (x, t)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        widths = (dim + 1, 256, 256, 256, 256)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Linear(256, dim))

    def forward(self, x: Tensor, t: Tensor, condition: Any = None, **masks: Any) -> Tensor:
        out: Tensor = self.net(torch.cat([x.flatten(1), t.unsqueeze(-1)], -1))
        return out.view(x.shape)
