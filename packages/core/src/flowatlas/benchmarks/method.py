"""What all methods of benchmarks have in common."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Method"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to solve a benchmark, as config; each kind of benchmark adds its own settings.

    ```python
    @dataclass(frozen=True, kw_only=True)
    class TokenMethod(Method):
        source: str = "mask"
        solver_steps: int = 64
    ```

    Attributes:
        name: how the command line knows it.
        summary: one line.
    """

    name: str
    summary: str
