"""The live catalog: reading triggers, functions and tables, which changes nothing."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import pytest
from django.db import InternalError, models, transaction

from pgmagic import pgtrigger
from pgmagic.db import catalog
from pgmagic.db.catalog import describe_kind, read_catalog
from pgmagic.watch.trigger_catalog import read_trigger_catalog

KEEP = {"name": "keep", "operation": pgtrigger.Delete}


def test_catalog_holds_what_was_installed(live):
    trigger = pgtrigger.Protect(**KEEP, condition=pgtrigger.Q(old__title="o'k WHEN (x) EXECUTE FUNCTION "))
    live.declare("Post", [trigger], title=models.TextField(db_column="My Title"))
    found = read_catalog(live.connection)
    assert found.schema == live.schema
    table = found.table("live_post")
    assert (table.columns, table.schema) == (("id", "My Title"), live.schema)
    assert table.declared
    [installed] = found.triggers
    assert (installed.schema, installed.table, installed.fires) == (
        live.schema,
        "live_post",
        "BEFORE DELETE · ROW",
    )
    assert """(old."My Title" = 'o''k WHEN (x) EXECUTE FUNCTION '::text)""" in installed.condition
    assert installed.mark.uri == installed.function.mark.uri == "live.Post:keep"
    assert not installed.is_edited
    assert installed.is_enabled


@pytest.mark.parametrize(
    ("declaration", "fires"),
    [
        ("BEFORE INSERT OR UPDATE ON t FOR EACH ROW", "BEFORE INSERT OR UPDATE · ROW"),
        ('AFTER UPDATE OF b, "A b" OR DELETE ON t', 'AFTER DELETE OR UPDATE OF "A b", "b" · STATEMENT'),
        ("AFTER TRUNCATE ON t", "AFTER TRUNCATE · STATEMENT"),
        ("INSTEAD OF DELETE ON v FOR EACH ROW", "INSTEAD OF DELETE · ROW"),
        ("AFTER INSERT ON t REFERENCING NEW TABLE AS n", "AFTER INSERT · STATEMENT"),
    ],
)
def test_foreign_trigger_is_described(live, declaration, fires):
    live.sql('CREATE TABLE t ("A b" int, b int)')
    live.sql("CREATE VIEW v AS SELECT * FROM t")
    live.sql("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    live.sql(f"CREATE TRIGGER theirs {declaration} EXECUTE FUNCTION f()")
    [found] = read_catalog(live.connection).triggers
    assert (found.name, found.fires, found.mark, found.function.mark) == ("theirs", fires, None, None)
    assert found.is_edited  # it is not as pgmagic left it, since pgmagic never touched it


@pytest.mark.parametrize(
    ("timing", "fires"),
    [("DEFERRED", "AFTER INSERT · ROW · DEFERRED"), ("IMMEDIATE", "AFTER INSERT · ROW · IMMEDIATE")],
)
def test_constraint_trigger_is_described(live, timing, fires):
    live.sql("CREATE TABLE t (b int)")
    live.sql("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    live.sql(
        f"CREATE CONSTRAINT TRIGGER c AFTER INSERT ON t DEFERRABLE INITIALLY {timing} FOR EACH ROW EXECUTE FUNCTION f()"
    )
    assert [found.fires for found in read_catalog(live.connection).triggers] == [fires]


def test_kind_names_the_columns_after_update():
    assert describe_kind(1 | 2 | 4 | 16, ["a"]) == 'BEFORE INSERT OR UPDATE OF "a" · ROW'


@pytest.mark.parametrize("path", ["{schema}, public", "public, {schema}", '"$user", {schema}', "{schema}, pg_catalog"])
def test_reading_leaves_the_search_path(live, path):
    live.declare("Post", [pgtrigger.Protect(**KEEP)], title=models.TextField())
    live.sql(f"SET search_path TO {path.format(schema=live.schema)}")
    [[before]] = live.sql("SHOW search_path")
    outside = read_catalog(live.connection)
    with transaction.atomic():
        inside = read_catalog(live.connection)
        assert live.sql("SHOW search_path") == [(before,)]
    assert live.sql("SHOW search_path") == [(before,)]
    assert outside == inside
    assert not outside.triggers[0].is_edited
    live.sql(f"SET search_path TO {live.schema}")


def test_other_schemas_stay_unread(live):
    live.sql(f'CREATE SCHEMA "{live.schema}_other"')
    try:
        live.sql(f'CREATE TABLE "{live.schema}_other".elsewhere (a int)')
        assert read_catalog(live.connection).table("elsewhere") is None
    finally:
        live.sql(f'DROP SCHEMA "{live.schema}_other" CASCADE')


def test_first_table_with_a_name_counts(live):
    other = f"{live.schema}_other"
    live.sql(f'CREATE SCHEMA "{other}"')
    try:
        live.declare("Post", [pgtrigger.Protect(**KEEP)], title=models.TextField())
        live.sql(f'CREATE TABLE "{other}".live_post (a int)')
        live.sql(f'CREATE TABLE "{other}".only_there (a int)')
        live.sql(f'SET search_path TO "{other}", "{live.schema}"')
        found = read_catalog(live.connection)
        assert (found.table("live_post").schema, found.table("live_post").columns) == (other, ("a",))
        assert found.trigger("live_post", found.triggers[0].name) is None
        live.sql(f'SET search_path TO "{live.schema}", "{other}"')
        found = read_catalog(live.connection)
        assert found.table("live_post").schema == live.schema
        assert found.trigger("live_post", found.triggers[0].name) is found.triggers[0]
        assert found.table("only_there").schema == other
        assert found.table("only_there", live.schema) is None
    finally:
        live.sql(f'SET search_path TO "{live.schema}"')
        live.sql(f'DROP SCHEMA "{other}" CASCADE')


def test_schema_with_a_difficult_name_is_read(live):
    name = live.schema + "_It's \\ {,}"
    quoted = '"' + name + '"'
    live.sql(f"CREATE SCHEMA {quoted}")
    try:
        live.sql(f"CREATE TABLE {quoted}.t (a int)")
        live.sql(f"SET search_path TO {quoted}")
        found = read_catalog(live.connection)
        assert (found.schema, found.table("t").schema) == (name, name)
    finally:
        live.sql(f'SET search_path TO "{live.schema}"')
        live.sql(f"DROP SCHEMA {quoted} CASCADE")


def test_empty_schema_is_empty(live):
    found = read_catalog(live.connection)
    assert [trigger for trigger in found.triggers if trigger.schema == live.schema] == []
    assert [table for table in found.tables if table.schema == live.schema] == []


def test_partitions_show_the_triggers_of_their_table(live):
    live.sql("CREATE TABLE t (a int) PARTITION BY RANGE (a)")
    live.sql("CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9)")
    live.sql("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    live.sql("CREATE TRIGGER theirs AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()")
    found = read_catalog(live.connection)
    assert ("t", "theirs") in {(trigger.table, trigger.name) for trigger in found.triggers}


def test_objects_dropped_during_the_query_are_left_out(live):
    """Another session's DROP, committed after the snapshot of the query: its definition is NULL by then."""
    other, stop = live.other(), threading.Event()
    other.execute(f'SET search_path TO "{live.schema}"')
    live.sql("CREATE TABLE t (b int)")

    def come_and_go():
        while not stop.is_set():
            other.execute(
                "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
                "CREATE TRIGGER c AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"
            )
            other.execute("DROP FUNCTION f CASCADE")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(200):
            for found in read_catalog(live.connection).triggers:
                assert found.definition
                assert found.function.stored
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("inside", [False, True], ids=["autocommit", "in a transaction"])
@pytest.mark.parametrize("times", [1, 4])
def test_whole_catalog_is_read_again_if_something_was_dropped(live, monkeypatch, times, inside):
    """As Postgres says it: could not open relation with OID … It must not end the caller's transaction."""
    live.declare("Post", [pgtrigger.Protect(**KEEP)], title=models.TextField())
    failures, read = [None] * times, catalog._read

    def failing(connection, pin_path):
        if failures:
            failures.pop()
            live.sql("DO $$ BEGIN RAISE 'could not open relation with OID 1' USING ERRCODE = 'XX000'; END $$")
        return read(connection, pin_path)

    monkeypatch.setattr(catalog, "_read", failing)
    with transaction.atomic() if inside else nullcontext():
        found = catalog.read_whole_catalog(live.connection)
        assert live.sql("SELECT 1") == [(1,)]
    assert [trigger.table for trigger in found.triggers if trigger.schema == live.schema] == ["live_post"]


def test_whole_catalog_gives_up_in_the_end(live, monkeypatch):
    def failing(connection, pin_path):
        live.sql("DO $$ BEGIN RAISE 'could not open relation with OID 1' USING ERRCODE = 'XX000'; END $$")

    monkeypatch.setattr(catalog, "_read", failing)
    with pytest.raises(InternalError, match="could not open relation"):
        catalog.read_whole_catalog(live.connection)
    assert live.sql("SELECT 1") == [(1,)]


@pytest.mark.parametrize("jit", ["on", "off"])
def test_reading_leaves_the_settings_of_a_transaction(live, jit):
    with transaction.atomic():
        live.sql(f"SET LOCAL jit = {jit}")
        live.sql("SET LOCAL search_path = pg_temp, pg_catalog")
        read_catalog(live.connection)
        read_trigger_catalog(live.connection.connection)
        assert live.sql("SELECT current_setting('jit'), current_setting('search_path')") == [
            (jit, "pg_temp, pg_catalog")
        ]
