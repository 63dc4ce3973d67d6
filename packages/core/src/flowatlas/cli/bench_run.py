"""`flowatlas bench run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowatlas.cli.options import (
    add_runs,
    add_training,
    make_parser,
    out,
    seeds,
    settings,
)

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def parser() -> ArgumentParser:
    """Options of the command."""
    made = make_parser(
        "bench run",
        "Train, sample and score on benchmarks. One JSON line a run is added to DIR/results.jsonl.",
        "flowatlas bench run 'earth/*' --preset cpu --seed 0-2 --output runs/earth",
    )
    made.add_argument(
        "names", nargs="+", type=str, metavar="NAME", help="benchmarks; patterns such as 'earth/*'"
    )
    add_training(made, preset="cpu")
    add_runs(made, output="runs/bench")
    return made


def run(options: Any) -> int:
    """Run every benchmark with every seed, and print what was measured."""
    from rich.table import Table

    from flowatlas.benchmarks import benchmark, matching, run

    console = out()
    table = Table("benchmark", "method", "seed", "metric", "measured", "seconds")
    directory = Path(options.output)
    for name in matching(options.names):
        declared = benchmark(name)
        for seed in seeds(options.seed):
            result = run(
                declared,
                method=options.method,
                preset=options.preset,
                seed=seed,
                output=directory,
                resume=options.resume,
                data_root=options.data_root,
                settings=settings(options.set),
                progress=not options.quiet,
            )
            for metric in declared.metrics:
                value = result.metrics.get(metric.key)
                if value is None:
                    continue
                first = metric is declared.metrics[0]
                table.add_row(
                    name if first else "",
                    result.method if first else "",
                    str(seed) if first else "",
                    metric.label,
                    f"{value:.{metric.digits}f}",
                    f"{result.wall_time:.1f}" if first else "",
                )
    console.print(table)
    console.print(f"results: {directory / 'results.jsonl'}")
    console.print(f"report:  flowatlas bench report {directory}")
    return 0
