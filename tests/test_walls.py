"""The walls of the house: who may import whom, read from every file and from the table in ARCHITECTURE.md.

A test that fails names the file, the line and the import.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pgmagic"

# What only some rooms may import: a package outside, and its name in the table. Anything else is open to all.
GUARDED = {
    "IPython": "IPython",
    "django": "Django",
    "django.db.connection": "connections",
    "django.db.connections": "connections",
    "django.db.transaction": "connections",
    "pandas": "pandas",
    "numpy": "pandas",
    "psycopg": "psycopg",
    "psycopg.sql": "psycopg.sql",
    "psycopg.errors": "psycopg.errors",
    "psycopg_pool": "psycopg",
}
# Classes and functions of psycopg that open connections: only `db/` may, and the features that read by its cursors.
OPENING = {f"psycopg.{name}" for name in ("connect", "AsyncConnection")}
# Methods that reach a server: a room that calls them has "executes SQL" in the table.
EXECUTING = {"execute", "executemany", "cursor", "copy", "callproc"}
EXECUTES = "executes SQL"
# What belongs to every room.
COMMON = {"errors", "__version__"}


@dataclass(frozen=True)
class Room:
    """A row of the table: the rooms that a room may import, and the guarded things that it may touch."""

    imports: frozenset[str]
    touches: frozenset[str]


def rooms_in_table() -> dict[str, Room]:
    """Return the rooms of the table in ARCHITECTURE.md by name; the package itself has the empty name."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    section = re.search(r"^## Rooms\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    assert section
    rows = re.findall(r"^\| `([^`]+)` \|[^|]*\|([^|]*)\|([^|]*)\|$", section[1], re.MULTILINE)

    def names(cell: str) -> frozenset[str]:
        return frozenset(name for word in cell.split(",") if (name := word.strip().strip("`/")) != "-")

    return {
        name.removesuffix(".py").strip("/").replace("__init__", ""): Room(names(imports), names(touches))
        for name, imports, touches in rows
    }


ROOMS = rooms_in_table()


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
    """Calls of methods that reach a server, except through `doors`, which is what these are for."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in EXECUTING
            and not ast.unparse(node.func).startswith("doors.")
        ):
            yield ast.unparse(node.func), node.lineno


def violations(source: str, path: Path) -> list[str]:
    name, tree = room_of(path), ast.parse(source, str(path))
    room, shown = ROOMS[name], name or "pgmagic"
    # A module of SQL composes statements, and leaves sending them to others.
    composes_only = path.stem.endswith("_sql")
    touches = room.touches - {EXECUTES, "connections"} if composes_only else room.touches
    found = []
    for item in imports(tree, path):
        top, _, rest = item.name.partition(".")
        if top == "pgmagic":
            target = rest.partition(".")[0]
            if target not in {"", name, *COMMON, *room.imports}:
                found.append(f"{path}:{item.line}: {shown} may not import {item.name}")
        elif (name != "db" and item.name in OPENING) or (guard(item.name) or "") not in {"", *touches}:
            found.append(f"{path}:{item.line}: {shown} may not import {item.name}")
    if EXECUTES not in touches:
        found += [f"{path}:{line}: {shown} may not call {call}()" for call, line in calls(tree)]
    return found


def guard(name: str) -> str | None:
    """What the table calls the package that a name falls under, if it is guarded: the closest one."""
    prefixes = [".".join(name.split(".")[: size + 1]) for size in range(name.count(".") + 1)]
    return next((GUARDED[prefix] for prefix in reversed(prefixes) if prefix in GUARDED), None)


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_file_has_a_room_and_every_room_a_file():
    assert len(FILES) > 50
    assert {room_of(path) for path in FILES} == set(ROOMS)


def test_table_names_rooms_and_guards_that_exist():
    for room in ROOMS.values():
        assert room.imports <= set(ROOMS)
        assert room.touches <= {*GUARDED.values(), EXECUTES}


@pytest.mark.parametrize("room", sorted(ROOMS), ids=lambda room: room or "pgmagic")
def test_room_keeps_to_its_walls(room):
    found = [line for path in FILES if room_of(path) == room for line in violations(path.read_text(), path)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("room", sorted(ROOMS), ids=lambda room: room or "pgmagic")
def test_table_allows_no_import_that_a_room_does_without(room):
    used = {
        item.name.split(".")[1]
        for path in FILES
        if room_of(path) == room
        for item in imports(ast.parse(path.read_text()), path)
        if item.name.startswith("pgmagic.")
    }
    assert ROOMS[room].imports <= used, f"not used: {', '.join(sorted(ROOMS[room].imports - used))}"


def test_rooms_have_no_circle():
    tuple(TopologicalSorter({name: room.imports for name, room in ROOMS.items()}).static_order())


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_modules_have_no_circle():
    """What is imported for types only may lead back; what runs may not, wherever in a file it is imported."""
    modules = {module_of(path): path for path in FILES}
    edges: dict[str, set[str]] = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []
        found = {item.name for item in imports(tree, path)}
        edges[name] = {item if item in modules else item.rpartition(".")[0] for item in found} & set(modules) - {name}
    # The package's own lazy imports, which lead into the rooms, are for those who stand outside.
    edges["pgmagic"] = set()
    try:
        tuple(TopologicalSorter(edges).static_order())
    except CycleError as error:
        pytest.fail("a circle: " + " -> ".join(error.args[1]))


@pytest.mark.parametrize(
    ("file", "source", "message"),
    [
        ("declare/x.py", "from pgmagic.compile import sql", "declare/x.py:1: declare may not import pgmagic.comp"),
        ("declare/x.py", "import os\nfrom ..db import apply", "x.py:2: declare may not import pgmagic.db.apply"),
        ("declare/x.py", "from django.db import connection", "declare may not import django.db.connection"),
        ("compile/x.py", "import psycopg", "compile may not import psycopg"),
        ("compile/x.py", "from psycopg import sql, connect", "compile may not import psycopg.connect"),
        ("compile/x.py", "def f(c):\n    c.execute('')", "x.py:2: compile may not call c.execute()"),
        ("compile/x.py", "from pgmagic.history import states", "compile may not import pgmagic.history.states"),
        ("plan/x.py", "from django.db import models", "plan may not import django.db.models"),
        ("tables/x.py", "import pgmagic.db.apply", "tables may not import pgmagic.db.apply"),
        ("tables/x.py", "def f():\n    from django.utils import timezone", "x.py:2: tables may not import"),
        ("tables/x.py", "def f(c):\n    c.cursor()", "x.py:2: tables may not call c.cursor()"),
        ("server/x.py", "from pgmagic.db import connect", "server may not import pgmagic.db.connect"),
        ("server/x.py", "import psycopg", "server may not import psycopg"),
        ("db/x.py", "from pgmagic import pgtrigger", "db may not import pgmagic.pgtrigger"),
        ("db/x.py", "from pgmagic.history import events", "db may not import pgmagic.history.events"),
        ("db/x.py", "from IPython import display", "db may not import IPython.display"),
        ("history/x.py", "from pgmagic.watch import cell", "history may not import pgmagic.watch.cell"),
        ("history/x.py", "from psycopg import connect", "history may not import psycopg.connect"),
        ("history/x_sql.py", "from django.db import connections", "history may not import django.db.connections"),
        ("watch/x_sql.py", "def f(c):\n    c.execute('')", "x_sql.py:2: watch may not call c.execute()"),
        ("watch/x.py", "from pgmagic.trial import ways", "watch may not import pgmagic.trial.ways"),
        ("cli/x.py", "import IPython", "cli may not import IPython"),
        ("notebook/x.py", "from psycopg import connect", "notebook may not import psycopg.connect"),
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
        ("declare/x.py", "doors.database().execute('')"),
        ("db/x.py", "import psycopg\nfrom django.db import connections, transaction\nc.execute('')"),
        ("history/x.py", "import pandas\nfrom django.db import connections\nc.execute('')"),
        ("notebook/x.py", "import psycopg, IPython\nfrom pgmagic import pgtrigger, __version__"),
    ],
)
def test_wall_has_doors(file, source):
    assert violations(source, PACKAGE / file) == []
