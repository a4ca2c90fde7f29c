"""The public surface: names and signatures, as `tests/public_surface.txt` has them.

A change of the surface is a change of that file: `python -m tests.test_public_surface` writes it again.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from difflib import unified_diff
from enum import Enum
from pathlib import Path

import pytest

RECORD = Path(__file__).with_name("public_surface.txt")

# Public signatures that name `Any`. This set only shrinks, but for those that cannot be typed otherwise.
WITH_ANY: set[str] = {
    "UndoFrame.apply",
    "pghistory.context",
}

# What an editor shows for names that are imported, as mypy reveals it.
REVEALED = {
    "pgmagic.history(Post)": "pgmagic.history.reading.HistoryFrame",
    "pgmagic.diff(Post)": "pgmagic.history.diff.DiffFrame",
    "pgmagic.pgtrigger.Row": "pgmagic.declare.vocabulary.Level",
    "pgmagic.undo_plan('x')": "pgmagic.history.undo.undo_plan.UndoFrame",
    "pgtrigger.ignore()": "pgmagic.db.runtime.ignore.",
    "pgtrigger.Protect(name='a', operation=pgtrigger.Delete)": "pgmagic.declare.ready_made.Protect",
    "pgtrigger.Insert | pgtrigger.Update": "pgmagic.declare.vocabulary.Operations",
    "pghistory.InsertEvent()": "pgmagic.declare.trackers.InsertEvent",
    "pghistory.track()(Post)": "type[user.Post]",
}


def annotation(given: object) -> str:
    return given if isinstance(given, str) else inspect.formatannotation(given)


def default(value: object) -> str:
    """Return a default as its literal, or the name of its class where its text holds an address."""
    if isinstance(value, Enum):
        return type(value).__name__.upper()
    text = repr(value)
    return f"<{type(value).__name__}>" if " at 0x" in text else text


def signature(call: object) -> str:
    """Return the parameters and the returned type of a call, without `self`."""
    found = inspect.signature(call)  # type: ignore[arg-type]
    parts: list[str] = []
    for parameter in found.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        if parameter.kind is parameter.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        text = f"{stars}{parameter.name}"
        if parameter.annotation is not parameter.empty:
            text += f": {annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {default(parameter.default)}"
        parts.append(text)
    returned = found.return_annotation
    arrow = "" if returned is inspect.Signature.empty or inspect.isclass(call) else f" -> {annotation(returned)}"
    return f"({', '.join(parts)}){arrow}"


def described_methods(name: str, kind: type) -> Iterator[str]:
    from tests.public_names import public_methods

    for attribute, value in public_methods(kind):
        if isinstance(value, property):
            yield f"{name}.{attribute}: {annotation(inspect.signature(value.fget).return_annotation)}"
        else:
            function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            yield f"{name}.{attribute}{signature(function)}"


def surface() -> list[str]:
    """Return a line for each public name: a call with its signature, a value with its type."""
    from tests.public_names import RETURNED, public_callables, public_names

    first_names = public_callables()
    lines = []
    for name, value in public_names().items():
        if callable(value):
            lines.append(f"{name}{signature(value)}")
        else:
            lines.append(f"{name}: {type(value).__name__}")
        if isinstance(value, type) and name in first_names:
            lines += described_methods(name, value)
    for name, kind in RETURNED.items():
        lines += [name, *described_methods(name, kind)]
    return lines


def test_surface_is_as_recorded():
    recorded = RECORD.read_text().splitlines()
    changed = list(unified_diff(recorded, surface(), "recorded", "present", lineterm="", n=0))
    assert not changed, "\n".join([*changed, "", "If this is meant: python -m tests.test_public_surface"])


def test_public_signatures_name_no_any():
    found = {line.partition("(")[0].partition(":")[0] for line in surface() if re.search(r"\bAny\b", line)}
    assert found - WITH_ANY == set(), "give these signatures types"
    assert WITH_ANY - found == set(), "these have types now, or do not exist: take them out of WITH_ANY"


@pytest.mark.parametrize("name", ["pgtrigger", "pghistory"])
def test_completion_offers_the_vocabulary_only(name):
    from IPython.core.completer import IPCompleter, provisionalcompleter

    import pgmagic
    from pgmagic import pghistory, pgtrigger

    package = {"pgtrigger": pgtrigger, "pghistory": pghistory}[name]
    completer = IPCompleter(namespace={name: package, "pgmagic": pgmagic})
    with provisionalcompleter():
        offered = {found.text.strip(".") for found in completer.completions(f"{name}.", len(name) + 1)}
    assert offered == {word for word in package.__all__ if not word.startswith("_")}
    assert sorted(package.__all__) == dir(package)
    # Modules are importable all the same, and so are attributes.
    assert package.apps.__name__ == f"pgmagic.{name}.apps"


def test_package_offers_its_functions_and_the_two_vocabularies():
    import pgmagic

    assert dir(pgmagic) == sorted([*pgmagic.__all__, "pghistory", "pgtrigger"])
    program = "import pgmagic; print(pgmagic.pgtrigger.Row, hasattr(pgmagic, 'pgtriger'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["ROW", "False"], done.stderr


@pytest.mark.slow
def test_type_checkers_see_the_types_of_public_names(tmp_path):
    pytest.importorskip("mypy_django_plugin")
    source = tmp_path / "user.py"
    lines = [
        "import pgmagic",
        "from django.db import models",
        "from pgmagic import pghistory, pgtrigger",
        "class Post(models.Model):",
        "    class Meta:",
        "        app_label = 'user'",
        *(f"reveal_type({expression})" for expression in REVEALED),
    ]
    source.write_text("\n".join(lines))
    root = RECORD.parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(root / "pyproject.toml"), str(source)],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert len(revealed) == len(REVEALED), done.stdout + done.stderr
    wrong = {
        expression: found
        for (expression, expected), found in zip(REVEALED.items(), revealed, strict=True)
        if expected not in found
    }
    assert wrong == {}


if __name__ == "__main__":
    import os

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    RECORD.write_text("\n".join(surface()) + "\n")
