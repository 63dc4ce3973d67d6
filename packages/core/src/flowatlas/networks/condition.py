"""What a network knows beside the state: classes and vectors, and their absence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition

__all__ = ["Classes", "ConditionEmbedding", "ConditionKind", "Vector"]


@dataclass(frozen=True, slots=True)
class Classes:
    """A condition that is an integer in [0, count), `(batch,)`; `count` itself means unknown."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"count: got {self.count}; at least one class.")


@dataclass(frozen=True, slots=True)
class Vector:
    """A condition that is a vector, `(batch, dim)`; NaN anywhere in it means unknown."""

    dim: int

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ConfigError(f"dim: got {self.dim}; at least 1.")


ConditionKind = Classes | Vector


class ConditionEmbedding(nn.Module):
    """The sum of what each named condition contributes, `(batch, width)`.

    Every condition may be unknown, sample by sample: guidance and condition dropout rely on it. An
    unknown one contributes a learned vector of its own. A condition that the caller leaves out is
    unknown for the whole batch.

    Args:
        kinds: what each named condition is.
        width: length of the embedding.

    Attributes:
        dim: length of the embedding; 0 if there are no conditions.
    """

    def __init__(self, kinds: Mapping[str, ConditionKind], width: int) -> None:
        super().__init__()
        for name, kind in kinds.items():
            if not isinstance(kind, Classes | Vector):
                raise ConfigError(
                    f"condition[{name!r}]: got {kind!r}; give Classes(count) or Vector(dim)."
                )
        self.kinds = dict(kinds)
        self.dim = width if kinds else 0
        self.classes = nn.ModuleDict()
        self.vectors = nn.ModuleDict()
        self.unknown = nn.ParameterDict()
        for name, kind in kinds.items():
            if isinstance(kind, Classes):
                self.classes[name] = nn.Embedding(kind.count + 1, width)
            else:
                self.vectors[name] = nn.Linear(kind.dim, width)
                self.unknown[name] = nn.Parameter(torch.zeros(kind.dim))

    def null(self, condition: Condition) -> dict[str, Tensor]:
        """`condition` with every value unknown."""
        self._check_names(condition)
        return {
            name: torch.full_like(value, kind.count)
            if isinstance(kind := self.kinds[name], Classes)
            else torch.full_like(value, torch.nan)
            for name, value in condition.items()
        }

    def forward(self, condition: Condition | None, batch: int) -> list[Tensor]:
        """The embedding of `batch` samples as a list of one; empty if there are no conditions."""
        given = {} if condition is None else condition
        self._check_names(given)
        total: Tensor | None = None
        for name, kind in self.kinds.items():
            if isinstance(kind, Classes):
                part = self._embed_class(name, kind, given.get(name), batch)
            else:
                part = self._embed_vector(name, kind, given.get(name), batch)
            total = part if total is None else total + part
        return [] if total is None else [total]

    def _embed_class(self, name: str, kind: Classes, value: Tensor | None, batch: int) -> Tensor:
        table = self.classes[name]
        assert isinstance(table, nn.Embedding)
        if value is None:
            return table.weight[kind.count].expand(batch, -1)
        if value.shape != (batch,) or value.is_floating_point():
            raise ShapeError(
                f"condition[{name!r}]: got shape {tuple(value.shape)}, {value.dtype}; "
                f"{kind} needs ({batch},) of integers."
            )
        embedded: Tensor = table(value)
        return embedded

    def _embed_vector(self, name: str, kind: Vector, value: Tensor | None, batch: int) -> Tensor:
        unknown = self.unknown[name]
        if value is None:
            value = unknown.expand(batch, -1)
        elif value.shape != (batch, kind.dim):
            raise ShapeError(
                f"condition[{name!r}]: got shape {tuple(value.shape)}; {kind} needs "
                f"({batch}, {kind.dim})."
            )
        else:
            value = value.to(unknown.dtype)
            value = torch.where(value.isnan().any(-1, keepdim=True), unknown, value)
        embedded: Tensor = self.vectors[name](value)
        return embedded

    def _check_names(self, condition: Condition) -> None:
        extra = sorted(set(condition) - set(self.kinds))
        if extra:
            raise ConfigError(
                f"condition: the network was not built for {extra}; it takes "
                f"{sorted(self.kinds) or 'none'}. Name them in its condition= argument."
            )
