"""What importing the package adds to importing torch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.measure import Result, Row, Settings, Spread

__all__ = ["cases"]

#: Seconds over torch.
LIMIT = 0.3
PROGRAMS = {
    "torch": "import torch",
    "ours": "import torch, flowatlas",
    "every name": (
        "import torch, flowatlas\nfor name in flowatlas.__all__: getattr(flowatlas, name)"
    ),
}


def cases(settings: Settings) -> Iterator[Result]:
    """Fresh interpreters in turns."""
    rounds = 2 if settings.quick else 11
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds + 1):
        for name, program in PROGRAMS.items():
            times[name].append(_seconds(program))
    for name in PROGRAMS:
        times[name] = times[name][1:]  # the first fills the caches of files and bytecode
    for name in ("ours", "every name"):
        extra = [a - b for a, b in zip(times[name], times["torch"], strict=True)]
        title = "import flowatlas" if name == "ours" else "import flowatlas and touch every name"
        share = Spread.of(value / LIMIT for value in extra)
        rows = [
            Row(
                "ours",
                Spread.of(extra),
                facts={"torch itself, s": Spread.of(times["torch"]).median},
            ),
            Row(f"{LIMIT} s", Spread(LIMIT, LIMIT, LIMIT), share, at_most=1.0),
        ]
        yield Result(title, "over torch", "import", rounds, rows)


def _seconds(program: str) -> float:
    """Time of the processor in the child; the clock's is the same on a machine at rest."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    before = os.times()
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    clock = time.perf_counter() - start
    after = os.times()
    used = after.children_user - before.children_user
    used += after.children_system - before.children_system
    return used if used > 0 else clock
