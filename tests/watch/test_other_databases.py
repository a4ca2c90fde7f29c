"""A cell that also works on other databases: watched there, and kept in all of them or in none."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from django.db import Error as DatabaseFailure
from django.db import connections, transaction

from pgmagic.errors import CellError
from pgmagic.watch import CellObserver, watched
from tests.db.live import conninfo
from tests.watch.observing import REJECT, UPPER, trigger, watch

LATE = "DEFERRABLE INITIALLY DEFERRED"


@pytest.fixture
def other(execute: Any, connection: Any, schema: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A second alias, with Django's own engine, in the schema of the test; not connected yet."""
    info = conninfo(connection)
    monkeypatch.setitem(connections.settings, "other", {
        "ENGINE": "django.db.backends.postgresql", "NAME": info["dbname"], "USER": info["user"],
        "HOST": info["host"], "PORT": info["port"], "PASSWORD": info["password"],
        "OPTIONS": {"options": f"-c search_path={schema}"},
    })  # fmt: skip
    connections.configure_settings(connections.settings)
    yield connections["other"]
    connections["other"].close()
    del connections["other"]


@pytest.fixture
def there(other: Any) -> Callable[..., Any]:
    """A function that executes SQL in the other database."""

    def run(sql: str, params: Any = None) -> Any:
        with other.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if cursor.description else None

    return run


def sizes(execute: Any) -> list[int]:
    return [size for (size,) in execute("SELECT size FROM item ORDER BY id")]


def test_steps_name_their_database(connection: Any, execute: Any, there: Any) -> None:
    execute(trigger("upper", "BEFORE INSERT", UPPER, "part").replace("name", "label"))
    execute("INSERT INTO part VALUES (1, 1); CREATE TABLE alone AS SELECT 1 AS id")

    def both() -> None:
        execute("UPDATE alone SET id = 2")
        there("UPDATE item SET size = 30 WHERE id IN (3, 4)")

    def different() -> None:
        execute("UPDATE alone SET id = 3")
        there("UPDATE item SET size = 5 WHERE id = 99")

    cell = watch(
        connection,
        lambda: there("INSERT INTO part VALUES (6, 2, 'six')"),
        both,
        lambda: there("SELECT name FROM item"),
        lambda: there("DELETE FROM item WHERE id = 1"),
        lambda: there("UPDATE item SET size = 100 WHERE id = 3"),
        lambda: there("DO $$ BEGIN RAISE NOTICE 'hello'; END $$"),
        different,
    )
    found = [(o.verdict, o.rows, o.table, o.trigger, o.reason, o.lines) for o in cell.outcomes]
    assert found == [
        ("rewritten", 1, "other: part", "upper", 'label: "six" → "SIX"', ()),
        ("applied", 3, "alone, other: item", None, None, ()),
        ("read", 5, "other: item", None, None, ()),
        ("applied", 1, "other: item", None, None, ("other: in item: 1 row deleted", "other: in part: 1 row deleted")),
        (
            "rejected", 0, "other: item", None,
            'new row for relation "item" violates check constraint "item_size_check"', (),
        ),
        ("applied", None, "other", None, None, ("other: NOTICE: hello",)),
        ("applied", 1, "alone", None, None, ("other: item: no rows",)),
    ]  # fmt: skip
    assert sizes(execute) == [2, 30, 30, 5]
    assert cell.notes == []


@pytest.mark.parametrize("keep", [True, False])
def test_nothing_is_kept_anywhere_if_nothing_is_to_be_kept(
    connection: Any, execute: Any, there: Any, keep: bool
) -> None:
    class _Error(Exception):
        pass

    with suppress(_Error), watched(CellObserver, connection, keep=keep) as cell:
        with cell.step():
            there("UPDATE item SET size = 10 WHERE id = 2")
        with cell.step():
            execute("UPDATE item SET size = 10 WHERE id = 1")
        if keep:
            raise _Error
    assert sizes(execute) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("where", ["here", "there"])
def test_commit_that_one_refuses_is_refused_in_all(connection: Any, execute: Any, there: Any, where: str) -> None:
    execute("CREATE TABLE late (id int)")
    execute(trigger("late", "AFTER INSERT", REJECT, "late", LATE))
    cell = watch(
        connection,
        lambda: execute("UPDATE item SET size = 10 WHERE id = 1"),
        lambda: there("UPDATE item SET size = 10 WHERE id = 2"),
        lambda: (execute if where == "here" else there)("INSERT INTO late VALUES (1)"),
    )
    assert [found.verdict for found in cell.outcomes] == ["rolled back"] * 3
    assert sizes(execute) == [1, 2, 3, 4, 5]
    reason = "not this one (take another)" if where == "here" else "other: not this one (take another)"
    assert cell.notes == [f"COMMIT was rejected by late, so nothing of this cell was kept: {reason}"]


def test_blocks_and_hooks_work_there_too(connection: Any, execute: Any, there: Any) -> None:
    ran: list[str] = []

    def block() -> None:
        with suppress(ValueError), transaction.atomic(using="other"):
            there("UPDATE item SET size = 10 WHERE id = 2")
            raise ValueError
        with transaction.atomic(using="other"), transaction.atomic():
            there("UPDATE item SET size = 30 WHERE id = 3")
            transaction.on_commit(lambda: ran.append("other"), using="other")
        assert not ran

    [found] = watch(connection, block).outcomes
    assert (found.verdict, found.rows, sizes(execute)) == ("applied", 1, [1, 2, 30, 4, 5])
    assert ran == ["other"]


def test_waiting_for_what_the_cell_itself_has_locked_is_bounded(
    connection: Any, execute: Any, there: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both aliases lead to the same database here: neither transaction sees the other's rows."""
    monkeypatch.setattr("pgmagic.watch.bystanders.LOCK_TIMEOUT", "50ms")
    cell = watch(
        connection,
        "UPDATE item SET size = 10 WHERE id = 1",
        lambda: there("UPDATE item SET size = 20 WHERE id = 1"),
    )
    assert [found.verdict for found in cell.outcomes] == ["applied", "rejected"]
    assert cell.outcomes[1].reason == "canceling statement due to lock timeout"
    assert sizes(execute)[0] == 10


def test_transaction_that_is_open_there_is_refused(connection: Any, execute: Any, there: Any) -> None:
    with transaction.atomic(using="other"):
        there("UPDATE item SET size = 10 WHERE id = 1")
        with pytest.raises(CellError, match="already open"):
            watch(connection, lambda: there("SELECT 1"))
        transaction.set_rollback(True, using="other")
    assert sizes(execute) == [1, 2, 3, 4, 5]


def test_everything_is_as_before_after_the_cell(connection: Any, execute: Any, other: Any, there: Any) -> None:
    there("SET lock_timeout = '7s'; RESET lock_timeout")

    def state() -> tuple[Any, ...]:
        raw = other.connection
        names = [
            name for name in vars(other) if name.startswith(("_commit", "_rollback", "_set", "make", "ensure", "on_"))
        ]
        return names, list(other.execute_wrappers), raw._notice_handlers, there("SHOW lock_timeout")

    before = state()
    watch(connection, lambda: there("SELECT 1"))
    with suppress(ZeroDivisionError), watched(CellObserver, connection, keep=True) as cell, cell.step():
        there("UPDATE item SET size = 10 WHERE id = 1")
        _ = 1 / 0
    assert state() == before
    assert there("SELECT size FROM item WHERE id = 1") == [(1,)]


def test_connection_there_that_is_lost_keeps_nothing(connection: Any, execute: Any, other: Any, there: Any) -> None:
    def lost() -> None:
        there("UPDATE item SET size = 10 WHERE id = 2")
        with psycopg.connect(**conninfo(connection), autocommit=True) as killer:
            killer.execute("SELECT pg_terminate_backend(%s)", [other.connection.info.backend_pid])
        with suppress(DatabaseFailure):
            there("SELECT 1")

    with pytest.raises(Exception, match="lost while the cell ran"):
        watch(connection, "UPDATE item SET size = 10 WHERE id = 1", lost)
    other.close()
    assert sizes(execute) == [1, 2, 3, 4, 5]


def test_database_of_another_kind_is_said_not_to_be_watched(
    connection: Any, execute: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setitem(
        connections.settings, "lite", {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "lite")}
    )
    connections.configure_settings(connections.settings)
    try:
        cell = watch(connection, lambda: connections["lite"].cursor().execute("CREATE TABLE t (id int)"))
    finally:
        connections["lite"].close()
        del connections["lite"]
    assert cell.notes == [
        "lite (SQLite) is not watched: what the cell did there is not in this table, and not in its transaction."
    ]
    with sqlite3.connect(tmp_path / "lite") as lite:
        assert lite.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_row_that_another_database_suppresses(connection: Any, execute: Any, there: Any) -> None:
    """Only the database that did not return the row has suppressed it."""
    from django.db import models

    def unmanaged(table: str) -> type[models.Model]:
        meta = type("Meta", (), {"app_label": "other_databases", "db_table": table, "managed": False})
        return type(table.title(), (models.Model,), {"__module__": "cell", "name": models.TextField(), "Meta": meta})

    here, elsewhere = unmanaged("here"), unmanaged("elsewhere")
    execute("CREATE TABLE here (id serial, name text); CREATE TABLE elsewhere (LIKE here INCLUDING ALL)")
    execute(trigger("skip", "BEFORE INSERT", "IF NEW.name = '' THEN RETURN NULL; END IF; RETURN NEW;", "elsewhere"))

    def both() -> None:
        here._default_manager.create(name="kept")
        elsewhere._default_manager.using("other").bulk_create([elsewhere(name="a"), elsewhere(name="")])

    cell = watch(connection, both, lambda: there("SELECT 1"))
    [step, after] = cell.outcomes
    assert (step.verdict, step.table, step.trigger) == ("suppressed", "other: elsewhere", "skip")
    assert "here: applied, 1 row" in step.lines
    line = next(line for line in step.lines if "Django raised" in line)
    assert line.startswith("other: Django raised AssertionError")
    assert after.verdict == "read"
    assert execute("SELECT name FROM here") == [("kept",)]
