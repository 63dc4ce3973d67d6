"""Paths whose points jump."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from flowatlas._random import Generators, rand
from flowatlas.errors import CapabilityError, ShapeError
from flowatlas.manifolds.product import ProductManifold
from flowatlas.paths._checks import check_pair
from flowatlas.paths.base import Noise, Path, PathSample, StatePath
from flowatlas.paths.canonical import Canonical, LogRates
from flowatlas.paths.interval import Interval

__all__ = ["DiscretePath"]


class DiscretePath(Path, StatePath):
    """A path over token ids, `(batch, *points)`. Alone it is a `StatePath` over tensors.

    ```python
    class Masked(DiscretePath):
        def interpolate(self, x_0, x_1, t, noise=None): ...    # x_t, None
        def point_loss(self, prediction, sample): ...
        def jump(self, x, t, s, prediction, *, generator=None): ...
    ```

    Attributes:
        vocab: number of tokens that data can have; what networks predict has as many columns.
            None where values are not checked.
        states: number of ids that a state can have: `vocab`, or one more with a mask.
    """

    point_ndim = 0
    vocab: int | None = None
    states: int | None = None

    def interpolation_noise(
        self, like: Tensor, *, batch: int | None = None, generator: Generators = None
    ) -> Tensor:
        """Uniform numbers, one per token: where they are below kappa_t, the path has jumped."""
        shape = like.shape if batch is None else (batch, *like.shape[1:])
        return rand(shape, generator=generator, device=like.device)

    @abstractmethod
    def jump(
        self, x: Tensor, t: Tensor, s: Tensor, prediction: Tensor, *, generator: Generators = None
    ) -> Tensor:
        """Draw the state at time s > t given the state and the prediction at t."""

    def jump_back(
        self, x: Tensor, t: Tensor, s: Tensor, prediction: Tensor, *, generator: Generators = None
    ) -> Tensor:
        """Draw the state at time s < t given the state and the prediction at t.

        Raises:
            CapabilityError: if the process cannot be reversed.
        """
        raise self._irreversible()

    def check_reversible(self) -> None:
        """Raise `CapabilityError` unless there is `jump_back`."""
        raise self._irreversible()

    def _irreversible(self) -> CapabilityError:
        return CapabilityError(
            f"end: {type(self).__name__} cannot run backward: discrete components jump towards the "
            "data only, unless their path tells how they jump back, as MixturePath does."
        )

    @property
    def components(self) -> Mapping[str, Path]:
        return {"x": self}

    @property
    def manifold(self) -> ProductManifold:
        """Of the continuous part of the state: there is none."""
        return ProductManifold()

    def sample(
        self,
        x_0: Tensor,
        x_1: Tensor,
        t: Tensor,
        *,
        noise: Noise | None = None,
        generator: Generators = None,
        validate: bool = True,
    ) -> PathSample:
        """The tokens at time t between `x_0` and `x_1`. They have no velocity."""
        check_pair(x_0, x_1, t, self.point_ndim, pointwise=self.pointwise_times)
        if validate:
            Interval(0.0, self.local_t_max).check(t, "the path")
            self.check_tokens(x_0, "x_0")
            self.check_tokens(x_1, "x_1", data=True)
        own = None if noise is None else noise.get("x")
        if own is None:
            own = self.interpolation_noise(x_1, generator=generator)
        x_t, _ = self.interpolate(x_0, x_1, t, own)
        return PathSample(x_0, x_1, t, x_t, None, own)

    def losses(self, prediction: Tensor, sample: PathSample) -> dict[str, Tensor]:
        return {"x": self.point_loss(prediction, sample)}

    def velocity(self, x: Tensor, t: Tensor, prediction: Tensor) -> dict[str, Tensor]:
        """Nothing: tokens jump."""
        return {}

    def draw(
        self, like: Tensor, *, batch: int | None = None, generator: Generators = None
    ) -> Tensor:
        shape = like.shape if batch is None else (batch, *like.shape[1:])
        return self.source.sample(shape, generator=generator, dtype=like.dtype, device=like.device)

    @property
    def arithmetic(self) -> Canonical:
        return LogRates()

    def canonical(self, prediction: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Log-rates of the jumps to every token, by the clock of the schedule.

        Raises:
            CapabilityError: a path that does not declare them.
        """
        raise CapabilityError(self._no_rates())

    def as_canonical(self) -> Self:
        """The same path for a field that returns log-rates.

        Raises:
            CapabilityError: a path that does not declare them.
        """
        raise CapabilityError(self._no_rates())

    def _no_rates(self) -> str:
        return (
            f"path: {type(self).__name__} does not say what the log-rates of its tokens are, which "
            "guidance combines. Use MixturePath, or define canonical and as_canonical."
        )

    @property
    def local_interval(self) -> Interval:
        return Interval(0.0, 1.0)

    def check_kind(self, x: Tensor, name: str) -> None:
        """Raise `ShapeError` unless `x` holds integers."""
        if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
            raise ShapeError(
                f"{name}: got dtype {x.dtype}; tokens are integers. Use {name}.long(), or "
                f"{name}.argmax(-1) for one-hot vectors."
            )

    def check_tokens(
        self, x: Tensor, name: str, *, data: bool = False, exists: Tensor | None = None
    ) -> None:
        """Raise `ShapeError` unless `x` holds ids of this path's tokens.

        Args:
            x: `(batch, *points)`.
            name: what the user knows it as.
            data: whether it is data, which has no mask token.
            exists: where to look; everywhere if None.
        """
        self.check_kind(x, name)
        limit = self.vocab if data else self.states
        if limit is None or x.numel() == 0 or torch.compiler.is_compiling():
            return
        seen = x if exists is None else torch.where(exists, x, 0)
        low, high = (int(bound) for bound in torch.aminmax(seen.detach()))
        if low < 0 or high >= limit:
            mask = f"; {self.vocab} is the mask, which no data has" if limit != self.states else ""
            raise ShapeError(
                f"{name}: got tokens from {low} to {high}; they must be from 0 to {limit - 1} "
                f"(a vocabulary of {self.vocab}{mask}). Padding may hold anything: say where it "
                "is with mask=."
            )

    def check_logits(self, prediction: Tensor, x: Tensor, name: str = "prediction") -> None:
        """Raise `ShapeError` unless there is a logit for every token of the vocabulary."""
        if self.vocab is not None and prediction.shape != (*x.shape, self.vocab):
            raise ShapeError(
                f"{name}: the model returned shape {tuple(prediction.shape)}; need "
                f"{(*x.shape, self.vocab)}, a logit for each of the {self.vocab} tokens (none for "
                "the mask)."
            )
