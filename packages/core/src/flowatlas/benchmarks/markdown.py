"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from flowatlas.benchmarks.comparison_page import COMPARISON_LEGEND, ComparisonTable
from flowatlas.benchmarks.tables import Row, Section

__all__ = ["to_markdown"]

COMPARISON_TITLE = "Across domains"
LEGEND = (
    "Every number in a **measured** column was measured by the commands below. Every number in a "
    "**published** column is quoted from the literature. Baselines and references were measured "
    "here too. ± is the standard deviation over seeds where there is more than one (published: as "
    "their authors state it)."
)


def to_markdown(
    sections: Sequence[Section],
    pictures: Mapping[str, Mapping[str, str]],
    compared: ComparisonTable | None = None,
    map_file: str | None = None,
) -> str:
    """The whole report.

    Args:
        sections: one a benchmark.
        pictures: for each benchmark, caption and file relative to the report.
        compared: the comparison across benchmarks, if there is one.
        map_file: its picture, relative to the report.
    """
    parts = ["# FlowAtlas benchmarks\n"]
    if sections:
        parts += [LEGEND + "\n", _summary(sections)]
    if compared is not None:
        parts += [f"\n## {COMPARISON_TITLE}\n", COMPARISON_LEGEND + "\n"]
        parts += [f"![{COMPARISON_TITLE}]({map_file})\n", _table(compared.head, compared.body())]
        parts += ["", *(f"- {name}: {what}" for name, what in sorted(compared.measures.items()))]
    for one in sections:
        parts.append(_section(one, pictures.get(one.benchmark.name, {})))
    if sections:
        parts.append(_machines(sections))
    return "\n".join(parts)


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in body]
    return "\n".join(lines) + "\n"


def summary_rows(sections: Sequence[Section]) -> list[list[str]]:
    """Benchmark, metric, best measured method and baseline, best published number."""
    rows = []
    for one in sections:
        if not one.columns:
            continue
        headline = one.columns[0]
        cells = [one.benchmark.name, headline.label]
        for kind in ("method", "baseline", "published"):
            row = one.best(kind)
            if row is None:
                cells.append("-")
                continue
            label = f"{row.label}, {row.preset}" if row.preset else row.label
            if row.note:
                label += f"; {row.note}"
            cells.append(f"{row.cells[headline.key].text(headline.digits)} ({label})")
        rows.append(cells)
    return rows


SUMMARY_HEAD = (
    "benchmark",
    "metric",
    "best method (measured)",
    "best baseline (measured)",
    "best published",
)


def _summary(sections: Sequence[Section]) -> str:
    return _table(SUMMARY_HEAD, summary_rows(sections))


def section_head(one: Section) -> list[str]:
    """Column titles; a metric with published numbers has a column of each sort."""
    head = ["method", "kind", "preset", "seeds"]
    for metric in one.columns:
        head.append(f"{metric.label} (measured)")
        if _is_published(one, metric.key):
            head.append(f"{metric.label} (published)")
    return head


def section_rows(one: Section) -> list[list[str]]:
    """The cells under those titles."""
    body = []
    for row in one.rows:
        label = f"{row.label}; {row.note}" if row.note else row.label
        cells = [label, row.kind, row.preset or "-", str(row.seeds) if row.seeds else "-"]
        for metric in one.columns:
            text = _text(row, metric.key, metric.digits)
            published = row.kind == "published"
            cells.append("-" if published else text)
            if _is_published(one, metric.key):
                cells.append(text if published else "-")
        body.append(cells)
    return body


def _is_published(one: Section, key: str) -> bool:
    return any(row.kind == "published" and key in row.cells for row in one.rows)


def _text(row: Row, key: str, digits: int) -> str:
    return row.cells[key].text(digits) if key in row.cells else "-"


def _section(one: Section, pictures: Mapping[str, str]) -> str:
    lines = [
        f"\n## {one.benchmark.name}\n",
        f"{one.benchmark.summary}. Data: {one.benchmark.data}; licence: {one.benchmark.licence}. "
        f"{one.benchmark.protocol}\n",
        _table(section_head(one), section_rows(one)),
        "```sh",
        *one.commands,
        "```\n",
    ]
    lines += [f"![{caption}]({path})\n\n*{caption}*\n" for caption, path in pictures.items()]
    if one.notes:
        lines += ["Choices made on validation points:\n", *(f"- {note}" for note in one.notes), ""]
    return "\n".join(lines)


def machine_lines(sections: Sequence[Section]) -> list[str]:
    """Every machine and set of versions that the results came from."""
    found: dict[str, None] = {}
    for one in sections:
        for result in one.results:
            m, v = result.machine, result.versions
            where = m.get("accelerator") or m.get("processor", "unknown")
            packages = ", ".join(f"{name} {version}" for name, version in v.items())
            found[
                f"{m.get('system', '')}, {where}, {m.get('cores')} cores, {m.get('threads')} "
                f"threads used; {packages}"
            ] = None
    return list(found)


def _machines(sections: Sequence[Section]) -> str:
    return (
        "\n## Machines and versions\n\n"
        + "\n".join(f"- {m}" for m in machine_lines(sections))
        + "\n"
    )
