"""Probes: what BEFORE ROW triggers did to rows, and that the probes change nothing."""

from __future__ import annotations

from typing import Any

import pytest

from pgmagic.errors import CellError
from tests.watch.observing import PASS, REJECT, SWALLOW, UPPER, outcome, own_probes, trigger, watch


def test_without_room_for_probes_every_trigger_is_named(connection: Any, execute: Any) -> None:
    first, second = "a" * 63, "a" * 62 + "b"
    for name, body in ((first, PASS), (second, SWALLOW)):
        execute(trigger("f", "BEFORE UPDATE", body).replace('"f"', f'"{name}"').replace('"f_fn"', f'"fn_{name[-1]}"'))
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


def test_write_to_a_view_is_observed_on_its_table(connection: Any, execute: Any) -> None:
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


def test_statement_that_calls_a_writing_function_is_observed(connection: Any, execute: Any) -> None:
    execute(trigger("null", "BEFORE UPDATE", SWALLOW))
    execute("CREATE FUNCTION touch() RETURNS void LANGUAGE sql AS 'UPDATE item SET size = 1'")
    assert outcome(connection, "SELECT touch()").verdict == "suppressed"


def test_row_written_with_the_rights_of_another_role_is_observed(connection: Any, execute: Any, schema: str) -> None:
    """The probe runs with the rights of whoever writes."""
    role = f"role_{schema}"
    try:
        execute(f'CREATE ROLE "{role}"; GRANT USAGE ON SCHEMA "{schema}" TO "{role}"; GRANT ALL ON item TO "{role}"')
        execute(trigger("upper", "BEFORE UPDATE", UPPER))
        execute("CREATE FUNCTION touch() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'UPDATE item SET size = 1'")
        execute(f'ALTER FUNCTION touch() OWNER TO "{role}"')
        assert outcome(connection, "SELECT touch()").verdict == "rewritten"
    finally:
        execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


def test_without_the_privilege_the_notes_say_what_was_not_observed(connection: Any, execute: Any, schema: str) -> None:
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


def test_disabled_triggers_need_no_probes(connection: Any, execute: Any) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER) + 'ALTER TABLE item DISABLE TRIGGER "upper"')
    seen: list[int] = []
    watch(connection, "UPDATE item SET size = 1", lambda: seen.append(own_probes(connection)))
    assert seen == [0]


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
def test_function_with_a_search_path_of_its_own(connection: Any, execute: Any, schema: str, path: str) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    execute(
        f"CREATE FUNCTION touch() RETURNS void LANGUAGE plpgsql SET search_path = {path} AS "
        f'$$BEGIN UPDATE "{schema}".item SET size = 1 WHERE id = 1; END$$'
    )
    assert outcome(connection, "SELECT touch()").reason == 'name: "item 1" → "ITEM 1"'


def test_cell_that_discards_observations_is_rolled_back(connection: Any, execute: Any) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))
    with pytest.raises(CellError, match="removed the temporary objects"):
        watch(connection, "UPDATE item SET size = 1 WHERE id = 2", "DISCARD TEMP")
    assert execute("SELECT size FROM item WHERE id = 2") == [(2,)]


def test_error_after_a_swallowed_row_names_the_trigger(connection: Any, execute: Any) -> None:
    """What Django makes of a row that RETURNING did not return says nothing about a trigger."""
    execute(trigger("null", "BEFORE INSERT", SWALLOW))

    def create() -> None:
        assert execute("INSERT INTO item VALUES (8) RETURNING id"), "no row"

    with pytest.raises(AssertionError) as raised:
        watch(connection, create)
    assert raised.value.__notes__ == ["pgmagic: null swallowed 1 row(s) of the INSERT on item in this statement."]


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
    statement = f"DO $$BEGIN FOR i IN 1..30000 LOOP {words} WHERE id = i; END LOOP; END$$" if in_steps else words
    found = outcome(connection, statement)
    if in_steps:
        # The command tag of DO has no number of rows.
        assert (found.verdict, found.reason) == (
            expected[0],
            (expected[2] or "").removesuffix(" for 1 row") or None,
        )
    else:
        assert (found.verdict, found.rows, found.reason) == expected


@pytest.mark.slow
def test_notes_report_that_a_sample_was_compared(connection: Any, execute: Any) -> None:
    execute(MANY + trigger("t", "BEFORE UPDATE", "RETURN NEW;", "many"))
    assert watch(connection, "UPDATE many SET n = 1").notes == [
        "many: of a step's rows beyond 10,000, one in 64 was compared with what was asked for; all were counted."
    ]
    assert watch(connection, "UPDATE many SET n = 1 WHERE id < 10000").notes == []
