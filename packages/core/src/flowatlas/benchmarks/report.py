"""From a directory of results to a report: Markdown, and one self-contained HTML page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowatlas.benchmarks.comparison import read_cells
from flowatlas.benchmarks.comparison_page import comparison_table
from flowatlas.benchmarks.contract import Benchmark
from flowatlas.benchmarks.markdown import to_markdown
from flowatlas.benchmarks.page import to_html
from flowatlas.benchmarks.registry import benchmark
from flowatlas.benchmarks.results import FILE_NAME, Result, latest, read
from flowatlas.benchmarks.tables import Section, section
from flowatlas.errors import DataError, FlowAtlasError

__all__ = ["Report", "report"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """What was written.

    Attributes:
        markdown: path of report.md; its pictures lie in figures/ beside it.
        html: path of report.html, which needs no other file.
        sections: the tables.
    """

    markdown: Path
    html: Path
    sections: tuple[Section, ...]


def report(directory: str | Path) -> Report:
    """Write `report.md` and `report.html` for the results in a directory.

    A comparison across benchmarks, if there is one, stands before the benchmarks.

    Seeds are averaged. Of several lines for one benchmark, method, preset and seed the last counts.
    Pictures show the lowest seed of each method.

    Args:
        directory: where `flowatlas bench run --output` has written, or `flowatlas bench compare`.

    Raises:
        DataError: there are no results.
        ConfigError, PluginError: a result belongs to a benchmark that is not installed.
        FlowAtlasError: the directory cannot be written.
    """
    from flowatlas.plots import png

    directory = Path(directory)
    cells = read_cells(directory)
    compared = comparison_table(cells) if cells else None
    only_compared = compared is not None and not (directory / FILE_NAME).exists()
    results = [] if only_compared else latest(read(directory))
    if not results and compared is None:
        raise DataError(
            f"{directory}: no results yet; run `flowatlas bench run NAME --output DIR`."
        )
    by_name: dict[str, list[Result]] = {}
    for result in results:
        by_name.setdefault(result.benchmark, []).append(result)
    sections = tuple(section(benchmark(name), by_name[name]) for name in sorted(by_name))
    pngs: dict[str, dict[str, bytes]] = {}
    files: dict[str, dict[str, str]] = {}
    try:
        for one in sections:
            name = one.benchmark.name
            pngs[name] = _pictures(one.benchmark, one.results, directory)
            files[name] = _write(pngs[name], directory, name)
        picture, file = None, None
        if compared is not None:
            picture = png(compared.figure())
            file = _write({"": picture}, directory, "comparison")[""]
        markdown, html = directory / "report.md", directory / "report.html"
        markdown.write_text(to_markdown(sections, files, compared, file), encoding="utf-8")
        html.write_text(to_html(sections, pngs, compared, picture), encoding="utf-8")
    except OSError as error:
        raise FlowAtlasError(
            f"directory: {directory} cannot be written ({error.strerror or error}). Check its "
            "permissions and the space left."
        ) from error
    return Report(markdown, html, sections)


def _pictures(
    declared: Benchmark[Any, Any], results: Sequence[Result], directory: Path
) -> dict[str, bytes]:
    """PNGs by caption, for the lowest seed of each method and preset."""
    from flowatlas.plots import png

    lowest: dict[tuple[str, str], Result] = {}
    for result in sorted(results, key=lambda r: r.seed):
        lowest.setdefault((result.method, result.preset), result)
    pictures = {}
    for result in lowest.values():
        path = directory / result.arrays if result.arrays else None
        if path is None or not path.is_file():
            logger.warning("%s: no arrays for the pictures of %s", path, result.benchmark)
            continue
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        title = f"{result.benchmark} · {result.method} · {result.preset} · seed {result.seed}"
        for caption, figure in declared.figures(arrays, title).items():
            pictures[f"{title}: {caption}"] = png(figure)
    return pictures


def _write(pictures: dict[str, bytes], directory: Path, name: str) -> dict[str, str]:
    folder = directory / "figures"
    folder.mkdir(exist_ok=True)
    files = {}
    for i, (caption, content) in enumerate(pictures.items()):
        path = folder / f"{name.replace('/', '-')}-{i}.png"
        path.write_bytes(content)
        files[caption] = path.relative_to(directory).as_posix()
    return files
