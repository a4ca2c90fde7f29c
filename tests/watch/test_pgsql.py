"""`%%pgsql`: SQL as it stands, split by the server, all of it or nothing."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from IPython.core.error import UsageError
from psycopg.pq import TransactionStatus

from pgmagic.watch.sql_frames import CommandFrame, SqlFrame


def run(shell: Any, sql: str, line: str = "") -> Any:
    return shell.run(f"%%pgsql {line}\n{sql}")


def refused(shell: Any, sql: str) -> str:
    error = shell.error(f"%%pgsql\n{sql}")
    assert isinstance(error, UsageError)
    return str(error)


def is_idle() -> bool:
    from django.db import connection

    raw: Any = connection.connection
    return raw.info.transaction_status == TransactionStatus.IDLE


def test_last_result_set_is_the_value(shell):
    frame = run(shell, "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2); SELECT 0; SELECT a FROM t ORDER BY a;")
    assert isinstance(frame, SqlFrame)
    assert frame["a"].tolist() == [1, 2]
    assert frame.notes == [
        "Also executed: CREATE TABLE, INSERT of 2 rows, SELECT of 1 row.",
        "Of several result sets, the last is shown.",
    ]


def test_result_keeps_a_name(shell):
    frame = run(shell, "SELECT 1 AS one", "-o found")
    assert shell["found"] is frame


def test_statements_without_a_result_set(shell):
    frame = run(
        shell,
        "CREATE TABLE t (a int);\nINSERT INTO t SELECT generate_series(1, 3);\nUPDATE t SET a = 0 WHERE a = 1",
    )
    assert isinstance(frame, CommandFrame)
    assert frame["command"].tolist() == ["CREATE TABLE", "INSERT", "UPDATE"]
    assert frame["rows"].fillna(-1).tolist() == [-1, 3, 1]


@pytest.mark.parametrize(
    "text",
    [
        "{1 + 1}",
        "$HOME",
        ":name",
        "%s %(x)s %%",
        "{{x}}",
        "`ls`",
        "!ls",
        "?",
        "\\d",
        "$1",
        "é \N{GRINNING FACE}",
    ],
)
def test_nothing_is_expanded(shell, text):
    frame = run(shell, f"SELECT $q$%%{text}$q$ AS a, '{text}' AS b")
    assert frame.iloc[0].tolist() == [f"%%{text}", text]


def test_dollar_quoted_bodies_with_semicolons(shell):
    frame = run(
        shell,
        """
        CREATE FUNCTION double(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN n := n * 2; RETURN n; END; $$;
        DO $do$ BEGIN PERFORM 1; EXECUTE $$ SELECT ';' $$; END $do$;
        SELECT double(21) -- a comment; with a semicolon
        """,
    )
    assert frame["double"].tolist() == [42]


def test_dtypes_lose_nothing(shell):
    frame = run(
        shell,
        """SELECT 9007199254740993 AS n, NULL::int AS nothing, 1.10::numeric AS price, 'NaN'::float8 AS f, true AS b,
                  '2024-05-01 12:00+02'::timestamptz AS at, '2024-05-01 12:00'::timestamp AS local,
                  '2024-05-01'::date AS day, '{"a": [1, null]}'::jsonb AS doc, '[1]'::json AS list,
                  '00000000-0000-0000-0000-000000000001'::uuid AS id, ARRAY[1, NULL] AS items, 'x' AS words,
                  '1 mon'::interval AS months, '90 s'::interval AS span, 'infinity'::date AS never""",
    )
    dtypes = {name: str(dtype).replace("[python]", "") for name, dtype in frame.dtypes.items()}
    assert dtypes == {
        "n": "Int64", "nothing": "Int64", "price": "object", "f": "Float64", "b": "boolean",
        "at": "datetime64[us, UTC]", "local": "datetime64[us]", "day": "datetime64[s]", "doc": "object",
        "list": "object", "id": "object", "items": "object", "words": "string", "months": "string",
        "span": "object", "never": "string",
    }  # fmt: skip
    row = frame.iloc[0]
    assert row["n"] == 9007199254740993
    assert row["at"].isoformat() == "2024-05-01T10:00:00+00:00"
    assert (row["price"], str(row["price"])) == (Decimal("1.10"), "1.10")
    assert (row["doc"], row["list"]) == ({"a": [1, None]}, [1])
    assert row["id"] == UUID(int=1)
    assert (row["items"], row["words"], row["months"], row["never"]) == ([1, None], "x", "1 mon", "infinity")
    assert row["span"] == dt.timedelta(seconds=90)


def test_two_columns_of_one_name(shell):
    frame = run(shell, "SELECT 1 AS a, 'two' AS a, 3")
    assert list(frame.columns) == ["a", "a", "?column?"]
    assert frame.iloc[0].tolist() == [1, "two", 3]
    shell.shell.display_formatter.format(frame)


def test_rows_without_columns_and_columns_without_rows(shell):
    assert run(shell, "SELECT FROM generate_series(1, 3)").shape == (3, 0)
    empty = run(shell, "SELECT 1::int AS a WHERE false")
    assert empty.shape == (0, 1)
    assert str(empty["a"].dtype) == "Int64"


def test_null_differs_from_any_text(shell):
    frame = run(shell, "SELECT NULL::int AS n, NULL::text AS t, '' AS empty UNION ALL SELECT 1, 'NULL', 'x'")
    formats, _ = shell.shell.display_formatter.format(frame)
    assert '<td class="pgm-right"><span class="pgm-null">NULL</span></td>' in formats["text/html"]
    assert "NULL  NULL" in formats["text/plain"]


def test_big_results_say_how_much_is_shown(shell):
    frame = run(shell, "SELECT generate_series(1, 1234) AS n")
    assert len(frame) == 1234
    formats, _ = shell.shell.display_formatter.format(frame)
    assert "60 of 1,234 rows" in formats["text/plain"]
    assert "60 of 1,234 rows" in formats["text/html"]


def test_messages_of_the_server_are_shown(shell):
    frame = run(shell, "DO $$ BEGIN RAISE NOTICE 'hello %', 1; RAISE WARNING 'careful'; END $$; SELECT 1")
    assert frame.notes[-2:] == ["NOTICE: hello 1", "WARNING: careful"]


def test_syntax_error_shows_its_place(shell):
    message = refused(shell, "SELECT 1;\n\tSELEC 2;\nSELECT 3")
    assert message == (
        'Postgres says: syntax error at or near "SELEC" (line 2, column 2; SQLSTATE 42601)\n    \tSELEC 2;\n    \t^'
    )


def test_unknown_column_shows_its_place_and_the_hint(shell):
    message = refused(shell, "CREATE TABLE ö (title text);\nSELECT 'ü', titel FROM ö")
    assert message == (
        'Postgres says: column "titel" does not exist (line 2, column 13; SQLSTATE 42703)\n'
        "    SELECT 'ü', titel FROM ö\n"
        "                ^\n"
        'Hint: Perhaps you meant to reference the column "ö.title".'
    )
    assert run(shell, "SELECT to_regclass('ö') IS NULL AS gone")["gone"].all()


def test_error_without_a_place_names_the_statement(shell):
    message = refused(shell, "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); INSERT INTO t VALUES (1)")
    assert message == (
        'Postgres says: duplicate key value violates unique constraint "t_pkey" (statement 3; SQLSTATE 23505)\n'
        "Detail: Key (a)=(1) already exists."
    )
    assert run(shell, "SELECT to_regclass('t') IS NULL AS gone")["gone"].all()


def test_vacuum_runs_alone_only(shell):
    run(shell, "CREATE TABLE t (a int)")
    assert run(shell, "-- alone\nVACUUM t;")["command"].tolist() == ["VACUUM"]
    run(shell, "CREATE INDEX CONCURRENTLY i ON t (a)")
    message = refused(shell, "VACUUM t; SELECT 1")
    assert "SQLSTATE 25001" in message
    assert "give this one a cell of its own" in message


def test_explicit_transactions(shell):
    run(shell, "CREATE TABLE t (a int)")
    run(shell, "BEGIN; INSERT INTO t VALUES (1); COMMIT; BEGIN; INSERT INTO t VALUES (2); ROLLBACK; SELECT 1")
    assert run(shell, "SELECT a FROM t")["a"].tolist() == [1]
    assert "left a transaction open" in refused(shell, "BEGIN; INSERT INTO t VALUES (3)")
    assert is_idle()
    assert "SQLSTATE 22012" in refused(shell, "BEGIN; SELECT 1/0")
    assert is_idle()
    assert run(shell, "SELECT a FROM t")["a"].tolist() == [1]


def test_inside_an_open_transaction(shell):
    from django.db import transaction

    run(shell, "CREATE TABLE t (a int)")
    with transaction.atomic():
        run(shell, "INSERT INTO t VALUES (1)")
        refused(shell, "INSERT INTO t VALUES (2); SELECT 1/0")
        assert run(shell, "SELECT a FROM t")["a"].tolist() == [1]
    assert run(shell, "SELECT a FROM t")["a"].tolist() == [1]


@pytest.mark.parametrize(
    "sql", ["COPY t FROM STDIN", "COPY t TO STDOUT", "INSERT INTO t VALUES (5); COPY t FROM STDIN; SELECT 1"]
)
def test_copy_is_refused_and_leaves_the_connection_usable(shell, sql):
    run(shell, "CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 10000)")
    assert "cursor.copy" in refused(shell, sql)
    assert is_idle()
    assert run(shell, "SELECT count(*) AS n FROM t")["n"].tolist() == [10000]


@pytest.mark.parametrize("sql", ["  \n", "-- nothing", ";;"])
def test_cell_without_a_statement(shell, sql):
    assert refused(shell, sql) == "The cell holds no SQL statement."


def test_interrupt_keeps_nothing(shell):
    run(shell, "CREATE TABLE t (a int)")
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    error = shell.error("%%pgsql\nINSERT INTO t VALUES (1); SELECT pg_sleep(30)")
    assert isinstance(error, KeyboardInterrupt)
    assert is_idle()
    assert run(shell, "SELECT count(*) AS n FROM t")["n"].tolist() == [0]


def test_lost_connection_is_said_in_one_line(shell):
    message = refused(shell, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert message == "The database connection was lost while the cell ran: nothing of it was kept."
    assert run(shell, "SELECT 1 AS one")["one"].tolist() == [1]


def test_settings_of_the_session_are_sent_again(shell):
    run(shell, "CREATE TABLE t (a int)")
    from pgmagic import pgtrigger

    with pgtrigger.ignore():
        run(shell, "DISCARD ALL")
        frame = run(shell, "SELECT current_setting('pgmagic.ignore') AS s")
    assert frame["s"].tolist() == ["*"]
