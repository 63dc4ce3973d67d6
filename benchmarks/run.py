#!/usr/bin/env python
"""Measure FlowAtlas against its peers and against bare loops of torch.

    python benchmarks/run.py --output runs/speed
    python benchmarks/run.py --only 'geodesics*'
    python benchmarks/run.py --quick

Contenders take turns in one process, on one thread; a ratio is the median over the rounds of our
time divided by the other's in the same round. Outputs are compared before anything is timed.
Writes `speed.md` and `speed.json` into the output directory; docs/speed.md explains them.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterable
from datetime import date
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path

# A script finds its own folder first; the modules here are imported by their full names.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import describe, prepare
from benchmarks.measure import Case, Result, Settings, run_case
from benchmarks.table import as_json, as_markdown, summary

#: Name of a family and title of its table. A module has `cases(settings)`, which yields cases to be
#: timed, or results where the time of a call is not all there is to it.
FAMILIES = {
    "path_loss": "Path, target and loss",
    "training_steps": "Training steps of the systems",
    "fixed_steps": "Solvers with fixed steps",
    "geodesics": "Geodesic paths",
    "manifold_maps": "Manifold maps",
    "dirichlet": "Dirichlet paths",
    "adaptive": "Adaptive steps",
    "pairing": "Optimal pairing",
    "discrete": "Tokens",
    "likelihood": "Log-likelihood",
    "imports": "Import",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the families asked for; 1 if outputs differ somewhere."""
    options = _parser().parse_args(arguments)
    names = [name for name in FAMILIES if any(fnmatch(name, one) for one in options.only)]
    for one in options.only:
        if not any(fnmatch(name, one) for name in FAMILIES):
            print(
                f"--only: no family matches {one!r}; there are {', '.join(FAMILIES)}.",
                file=sys.stderr,
            )
            return 2
    settings = Settings.fast() if options.quick else Settings()
    prepare()
    warnings.filterwarnings("ignore", module=r"(torchdyn|torchcfm|torchsde|geoopt|ot)\b")
    options.output.mkdir(parents=True, exist_ok=True)
    machine = {"date": date.today().isoformat(), **describe()}
    results: dict[str, list[Result]] = {}
    failed = False
    for name in names:
        found = results.setdefault(FAMILIES[name], [])
        cases: Iterable[Case | Result] = import_module(f"benchmarks.{name}").cases(settings)
        for case in cases:
            try:
                result = run_case(case, settings) if isinstance(case, Case) else case
            except AssertionError as error:
                print(f"{name}: outputs differ\n{error}", file=sys.stderr)
                failed = True
                continue
            found.append(result)
            print(_line(result), flush=True)
            # After each case, so that an interrupted run leaves what it has.
            (options.output / "speed.md").write_text(as_markdown(machine, results))
            (options.output / "speed.json").write_text(as_json(machine, results))
    count, missed = summary(results)
    print(f"\n{count - len(missed)} of {count} targets met; {options.output / 'speed.md'}")
    print("\n".join(f"  missed: {one}" for one in missed))
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        nargs="+",
        default=["*"],
        help=f"families to run, as shell patterns: {', '.join(FAMILIES)}",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, a few rounds: to see that it runs"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("runs/speed"),
        help="where to write the tables (default: runs/speed)",
    )
    return parser


def _line(result: Result) -> str:
    head = f"{result.name}, {result.size}: {result.rows[0].seconds.median * 1e6:.1f} us"
    ratios = (f"{row.ratio.median:.2f} x {row.name}" for row in result.rows if row.ratio)
    return f"{head}; {', '.join(ratios)}"


if __name__ == "__main__":
    sys.exit(main())
