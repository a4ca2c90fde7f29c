"""Statements of psycopg's own cursors and transactions."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg
import pytest

from tests.watch.observing import UPPER, outcome, trigger


def past_django(connection: Any, action: str) -> None:
    raw = connection.connection
    match action:
        case "execute":
            raw.execute("UPDATE item SET size = 1 WHERE id = 2")
        case "cursor":
            raw.cursor().execute("UPDATE item SET size = %s WHERE id = 2", [1])
        case "executemany":
            raw.cursor().executemany("UPDATE item SET size = %s WHERE id = 2", [[7], [1]])
        case "copy":
            with raw.cursor().copy("COPY item (id, name, size) FROM STDIN") as copy:
                copy.write_row([8, "b", 1])
        case "transaction":
            with raw.transaction():
                raw.execute("UPDATE item SET size = 1 WHERE id = 2")
                with raw.transaction(), connection.cursor() as cursor:
                    cursor.execute("UPDATE item SET size = 1 WHERE id = 2")


@pytest.mark.parametrize(
    ("action", "rows"), [("execute", 1), ("cursor", 1), ("executemany", 2), ("copy", 1), ("transaction", 2)]
)
def test_statement_of_a_driver_cursor_is_recorded(connection: Any, execute: Any, action: str, rows: int) -> None:
    execute(trigger("upper", "BEFORE UPDATE OR INSERT", UPPER))
    raw = connection.connection
    before = raw.cursor_factory, raw.server_cursor_factory, raw.transaction
    found = outcome(connection, lambda: past_django(connection, action))
    assert (found.verdict, found.rows, found.table, found.trigger) == ("rewritten", rows, "item", "upper")
    assert (raw.cursor_factory, raw.server_cursor_factory, raw.transaction) == before


def test_statement_of_a_driver_cursor_that_fails(connection: Any, execute: Any) -> None:
    """It is rolled back by itself; what came before it stays."""

    def step() -> None:
        connection.connection.execute("UPDATE item SET size = 1 WHERE id = 2")
        with suppress(psycopg.Error):
            connection.connection.execute("SELECT 1 / 0")
        connection.connection.execute("UPDATE item SET size = 1 WHERE id = 3")

    found = outcome(connection, step)
    assert (found.verdict, found.rows) == ("rejected", 2)
    assert found.reason == "1 of 3 statements rejected: division by zero"
    assert execute("SELECT count(*) FROM item WHERE size = 1") == [(3,)]


@pytest.mark.parametrize("how", ["exception", "Rollback", "force_rollback"])
def test_driver_transaction_that_is_rolled_back(connection: Any, execute: Any, how: str) -> None:
    raw = connection.connection

    def step() -> None:
        with suppress(ZeroDivisionError), raw.transaction(force_rollback=how == "force_rollback"):
            raw.execute("UPDATE item SET size = 1 WHERE id = 2")
            if how == "exception":
                raise ZeroDivisionError
            if how == "Rollback":
                raise psycopg.Rollback

    found = outcome(connection, step)
    assert (found.verdict, found.reason) == ("rolled back", "the cell itself rolled it back")
    assert execute("SELECT size FROM item WHERE id = 2") == [(2,)]


def test_cursor_on_the_server_goes_on_between_other_statements(connection: Any, execute: Any) -> None:
    """It sends commands of its own, under psycopg's lock."""
    rows: list[Any] = []

    def step() -> None:
        with connection.chunked_cursor() as cursor:
            cursor.execute("SELECT id FROM item ORDER BY id")
            while found := cursor.fetchmany(2):
                rows.extend(found)
                execute("UPDATE item SET size = 1 WHERE id = 2")

    assert outcome(connection, step).rows == 3
    assert rows == [(1,), (2,), (3,), (4,), (5,)]
