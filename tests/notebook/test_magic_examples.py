"""What `?` shows of each magic ends with one or two examples, and the examples run."""

from __future__ import annotations

import re

import pytest

from tests.test_examples import POST

MAGICS = [
    "%%pgoutcome", "%%pgsql", "%%pgtrace", "%%pgtrigger", "%%pgwhatif", "%pgbypass", "%pgconnect", "%pghistory",
    "%pgreset", "%pgtrigger",
]  # fmt: skip


def manual(shell, magic: str) -> str:
    """What `?` shows of a magic."""
    found = shell.shell.object_inspect(magic)
    assert found["found"]
    return found["docstring"]


def examples(text: str) -> list[str]:
    """The cells at the end of a manual; an empty line separates two of them."""
    _, found, cells = text.partition("\nexample:\n")
    assert found, "the manual has no example"
    return re.sub(r"^    ", "", cells, flags=re.MULTILINE).strip().split("\n\n")


def test_every_magic_is_tried_here(shell):
    found = [
        ("%%" if kind == "cell" else "%") + name
        for kind, magics in shell.shell.magics_manager.magics.items()
        for name, magic in magics.items()
        if getattr(magic, "__module__", "").startswith("pgmagic.")
    ]
    assert sorted(found) == MAGICS


@pytest.mark.parametrize("magic", MAGICS)
def test_examples_run(shell, magic):
    cells = examples(manual(shell, magic))
    assert sum(cell.startswith(f"{magic} ") or cell.partition("\n")[0] == magic for cell in cells) in (1, 2)
    shell.run(POST)
    shell.run("post = Post.objects.create(title='Hello')")
    for cell in cells:
        shell.run(cell)


@pytest.mark.parametrize("magic", MAGICS)
def test_manual_says_options_before_examples(shell, magic):
    text = manual(shell, magic)
    assert text.index("options:" if "options:" in text else "::") < text.index("\nexample:\n")
    assert "Example:" not in text
