"""What the documents say of the tree: files that they name exist, links lead somewhere, pages keep to their length."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "bench/README.md")),
    *DECISIONS,
    ROOT / "docs" / "decisions" / "README.md",
    ROOT / "docs" / "differences.md",
    ROOT / "docs" / "settings.md",
]
ROOMS = {path.name for path in (ROOT / "pgmagic").iterdir() if path.is_dir()}


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_architecture_fits_on_a_few_screens():
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= 200


def test_decisions_are_numbered_without_gaps():
    assert [int(path.name[:3]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("path", DECISIONS, ids=ids)
def test_decision_is_one_page_with_the_four_parts(path):
    text = path.read_text()
    assert text.startswith(f"# {int(path.name[:3])}. ")
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == [
        "Context",
        "Decision",
        "Evidence",
        "Consequences",
    ]
    assert len(text.splitlines()) <= 60


def test_index_of_decisions_lists_each_by_its_title():
    listed = re.findall(
        r"^(\d+)\. \[(.+)\]\((.+)\)$", (ROOT / "docs" / "decisions" / "README.md").read_text(), re.MULTILINE
    )
    assert listed == [
        (str(number), path.read_text().splitlines()[0].split(". ", 1)[1], path.name)
        for number, path in enumerate(DECISIONS, start=1)
    ]


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_links_lead_to_files(path):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_files_that_are_named_exist(path):
    """A path in backquotes is one of the repository or of the package."""
    for named in re.findall(r"`((?:[\w.-]+/)+(?:[\w.-]+)?)`", path.read_text()):
        top = named.split("/")[0]
        if top in ROOMS or top in {"tests", "bench", "docs", "notebooks", "data", "pgmagic"}:
            assert (ROOT / named).exists() or (ROOT / "pgmagic" / named).exists(), named
