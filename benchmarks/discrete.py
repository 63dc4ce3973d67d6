"""Steps of token samplers, with a network that costs nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Call, Case, Result, Rival, Row, Settings, Spread, available
from flowatlas import MixturePath, TauLeaping, sample

__all__ = ["cases"]

SHAPE = (32, 256)
STEPS = 50
#: Vocabulary, and the target for our time over flow-matching's.
SMALL = ((5, 1 / 8), (27, 1 / 15))
LARGE = 32_768
#: Seconds of a step that is not the last, and of the last, which draws every token.
LIMITS = {"a leap": (0.5, 0.52, 0.060), "the last draw": (0.5, 1.0, 0.8)}
MEMORY = 1.2


def cases(settings: Settings) -> Iterator[Case | Result]:
    """Small vocabularies against flow-matching; a large one against the clock.

    With 32768 tokens flow-matching makes several one-hot copies of the state, each the size of the
    logits, and takes some ten seconds a step: it is not run there.
    """
    for vocab, limit in SMALL[:1] if settings.quick else SMALL:
        yield _sampling(vocab, limit, settings)
    if not settings.quick:
        yield from _large_vocabulary(settings)


def _sampling(vocab: int, limit: float, settings: Settings) -> Case:
    g = torch.Generator().manual_seed(0)
    shape, steps = ((2, 16), 5) if settings.quick else (SHAPE, STEPS)
    x_0 = torch.randint(vocab, shape, generator=g)
    logits = torch.randn(*shape, vocab, generator=g)
    path, solver = MixturePath(vocab, "uniform"), TauLeaping(steps)

    def ours() -> Any:
        return sample(lambda x, t: logits, path, x_init=x_0, solver=solver, generator=g)

    def flow_matching() -> Call:
        from flow_matching.path import MixtureDiscreteProbPath
        from flow_matching.path.scheduler import PolynomialConvexScheduler
        from flow_matching.solver import MixtureDiscreteEulerSolver

        probs = torch.softmax(logits, -1)  # it takes probabilities, ours logits
        peer = MixtureDiscreteProbPath(PolynomialConvexScheduler(1.0))
        euler: Any = MixtureDiscreteEulerSolver(lambda x, t: probs, peer, vocab)
        return lambda: euler.sample(x_init=x_0, step_size=1 / steps)

    calls = available({"flow_matching": flow_matching})
    # Their draws are others, of the same law: tests/peers compares the laws.
    rivals = [Rival(name, call, limit, compare=False) for name, call in calls.items()]
    size = f"{shape[0]} x {shape[1]}, vocabulary {vocab}"
    return Case("sample tokens", size, ours, rivals, per=steps, unit="step")


def _large_vocabulary(settings: Settings) -> Iterator[Result]:
    g = torch.Generator().manual_seed(0)
    path = MixturePath(LARGE, "uniform")
    logits = torch.randn(*SHAPE, LARGE, generator=g)
    x = path.draw(torch.zeros(SHAPE, dtype=torch.int64), generator=g)
    memory = _peak_memory() if sys.platform == "linux" else float("nan")
    for name, (start, end, limit) in LIMITS.items():
        t, s = torch.full(SHAPE[:1], start), torch.full(SHAPE[:1], end)
        jump = partial(path.jump, x, t, s, logits, generator=g)
        jump()
        times = [_timed(jump) for _ in range(settings.rounds[0])]
        facts = {"peak memory / logits": memory, "at most": MEMORY}
        limits = Row(
            f"{limit:g} s", Spread(limit, limit, limit), Spread.of(t / limit for t in times), 1.0
        )
        rows = [Row("ours", Spread.of(times), facts=facts), limits]
        yield Result(name, f"32 x 256, vocabulary {LARGE}", "call", len(times), rows)


def _timed(call: Call) -> float:
    start = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - start) * 1e-9


def _peak_memory() -> float:
    """Largest memory of a process that draws every token, over that of its logits.

    What the process had before the logits were made is left out.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.discrete"], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _measure_peak() -> float:
    torch.set_num_threads(1)
    path, t = MixturePath(LARGE, "uniform"), torch.full(SHAPE[:1], 0.5)
    small = MixturePath(5, "uniform")
    x = small.draw(torch.zeros(SHAPE, dtype=torch.int64))
    small.jump(x, t, torch.ones_like(t), torch.zeros(*SHAPE, 5))  # what is loaded once
    before = _high_water()
    logits = torch.zeros(*SHAPE, LARGE)
    logits.fill_(0.5)
    path.jump(x, t, torch.ones_like(t), logits)
    return (_high_water() - before) / logits.untyped_storage().nbytes()


def _high_water() -> int:
    """Most bytes that this process has had; `getrusage` would include its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    print(_measure_peak())
