"""The block around a cell: kept or rolled back as a whole, whatever happens in it."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from django.db import Error as DatabaseFailure
from django.db import IntegrityError, connections, transaction

from pgmagic.errors import CellError
from tests.watch.observing import UPPER, traces, trigger, watch


def test_deferred_trigger_refuses_at_commit(connection: Any, execute: Any) -> None:
    execute(trigger("late", "AFTER UPDATE", "RAISE EXCEPTION 'too late';", more="DEFERRABLE INITIALLY DEFERRED"))
    cell = watch(
        connection,
        "UPDATE item SET size = 1 WHERE id = 1",
        "SELECT 1",
        "UPDATE item SET size = 100 WHERE id = 1",
    )
    assert [(found.verdict, found.trigger, found.reason) for found in cell.outcomes[:2]] == [
        ("rolled back", "late", "too late"), ("read", None, None),
    ]  # fmt: skip
    assert cell.outcomes[2].verdict == "rejected"
    assert cell.notes == ["COMMIT was rejected by late, so nothing of this cell was kept: too late"]
    assert execute("SELECT size FROM item WHERE id = 1") == [(1,)]
    assert connection.connection.info.transaction_status == 0


def test_rollback_keeps_nothing(connection: Any, execute: Any, other: Any) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    hooks: list[str] = []

    def step() -> None:
        execute("UPDATE item SET size = 1 WHERE id = 2")
        transaction.on_commit(lambda: hooks.append("ran"))

    cell = watch(connection, step, keep=False)
    assert cell.outcomes[0].verdict == "rewritten"
    assert cell.notes == ["--rollback: nothing of this cell was kept. 1 on_commit hook was not run."]
    assert execute("SELECT size FROM item WHERE id = 2") == [(2,)]
    assert hooks == []
    assert traces(other) == []


def test_hooks_run_after_the_commit(connection: Any, execute: Any, other: Any) -> None:
    seen: list[Any] = []

    def look() -> None:
        seen.append(other.execute("SELECT size FROM item WHERE id = 1").fetchone()[0])

    def fail() -> None:
        raise ValueError("no mail server")

    def step() -> None:
        transaction.on_commit(fail)
        with transaction.atomic():
            execute("UPDATE item SET size = 42 WHERE id = 1")
            transaction.on_commit(look)
        with suppress(IntegrityError), transaction.atomic():
            transaction.on_commit(lambda: seen.append("never"))
            execute("UPDATE item SET size = 100")

    cell = watch(connection, step)
    assert seen == [42]
    assert "raised ValueError: no mail server. The rows are kept." in cell.notes[0]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_other_exceptions_roll_everything_back(connection: Any, execute: Any, other: Any, error: type) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    wrappers, before = list(connection.execute_wrappers), dict(vars(connections["default"]))

    def fails() -> None:
        with transaction.atomic():
            execute("UPDATE item SET size = 8 WHERE id = 2")
            raise error("stop")

    with pytest.raises(error):
        watch(connection, "UPDATE item SET size = 1 WHERE id = 2", fails)
    assert execute("SELECT size FROM item WHERE id = 2") == [(2,)]
    assert traces(other) == []
    assert connection.execute_wrappers == wrappers
    assert connection.connection._notice_handlers == []
    after = vars(connections["default"])
    assert {name for name in after if after[name] is not before.get(name)} <= {
        "queries_log",
        "run_on_commit",
        "savepoint_state",
    }
    assert connection.get_autocommit()
    assert not connection.in_atomic_block


def test_interrupt_in_a_long_statement(connection: Any, execute: Any, other: Any) -> None:
    execute(trigger("slow", "BEFORE UPDATE", "PERFORM pg_sleep(5); RETURN NEW;"))

    def interrupt() -> None:
        time.sleep(0.7)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        watch(connection, "INSERT INTO item VALUES (9)", "UPDATE item SET size = 1")
    assert time.monotonic() - started < 4
    assert execute("SELECT count(*) FROM item") == [(5,)]
    assert traces(other) == []


def test_copy_left_open_rolls_the_cell_back(connection: Any, execute: Any) -> None:
    """It holds psycopg's lock, and no ROLLBACK would get through."""
    left: list[Any] = []

    def step() -> None:
        execute("UPDATE item SET size = 1 WHERE id = 2")
        copy = connection.connection.cursor().copy("COPY part FROM STDIN")
        left.append((copy, copy.__enter__()))

    with pytest.raises(CellError, match="left a COPY or a stream open"):
        watch(connection, step)
    left.clear()
    connection.close()
    assert execute("SELECT size FROM item WHERE id = 2") == [(2,)]


def test_thread_that_waits_for_the_cell_does_not_wait_for_ever(connection: Any, execute: Any) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with connections["default"].cursor() as cursor:
                cursor.execute("UPDATE item SET size = 1 WHERE id = 2")
        except DatabaseFailure as error:
            failed.append(error)
        finally:
            connections.close_all()

    def step() -> None:
        execute("UPDATE item SET size = 1 WHERE id = 2")
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(30)

    cell = watch(connection, step)
    assert "lock timeout" in str(failed[0])
    assert cell.notes[0].startswith("Another thread worked on a connection of its own")


def test_search_path_is_restored_after_the_cell(connection: Any, execute: Any, schema: str) -> None:
    cell = watch(connection, "SET search_path TO pg_catalog")
    assert cell.notes[0].startswith("The cell changed search_path; it is ")
    assert execute("SELECT current_schema()") == [(schema,)]
