"""`schema`: names resolve in other schemas for a block, and afterwards as before."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.db import connection as default
from django.db import connections, transaction
from psycopg import sql

from pgmagic import pgtrigger
from pgmagic.errors import SchemaError

ODD = 'o\'k "ü" %s'


@pytest.fixture
def own(connection):
    """The session's own path."""
    found = path()
    yield found
    if default.connection is not None and not default.connection.closed:
        assert raw_path() == found
        assert path() == found


def path():
    with default.cursor() as cursor:
        cursor.execute("SHOW search_path")
        return cursor.fetchone()[0]


def raw_path():
    """The path, asked for without Django: nothing is sent on the way."""
    return default.connection.execute("SHOW search_path").fetchone()[0]


def test_block_sets_the_path_and_gives_it_back(own):
    with pgtrigger.schema("a", "b") as value:
        assert value is None
        assert raw_path() == '"a", "b"'
    assert raw_path() == own


def test_inner_blocks_add_their_schemas_after(own):
    with pgtrigger.schema("a"):
        with pgtrigger.schema("b", "a"):
            assert path() == '"a", "b", "a"'
        assert path() == '"a"'
    block = pgtrigger.schema("c")
    with block, block:
        assert path() == '"c", "c"'


def test_block_without_schemas_changes_nothing(own):
    with pgtrigger.schema():
        assert path() == own
        with pgtrigger.schema("a"), pgtrigger.schema():
            assert path() == '"a"'


@pytest.mark.parametrize("name", [ODD, "a, b", "Mixed", "$user", " "])
def test_any_name_is_one_schema(own, name):
    with default.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    try:
        with pgtrigger.schema(name), default.cursor() as cursor:
            cursor.execute("SELECT current_schema()")
            assert cursor.fetchone() == (None if name == "$user" else name,)
    finally:
        with default.cursor() as cursor:
            cursor.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(name)))


@pytest.mark.parametrize("name", ["", "a\x00", None, 5])
def test_what_names_no_schema_is_refused(name):
    with pytest.raises(SchemaError, match="Expected the names of schemas"):
        pgtrigger.schema("a", name)


def test_error_and_rollback_give_the_path_back(own):
    with pytest.raises(ZeroDivisionError), transaction.atomic(), pgtrigger.schema("a"):  # noqa: PT012
        assert path() == '"a"'
        raise ZeroDivisionError
    assert raw_path() == own
    with pgtrigger.schema("a"):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            raise ZeroDivisionError
        assert raw_path() == '"a"'
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), transaction.atomic(), pgtrigger.schema("a"):
            raise ZeroDivisionError
        assert raw_path() == own
        with pgtrigger.schema("b"):
            with pytest.raises(ZeroDivisionError), transaction.atomic(), pgtrigger.schema("a"):
                raise ZeroDivisionError
            assert raw_path() == '"b"'


def test_transaction_in_error_gives_the_path_back(own):
    with pytest.raises(Exception, match="division"), transaction.atomic(), pgtrigger.schema("a"):
        default.cursor().execute("SELECT 1/0")
    assert raw_path() == own


def test_path_of_a_transaction_does_not_outlive_it(own):
    with transaction.atomic(), default.cursor() as cursor:
        cursor.execute("SET LOCAL search_path TO elsewhere")
        with pgtrigger.schema("a"):
            assert path() == '"a"'
        assert path() == "elsewhere"
    assert raw_path() == own


def test_empty_path_is_given_back(connection):
    with default.cursor() as cursor:
        cursor.execute("SET search_path TO ''")
        empty = path()
        with pgtrigger.schema("a"):
            assert path() == '"a"'
        assert path() == empty
        cursor.execute("SELECT set_config('search_path', '', false)")
        with pgtrigger.schema("a"):
            assert path() == '"a"'
        assert path() == ""


@pytest.mark.parametrize("statement", ["RESET ALL", "DISCARD ALL", "RESET search_path"])
def test_settings_are_sent_again_after_a_reset_inside_the_block(connection, statement):
    with default.cursor() as cursor:
        with pgtrigger.schema("a"):
            cursor.execute(statement)
            assert path() == '"a"'
        cursor.execute("SELECT reset_val FROM pg_settings WHERE name = 'search_path'")
        if statement != "RESET search_path":
            assert path() == cursor.fetchone()[0]


def test_every_kind_of_statement_passes_unchanged(live):
    live.sql("CREATE TABLE things (n int)")
    with pgtrigger.schema(live.schema):
        assert live.sql("SELECT '100%%', %(a)s", {"a": 1}) == [("100%", 1)]
        assert live.sql("SELECT '100%'") == [("100%",)]
        assert live.sql(sql.SQL("SELECT {}").format(sql.Literal("100%"))) == [("100%",)]
        with default.cursor() as cursor:
            cursor.executemany("INSERT INTO things VALUES (%(n)s)", [{"n": 1}, {"n": 2}])
        live.sql("VACUUM things")
        live.sql("CREATE INDEX CONCURRENTLY ON things (n)")


def test_connection_reopened_inside_the_block(own):
    with pgtrigger.schema("a"):
        default.close()
        assert path() == '"a"'
        assert raw_path() == '"a"'


def test_threads_and_tasks_share_nothing(own):
    seen = []

    def other():
        seen.append(path())
        connections["default"].close()

    with pgtrigger.schema("a"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    async def work(name):
        async with pgtrigger.schema(name):
            await asyncio.sleep(0)
            seen.append(path())
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen.append(path())

    async def both():
        await asyncio.gather(work("a"), work("b"))

    asyncio.run(both())
    assert seen == [own, '"a"', '"b"', own, own]


def test_decorator_and_databases(own, monkeypatch):
    monkeypatch.setitem(connections.settings, "elsewhere", connections.settings["default"])

    @pgtrigger.schema("a")
    def run():
        return path()

    assert run() == '"a"'
    with pgtrigger.schema("a", databases=["elsewhere"]):
        assert path() == own
        with pgtrigger.schema("b", databases=["default"]), pgtrigger.schema("c"):
            assert path() == '"b", "c"'
