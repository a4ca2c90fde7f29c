"""The walls of the house: who may import whom, read from the source of every file.

The table below is the one of ARCHITECTURE.md. A test that fails names the file, the line and the import.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pgmagic"

# Room: the rooms that it may import; `errors` is open to all.
ROOMS = {
    "declare": set(),
    "compile": {"declare"},
    "plan": {"compile"},
    "db": {"plan", "compile", "declare"},
    "frames": {"plan"},
    "render": {"frames"},
    "reading": {"db", "frames", "declare"},
    "aliases": set(),
    "pgtrigger": {"declare", "compile", "plan", "db", "aliases"},
    "pghistory": {"declare", "compile", "plan", "db"},
    "notebook": {
        "declare", "compile", "plan", "db", "frames", "render", "reading", "pgtrigger", "pghistory", "aliases"
    },
    "cli": {
        "declare", "compile", "plan", "db", "frames", "render", "reading", "pgtrigger", "pghistory", "notebook"
    },
    # The package itself: what users import from it is loaded when it is first asked for.
    "": {"reading", "notebook"},
    "errors": set(),
}  # fmt: skip

# Package outside: the only rooms that may import it. What is not listed is open to all.
OUTSIDE = {
    # The package itself names the type of the shell that loads it.
    "IPython": {"notebook", ""},
    "django": {"errors", "declare", "compile", "db", "reading", "pgtrigger", "pghistory", "notebook", "cli"},
    "django.db.connection": {"db", "pgtrigger", "pghistory", "notebook", "cli"},
    "django.db.connections": {"db", "pgtrigger", "pghistory", "notebook", "cli"},
    "django.db.transaction": {"db", "pgtrigger", "pghistory", "notebook", "cli"},
    "pandas": {"frames", "render", "reading", "notebook", "cli"},
    "numpy": {"frames", "render", "reading", "notebook", "cli"},
    "pyarrow": {"frames", "db"},
    "psycopg": {"db", "notebook", "cli", "pgtrigger", "pghistory"},
    "psycopg.sql": {"db", "compile"},
    "psycopg.errors": {"db", "compile", "notebook", "cli", "pgtrigger", "pghistory"},
    # A class of psycopg's own that opens connections: nobody but `db`.
    **{f"psycopg.{name}": {"db"} for name in ("connect", "Connection", "AsyncConnection", "Cursor", "pq")},
    "psycopg_pool": {"db"},
}

# Methods that reach a server, and those who may call them.
EXECUTING = {"execute", "executemany", "cursor", "copy", "callproc"}
EXECUTING_ROOMS = {"db"}


@dataclass(frozen=True)
class Import:
    """One imported name, absolute, and the line where it is imported."""

    name: str
    line: int


def room_of(path: Path) -> str:
    """The room that a file belongs to; the empty text is the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0] if parts != ("__init__",) else ""


def imports(tree: ast.Module, path: Path) -> Iterator[Import]:
    package = ("pgmagic", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Import(f"{module}.{alias.name}", node.lineno) for alias in node.names)


def calls(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Calls of methods that reach a server, except through `delegates`, which is what that is for."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in EXECUTING
            and not ast.unparse(node.func).startswith("delegates.")
        ):
            yield ast.unparse(node.func), node.lineno


def violations(source: str, path: Path) -> list[str]:
    room, tree = room_of(path), ast.parse(source, str(path))
    found = []
    for item in imports(tree, path):
        top, _, rest = item.name.partition(".")
        if top == "pgmagic":
            target = rest.partition(".")[0]
            # The package itself comes along with every room of it, and knows its version.
            if target not in {"", "__version__", room, "errors", *ROOMS[room]}:
                found.append(f"{path}:{item.line}: {room or 'pgmagic'} may not import {item.name}")
        elif not all(room in OUTSIDE[prefix] for prefix in closest(item.name)):
            found.append(f"{path}:{item.line}: {room or 'pgmagic'} may not import {item.name}")
    if room not in EXECUTING_ROOMS:
        found += [f"{path}:{line}: {room or 'pgmagic'} may not call {call}()" for call, line in calls(tree)]
    return found


def closest(name: str) -> list[str]:
    """The longest entry of OUTSIDE that a name falls under, if any."""
    prefixes = [".".join(name.split(".")[: size + 1]) for size in range(name.count(".") + 1)]
    return [prefix for prefix in prefixes if prefix in OUTSIDE][-1:]


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_file_has_a_room():
    assert len(FILES) > 50
    assert {room_of(path) for path in FILES} <= set(ROOMS)


@pytest.mark.parametrize(
    "room", sorted({room_of(path) for path in FILES} & set(ROOMS)), ids=lambda room: room or "pgmagic"
)
def test_room_keeps_to_its_walls(room):
    found = [line for path in FILES if room_of(path) == room for line in violations(path.read_text(), path)]
    assert not found, "\n" + "\n".join(found)


def test_rooms_have_no_cycle():
    edges = {room: set() for room in ROOMS}
    for path in FILES:
        for item in imports(ast.parse(path.read_text()), path):
            target = item.name.split(".")[1] if item.name.startswith("pgmagic.") else room_of(path)
            if target in ROOMS and target != room_of(path):
                edges[room_of(path)].add(target)
    tuple(TopologicalSorter(edges).static_order())
    tuple(TopologicalSorter(ROOMS).static_order())


@pytest.mark.parametrize(
    ("file", "source", "message"),
    [
        ("declare/x.py", "from pgmagic.compile import sql", "declare/x.py:1: declare may not import pgmagic.comp"),
        ("declare/x.py", "import os\nfrom ..db import apply", "x.py:2: declare may not import pgmagic.db.apply"),
        ("declare/x.py", "from django.db import connection", "declare may not import django.db.connection"),
        ("compile/x.py", "import psycopg", "compile may not import psycopg"),
        ("compile/x.py", "from psycopg import sql, connect", "compile may not import psycopg.connect"),
        ("compile/x.py", "def f(c):\n    c.execute('')", "x.py:2: compile may not call c.execute()"),
        ("plan/x.py", "from django.db import models", "plan may not import django.db.models"),
        ("frames/x.py", "import pgmagic.db.apply", "frames may not import pgmagic.db.apply"),
        ("frames/x.py", "def f():\n    from django.utils import timezone", "x.py:2: frames may not import"),
        ("render/x.py", "from pgmagic import reading", "render may not import pgmagic.reading"),
        ("db/x.py", "from pgmagic import pgtrigger", "db may not import pgmagic.pgtrigger"),
        ("db/x.py", "from IPython import display", "db may not import IPython.display"),
        ("cli/x.py", "import IPython", "cli may not import IPython"),
        ("notebook/x.py", "from psycopg import Connection", "notebook may not import psycopg.Connection"),
        ("pghistory/x.py", "from pgmagic.notebook import cells", "pghistory may not import pgmagic.notebook.cells"),
        ("errors.py", "from pgmagic.declare import names", "errors may not import pgmagic.declare.names"),
        ("db/x.py", "from pgmagic import load_ipython_extension", "db may not import pgmagic.load_ipython"),
    ],
)  # fmt: skip
def test_wall_names_file_line_and_import(file, source, message):
    [found] = violations(source, PACKAGE / file)
    assert message in found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("declare/x.py", "from pgmagic.errors import PgMagicError\nfrom django.db import models"),
        ("compile/x.py", "from psycopg import sql\nfrom psycopg.sql import SQL"),
        ("declare/x.py", "delegates.database.execute('')"),
        ("db/x.py", "import psycopg\nfrom django.db import connections, transaction\nc.execute('')"),
        ("notebook/x.py", "import psycopg, IPython, pandas\nfrom pgmagic import pgtrigger, __version__"),
    ],
)
def test_wall_has_doors(file, source):
    assert violations(source, PACKAGE / file) == []
