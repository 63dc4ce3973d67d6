"""How sure a success rate is, and how evenly routes are taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from flowatlas.errors import ConfigError

__all__ = ["Proportion", "entropy", "proportion"]


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share of trials, and the interval that goes with it.

    Attributes:
        value: successes over trials.
        low: lower end of the interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


def proportion(successes: int, trials: int, *, confidence: float = 0.95) -> Proportion:
    r"""Success rate with Wilson's interval: those p for which the observed share is no surprise.

    The ends solve $(k/n - p)^2 = z^2 p (1 - p) / n$. Unlike the interval of the normal
    approximation it has a width at no and at full success.

    Args:
        successes: k.
        trials: n.
        confidence: of the interval, two-sided.

    Raises:
        ConfigError: numbers that are no successes of trials, a confidence outside (0, 1).

    Reference: Probable inference, the law of succession, and statistical inference, Wilson, 1927.

    Example:
        ```python
        from flowatlas_robotics import proportion

        assert round(proportion(50, 50).low, 3) == 0.929
        ```
    """
    if not (trials >= 1 and 0 <= successes <= trials):
        raise ConfigError(
            f"successes, trials: got {successes}, {trials}; needed is 0 <= successes <= trials, "
            "and at least one trial."
        )
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence: got {confidence}; it must be in (0, 1), such as 0.95.")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, inflation = successes / trials, z * z / trials
    middle = (share + inflation / 2) / (1 + inflation)
    half = math.sqrt(inflation * (share * (1 - share) + inflation / 4)) / (1 + inflation)
    # At the edges the ends are exact, and rounding must not move them.
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == trials else middle + half
    return Proportion(share, low, high)


def entropy(labels: Sequence[int]) -> float:
    r"""Entropy of the shares of labels, $-\sum_i p_i \ln p_i$, nats; 0 if there are none.

    Args:
        labels: which route each trial took.

    Example:
        ```python
        from flowatlas_robotics import entropy

        assert abs(entropy([0, 1, 1, 0]) - math.log(2)) < 1e-12
        ```
    """
    counts = [list(labels).count(label) for label in set(labels)]
    return -sum(n / len(labels) * math.log(n / len(labels)) for n in counts) + 0.0
