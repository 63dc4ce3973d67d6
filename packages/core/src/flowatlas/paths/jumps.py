"""How tokens are drawn at inference: what is done to the posterior, and how far to overshoot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import ConfigError

__all__ = ["Jumps"]


@dataclass(frozen=True, slots=True)
class Jumps:
    r"""Options of sampling tokens, for `MixturePath.with_jumps`; training is not changed.

    Attributes:
        temperature: T; $x_1$ is drawn from $p(x_1 \mid x_t)^{1 / T}$, normalised. Zero takes the
            most likely token.
        top_p: nucleus: draw from the fewest tokens whose probabilities add up to this much, after
            the temperature.
        corrector: $a_t \ge 0$, a number or a function of t, `(batch,)` to `(batch,)`. Each step
            goes $1 + a_t$ times as far forward and then takes tokens back to the source, so that
            tokens drawn early can be drawn again, at the same marginals: in the limit of small
            steps it follows $(1 + a_t)$ forward rates less $a_t$ backward ones.

    Raises:
        ConfigError: values out of range.

    Reference: Discrete Flow Matching, Gat et al., 2024, arXiv:2407.15595, for the corrector; The
    Curious Case of Neural Text Degeneration, Holtzman et al., 2019, arXiv:1904.09751, for the
    nucleus.

    Example:
        ```python
        cautious = MixturePath(27).with_jumps(Jumps(temperature=0.9, top_p=0.95))
        with_corrector = MixturePath(27).with_jumps(Jumps(corrector=lambda t: 4 * t * (1 - t)))
        ```
    """

    temperature: float = 1.0
    top_p: float = 1.0
    corrector: float | Callable[[Tensor], Tensor] = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(
                f"temperature: got {self.temperature}; it must be zero or more, and finite."
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p: got {self.top_p}; it must be above 0 and at most 1.")
        if not callable(self.corrector) and not 0 <= self.corrector < float("inf"):
            raise ConfigError(
                f"corrector: got {self.corrector}; it must be zero or more and finite, or a "
                "function of t."
            )

    def overshoot(self, t: Tensor, s: Tensor) -> Tensor | None:
        """The time up to which a step from t to s goes before it turns back; None if it is s."""
        if callable(self.corrector):
            a = self.corrector(t)
            if a.shape != t.shape or not bool((a >= 0).all()):
                raise ConfigError(
                    f"corrector: it must return numbers of zero or more of shape {tuple(t.shape)}, "
                    f"one for each time; got {a}."
                )
        elif self.corrector == 0:
            return None
        else:
            a = torch.full_like(t, self.corrector)
        return torch.minimum(s + a * (s - t), torch.ones_like(s))

    @property
    def changes_law(self) -> bool:
        """Whether tokens are drawn from another law than the posterior."""
        return self.temperature != 1.0 or self.top_p < 1.0

    def reshaped(self, logits: Tensor) -> Tensor:
        """Logits, `(rows, vocab)`, of the law that tokens are drawn from."""
        if self.temperature == 0:
            best = logits.argmax(1, keepdim=True)
            return torch.full_like(logits, -torch.inf).scatter_(1, best, 0.0)
        if self.temperature != 1.0:
            logits = logits / self.temperature
        return logits if self.top_p == 1.0 else self._nucleus(logits)

    def _nucleus(self, logits: Tensor) -> Tensor:
        probs, order = torch.softmax(logits, 1).sort(stable=True, dim=1, descending=True)
        # A token is in if those before it do not add up to `top_p` yet: the first always is.
        outside = probs.cumsum(1) - probs >= self.top_p
        outside[:, 0] = False
        return logits.masked_fill(torch.zeros_like(outside).scatter_(1, order, outside), -torch.inf)
