"""Muon for hidden matrices, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import AdamW, Muon, Optimizer

__all__ = ["MuonAdamW"]


class MuonAdamW(Optimizer):
    """Two of torch's optimisers as one, with one learning rate, state and schedule.

    Muon replaces the momentum of a matrix by the nearest semi-orthogonal one, so that every
    direction of a layer learns at the same rate. Its steps are scaled to have the root mean square
    of those of AdamW, so that both take the same learning rate.

    Args:
        matrices: parameters of two axes, for Muon.
        groups: those for AdamW, as it takes them.
        lr: of both.
        weight_decay: of the matrices.
        adamw: further arguments of AdamW.

    Reference: Muon: An optimizer for hidden layers in neural networks, Jordan et al., 2024; Muon is
    Scalable for LLM Training, Liu et al., 2025, arXiv:2502.16982, section 2.2, for the scale.
    """

    def __init__(
        self,
        matrices: Sequence[torch.nn.Parameter],
        groups: Sequence[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        **adamw: Any,
    ) -> None:
        self._parts: list[Optimizer] = []
        if matrices:
            muon = Muon(matrices, lr, weight_decay, adjust_lr_fn="match_rms_adamw")
            self._parts.append(muon)
        if groups:
            self._parts.append(AdamW(groups, lr=lr, **adamw))
        super().__init__([group for part in self._parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let the parts work on the groups and the state of the whole."""
        start = 0
        for part in self._parts:
            end = start + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[start:end], self.state
            start = end

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss
