"""How policies of benchmarks are made and trained, the flow and those it is compared with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from flowatlas_robotics.benchmarks.settings import PolicyTask
from flowatlas_robotics.horizon import Episodes
from flowatlas_robotics.policy import ChunkPolicy
from flowatlas_robotics.regression import RegressionPolicy

if TYPE_CHECKING:
    from flowatlas.training import FitResult

__all__ = ["LEAST_SQUARES", "Rival", "trained", "untrained"]

P = TypeVar("P", bound=ChunkPolicy)


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A policy that is trained beside the flow, of the same size and on the same windows.

    Attributes:
        kind: of policy.
        without: observations that it does not get.
    """

    kind: type[ChunkPolicy]
    without: tuple[str, ...] = ()


#: The mean of all answers.
LEAST_SQUARES = Rival(kind=RegressionPolicy)


def untrained(
    kind: type[P],
    train: Episodes,
    task: PolicyTask,
    *,
    without: Collection[str] = (),
    **options: Any,
) -> P:
    """A policy of the preset's size, with the scales of the demonstrations.

    Args:
        kind: of policy.
        train: demonstrations; what they observe, it sees.
        task: that says how large.
        without: observations that it does not get.
        **options: of its constructor.
    """
    seen = {name: rows for name, rows in train.observation.items() if name not in without}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        policy = kind(
            {name: rows.shape[1] for name, rows in seen.items() if rows.ndim == 2},
            train.action.shape[1],
            clouds={name: rows.shape[2] for name, rows in seen.items() if rows.ndim == 3},
            cloud_width=task.preset.cloud_width,
            width=task.preset.width,
            depth=task.preset.depth,
            scaling=task.method.scaling,
            **options,
        )
    policy.fit_normalizer(train)
    return policy


def trained(
    policy: ChunkPolicy, train: Episodes, validation: Episodes, task: PolicyTask
) -> FitResult:
    """Train a policy; it has its averaged weights then, and is ready to be asked."""
    # Lightning takes seconds to import, and lists of benchmarks do not need it.
    from flowatlas.benchmarks.fitting import fit_network, load_fitted
    from flowatlas.training import TensorData

    data = TensorData(
        policy.batches(train),
        policy.batches(validation),
        batch_size=task.preset.batch,
        seed=task.seed,
    )
    result = fit_network(policy.network, policy.objective(), data, task)
    load_fitted(result.checkpoint, task.preset, policy.network)
    # A chunk at a time is too little work for an accelerator.
    policy.cpu().eval().requires_grad_(False)
    return result
