"""What watches tables: made before the first write, removed before COMMIT, seen by no other session."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import transaction

from pgmagic.errors import CellError
from pgmagic.watch import instruments as instruments_module
from tests.watch.observing import PASS, SWALLOW, UPPER, outcome, own_probes, traces, trigger, watch


def test_probes_that_a_rollback_took_away_are_put_back(connection: Any, execute: Any) -> None:
    """The first write is inside a block that is rolled back, and its probes with it."""
    execute(trigger("upper", "BEFORE UPDATE", UPPER))

    def fails() -> None:
        with transaction.atomic():
            execute("SELECT 1")
            execute("UPDATE item SET name = 'x' WHERE id = 1")
            transaction.set_rollback(True)

    cell = watch(connection, fails, "UPDATE item SET name = 'y' WHERE id = 1")
    assert [(found.verdict, found.rows) for found in cell.outcomes] == [("rolled back", 0), ("rewritten", 1)]
    assert cell.outcomes[0].reason == "the cell itself rolled it back"
    assert cell.outcomes[1].reason == 'name: "y" → "Y"'


def test_iterator_left_open_does_not_keep_probes(connection: Any, execute: Any, other: Any) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    left = []

    def step() -> None:
        execute("UPDATE item SET size = 1 WHERE id = 1")
        cursor = connection.chunked_cursor()
        cursor.itersize = 1
        cursor.execute("SELECT id FROM item ORDER BY id")
        left.append((cursor, cursor.fetchone()))

    assert outcome(connection, step).verdict == "rewritten"
    assert traces(other) == []
    assert execute("SELECT name FROM item WHERE id = 1") == [("ITEM 1",)]


def test_deferred_trigger_that_passes_does_not_hold_probes(connection: Any, execute: Any, other: Any) -> None:
    """Pending events forbid DROP TRIGGER."""
    execute(
        trigger(
            "late",
            "AFTER UPDATE",
            "RAISE NOTICE 'at the end'; RETURN NULL;",
            more="DEFERRABLE INITIALLY DEFERRED",
        )
    )
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    cell = watch(connection, "UPDATE item SET size = 1 WHERE id = 1")
    assert cell.outcomes[0].verdict == "rewritten"
    assert cell.notes == ["At COMMIT: NOTICE: at the end"]
    assert traces(other) == []


def test_no_other_session_sees_a_probe(connection: Any, execute: Any, other: Any) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    during: list[Any] = []

    def step() -> None:
        execute("UPDATE item SET size = 1 WHERE id = 1")
        during.append(own_probes(connection))
        during.append(traces(other))
        # Others still read the table.
        during.append(other.execute("SELECT count(*) FROM item").fetchone()[0])

    watch(connection, step)
    assert during == [2, [], 5]
    assert traces(other) == []


def test_reading_creates_nothing(connection: Any, execute: Any) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    seen: list[int] = []
    cell = watch(
        connection,
        "SELECT * FROM item FOR UPDATE",
        "SELECT lower(name) FROM item",
        lambda: seen.append(own_probes(connection)),
    )
    assert [found.verdict for found in cell.outcomes] == ["read", "read", None]
    assert seen == [0]


def test_only_tables_that_a_statement_may_reach_are_locked(connection: Any, execute: Any, other: Any) -> None:
    execute("CREATE TABLE apart (id int)")
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    execute(trigger("null", "BEFORE INSERT", SWALLOW, "apart"))
    locked: list[Any] = []

    def step() -> None:
        execute("UPDATE item SET size = 1")
        other.execute("SET lock_timeout = '200ms'")
        other.execute("INSERT INTO apart VALUES (1)")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("UPDATE item SET size = 2 WHERE id = 5")
        locked.append(True)

    assert outcome(connection, step).verdict == "rewritten"
    assert locked


def test_table_that_another_session_holds_is_not_waited_for(
    connection: Any, execute: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instruments_module, "_BEGIN", instruments_module._BEGIN.replace("3s", "100ms"))
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    with other.transaction():
        other.execute("UPDATE item SET size = 2 WHERE id = 2")
        cell = watch(connection, "UPDATE item SET size = 1 WHERE id = 1")
        assert cell.outcomes[0].verdict == "applied"
        assert "could not be watched (canceling statement due to lock timeout)" in cell.notes[0]


def test_reader_that_stays_keeps_the_cell_from_committing(
    connection: Any, execute: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taking a trigger off needs the table for a moment; the answer is one line, and nothing half-kept."""
    monkeypatch.setattr(instruments_module, "_BEGIN", instruments_module._BEGIN.replace("3s", "100ms"))
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    with other.transaction():
        other.execute("SELECT * FROM item")
        with pytest.raises(CellError, match="Another session held item"):
            watch(connection, "UPDATE item SET size = 1 WHERE id = 2")
    assert execute("SELECT size FROM item WHERE id = 2") == [(2,)]
    assert traces(other) == []


def test_triggers_made_in_the_cell_are_observed(connection: Any, execute: Any, other: Any) -> None:
    execute(trigger("a", "BEFORE UPDATE", PASS))
    cell = watch(
        connection,
        "UPDATE item SET size = 1",
        trigger("b", "BEFORE UPDATE", SWALLOW),
        "UPDATE item SET size = 1",
        'DROP TRIGGER "b" ON item',
        "UPDATE item SET size = 1",
    )
    assert [found.verdict for found in cell.outcomes] == [
        "applied",
        "applied",
        "suppressed",
        "applied",
        "applied",
    ]
    assert cell.outcomes[2].trigger == "b"
    assert all(found.lines == () for found in cell.outcomes), "messages about our own statements"
    assert traces(other) == []
