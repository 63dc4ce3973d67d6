"""The report as one HTML page that needs nothing else: styles and pictures are inside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape

from flowatlas.benchmarks.comparison_page import COMPARISON_LEGEND, ComparisonTable
from flowatlas.benchmarks.markdown import (
    COMPARISON_TITLE,
    LEGEND,
    SUMMARY_HEAD,
    machine_lines,
    section_head,
    section_rows,
    summary_rows,
)
from flowatlas.benchmarks.tables import Section

__all__ = ["to_html"]

_STYLE = """
:root { color-scheme: light; --ink: #22303c; --soft: #5d6d7e; --line: #dde3e9; --blue: #1f5f8b;
  --red: #b8431f; --wash: #f6f8fa; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 2rem 1.2rem 4rem; color: var(--ink);
  font: 15px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; background: #fff; }
h1 { font-size: 1.7rem; margin: 0 0 .6rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .4rem; padding-top: 1rem;
  border-top: 1px solid var(--line); }
p { max-width: 75ch; } .about { color: var(--soft); }
nav a { display: inline-block; margin: 0 .9rem .3rem 0; } a { color: var(--blue); }
.scroll { overflow-x: auto; margin: .8rem 0 1rem; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: .34rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; }
th { border-bottom: 2px solid var(--ink); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; min-width: 14rem; }
td { white-space: nowrap; } td:first-child, .summary td { white-space: normal; }
.summary td { text-align: left; } .summary th { text-align: left; }
th.measured { color: var(--blue); } th.published { color: var(--red); }
tr.published td { color: var(--red); background: #fdf7f4; }
tr.baseline td, tr.reference td { color: var(--soft); background: var(--wash); }
pre { background: var(--wash); border: 1px solid var(--line); border-radius: 6px;
  padding: .7rem .9rem; overflow-x: auto; font-size: .82rem; }
figure { margin: 1.2rem 0; } img { max-width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .87rem; } details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--soft); } li { font-size: .87rem; }
"""


def to_html(
    sections: Sequence[Section],
    pictures: Mapping[str, Mapping[str, bytes]],
    compared: ComparisonTable | None = None,
    map_png: bytes | None = None,
) -> str:
    """The whole report.

    Args:
        sections: one a benchmark.
        pictures: for each benchmark, caption and PNG.
        compared: the comparison across benchmarks, if there is one.
        map_png: its picture.
    """
    links = " ".join(
        f'<a href="#{_anchor(one.benchmark.name)}">{escape(one.benchmark.name)}</a>'
        for one in sections
    )
    body = ["<h1>FlowAtlas benchmarks</h1>"]
    if sections:
        body += [
            f"<p>{_bold(LEGEND)}</p>",
            f"<nav>{links}</nav>",
            _table(SUMMARY_HEAD, summary_rows(sections), css="summary"),
        ]
    if compared is not None and map_png is not None:
        measures = "".join(
            f"<li>{escape(f'{name}: {what}')}</li>"
            for name, what in sorted(compared.measures.items())
        )
        body += [
            f"<h2>{COMPARISON_TITLE}</h2><p>{escape(COMPARISON_LEGEND)}</p>",
            _picture(COMPARISON_TITLE, map_png),
            _table(compared.head, compared.body()),
            f"<ul>{measures}</ul>",
        ]
    body += [_section(one, pictures.get(one.benchmark.name, {})) for one in sections]
    if sections:
        lines = "".join(f"<li>{escape(line)}</li>" for line in machine_lines(sections))
        body.append(f"<h2>Machines and versions</h2><ul>{lines}</ul>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>FlowAtlas benchmarks</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _section(one: Section, pictures: Mapping[str, bytes]) -> str:
    benchmark = one.benchmark
    parts = [
        f'<h2 id="{_anchor(benchmark.name)}">{escape(benchmark.name)}</h2>',
        f'<p class="about">{escape(benchmark.summary)}. Data: {escape(benchmark.data)}; licence: '
        f"{escape(benchmark.licence)}. {escape(benchmark.protocol)}</p>",
        _table(section_head(one), section_rows(one), kinds=[row.kind for row in one.rows]),
        f"<pre>{escape(chr(10).join(one.commands))}</pre>",
    ]
    parts += [_picture(caption, content) for caption, content in pictures.items()]
    if one.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in one.notes)
        parts.append(
            "<details><summary>Choices made on validation points</summary>"
            f"<ul>{notes}</ul></details>"
        )
    return "\n".join(parts)


def _picture(caption: str, content: bytes) -> str:
    data = base64.b64encode(content).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption, quote=True)}" '
        f'src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _table(
    head: Sequence[str],
    body: Sequence[Sequence[str]],
    *,
    kinds: Sequence[str] | None = None,
    css: str = "",
) -> str:
    titles = "".join(f'<th class="{_sort(title)}">{escape(title)}</th>' for title in head)
    rows = []
    for i, cells in enumerate(body):
        kind = f' class="{kinds[i]}"' if kinds else ""
        rows.append(f"<tr{kind}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return (
        f'<div class="scroll"><table class="{css}"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _sort(title: str) -> str:
    """Whether a column holds measured or published numbers."""
    for sort in ("measured", "published"):
        if sort in title:
            return sort
    return ""


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def _bold(text: str) -> str:
    """Escaped text with Markdown's bold."""
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
