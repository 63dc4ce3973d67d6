"""READMEs and the first page of the documentation: their code runs, their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs" / "index.md", *sorted(ROOT.glob("packages/*/README.md"))]
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_runs(page: Path) -> None:
    """The blocks of a page, one after another; training is cut to a few steps."""
    blocks = FENCE.findall(page.read_text())
    assert blocks, "a README shows how its package is used"
    torch.manual_seed(0)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        short = re.sub(r"range\([345]00\)", "range(3)", block)
        exec(compile(short, name(page), "exec"), names)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_a_readme_for_every_package() -> None:
    folders = {path.parent for path in ROOT.glob("packages/*/pyproject.toml")}
    assert folders == {page.parent for page in PAGES} & folders and len(folders) == 5
