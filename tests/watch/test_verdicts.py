"""The verdict of a step, over SQL and triggers written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import InternalError

from tests.watch.observing import PASS, REJECT, SOFT, SWALLOW, UPPER, outcome, trigger, watch


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
            # Two triggers change the same field: each is reported with its own part.
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
def test_verdict(connection: Any, execute: Any, triggers: list[str], statement: str, expected: tuple[Any, ...]) -> None:
    for sql in triggers:
        execute(sql)
    found = outcome(connection, statement)
    assert (found.verdict, found.rows, found.table, found.trigger, found.reason) == expected
    assert found.elapsed_ms > 0


def test_rejection_does_not_affect_the_other_steps(connection: Any, execute: Any) -> None:
    cell = watch(
        connection,
        "UPDATE item SET size = 50 WHERE id = 1",
        "UPDATE item SET size = 100 WHERE id = 2",
        "UPDATE item SET size = 51 WHERE id = 3",
    )
    assert [found.verdict for found in cell.outcomes] == ["applied", "rejected", "applied"]
    assert execute("SELECT size FROM item WHERE id < 4 ORDER BY id") == [(50,), (2,), (51,)]


def test_loop_that_catches_counts_every_statement(connection: Any, execute: Any) -> None:
    execute(trigger("no", "BEFORE DELETE", "IF OLD.id < 3 THEN RAISE EXCEPTION 'not %', OLD.id; END IF; RETURN OLD;"))
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


def test_executemany_and_several_commands_are_counted(connection: Any, execute: Any) -> None:
    def many() -> None:
        with connection.cursor() as cursor:
            cursor.executemany("UPDATE item SET size = %s WHERE id = %s", [(7, 1), (8, 2), (9, 99)])

    cell = watch(connection, many, "UPDATE item SET size = 1; DELETE FROM item WHERE id < 3")
    assert [(found.verdict, found.rows) for found in cell.outcomes] == [("applied", 2), ("applied", 7)]


def test_cascade_that_a_trigger_swallows_is_an_effect(connection: Any, execute: Any) -> None:
    execute("INSERT INTO part VALUES (1, 1)")
    execute(trigger("keep", "BEFORE DELETE", SWALLOW, "part"))
    found = outcome(connection, "DELETE FROM item WHERE id = 1")
    assert (found.verdict, found.rows) == ("applied", 1)
    assert found.lines == ("in part: delete of 1 row swallowed by keep",)


def test_rows_that_a_trigger_writes_are_an_effect(connection: Any, execute: Any) -> None:
    execute(trigger("upper", "BEFORE INSERT", "NEW.label = upper(NEW.label); RETURN NEW;", "part"))
    execute(trigger("log", "AFTER UPDATE", "INSERT INTO part VALUES (NEW.id, NEW.id, 'changed'); RETURN NULL;"))
    found = outcome(connection, "UPDATE item SET size = 1 WHERE id = 1")
    assert (found.verdict, found.lines) == (
        "applied",
        (
            'in part: label: "changed" → "CHANGED" by upper',
            "in item: 1 row updated",
            "in part: 1 row inserted",
        ),
    )


def test_every_row_is_counted_beyond_the_sample(connection: Any, execute: Any) -> None:
    execute("INSERT INTO item SELECT n, 'item ' || n FROM generate_series(6, 2500) AS n")
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    assert outcome(connection, "UPDATE item SET active = false").reason.endswith("(and 2,499 more rows)")


def test_long_values_are_shortened_with_their_length(connection: Any, execute: Any) -> None:
    execute(trigger("long", "BEFORE INSERT", "NEW.label = repeat('x', 1000000); RETURN NEW;", "part"))
    reason = outcome(connection, "INSERT INTO part VALUES (1, 1, 'a')").reason
    assert reason.endswith("… (1,000,002 characters)")
    assert len(reason) < 200


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


def test_error_of_the_driver_is_a_rejection(connection: Any, execute: Any) -> None:
    found = outcome(connection, lambda: execute("SELECT %s, %s", [1]))
    assert found.verdict == "rejected"
    assert "placeholders" in found.reason
