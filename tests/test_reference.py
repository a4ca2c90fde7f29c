"""`docs/reference.md` lists every public name with the first line of its docstring.

`python -m tests.test_reference` writes the file again.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pgmagic

REFERENCE = Path(__file__).parent.parent / "docs" / "reference.md"

INTRODUCTION = """# Reference

Every public name, with the first line of its docstring. In a notebook, `?` after a name shows the whole docstring with
arguments, returned columns and an example: `pgmagic.history?`. `pgtrigger` and `pghistory` are imported by
`from pgmagic import pgtrigger, pghistory`; a name that is also in django-pgtrigger or django-pghistory means the same
here. The magics have a table of their own in the README; the settings of a project are in [settings.md](settings.md).
"""
HEADINGS = {
    "pgmagic": "What happened, as DataFrames",
    "pgtrigger": "Declare and control triggers",
    "pgtrigger.migrations": "Operations of migrations",
    "pghistory": "Record history",
    "pghistory.middleware": "Middleware",
    "pghistory.models": "Models",
}
# Constants have no docstring of their own.
CONSTANTS = {
    "__version__": "The version of pgmagic.",
    "DEFAULT": "As an argument of `Field` and others: the value of the tracked field or Django, not of the settings.",
    "New": "The row after a change: `row=` of a tracker.",
    "Old": "The row before a change: `row=` of a tracker.",
}


def meaning(name: str, value: object) -> str:
    """Return the first line of a docstring, or what a constant is."""
    if name in CONSTANTS:
        return CONSTANTS[name]
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return f"`{value}`, a value of `{type(value).__name__}`."
    first_line, _, _ = (inspect.getdoc(value) or "").partition("\n\n")
    return " ".join(first_line.split()).replace("|", r"\|")


def table(rows: Iterator[tuple[str, str]]) -> list[str]:
    return ["", "| name | meaning |", "| --- | --- |", *(f"| `{name}` | {text} |" for name, text in rows)]


def reference() -> str:
    """Return the text of the file."""
    from tests.public_names import PLACES, RETURNED

    lines = [INTRODUCTION.rstrip("\n")]
    for place, (module, names) in PLACES.items():
        rows = ((name, meaning(name, getattr(module, name))) for name in sorted(names, key=str.lower))
        lines += ["", f"## `{place}`: {HEADINGS[place]}", *table(rows)]
    rows = ((name, meaning(name, kind)) for name, kind in RETURNED.items())
    lines += ["", "## What functions and magics return", *table(rows)]
    return "\n".join(lines) + "\n"


def test_reference_agrees_with_the_code():
    expected = reference()
    assert REFERENCE.read_text() == expected, f"python -m tests.test_reference writes:\n{expected}"


def test_every_public_name_has_a_meaning():
    from tests.public_names import RETURNED, public_names

    names = {**public_names(), **RETURNED}
    assert [name for name, value in names.items() if not meaning(name.rpartition(".")[2], value)] == []


def test_settings_are_those_that_the_code_reads():
    """The tables of `docs/settings.md` name every setting and environment variable."""
    package = Path(pgmagic.__file__).parent
    source = "".join(path.read_text() for path in package.rglob("*.py"))
    read = set(re.findall(r'"(PG(?:TRIGGER|HISTORY|MAGIC)_[A-Z_]+)"', source))
    listed = re.findall(r"^\| `(PG\w+)`", REFERENCE.with_name("settings.md").read_text(), re.MULTILINE)
    assert len(listed) == len({*listed}), "listed twice"
    # Set by pgmagic itself, for the kernels that it starts.
    assert {*listed} == read - {"PGMAGIC_NOTEBOOK"}


if __name__ == "__main__":
    import os

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    REFERENCE.write_text(reference())
