"""What a step wrote beside its own statements: as the database counted it, table by table."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from django.db import Error as DatabaseFailure
from django.db import transaction
from psycopg import errors

from pgmagic.errors import CellError
from pgmagic.watch.written import WrittenRows
from tests.watch.observing import SWALLOW, UPPER, outcome, trigger, watch

LOG = "CREATE TABLE log (item int, done text);"
LOGGED = LOG + trigger(
    "log",
    "AFTER INSERT OR UPDATE OR DELETE",
    "INSERT INTO log VALUES (coalesce(NEW.id, OLD.id), TG_OP); RETURN NULL;",
)
PARTS = "INSERT INTO part SELECT n, 1, 'label' FROM generate_series(1, 3) AS n;"
WRITES = "CREATE FUNCTION add(n int) RETURNS int LANGUAGE sql AS 'INSERT INTO part SELECT n, 2 RETURNING id';"
TRIES = (
    "CREATE FUNCTION try(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO part VALUES (n, 2); "
    "BEGIN INSERT INTO part VALUES (n, 3); EXCEPTION WHEN unique_violation THEN NULL; END; RETURN n; END $$;"
)


@pytest.mark.parametrize(
    ("before", "statement", "expected", "effects"),
    [
        # Cascades.
        (
            PARTS,
            "DELETE FROM item WHERE id = 1",
            ("applied", 1, "item"),
            ("in item: 1 row deleted", "in part: 3 rows deleted"),
        ),
        (
            "CREATE TABLE tag (id int, item int REFERENCES item ON DELETE SET NULL ON UPDATE CASCADE);"
            "INSERT INTO tag VALUES (1, 1), (2, 1), (3, 2);",
            "DELETE FROM item WHERE id = 1",
            ("applied", 1, "item"),
            ("in item: 1 row deleted", "in tag: 2 rows updated"),
        ),
        (
            "CREATE TABLE tag (id int, item int REFERENCES item ON DELETE SET NULL ON UPDATE CASCADE);"
            "INSERT INTO tag VALUES (1, 1), (2, 1), (3, 2);",
            "UPDATE item SET id = id + 10",
            ("applied", 5, "item"),
            ("in item: 5 rows updated", "in tag: 3 rows updated"),
        ),
        # Triggers.
        (
            LOGGED,
            "UPDATE item SET size = 1 WHERE id < 4",
            ("applied", 3, "item"),
            ("in item: 3 rows updated", "in log: 3 rows inserted"),
        ),
        (
            LOG
            + "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO log VALUES (0, TG_OP); RETURN NULL; END $$;"
            "CREATE TRIGGER note AFTER UPDATE ON item EXECUTE FUNCTION note();",
            "UPDATE item SET size = 1 WHERE id = 99",
            ("no rows", 0, "item"),
            ("in log: 1 row inserted",),
        ),
        (
            LOG + trigger("null", "BEFORE DELETE", "INSERT INTO log VALUES (OLD.id, 'kept'); " + SWALLOW),
            "DELETE FROM item",
            ("suppressed", 0, "item"),
            ("in log: 5 rows inserted",),
        ),
        # What seems to read.
        (WRITES, "SELECT add(7)", ("applied", 1, "part"), ("in part: 1 row inserted",)),
        (
            WRITES,
            "SELECT add(n) FROM generate_series(1, 4) AS n",
            ("applied", 4, "part"),
            ("in part: 4 rows inserted",),
        ),
        (
            WRITES + "CREATE VIEW adding AS SELECT add(7);",
            "SELECT * FROM adding",
            ("applied", 1, "part"),
            ("in part: 1 row inserted",),
        ),
        (
            "",
            "WITH gone AS (DELETE FROM item WHERE id < 3 RETURNING *), made AS (INSERT INTO part VALUES (1, 5)) "
            "SELECT * FROM gone",
            ("applied", 3, "item, part"),
            ("in item: 2 rows deleted", "in part: 1 row inserted"),
        ),
        ("", "EXPLAIN ANALYZE UPDATE item SET size = 1", ("applied", 5, "item"), ("in item: 5 rows updated",)),
        ("", "EXPLAIN UPDATE item SET size = 1", ("read", None, None), ()),
        (
            "",
            "DO $$ BEGIN UPDATE item SET size = 1 WHERE id < 3; END $$",
            ("applied", 2, "item"),
            ("in item: 2 rows updated",),
        ),
        (
            "CREATE PROCEDURE work() LANGUAGE sql AS 'DELETE FROM item WHERE id = 1';",
            "CALL work()",
            ("applied", 1, "item"),
            ("in item: 1 row deleted",),
        ),
        ("", "DO $$ BEGIN PERFORM 1; END $$", ("applied", None, None), ()),
        # One table, two operations.
        (
            "",
            "INSERT INTO item VALUES (1, 'again', 1), (6, 'six', 6) ON CONFLICT (id) DO UPDATE SET name = 'x'",
            ("applied", 2, "item"),
            ("in item: 1 row inserted, 1 row updated",),
        ),
        (
            "",
            "MERGE INTO item USING (VALUES (1), (2), (9)) AS v (n) ON id = n WHEN MATCHED AND n = 1 THEN DELETE "
            "WHEN MATCHED THEN UPDATE SET size = 9 WHEN NOT MATCHED THEN INSERT VALUES (n, 'nine')",
            ("applied", 3, "item"),
            ("in item: 1 row inserted, 1 row updated, 1 row deleted",),
        ),
        # What a function takes back itself.
        (
            TRIES,
            "SELECT try(8)",
            ("applied", 2, "part"),
            ("in part: at most 2 rows inserted (what was rolled back may be among them)",),
        ),
    ],
)  # fmt: skip
def test_effects_are_counted(
    connection: Any, execute: Any, before: str, statement: str, expected: tuple[Any, ...], effects: Any
) -> None:
    if before:
        execute(before)
    found = outcome(connection, statement)
    assert (found.verdict, found.rows, found.table) == expected
    assert found.effects == effects


def test_own_rows_alone_need_no_line(connection: Any, execute: Any) -> None:
    """Also where a function of the table could have taken something back, and somebody else's transaction did."""
    execute(TRIES)
    cell = watch(
        connection,
        "INSERT INTO part VALUES (1, 1)",
        "UPDATE part SET label = 'x'",
        "DELETE FROM part",
        "SELECT 1",
    )
    assert [found.effects for found in cell.outcomes] == [()] * 4


def test_step_that_is_rolled_back_has_no_effects(connection: Any, execute: Any) -> None:
    execute(LOGGED)
    execute("INSERT INTO part VALUES (1, 3)")

    def taken_back() -> None:
        with suppress(ValueError), transaction.atomic():
            execute("DELETE FROM item WHERE id = 3")
            raise ValueError

    cell = watch(
        connection,
        taken_back,
        # Both rows are tried before the second is refused.
        "INSERT INTO item VALUES (7, 'seven'), (8, 'item 5')",
        "UPDATE item SET size = 1 WHERE id = 1",
    )
    assert [(found.verdict, found.effects) for found in cell.outcomes] == [
        ("rolled back", ()),
        ("rejected", ()),
        ("applied", ("in item: 1 row updated", "in log: 1 row inserted")),
    ]
    assert execute("SELECT count(*) FROM log") == [(1,)]


@pytest.mark.parametrize("before", [0, 3, 40])
def test_what_was_rolled_back_is_left_out_of_a_loop(connection: Any, execute: Any, before: int) -> None:
    """Postgres counts what was tried. Of a long loop's first refusal it is not known any more what came before."""
    execute(LOGGED)

    def loop() -> None:
        for number in range(10, 10 + before):
            execute("INSERT INTO item VALUES (%s, %s)", [number, f"new {number}"])
        for number in (60, 61, 62):
            with suppress(DatabaseFailure):
                execute("INSERT INTO item VALUES (%s, %s), (%s, 'item 1')", [number, f"{number}", number + 10])
            execute("INSERT INTO item VALUES (%s, %s)", [number + 20, f"{number}"])

    found = outcome(connection, loop)
    done = before + 3
    assert execute("SELECT count(*) FROM log") == [(done,)]
    assert (found.verdict, found.rows) == ("rejected", done)
    if before < 20:
        assert found.effects == (f"in item: {done} rows inserted", f"in log: {done} rows inserted")
    else:
        unsure = "(what was rolled back may be among them)"
        assert found.effects == (
            f"in item: at most {done + 2} rows inserted {unsure}",
            f"in log: at most {done} rows inserted {unsure}",
        )


def test_savepoints_of_the_user_are_followed(connection: Any, execute: Any) -> None:
    execute(LOGGED)

    def step() -> None:
        with transaction.atomic():
            execute("UPDATE item SET size = 1 WHERE id = 1")
            with suppress(ValueError), transaction.atomic():
                execute("UPDATE item SET size = 1 WHERE id > 1")
                raise ValueError
            execute("UPDATE item SET size = 1 WHERE id = 2")
            point = transaction.savepoint()
            execute("DELETE FROM item")
            transaction.savepoint_rollback(point)
            with transaction.atomic():
                execute("UPDATE item SET size = 1 WHERE id = 3")

    found = outcome(connection, step)
    assert (found.rows, found.effects) == (3, ("in item: 3 rows updated", "in log: 3 rows inserted"))


def test_truncate_and_what_it_takes_along(connection: Any, execute: Any) -> None:
    execute(PARTS + "CREATE FUNCTION wipe() RETURNS void LANGUAGE sql AS 'TRUNCATE part'")
    cell = watch(
        connection,
        "INSERT INTO part VALUES (9, 5)",
        "TRUNCATE item CASCADE",
        "INSERT INTO item VALUES (1, 'one')",
        "INSERT INTO part VALUES (1, 1)",
        "SELECT wipe()",
        "SELECT * FROM part",
    )
    assert [(found.verdict, found.rows, found.table, found.effects) for found in cell.outcomes] == [
        ("applied", 1, "part", ()),
        ("applied", None, "item", ("in item: emptied by TRUNCATE", "in part: emptied by TRUNCATE")),
        ("applied", 1, "item", ()),
        ("applied", 1, "part", ()),
        ("applied", None, "part", ("in part: emptied by TRUNCATE",)),
        ("read", 0, "part", ()),
    ]


def test_truncate_in_a_block(connection: Any, execute: Any) -> None:
    execute(PARTS)

    def block() -> None:
        with transaction.atomic():
            execute("TRUNCATE part")

    def taken_back() -> None:
        with suppress(ValueError), transaction.atomic():
            execute("TRUNCATE part")
            raise ValueError

    cell = watch(connection, "INSERT INTO part VALUES (9, 5)", block, "INSERT INTO part VALUES (1, 1)", taken_back)
    assert [(found.verdict, found.effects) for found in cell.outcomes] == [
        ("applied", ()),
        ("applied", ("in part: emptied by TRUNCATE",)),
        ("applied", ()),
        ("rolled back", ()),
    ]


def test_partitions_count_as_their_table(connection: Any, execute: Any) -> None:
    execute(
        "CREATE TABLE parted (id int, name text) PARTITION BY RANGE (id);"
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (9);"
        "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (9) TO (99) PARTITION BY RANGE (id);"
        "CREATE TABLE parted_3 PARTITION OF parted_2 FOR VALUES FROM (9) TO (99)"
    )
    cell = watch(
        connection,
        "INSERT INTO parted SELECT n, 'x' FROM generate_series(1, 12) AS n",
        "UPDATE parted SET name = 'y'",
        "UPDATE parted SET id = id + 6 WHERE id < 5",
        "UPDATE parted SET id = id + 6 WHERE id < 8",
        "INSERT INTO parted_3 VALUES (20, 'x')",
        "DELETE FROM parted",
    )
    assert [(found.rows, found.table, found.effects) for found in cell.outcomes] == [
        (12, "parted", ()),
        (12, "parted", ()),
        (4, "parted", ("in parted: 2 rows moved to another partition, 2 rows updated",)),
        (4, "parted", ("in parted: 4 rows moved to another partition",)),
        (1, "parted_3", ()),
        (13, "parted", ()),
    ]


def test_tables_elsewhere_and_of_the_session_are_named(connection: Any, execute: Any, schema: str) -> None:
    elsewhere = f"{schema}_b"
    execute(f'CREATE SCHEMA "{elsewhere}"; CREATE TABLE "{elsewhere}"."Ö %s \'x" (id int)')
    try:
        cell = watch(
            connection,
            "CREATE TEMP TABLE mine (id int)",
            "INSERT INTO mine VALUES (1), (2)",
            f'WITH x AS (INSERT INTO "{elsewhere}"."Ö %s \'x" VALUES (1) RETURNING 1) SELECT * FROM x',
            "CREATE TABLE made (id int); INSERT INTO made VALUES (1)",
        )
    finally:
        execute(f'DROP SCHEMA "{elsewhere}" CASCADE')
    assert [(found.table, found.effects) for found in cell.outcomes] == [
        ("mine", ()),
        ("mine", ()),
        (f"{elsewhere}.Ö %s 'x", (f"in {elsewhere}.Ö %s 'x: 1 row inserted",)),
        ("made", ()),
    ]


def test_effects_of_commit_are_reported(connection: Any, execute: Any) -> None:
    execute(LOG)
    execute(
        trigger(
            "late",
            "AFTER UPDATE",
            "INSERT INTO log VALUES (NEW.id, TG_OP); RETURN NULL;",
            more="DEFERRABLE INITIALLY DEFERRED",
        )
    )
    cell = watch(connection, "UPDATE item SET size = 1")
    assert cell.outcomes[0].effects == ()
    assert cell.notes == ["At COMMIT: in log: 5 rows inserted"]


def test_refused_commit_leaves_no_effects(connection: Any, execute: Any) -> None:
    execute(LOGGED)
    execute(trigger("late", "AFTER UPDATE", "RAISE EXCEPTION 'no';", more="DEFERRABLE INITIALLY DEFERRED"))
    [found] = watch(connection, "UPDATE item SET size = 1").outcomes
    assert (found.verdict, found.effects) == ("rolled back", ())


def test_effects_need_no_privilege(connection: Any, execute: Any, schema: str) -> None:
    """What a function of somebody else's writes, to a table that the role may not even read."""
    role = f"role_{schema}"
    execute(f'CREATE ROLE "{role}"; GRANT USAGE ON SCHEMA "{schema}" TO "{role}"')
    try:
        execute(WRITES + "ALTER FUNCTION add(int) SECURITY DEFINER")
        execute(f'SET ROLE "{role}"')
        found = outcome(connection, "SELECT add(1)")
    finally:
        execute("RESET ROLE")
        execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
    assert (found.verdict, found.effects) == ("applied", ("in part: 1 row inserted",))


@pytest.mark.parametrize(
    ("rule", "statement", "expected", "effects"),
    [
        (
            "ON DELETE TO item DO INSTEAD UPDATE item SET active = false WHERE id = OLD.id",
            "DELETE FROM item WHERE id < 3",
            ("rewritten", 2, "item", "rule soft", "delete → in item: 2 rows updated"),
            ("in item: 2 rows updated",),
        ),
        (
            "ON INSERT TO item DO INSTEAD NOTHING",
            "INSERT INTO item VALUES (9)",
            ("suppressed", 0, "item", "rule soft", "insert swallowed"),
            (),
        ),
        (
            "ON UPDATE TO item DO ALSO INSERT INTO part VALUES (OLD.id, OLD.id)",
            "UPDATE item SET size = 1 WHERE id = 1",
            ("applied", 1, "item", None, None),
            ("in item: 1 row updated", "in part: 1 row inserted"),
        ),
        (
            "ON DELETE TO item WHERE OLD.id = 1 DO INSTEAD NOTHING",
            "DELETE FROM item WHERE id < 4",
            ("applied", 2, "item", None, None),
            (),
        ),
    ],
)  # fmt: skip
def test_rules(
    connection: Any, execute: Any, rule: str, statement: str, expected: tuple[Any, ...], effects: Any
) -> None:
    execute(f"CREATE RULE soft AS {rule}")
    found = outcome(connection, statement)
    assert (found.verdict, found.rows, found.table, found.trigger, found.reason) == expected
    assert found.effects == effects


def test_rule_of_a_view_that_does_something_else(connection: Any, execute: Any) -> None:
    execute(
        "CREATE VIEW seen AS SELECT * FROM item;"
        "CREATE RULE soft AS ON DELETE TO seen DO INSTEAD UPDATE item SET active = false WHERE id = OLD.id;"
        "CREATE RULE add AS ON INSERT TO seen DO INSTEAD INSERT INTO item VALUES (NEW.id, NEW.name)"
    )
    cell = watch(connection, "DELETE FROM seen WHERE id < 3", "INSERT INTO seen (id, name) VALUES (9, 'x')")
    assert [(found.verdict, found.rows, found.table, found.reason) for found in cell.outcomes] == [
        ("rewritten", 2, "seen", "delete → in item: 2 rows updated"),
        ("applied", 1, "seen", None),
    ]


def test_views_name_the_table_below(connection: Any, execute: Any) -> None:
    execute("CREATE VIEW seen AS SELECT * FROM item; CREATE VIEW counted AS SELECT max(id) AS id FROM item")
    execute(trigger("instead", "INSTEAD OF DELETE", "DELETE FROM item WHERE id = OLD.id; RETURN OLD;", "counted"))
    cell = watch(connection, "UPDATE seen SET size = 1", "DELETE FROM counted")
    assert [(found.verdict, found.rows, found.table, found.effects) for found in cell.outcomes] == [
        ("applied", 5, "seen", ("in item: 5 rows updated",)),
        ("applied", 1, "counted", ("in item: 1 row deleted",)),
    ]


def test_blocks_that_only_read_are_no_writing(connection: Any, execute: Any) -> None:
    def nested() -> None:
        with transaction.atomic(), transaction.atomic():
            execute("SELECT name FROM item")

    def by_hand() -> None:
        with transaction.atomic():
            execute("SAVEPOINT mine")
            execute("SELECT name FROM item")
            execute("RELEASE mine")

    cell = watch(connection, nested, by_hand)
    assert [(found.verdict, found.rows) for found in cell.outcomes] == [("read", 5)] * 2


@pytest.mark.parametrize("past_django", [False, True])
def test_savepoints_in_sql(connection: Any, execute: Any, past_django: bool) -> None:
    execute(LOGGED)

    def step() -> None:
        with transaction.atomic():
            run = connection.connection.execute if past_django else execute
            run("UPDATE item SET size = 1 WHERE id = 1")
            run('SAVEPOINT "My own"')
            run("DELETE FROM item")
            run('ROLLBACK TO SAVEPOINT "My own"')
            run("UPDATE item SET size = 1 WHERE id = 2")
            run('RELEASE SAVEPOINT "My own"')

    found = outcome(connection, step)
    assert (found.verdict, found.rows) == ("applied", 2)
    assert found.effects == ("in item: 2 rows updated", "in log: 2 rows inserted")


@pytest.mark.parametrize(
    ("statement", "expected", "effects"),
    [
        # (verdict, rows, table), effects
        ("CREATE TABLE x (id int)", ("applied", None, "x"), ()),
        ('CREATE TEMPORARY TABLE IF NOT EXISTS "X y" AS SELECT 1', ("applied", 1, "X y"), ()),
        ("SELECT * INTO made FROM item", ("applied", 5, "made"), ("in made: 5 rows inserted",)),
        ("ALTER TABLE ONLY item ADD COLUMN extra int DEFAULT 7", ("applied", None, "item"), ()),
        ("DROP TABLE IF EXISTS part", ("applied", None, "part"), ()),
        ("LOCK TABLE item", ("applied", None, "item"), ()),
        ("CREATE INDEX ON item (size)", ("applied", None, None), ()),
        ("SET LOCAL work_mem = '5MB'", ("applied", None, None), ()),
        ("SHOW work_mem", ("read", None, None), ()),
        ("SELECT * FROM item FOR NO KEY UPDATE", ("read", 5, "item"), ()),
        ("SELECT pg_advisory_xact_lock(1)", ("read", 1, None), ()),
        ("VALUES (1), (2)", ("read", 2, None), ()),
        ("TABLE item", ("read", 5, "item"), ()),
        ("EXPLAIN ANALYZE DELETE FROM item WHERE id = 77", ("read", None, None), ()),
        (
            "SELECT lo_create(0)",
            ("applied", 1, "pg_largeobject_metadata"),
            ("in pg_largeobject_metadata: 1 row inserted",),
        ),
        (
            "INSERT INTO item VALUES (1, 'x', 1), (9, 'n', 1) ON CONFLICT DO NOTHING",
            ("applied", 1, "item"),
            (),
        ),
        (
            "MERGE INTO item USING (VALUES (1)) AS v (n) ON id = n WHEN MATCHED THEN DO NOTHING",
            ("no rows", 0, "item"),
            (),
        ),
        ("/* one */ -- two\n UPDATE ONLY item SET size = 1", ("applied", 5, "item"), ()),
        ("-- nothing", (None, None, None), ()),
        (" ; ", (None, None, None), ()),
        ("SELECT 1; UPDATE item SET size = 2; SELECT 2", ("applied", 5, "item"), ("in item: 5 rows updated",)),
        ("PREPARE late AS DELETE FROM item", ("applied", None, None), ()),
        ("EXECUTE earlier(2)", ("applied", 1, "part"), ("in part: 1 row inserted",)),
        ("DECLARE c CURSOR FOR SELECT 1", ("applied", None, None), ()),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY mat", ("applied", None, "mat"), ()),
    ],
)  # fmt: skip
def test_statements_of_every_kind(
    connection: Any, execute: Any, statement: str, expected: tuple[Any, ...], effects: Any
) -> None:
    execute(
        "PREPARE earlier (int) AS INSERT INTO part VALUES ($1, $1);"
        "CREATE MATERIALIZED VIEW mat AS SELECT id FROM item; CREATE UNIQUE INDEX ON mat (id)"
    )
    found = watch(connection, statement, keep=False).outcomes[0]
    assert (found.verdict, found.rows, found.table) == expected
    assert found.effects == effects


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DO $$ BEGIN UPDATE item SET size = 9; COMMIT; END $$", "invalid transaction termination"),
        ("CALL committing()", "invalid transaction termination"),
        ("VACUUM item", "VACUUM cannot run inside a transaction block"),
        (
            "CREATE INDEX CONCURRENTLY i ON item (size)",
            "CREATE INDEX CONCURRENTLY cannot run inside a transaction block",
        ),
        (
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET TRANSACTION ISOLATION LEVEL must be called before any query",
        ),
    ],
)
def test_statement_that_may_not_run_in_a_transaction_names_where_it_may(
    connection: Any, execute: Any, statement: str, message: str
) -> None:
    execute("CREATE PROCEDURE committing() LANGUAGE plpgsql AS $$ BEGIN UPDATE item SET size = 9; COMMIT; END $$")
    cell = watch(connection, statement, "UPDATE item SET size = 7 WHERE id = 1")
    assert [(found.verdict, found.rows, found.effects) for found in cell.outcomes] == [
        ("rejected", 0, ()),
        ("applied", 1, ()),
    ]
    hint = "The whole cell is one transaction: execute this in an ordinary cell."
    assert cell.outcomes[0].reason == f"{message} ({hint})"
    assert execute("SELECT size FROM item WHERE id < 3 ORDER BY id") == [(7,), (2,)]


def test_merge_that_returns_rows_counts_as_a_write(connection: Any, execute: Any) -> None:
    if connection.pg_version < 170000:
        pytest.skip("MERGE … RETURNING is new in Postgres 17")
    found = outcome(
        connection,
        "MERGE INTO item USING (VALUES (1), (9)) AS v (n) ON id = n WHEN MATCHED THEN DELETE "
        "WHEN NOT MATCHED THEN INSERT VALUES (n, 'nine') RETURNING merge_action(), item.*",
    )
    assert (found.verdict, found.rows, found.effects) == (
        "applied",
        2,
        ("in item: 1 row inserted, 1 row deleted",),
    )


def test_cursors_on_the_server_and_copies(connection: Any, execute: Any) -> None:
    execute(LOGGED)

    def copy_out() -> None:
        with connection.cursor() as cursor, cursor.copy("COPY item TO STDOUT") as copy:
            assert len(list(copy)) == 5

    def copy_in() -> None:
        with connection.cursor() as cursor, cursor.copy("COPY item (id, name) FROM STDIN") as copy:
            copy.write_row((7, "seven"))
            copy.write_row((8, "eight"))

    def chunks() -> None:
        with connection.chunked_cursor() as cursor:
            cursor.execute("SELECT id FROM item")
            while cursor.fetchmany(2):
                execute("UPDATE item SET size = 3 WHERE id = 1")

    def writing_cursor() -> None:
        """A cursor on the server may well write."""
        execute("CREATE FUNCTION touch() RETURNS int LANGUAGE sql AS 'UPDATE item SET size = 4 RETURNING id'")
        with connection.chunked_cursor() as cursor:
            cursor.execute("SELECT touch()")
            cursor.fetchall()

    cell = watch(connection, copy_out, copy_in, chunks, writing_cursor)
    assert [(found.verdict, found.rows, found.effects) for found in cell.outcomes] == [
        ("read", 5, ()),
        ("applied", 2, ("in item: 2 rows inserted", "in log: 2 rows inserted")),
        ("applied", 4, ("in item: 4 rows updated", "in log: 4 rows inserted")),
        # No statement of its own says what it wrote: every table counts.
        ("applied", 14, ("in item: 7 rows updated", "in log: 7 rows inserted")),
    ]


def test_step_that_a_later_step_rolls_back_is_reported(connection: Any, execute: Any) -> None:
    def savepoint() -> None:
        connection.connection.execute("SAVEPOINT mine")

    cell = watch(
        connection,
        lambda: transaction.set_autocommit(False),
        "UPDATE item SET size = 1 WHERE id = 2",
        transaction.rollback,
        "UPDATE item SET size = 1 WHERE id = 3",
        savepoint,
        "UPDATE item SET size = 1 WHERE id = 4",
        lambda: connection.connection.execute("ROLLBACK TO mine"),
        transaction.commit,
        lambda: transaction.set_autocommit(True),
    )
    seen = [(found.verdict, found.rows) for found in cell.outcomes if found.verdict]
    assert seen == [("rolled back", 0), ("applied", 1), ("rolled back", 0)]
    assert execute("SELECT size FROM item ORDER BY id") == [(1,), (2,), (1,), (4,), (5,)]


def test_rows_of_another_table_are_not_those_of_the_one_named(connection: Any, execute: Any) -> None:
    execute(
        LOG + "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO log VALUES (0, TG_OP); RETURN NULL; END $$;"
        "CREATE TRIGGER note BEFORE TRUNCATE ON part EXECUTE FUNCTION note();"
    )
    found = outcome(connection, "TRUNCATE part")
    assert (found.verdict, found.rows, found.table) == ("applied", None, "part")
    assert found.effects == ("in part: emptied by TRUNCATE", "in log: 1 row inserted")


def test_quotes_and_percent_signs_in_names(connection: Any, execute: Any) -> None:
    execute('CREATE TABLE "Ä %s ""q""" (id int, name text)')
    execute(trigger("upper", "BEFORE INSERT", UPPER, '"Ä %s ""q"""'))

    def with_parameters() -> None:
        execute('INSERT INTO "Ä %%s ""q""" VALUES (%s, %s)', [1, "x"])

    cell = watch(connection, with_parameters, """INSERT INTO "Ä %s ""q\""" VALUES (1, 'y')""")
    assert [(found.verdict, found.table, found.effects) for found in cell.outcomes] == [
        ("rewritten", 'Ä %s "q"', ())
    ] * 2


def test_pipeline_is_refused_with_what_to_do(connection: Any, execute: Any) -> None:
    def pipeline() -> None:
        with connection.connection.pipeline():
            connection.connection.execute("UPDATE item SET size = 1")

    cell = watch(connection, pipeline, "UPDATE item SET size = 1 WHERE id = 2")
    assert [(found.verdict, found.rows) for found in cell.outcomes] == [("rejected", 0), ("applied", 1)]
    assert cell.outcomes[0].reason == ("psycopg's pipeline mode cannot be watched: execute this in an ordinary cell")


def test_streams_are_reported(connection: Any, execute: Any) -> None:
    def stream(statement: str) -> None:
        with connection.connection.cursor() as cursor:
            list(cursor.stream(statement))

    cell = watch(
        connection,
        lambda: stream("SELECT name FROM item"),
        lambda: stream("UPDATE item SET size = 1 RETURNING id"),
    )
    # The rows come one by one: no tag counts them.
    assert [(found.verdict, found.rows, found.effects) for found in cell.outcomes] == [
        ("read", None, ()),
        ("applied", None, ("in item: 5 rows updated",)),
    ]


def test_what_is_not_counted_is_said(connection: Any, execute: Any) -> None:
    cell = watch(connection, "SET LOCAL track_counts = off", "DELETE FROM item")
    assert cell.outcomes[1].rows == 5
    assert cell.notes == [
        "track_counts is off in this session: rows written by cascades, triggers, rules and functions are not counted."
    ]


def test_triggers_that_a_replica_passes_by_are_said(connection: Any, execute: Any) -> None:
    cell = watch(connection, "SET LOCAL session_replication_role = replica", "DELETE FROM item")
    assert cell.outcomes[1].rows == 5
    assert cell.notes == [
        "session_replication_role is replica: ordinary triggers do not fire, so rewritten rows are not reported."
    ]


def test_reading_of_ours_that_fails_keeps_nothing(
    connection: Any, execute: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(_self: Any) -> Any:
        raise errors.QueryCanceled("canceling statement due to statement timeout")

    monkeypatch.setattr(WrittenRows, "take", take)
    with pytest.raises(CellError, match=r"could not be read \(canceling .*\), so nothing of it was kept"):
        watch(connection, "UPDATE item SET size = 1")
    assert execute("SELECT sum(size) FROM item") == [(15,)]
