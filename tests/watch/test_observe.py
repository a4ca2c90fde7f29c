"""Verdicts and probes, over SQL and triggers written by hand."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from django.db import Error as DatabaseFailure
from django.db import IntegrityError, InternalError, connections, transaction

from pgmagic.errors import CellError, DatabaseUnavailableError
from pgmagic.watch import instruments as instruments_module
from pgmagic.watch.statements import ends_transaction, may_write, savepoint_command, target_of
from tests.watch.observing import PASS, REJECT, SOFT, SWALLOW, UPPER, outcome, trigger, watch


@pytest.fixture
def other(connection: Any, schema: str) -> Iterator[psycopg.Connection[Any]]:
    """A second session."""
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    with psycopg.connect(**parameters, autocommit=True) as second:
        second.execute(f'SET search_path TO "{schema}"')
        yield second


def traces(session: psycopg.Connection[Any]) -> list[Any]:
    """What is left of probes, in the whole database."""
    return session.execute(
        "SELECT tgname FROM pg_trigger WHERE tgname LIKE '%pgmagic%' OR tgname LIKE '%' || chr(1) "
        "UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE 'pgmagic\\_%' "
        "AND proname IN ('pgmagic_asked', 'pgmagic_seen', 'pgmagic_finish') "
        "UNION ALL SELECT relname FROM pg_class WHERE relname = 'pgmagic_observed'"
    ).fetchall()


def own_probes(connection: Any) -> int:
    """How many probes the cell's own transaction sees."""
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute("SELECT count(*) FROM pg_trigger WHERE strpos(tgname, chr(1)) > 0")
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize(
    ("triggers", "statement", "expected"),
    [
        # (verdict, rows, table, trigger, reason)
        ([], "UPDATE item SET size = 1 WHERE id < 4", ("applied", 3, "item", None, None)),
        ([], "UPDATE item SET size = 1 WHERE id = 99", ("no rows", 0, "item", None, None)),
        ([], "SELECT name FROM item", ("read", 5, "item", None, None)),
        ([], "SELECT count(*) FROM item", ("read", 1, None, None, None)),
        ([], "WITH gone AS (SELECT 1) DELETE FROM item WHERE id = 1", ("applied", 1, "item", None, None)),
        ([], "CREATE TABLE made AS SELECT * FROM item", ("applied", 5, "made", None, None)),
        ([], "CREATE INDEX ON item (size)", ("applied", None, None, None, None)),
        ([], "TRUNCATE part", ("applied", None, "part", None, None)),
        ([], "INSERT INTO item VALUES (6, 'six', 6) RETURNING id", ("applied", 1, "item", None, None)),
        ([], "INSERT INTO item VALUES (1, 'x', 1) ON CONFLICT DO NOTHING", ("no rows", 0, "item", None, None)),
        (
            [],
            "INSERT INTO item VALUES (1, 'again', 1)",
            ("rejected", 0, "item", None, 'duplicate key value violates unique constraint "item_pkey"'),
        ),
        (
            [],
            "INSERT INTO part VALUES (1, 99)",
            (
                "rejected", 0, "part", None,
                'insert or update on table "part" violates foreign key constraint "part_item_fkey"',
            ),
        ),
        (
            [],
            "UPDATE item SET size = 100",
            ("rejected", 0, "item", None, 'new row for relation "item" violates check constraint "item_size_check"'),
        ),
        ([], "UPDATE nowhere SET a = 1", ("rejected", 0, "nowhere", None, 'relation "nowhere" does not exist')),
        (
            [trigger("no", "BEFORE DELETE", REJECT)],
            "DELETE FROM item",
            ("rejected", 0, "item", "no", "not this one (take another)"),
        ),
        (
            [trigger("late", "AFTER UPDATE", REJECT)],
            "UPDATE item SET size = 1",
            ("rejected", 0, "item", "late", "not this one (take another)"),
        ),
        (
            [trigger("null", "BEFORE UPDATE OR DELETE", SWALLOW)],
            "UPDATE item SET size = 1",
            ("suppressed", 0, "item", "null", "update swallowed for 5 rows"),
        ),
        (
            [trigger("null", "BEFORE UPDATE OR DELETE", SWALLOW)],
            "DELETE FROM item WHERE id = 1",
            ("suppressed", 0, "item", "null", "delete swallowed"),
        ),
        (
            [trigger("null", "BEFORE UPDATE", "IF OLD.id = 2 THEN RETURN NULL; END IF; RETURN NEW;")],
            "UPDATE item SET size = 1",
            ("suppressed", 4, "item", "null", "update swallowed for 1 row"),
        ),
        (
            [trigger("upper", "BEFORE INSERT", UPPER)],
            "INSERT INTO item VALUES (6, 'six', 6)",
            ("rewritten", 1, "item", "upper", 'name: "six" → "SIX"'),
        ),
        (
            [trigger("upper", "BEFORE INSERT", UPPER)],
            "INSERT INTO item VALUES (6, 'SIX', 6)",
            ("applied", 1, "item", None, None),
        ),
        (
            [trigger("upper", "BEFORE UPDATE", UPPER)],
            "UPDATE item SET size = 1",
            ("rewritten", 5, "item", "upper", 'name: "item 1" → "ITEM 1" (and 4 more rows)'),
        ),
        (
            [trigger("null", "BEFORE UPDATE", "NEW.size = NULL; RETURN NEW;")],
            "UPDATE item SET size = 7 WHERE id = 1",
            ("rewritten", 1, "item", "null", "size: 7 → null"),
        ),
        (
            [trigger("soft", "BEFORE DELETE", SOFT)],
            "DELETE FROM item WHERE id = 1",
            ("rewritten", 1, "item", "soft", "delete → update of active: true → false"),
        ),
        (
            [trigger("soft", "BEFORE DELETE", SOFT)],
            "DELETE FROM item",
            ("rewritten", 5, "item", "soft", "delete → update of active: true → false (and 4 more rows)"),
        ),
        (
            # Several on one table: the one that did it is named, the others are not.
            [
                trigger("a", "BEFORE UPDATE OR INSERT", PASS),
                trigger("b", "BEFORE UPDATE", "NEW.size = 9; RETURN NEW;"),
                trigger("c", "BEFORE UPDATE", PASS),
            ],
            "UPDATE item SET name = 'x' WHERE id = 1",
            ("rewritten", 1, "item", "b", "size: 1 → 9"),
        ),
        (
            [
                trigger("a", "BEFORE UPDATE", "NEW.size = 9; RETURN NEW;"),
                trigger("b", "BEFORE UPDATE", "IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW;"),
            ],
            "UPDATE item SET name = id::text WHERE id IN (1, 2)",
            ("suppressed", 1, "item", "b", "update swallowed for 1 row; size: 1 → 9 (and 1 more row) by a"),
        ),
        (
            # The row before it has passed the first trigger.
            [
                trigger("a", "BEFORE UPDATE", "IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW;"),
                trigger("b", "BEFORE UPDATE", PASS),
            ],
            "UPDATE item SET name = id::text WHERE id IN (1, 2)",
            ("suppressed", 1, "item", "a", "update swallowed for 1 row"),
        ),
        (
            # One behind the other changes the same field: each is told with its own part.
            [
                trigger("a", "BEFORE UPDATE", "NEW.size = NEW.size + 1; RETURN NEW;"),
                trigger("b", "BEFORE UPDATE", "NEW.size = NEW.size * 2; RETURN NEW;"),
            ],
            "UPDATE item SET size = 10 WHERE id = 1",
            ("rewritten", 1, "item", "a", "size: 10 → 11; size: 11 → 22 by b"),
        ),
        (
            # A trigger that is disabled, or whose WHEN is false, decides nothing.
            [trigger("null", "BEFORE UPDATE", SWALLOW), "ALTER TABLE item DISABLE TRIGGER \"null\""],
            "UPDATE item SET size = 1",
            ("applied", 5, "item", None, None),
        ),
        (
            [
                "CREATE TRIGGER same BEFORE UPDATE ON item FOR EACH ROW "
                "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
            ],
            "UPDATE item SET size = size",
            ("suppressed", 0, "item", "same", "update swallowed for 5 rows"),
        ),
        (
            [trigger("Ünï \"q\"".replace('"', ""), "BEFORE UPDATE", "NEW.name = 'o''k {x} %s'; RETURN NEW;")],
            "UPDATE item SET name = 'plain' WHERE id = 1",
            ("rewritten", 1, "item", "Ünï q", "name: \"plain\" → \"o'k {x} %s\""),
        ),
    ],
)  # fmt: skip
def test_verdict(
    connection: Any, execute: Any, triggers: list[str], statement: str, expected: tuple[Any, ...]
) -> None:
    for sql in triggers:
        execute(sql)
    found = outcome(connection, statement)
    assert (found.verdict, found.rows, found.table, found.trigger, found.reason) == expected
    assert found.elapsed_ms > 0


def test_names_without_room_list_every_candidate(connection: Any, execute: Any) -> None:
    first, second = "a" * 63, "a" * 62 + "b"
    for name, body in ((first, PASS), (second, SWALLOW)):
        execute(
            trigger("f", "BEFORE UPDATE", body)
            .replace('"f"', f'"{name}"')
            .replace('"f_fn"', f'"fn_{name[-1]}"')
        )
    assert outcome(connection, "UPDATE item SET size = 1 WHERE id = 1").trigger == f"{first}, {second}"


def test_partitions_and_their_own_triggers_are_observed(connection: Any, execute: Any) -> None:
    execute(
        "CREATE TABLE parted (id int, name text) PARTITION BY RANGE (id);"
        "CREATE TABLE parted_1 (name text, id int);"
        "ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES FROM (0) TO (9)"
    )
    execute(trigger("upper", "BEFORE INSERT", UPPER, "parted"))
    found = outcome(connection, "INSERT INTO parted VALUES (1, 'x')")
    assert (found.verdict, found.table, found.reason) == ("rewritten", "parted_1", 'name: "x" → "X"')


def test_updatable_view_reaches_its_table(connection: Any, execute: Any) -> None:
    execute("CREATE VIEW seen AS SELECT * FROM item;" + trigger("null", "BEFORE UPDATE", SWALLOW))
    assert outcome(connection, "UPDATE seen SET size = 1").verdict == "suppressed"


def test_view_with_instead_of_trigger_does_not_break(connection: Any, execute: Any) -> None:
    execute("CREATE VIEW seen AS SELECT * FROM item;")
    execute(
        trigger(
            "instead",
            "INSTEAD OF UPDATE",
            "UPDATE item SET size = NEW.size WHERE id = NEW.id; RETURN NEW;",
            "seen",
        )
    )
    assert outcome(connection, "UPDATE seen SET size = 1").verdict == "applied"


def test_cascade_that_a_trigger_swallows_is_an_effect(connection: Any, execute: Any) -> None:
    execute("INSERT INTO part VALUES (1, 1)")
    execute(trigger("keep", "BEFORE DELETE", SWALLOW, "part"))
    found = outcome(connection, "DELETE FROM item WHERE id = 1")
    assert (found.verdict, found.rows) == ("applied", 1)
    assert found.lines == ("in part: delete of 1 row swallowed by keep",)


def test_rows_that_a_trigger_writes_are_an_effect(connection: Any, execute: Any) -> None:
    execute(trigger("upper", "BEFORE INSERT", "NEW.label = upper(NEW.label); RETURN NEW;", "part"))
    execute(
        trigger("log", "AFTER UPDATE", "INSERT INTO part VALUES (NEW.id, NEW.id, 'changed'); RETURN NULL;")
    )
    found = outcome(connection, "UPDATE item SET size = 1 WHERE id = 1")
    assert (found.verdict, found.lines) == (
        "applied",
        (
            'in part: label: "changed" → "CHANGED" by upper',
            "in item: 1 row updated",
            "in part: 1 row inserted",
        ),
    )


def test_statement_that_calls_a_writing_function_is_observed(connection: Any, execute: Any) -> None:
    execute(trigger("null", "BEFORE UPDATE", SWALLOW))
    execute("CREATE FUNCTION touch() RETURNS void LANGUAGE sql AS 'UPDATE item SET size = 1'")
    assert outcome(connection, "SELECT touch()").verdict == "suppressed"


def test_rights_of_another_role_do_not_hide_a_row(connection: Any, execute: Any, schema: str) -> None:
    """The probe runs with the rights of whoever writes."""
    role = f"role_{schema}"
    try:
        execute(
            f'CREATE ROLE "{role}"; GRANT USAGE ON SCHEMA "{schema}" TO "{role}"; GRANT ALL ON item TO "{role}"'
        )
        execute(trigger("upper", "BEFORE UPDATE", UPPER))
        execute(
            "CREATE FUNCTION touch() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'UPDATE item SET size = 1'"
        )
        execute(f'ALTER FUNCTION touch() OWNER TO "{role}"')
        assert outcome(connection, "SELECT touch()").verdict == "rewritten"
    finally:
        execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


def test_without_the_privilege_the_notes_say_what_was_not_observed(
    connection: Any, execute: Any, schema: str
) -> None:
    role = f"role_{schema}"
    try:
        execute(trigger("upper", "BEFORE UPDATE", UPPER))
        execute(
            f'CREATE ROLE "{role}"; GRANT USAGE ON SCHEMA "{schema}" TO "{role}";'
            f'GRANT SELECT, UPDATE ON item TO "{role}"'
        )
        execute(f'SET ROLE "{role}"')
        cell = watch(connection, "UPDATE item SET size = 1 WHERE id = 1")
        execute("RESET ROLE")
        assert cell.outcomes[0].verdict == "applied"
        assert "could not be watched (no TRIGGER privilege)" in cell.notes[0]
        execute(f'GRANT TRIGGER ON item TO "{role}"')
        execute(f'SET ROLE "{role}"')
        # TRIGGER is enough: probes are taken off without owning the table.
        assert outcome(connection, "UPDATE item SET size = 2 WHERE id = 2").verdict == "rewritten"
    finally:
        execute("RESET ROLE")
        execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


def test_rejection_leaves_the_other_steps_alone(connection: Any, execute: Any) -> None:
    cell = watch(
        connection,
        "UPDATE item SET size = 50 WHERE id = 1",
        "UPDATE item SET size = 100 WHERE id = 2",
        "UPDATE item SET size = 51 WHERE id = 3",
    )
    assert [found.verdict for found in cell.outcomes] == ["applied", "rejected", "applied"]
    assert execute("SELECT size FROM item WHERE id < 4 ORDER BY id") == [(50,), (2,), (51,)]


def test_loop_that_catches_counts_every_statement(connection: Any, execute: Any) -> None:
    execute(
        trigger(
            "no", "BEFORE DELETE", "IF OLD.id < 3 THEN RAISE EXCEPTION 'not %', OLD.id; END IF; RETURN OLD;"
        )
    )
    caught = []

    def loop() -> None:
        for number in range(1, 6):
            try:
                execute("DELETE FROM item WHERE id = %s", [number])
            except InternalError as error:
                caught.append(error)

    found = outcome(connection, loop)
    assert len(caught) == 2
    assert (found.verdict, found.rows, found.trigger) == ("rejected", 3, "no")
    assert found.reason == "2 of 5 statements rejected: not 1 (and 1 other message)"
    assert execute("SELECT count(*) FROM item") == [(2,)]


def test_atomic_of_the_user_is_a_transaction_of_its_own(connection: Any, execute: Any) -> None:
    """As in an ordinary cell: what fails inside takes the whole block back, and the block may be durable."""

    def step() -> None:
        with transaction.atomic(durable=True):
            execute("UPDATE item SET size = 50 WHERE id = 1")
            execute("UPDATE item SET size = 100 WHERE id = 2")

    cell = watch(
        connection, step, "SELECT size FROM item WHERE id = 1", "UPDATE item SET size = 9 WHERE id = 3"
    )
    assert [(found.verdict, found.rows) for found in cell.outcomes] == [
        ("rejected", 0),
        ("read", 1),
        ("applied", 1),
    ]
    assert execute("SELECT size FROM item WHERE id < 4 ORDER BY id") == [(1,), (2,), (9,)]


def test_nested_atomic_takes_back_only_its_own_rows(connection: Any, execute: Any) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))

    def step() -> None:
        with transaction.atomic():
            execute("UPDATE item SET name = 'one' WHERE id = 1")
            try:
                with transaction.atomic():
                    execute("UPDATE item SET name = 'two' WHERE id = 2")
                    execute("UPDATE item SET size = 100 WHERE id = 2")
            except IntegrityError:
                pass
            execute("UPDATE item SET name = 'three' WHERE id = 3")

    found = outcome(connection, step)
    assert (found.verdict, found.rows) == ("rejected", 2)
    assert found.reason.endswith('name: "one" → "ONE" (and 1 more row) by upper')
    assert execute("SELECT name FROM item WHERE id < 4 ORDER BY id") == [("ONE",), ("item 2",), ("THREE",)]


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


def test_needs_rollback_is_no_trap_behind_a_rejection(connection: Any, execute: Any) -> None:
    """In a block of Django's own, `atomic(savepoint=False)` would mark the whole cell as broken."""

    def step() -> None:
        for size in (100, 7):
            try:
                with transaction.atomic(savepoint=False):
                    execute("UPDATE item SET size = %s WHERE id = 1", [size])
            except IntegrityError:
                pass

    found = outcome(connection, step)
    assert (found.verdict, found.rows) == ("rejected", 1)
    assert execute("SELECT size FROM item WHERE id = 1") == [(7,)]


def test_manual_transactions_behave_as_usual(connection: Any, execute: Any) -> None:
    def step() -> None:
        transaction.set_autocommit(False)
        execute("UPDATE item SET size = 11 WHERE id = 1")
        transaction.commit()
        execute("UPDATE item SET size = 12 WHERE id = 2")
        transaction.rollback()
        transaction.set_autocommit(True)

    assert outcome(connection, step).rows == 1
    assert execute("SELECT size FROM item WHERE id < 3 ORDER BY id") == [(11,), (2,)]


def test_executemany_and_several_commands_are_counted(connection: Any, execute: Any) -> None:
    def many() -> None:
        with connection.cursor() as cursor:
            cursor.executemany("UPDATE item SET size = %s WHERE id = %s", [(7, 1), (8, 2), (9, 99)])

    cell = watch(connection, many, "UPDATE item SET size = 1; DELETE FROM item WHERE id < 3")
    assert [(found.verdict, found.rows) for found in cell.outcomes] == [("applied", 2), ("applied", 7)]


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


def test_iterators_survive_rejections(connection: Any, execute: Any) -> None:
    """A server-side cursor stays open while the statements of a loop are rolled back one by one."""
    execute(trigger("no", "BEFORE DELETE", REJECT))
    seen = []

    def step() -> None:
        with connection.chunked_cursor() as cursor:
            cursor.execute("SELECT id FROM item ORDER BY id")
            while row := cursor.fetchone():
                seen.append(row[0])
                with suppress(InternalError):
                    execute("DELETE FROM item WHERE id = %s", [row[0]])

    assert outcome(connection, step).verdict == "rejected"
    assert seen == [1, 2, 3, 4, 5]


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


def test_messages_stand_under_their_step(connection: Any, execute: Any) -> None:
    execute(
        trigger("say", "BEFORE UPDATE", "RAISE NOTICE 'checked %', NEW.id; RAISE WARNING 'odd'; RETURN NEW;")
    )
    cell = watch(
        connection, "SELECT 1", "UPDATE item SET size = 1 WHERE id = 3", "DO $$BEGIN RAISE INFO 'hi'; END$$"
    )
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


def test_deferred_trigger_refuses_at_commit(connection: Any, execute: Any) -> None:
    execute(
        trigger("late", "AFTER UPDATE", "RAISE EXCEPTION 'too late';", more="DEFERRABLE INITIALLY DEFERRED")
    )
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


def test_hooks_run_behind_the_commit(connection: Any, execute: Any, other: Any) -> None:
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


def test_nobody_else_sees_a_probe(connection: Any, execute: Any, other: Any) -> None:
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


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_other_exceptions_roll_everything_back(
    connection: Any, execute: Any, other: Any, error: type
) -> None:
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


def test_disabled_triggers_need_no_probes(connection: Any, execute: Any) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER) + 'ALTER TABLE item DISABLE TRIGGER "upper"')
    seen: list[int] = []
    watch(connection, "UPDATE item SET size = 1", lambda: seen.append(own_probes(connection)))
    assert seen == [0]


def test_uri_in_the_error_names_a_trigger_that_the_search_path_does_not_reach(
    connection: Any, execute: Any, schema: str
) -> None:
    elsewhere = f"{schema}_b"
    try:
        execute(f'CREATE SCHEMA "{elsewhere}"; CREATE TABLE "{elsewhere}".thing (id int)')
        body = "RAISE EXCEPTION 'no' USING CONSTRAINT = 'app.Thing:keep', TABLE = 'thing';"
        execute(trigger("keep", "BEFORE INSERT", body, f'"{elsewhere}".thing'))
        found = outcome(connection, f'INSERT INTO "{elsewhere}".thing VALUES (1)')
        assert (found.verdict, found.table, found.trigger) == ("rejected", "thing", "app.Thing:keep")
    finally:
        execute(f'DROP SCHEMA "{elsewhere}" CASCADE')


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


def test_probes_change_nothing_for_the_triggers(connection: Any, execute: Any) -> None:
    """Depth, lastval() and the search_path of a function are as without probes."""
    execute("CREATE SEQUENCE numbers; CREATE TABLE log (depth int, path text, value bigint)")
    execute(
        trigger(
            "log", "BEFORE UPDATE",
            "INSERT INTO log VALUES (pg_trigger_depth(), current_setting('search_path'), lastval()); RETURN NEW;",
        )
    )  # fmt: skip
    execute("SELECT nextval('numbers')")
    execute("UPDATE item SET size = 1 WHERE id = 1")
    assert outcome(connection, "UPDATE item SET size = 1 WHERE id = 1").verdict == "applied"
    assert len(execute("SELECT DISTINCT * FROM log")) == 1
    assert execute("SELECT count(*) FROM log") == [(2,)]


@pytest.mark.parametrize("path", ["''", "pg_temp"])
def test_function_with_a_search_path_of_its_own(
    connection: Any, execute: Any, schema: str, path: str
) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    execute(
        f"CREATE FUNCTION touch() RETURNS void LANGUAGE plpgsql SET search_path = {path} AS "
        f'$$BEGIN UPDATE "{schema}".item SET size = 1 WHERE id = 1; END$$'
    )
    assert outcome(connection, "SELECT touch()").reason == 'name: "item 1" → "ITEM 1"'


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


def test_block_left_open_is_rolled_back(connection: Any, execute: Any) -> None:
    def generator() -> Iterator[None]:
        with transaction.atomic():
            execute("UPDATE item SET size = 1 WHERE id = 2")
            yield

    left = generator()
    with pytest.raises(CellError, match="left a transaction open"):
        watch(connection, lambda: next(left))
    assert execute("SELECT size FROM item WHERE id = 2") == [(2,)]
    assert outcome(connection, "UPDATE item SET size = 3 WHERE id = 2").verdict == "applied"
    left.close()
    assert execute("SELECT size FROM item WHERE id = 2") == [(3,)]


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
def test_statement_past_django_is_seen(connection: Any, execute: Any, action: str, rows: int) -> None:
    execute(trigger("upper", "BEFORE UPDATE OR INSERT", UPPER))
    raw = connection.connection
    before = raw.cursor_factory, raw.server_cursor_factory, raw.transaction
    found = outcome(connection, lambda: past_django(connection, action))
    assert (found.verdict, found.rows, found.table, found.trigger) == ("rewritten", rows, "item", "upper")
    assert (raw.cursor_factory, raw.server_cursor_factory, raw.transaction) == before


def test_statement_past_django_that_fails(connection: Any, execute: Any) -> None:
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
def test_transaction_past_django_that_is_rolled_back(connection: Any, execute: Any, how: str) -> None:
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


def test_open_transaction_is_refused(connection: Any, execute: Any) -> None:
    with transaction.atomic(), pytest.raises(CellError, match="already open"):
        watch(connection, "SELECT 1")


def test_observations_that_the_cell_discards(connection: Any, execute: Any) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    with pytest.raises(CellError, match="removed the temporary objects"):
        watch(connection, "UPDATE item SET size = 1 WHERE id = 2", "DISCARD TEMP")
    assert execute("SELECT size FROM item WHERE id = 2") == [(2,)]


def test_error_of_the_driver_is_a_rejection(connection: Any, execute: Any) -> None:
    found = outcome(connection, lambda: execute("SELECT %s, %s", [1]))
    assert found.verdict == "rejected"
    assert "placeholders" in found.reason


def test_swallowed_row_is_told_with_the_error_that_it_brings_about(connection: Any, execute: Any) -> None:
    """What Django makes of a row that RETURNING did not return says nothing about a trigger."""
    execute(trigger("null", "BEFORE INSERT", SWALLOW))

    def create() -> None:
        assert execute("INSERT INTO item VALUES (8) RETURNING id"), "no row"

    with pytest.raises(AssertionError) as raised:
        watch(connection, create)
    assert raised.value.__notes__ == [
        "pgmagic: null swallowed 1 row(s) of the INSERT on item in this statement."
    ]


def test_values_are_shortened_and_say_so(connection: Any, execute: Any) -> None:
    execute(trigger("long", "BEFORE INSERT", "NEW.label = repeat('x', 1000000); RETURN NEW;", "part"))
    reason = outcome(connection, "INSERT INTO part VALUES (1, 1, 'a')").reason
    assert reason.endswith("… (1,000,002 characters)")
    assert len(reason) < 200


def test_every_row_is_counted_beyond_the_sample(connection: Any, execute: Any) -> None:
    execute("INSERT INTO item SELECT n, 'item ' || n FROM generate_series(6, 2500) AS n")
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    assert outcome(connection, "UPDATE item SET active = false").reason.endswith("(and 2,499 more rows)")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("COMMIT", True),
        ("rollback", True),
        ("ROLLBACK TO SAVEPOINT a", False),
        ("rollback work to a", False),
        ("START TRANSACTION", True),
        ("PREPARE TRANSACTION 'a'", True),
        ("PREPARE plan AS SELECT 1", False),
        ("SELECT CASE WHEN true THEN 1 END", False),
        ("SELECT 'a; COMMIT'", False),
        ("SELECT E'it\\'s; COMMIT'", False),
        ("SELECT $x$ ; COMMIT; $x$", False),
        ("SELECT 1 -- ; COMMIT", False),
        ('SELECT "; COMMIT"', False),
        ("SELECT 1; COMMIT", True),
        ("DO $$BEGIN PERFORM 1; END$$", False),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", False),
    ],
)
def test_ends_transaction(text: str, expected: bool) -> None:
    assert ends_transaction(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT * FROM a", False),
        ("SELECT * FROM a FOR UPDATE", False),
        ("SELECT * FROM a FOR NO KEY UPDATE", False),
        ("SELECT 'delete'", False),
        ("WITH a AS (DELETE FROM b RETURNING 1) SELECT * FROM a", True),
        ("EXPLAIN DELETE FROM a", True),
        ("INSERT INTO a VALUES (1)", True),
        ("DO $$BEGIN END$$", True),
        ("CALL a()", True),
    ],
)
def test_may_write(text: str, expected: bool) -> None:
    assert may_write(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('SAVEPOINT "s1_x2"', ("set", "s1_x2")),
        ('RELEASE SAVEPOINT "s1"', ("release", "s1")),
        ('ROLLBACK TO SAVEPOINT "s1"', ("undo", "s1")),
        ("rollback work to a;", ("undo", "a")),
        ("SELECT 1", None),
        ("ROLLBACK", None),
    ],
)
def test_savepoint_command(text: str, expected: Any) -> None:
    assert savepoint_command(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('INSERT INTO "a b" VALUES (1)', "a b"),
        ("update only S.T set x = 1", "t"),
        ('DELETE FROM "s"."t" WHERE 1', "t"),
        ('UPDATE "o""k" SET a = 1', 'o"k'),
        ("SELECT 1", None),
    ],
)
def test_target_of(text: str, expected: str | None) -> None:
    assert target_of(text) == expected


def test_database_error_is_still_an_error_of_django(connection: Any, execute: Any) -> None:
    caught: list[BaseException] = []

    def step() -> None:
        try:
            execute("UPDATE item SET size = 100")
        except DatabaseFailure as error:
            caught.append(error)

    outcome(connection, step)
    assert isinstance(caught[0], IntegrityError)
    assert isinstance(caught[0].__cause__, psycopg.errors.CheckViolation)


MANY = """
CREATE TABLE many (id int PRIMARY KEY, name text, n int);
INSERT INTO many SELECT n, 'row ' || n, n FROM generate_series(1, 30000) AS n;
"""
COMPARED = 10_000 + 30_000 // 64 - 10_000 // 64


@pytest.mark.parametrize(
    ("body", "event", "expected"),
    [
        # (verdict, rows, reason)
        (
            "NEW.n = 0; RETURN NEW;",
            "UPDATE",
            ("rewritten", 30_000, f"n: 1 → 0 (in all of the {COMPARED:,} rows compared, of 30,000)"),
        ),
        (
            "IF NEW.id % 2 = 0 THEN NEW.n = 0; END IF; RETURN NEW;",
            "UPDATE",
            ("rewritten", 30_000, f"n: 2 → 0 (in 5,312 of the {COMPARED:,} rows compared, of 30,000)"),
        ),
        (
            # Not one of them is in the sample.
            "IF NEW.id = 20001 THEN RETURN NULL; END IF; RETURN NEW;",
            "UPDATE",
            ("suppressed", 29_999, "update swallowed for 1 row"),
        ),
        (
            "IF NEW.id > 100 THEN RETURN NULL; END IF; RETURN NEW;",
            "UPDATE",
            ("suppressed", 100, "update swallowed for 29,900 rows"),
        ),
        (
            "UPDATE many SET n = 0 WHERE id = OLD.id; RETURN NULL;",
            "DELETE",
            ("rewritten", 30_000, "delete → update of n: 1 → 0 (and 29,999 more rows)"),
        ),
        ("RETURN NEW;", "UPDATE", ("applied", 30_000, None)),
    ],
)
@pytest.mark.parametrize("in_steps", [False, True], ids=["at once", "one by one"])
@pytest.mark.slow
def test_beyond_10000_rows_a_sample_is_compared_and_all_are_counted(
    connection: Any, execute: Any, body: str, event: str, expected: tuple[Any, ...], in_steps: bool
) -> None:
    execute(MANY)
    execute(trigger("t", f"BEFORE {event}", body, "many"))
    execute("ANALYZE many")
    words = {"UPDATE": "UPDATE many SET name = name || 'x'", "DELETE": "DELETE FROM many"}[event]
    statement = (
        f"DO $$BEGIN FOR i IN 1..30000 LOOP {words} WHERE id = i; END LOOP; END$$" if in_steps else words
    )
    found = outcome(connection, statement)
    if in_steps:
        # The command tag of DO tells no rows.
        assert (found.verdict, found.reason) == (
            expected[0],
            (expected[2] or "").removesuffix(" for 1 row") or None,
        )
    else:
        assert (found.verdict, found.rows, found.reason) == expected


@pytest.mark.slow
def test_frame_says_that_a_sample_was_compared(connection: Any, execute: Any) -> None:
    execute(MANY + trigger("t", "BEFORE UPDATE", "RETURN NEW;", "many"))
    assert watch(connection, "UPDATE many SET n = 1").notes == [
        "many: of a step's rows beyond 10,000, one in 64 was compared with what was asked for; all were counted."
    ]
    assert watch(connection, "UPDATE many SET n = 1 WHERE id < 10000").notes == []


def test_triggers_that_can_only_raise_need_no_probes(connection: Any, execute: Any) -> None:
    execute(
        trigger(
            "no",
            "BEFORE UPDATE",
            "IF NEW.id = 2 THEN RAISE EXCEPTION 'no'; END IF; -- Return of\n RETURN NEW;",
        )
    )
    execute(trigger("never", "BEFORE DELETE", REJECT, "part"))
    seen: list[int] = []
    watch(connection, "DELETE FROM part", lambda: seen.append(own_probes(connection)))
    watch(connection, "UPDATE item SET size = 1 WHERE id = 1", lambda: seen.append(own_probes(connection)))
    assert seen[0] == 0
    assert seen[1] > 0


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


def test_copy_left_open_is_given_up(connection: Any, execute: Any) -> None:
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


def test_search_path_is_as_before_behind_the_cell(connection: Any, execute: Any, schema: str) -> None:
    cell = watch(connection, "SET search_path TO pg_catalog")
    assert cell.notes[0].startswith("The cell changed search_path; it is ")
    assert execute("SELECT current_schema()") == [(schema,)]
