"""Statements are guarded one by one and recorded, and the cell keeps its transaction."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db import IntegrityError, connections

from pgmagic.errors import CellError, DatabaseUnavailableError
from tests.watch.observing import UPPER, outcome, traces, trigger, watch


def test_copy_is_guarded_and_counted(connection: Any, execute: Any) -> None:
    def copy(*rows: tuple[Any, ...]) -> Callable[[], None]:
        def step() -> None:
            with connection.cursor() as cursor, cursor.copy("COPY item (id, name) FROM STDIN") as writer:
                for row in rows:
                    writer.write_row(row)

        return step

    def read() -> None:
        with connection.cursor() as cursor, cursor.copy("COPY item TO STDOUT") as reader:
            assert len(list(reader.rows())) == 7

    cell = watch(connection, copy((6, "a"), (7, "b")), copy((1, "again")), read)
    assert [(found.verdict, found.rows, found.table) for found in cell.outcomes] == [
        ("applied", 2, "item"), ("rejected", 0, "item"), ("read", 7, "item"),
    ]  # fmt: skip


def test_messages_are_shown_under_their_step(connection: Any, execute: Any) -> None:
    execute(trigger("say", "BEFORE UPDATE", "RAISE NOTICE 'checked %', NEW.id; RAISE WARNING 'odd'; RETURN NEW;"))
    cell = watch(connection, "SELECT 1", "UPDATE item SET size = 1 WHERE id = 3", "DO $$BEGIN RAISE INFO 'hi'; END$$")
    assert [found.lines for found in cell.outcomes] == [
        (),
        ("NOTICE: checked 3", "WARNING: odd"),
        ("INFO: hi",),
    ]
    assert connection.connection._notice_handlers == []


def test_flood_of_messages_is_counted(connection: Any, execute: Any) -> None:
    flood = "DO $$BEGIN FOR i IN 1..1500 LOOP RAISE NOTICE 'n %', i; END LOOP; END$$"
    lines = outcome(connection, flood).lines
    assert (len(lines), lines[-1]) == (1001, "and 500 more messages")


@pytest.mark.parametrize(
    "statement",
    ["COMMIT", "  -- done\n commit", "ROLLBACK", "BEGIN", "UPDATE item SET size = 1; /* x */ COMMIT", "END"],
)
def test_cell_cannot_end_its_transaction(connection: Any, execute: Any, other: Any, statement: str) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))

    def swallow_everything() -> None:
        with suppress(Exception):
            execute(statement)

    for step in (statement, swallow_everything):
        with pytest.raises(CellError, match="one transaction"):
            watch(connection, "UPDATE item SET size = 1 WHERE id = 2", step)
    assert execute("SELECT size FROM item WHERE id = 2") == [(2,)]
    assert traces(other) == []


def test_cell_that_closes_its_connection(connection: Any, execute: Any, other: Any) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    for last in (connections["default"].close, lambda: (connections["default"].close(), execute("SELECT 1"))):
        with pytest.raises(CellError, match="closed the database connection"):
            watch(connection, "UPDATE item SET size = 1 WHERE id = 2", last)
        assert execute("SELECT size FROM item WHERE id = 2") == [(2,)]
        assert outcome(connection, "UPDATE item SET name = 'x' WHERE id = 2").verdict == "rewritten"
        execute(
            "ALTER TABLE item DISABLE TRIGGER upper; UPDATE item SET size = 2; ALTER TABLE item ENABLE TRIGGER upper"
        )
    assert traces(other) == []


def test_server_that_goes_away(connection: Any, execute: Any, other: Any) -> None:
    pid = connection.connection.info.backend_pid

    def kill() -> None:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    for last in ("SELECT 1", lambda: None):
        with pytest.raises(DatabaseUnavailableError, match="nothing of it was kept"):
            watch(connection, "UPDATE item SET size = 1 WHERE id = 2", kill, last)
        connection.close()
        connection.ensure_connection()
        pid = connection.connection.info.backend_pid
    assert execute("SELECT size FROM item WHERE id = 2") == [(2,)]


def test_rejected_statement_takes_back_its_own_observations_only(connection: Any, execute: Any) -> None:
    """The savepoint is renewed ahead of what is read at the end of a step."""
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    cell = watch(
        connection,
        "UPDATE item SET size = 1 WHERE id = 1",
        "UPDATE item SET size = 100",
        "UPDATE item SET size = 1 WHERE id = 2",
        "UPDATE item SET size = 100",
        "SELECT 1",
    )
    assert [(found.verdict, found.rows, found.lines) for found in cell.outcomes] == [
        ("rewritten", 1, ()),
        ("rejected", 0, ()),
        ("rewritten", 1, ()),
        ("rejected", 0, ()),
        ("read", 1, ()),
    ]


def test_repeated_statements_are_one_message_each(connection: Any, execute: Any) -> None:
    """The savepoint is renewed by the statement's own message; nothing of that shows."""
    statement = "UPDATE item SET size = %s WHERE id = %s"
    seen: list[Any] = []

    def step() -> None:
        for size in (1, 2, 100, 3):
            with suppress(IntegrityError), connection.cursor() as cursor:
                cursor.execute(statement, [size, 1])
                seen.append((cursor.rowcount, cursor.cursor.statusmessage, cursor.nextset()))
        with connection.cursor() as cursor:
            cursor.execute(statement, [4, 99])

    found = outcome(connection, step)
    assert seen == [(1, "UPDATE 1", None)] * 3
    assert (found.verdict, found.rows) == ("rejected", 3)
    assert execute("SELECT size FROM item WHERE id = 1") == [(3,)]


def test_function_that_looks_at_the_statement_sees_the_statement(connection: Any, execute: Any) -> None:
    execute("CREATE TABLE log (query text)")
    execute(trigger("log", "AFTER UPDATE", "INSERT INTO log VALUES (current_query()); RETURN NULL;"))
    watch(connection, *["UPDATE item SET size = 1 WHERE id = 1"] * 3)
    assert execute("SELECT DISTINCT query FROM log") == [("UPDATE item SET size = 1 WHERE id = 1",)]
