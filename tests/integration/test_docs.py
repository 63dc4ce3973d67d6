"""The documentation runs: its examples, its commands, its links and its table of contents."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
import types
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch
import yaml  # type: ignore[import-untyped]

from flowatlas.cli.main import commands as known_commands
from flowatlas.cli.main import load_command

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "packages/*/README.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)

FENCE = re.compile(r"^(?P<indent>\s*)(?P<ticks>`{3,}|~{3,})\s*(?P<language>[\w+-]*)")
OPT_OUT = re.compile(r"<!--\s*not run\b:?\s*(?P<reason>.*?)\s*-->", re.DOTALL)


def name(path: Path) -> str:
    """A page as its readers know it."""
    return path.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        line: of its first line of code, counted from 1.
        language: after the fence.
        code: without the fence's indentation.
        opt_out: the reason for which it is not run; None for blocks that are.
    """

    line: int
    language: str
    code: str
    opt_out: str | None


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = 0
    while start < len(lines):
        opening = FENCE.match(lines[start])
        if opening is None:
            start += 1
            continue
        indent, ticks = len(opening["indent"]), opening["ticks"]
        end = start + 1
        while end < len(lines) and lines[end].strip() != ticks:
            end += 1
        assert end < len(lines), f"{name(page)}:{start + 1}: the block is never closed"
        code = "\n".join(line[indent:] for line in lines[start + 1 : end])
        before = "\n".join(lines[max(0, start - 4) : start]).rstrip()
        comment = OPT_OUT.search(before)
        reason = comment["reason"] if comment and comment.end() == len(before) else None
        yield Block(start + 2, opening["language"].lower(), code, reason)
        start = end + 1


def opt_outs(language: str = "") -> list[tuple[str, str]]:
    """Where and why blocks are not run."""
    return [
        (f"{name(page)}:{block.line}", block.opt_out)
        for page in PAGES
        for block in blocks(page)
        if block.opt_out is not None and block.language.startswith(language)
    ]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run in their order, in one namespace and an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    # A module, since what examples define may be looked up by module and name.
    module = types.ModuleType("documentation_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    torch.manual_seed(0)
    for block in blocks(page):
        if block.language in ("python", "py") and block.opt_out is None:
            # Blank lines in front make the lines of tracebacks those of the page.
            source = "\n" * (block.line - 1) + block.code
            exec(compile(source, str(page), "exec", dont_inherit=True), module.__dict__)


def test_blocks_that_do_not_run_have_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    left_out = opt_outs()
    with capsys.disabled():
        for place, reason in left_out:
            print(f"\n{place} does not run: {reason}", end="")
    for place, reason in left_out:
        assert len(reason.split()) >= 3, f"{place}: <!-- not run: reason --> needs a reason"
    for page in PAGES:
        stated = len(OPT_OUT.findall(page.read_text(encoding="utf-8")))
        used = sum(block.opt_out is not None for block in blocks(page))
        assert stated == used, f"{name(page)}: a 'not run' comment without a block right after it"


def commands(page: Path) -> Iterator[tuple[int, list[str]]]:
    """The `flowatlas` commands of a page's shell blocks, as words."""
    for block in blocks(page):
        if block.language not in ("sh", "bash", "shell", "console") or block.opt_out is not None:
            continue
        whole = block.code.replace("\\\n", " ")
        for line in whole.splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words = words[1:]
            if words[:1] == ["flowatlas"]:
                ends = [i for i, word in enumerate(words) if word in ("|", ">", "&&", ";", "&")]
                yield block.line, words[1 : min(ends, default=len(words))]


@pytest.mark.parametrize("page", [p for p in PAGES if list(commands(p))], ids=name)
def test_commands_of_shell_blocks_exist_and_take_their_options(page: Path) -> None:
    known = known_commands()
    for line, words in commands(page):
        command = next((c for n in (2, 1) if (c := tuple(words[:n])) in known), None)
        if words and words[0].startswith("-"):
            continue
        assert command is not None, f"{name(page)}:{line}: flowatlas {' '.join(words)}"
        parser: Any = load_command(command).parser()
        try:
            parser.parse_args(words[len(command) :])
        except Exception as error:
            pytest.fail(f"{name(page)}:{line}: flowatlas {' '.join(words)}: {error}")


def prose(page: Path) -> str:
    """A page without its blocks, code spans and comments."""
    kept, fence = [], ""
    for line in page.read_text(encoding="utf-8").splitlines():
        opening = FENCE.match(line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif opening:
            fence = opening["ticks"]
        else:
            kept.append(line)
    text = re.sub(r"<!--.*?-->", "", "\n".join(kept), flags=re.DOTALL)
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", lambda m: "x" * len(m[0]), text)


def anchors(page: Path) -> set[str]:
    """What can follow `#` in a link: by mkdocs' rule below docs/, by GitHub's elsewhere."""
    found: set[str] = set()
    text = page.read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if line.startswith("#")] if prose(page) else []
    for heading in kept:
        if not re.match(r"#{1,6} ", heading):
            continue
        explicit = re.search(r"\{\s*#([\w-]+)[^}]*\}\s*$", heading)
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.lstrip("#")).strip(" #")
        found.add(explicit[1] if explicit else slug(plain, mkdocs=DOCS in page.parents))
    return found | set(re.findall(r"<a\s+(?:id|name)=\"([^\"]+)\"", text))


def slug(heading: str, *, mkdocs: bool) -> str:
    """The anchor of a heading."""
    if mkdocs:  # markdown.extensions.toc
        text = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
        return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())
    return re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-")


def links(page: Path) -> list[str]:
    """Targets of the links and images of a page, those to other hosts left out."""
    text = prose(page)
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)", text)
    targets += re.findall(r"^\s*\[[^\]]+\]:\s*(\S+)", text, re.MULTILINE)
    targets += re.findall(r"<(?:a|img)\s[^>]*(?:href|src)=\"([^\"]+)\"", text)
    return [unquote(target) for target in targets if not re.match(r"[a-z][a-z0-9+.-]*:", target)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in links(page):
        place, _, anchor = target.partition("#")
        path = (page.parent / place).resolve() if place else page
        if not path.exists():
            broken.append(f"{target}: no such file")
        elif DOCS in page.parents and DOCS not in path.parents:
            broken.append(f"{target}: leaves docs/, where the site ends; give the whole address")
        elif anchor and path.suffix == ".md" and anchor not in anchors(path):
            broken.append(f"{target}: no such heading; there are {sorted(anchors(path))}")
    assert not broken, "\n".join([f"{name(page)}:", *broken])


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML whose tags for Python objects, which mkdocs extensions use, are not looked at."""


_Loader.add_multi_constructor("", lambda loader, suffix, node: None)


def nav_pages(entry: Any) -> Iterator[str]:
    """The pages that a table of contents names."""
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from nav_pages(part)


def test_table_of_contents_has_every_page_once() -> None:
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader=_Loader)
    named = [entry for entry in nav_pages(settings["nav"]) if entry.endswith(".md")]
    there = [page.relative_to(DOCS).as_posix() for page in PAGES if DOCS in page.parents]
    assert sorted(named) == sorted(there)


def test_api_page_is_that_of_the_code() -> None:
    written = runpy.run_path(str(DOCS / "_generate_api.py"))["render"]()
    assert (DOCS / "api.md").read_text(encoding="utf-8") == written, (
        "docs/api.md is out of date: run python docs/_generate_api.py"
    )
