"""Triggers fire alike whatever the `search_path` of the writing session is, even a hostile one."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.contrib.postgres.search import SearchVectorField
from django.db import models

from pgmagic import pghistory, pgtrigger
from pgmagic.declare.model_registry import redeclaring
from pgmagic.history.verify import verify_chain
from pgmagic.pghistory.models import Context
from tests.db.live import LABEL, Live, conninfo

Q = pgtrigger.Q

# A schema that holds other things under the names that bodies use: whoever resolves one of them is hijacked.
HOSTILE = """
CREATE SCHEMA {evil};
CREATE TABLE {evil}.live_post (LIKE {schema}.live_post);
CREATE FUNCTION {evil}.hijacked() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
CREATE FUNCTION {evil}.lower(text) RETURNS text LANGUAGE sql AS 'SELECT {evil}.hijacked()::text';
CREATE FUNCTION {evil}.to_jsonb({schema}.live_post) RETURNS jsonb LANGUAGE sql
  AS 'SELECT {evil}.hijacked()::text::jsonb';
CREATE FUNCTION {evil}.concat(VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT {evil}.hijacked()::text';
CREATE FUNCTION {evil}.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT {evil}.hijacked()::text::timestamptz';
CREATE FUNCTION {evil}.current_setting(text, boolean) RETURNS text LANGUAGE sql AS 'SELECT {evil}.hijacked()::text';
CREATE FUNCTION {evil}.concat_ws(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT {evil}.hijacked()::text';
CREATE FUNCTION {evil}.to_tsvector(regconfig, text) RETURNS tsvector LANGUAGE sql
  AS 'SELECT {evil}.hijacked()::text::tsvector';
"""
OPERATOR = """
CREATE FUNCTION {evil}.same({type}, {type}) RETURNS boolean LANGUAGE sql AS 'SELECT {evil}.hijacked()';
CREATE OPERATOR {evil}.= (LEFTARG = {type}, RIGHTARG = {type}, FUNCTION = {evil}.same);
CREATE OPERATOR {evil}.<> (LEFTARG = {type}, RIGHTARG = {type}, FUNCTION = {evil}.same);
"""


def post(live: Live) -> Any:
    """A table with a trigger of each ready-made kind, and one by hand."""
    triggers = [
        pgtrigger.Protect(name="keep", operation=pgtrigger.Delete, condition=Q(old__title="kept")),
        pgtrigger.Protect(name="rows", operation=pgtrigger.Truncate),
        pgtrigger.ReadOnly(name="fixed", fields=["body"]),
        pgtrigger.FSM(name="life", field="title", transitions=[("kept", "a"), ("a", "b")]),
        pgtrigger.SoftDelete(name="soft", field="good", condition=Q(old__title="a")),
        pgtrigger.Trigger(
            name="by_hand", when=pgtrigger.Before, operation=pgtrigger.Insert,
            func="NEW.copies = (SELECT count(*) FROM live_post WHERE title = NEW.title); RETURN NEW;",
        ),
        pgtrigger.Protect(
            name="stone", level=pgtrigger.Statement, operation=pgtrigger.Update | pgtrigger.Delete,
            condition=Q(old__body="stone"),
        ),
        pgtrigger.UpdateSearchVector(name="search", vector_field="vector", document_fields=["title", "body"]),
        pgtrigger.Trigger(
            name="late", when=pgtrigger.After, operation=pgtrigger.Insert, timing=pgtrigger.Deferred,
            condition=Q(new__title="late"), func="RAISE EXCEPTION 'too late, %', lower('A');",
        ),
    ]  # fmt: skip
    return live.declare(
        "Post", triggers, title=models.TextField(), body=models.TextField(db_default=""),
        good=models.BooleanField(db_default=True), copies=models.IntegerField(db_default=0),
        vector=SearchVectorField(null=True),
    )  # fmt: skip


def refused(session: psycopg.Connection[Any], statement: str, words: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match=words):
        session.execute(statement)


@pytest.fixture
def hostile(live: Live) -> Any:
    """The name of the hostile schema; it exists once the table does."""
    evil = f"{live.schema}_evil"
    yield evil
    live.sql(f'DROP SCHEMA IF EXISTS "{evil}" CASCADE')


@pytest.mark.parametrize("path", ["''", "pg_catalog", "pg_temp, public", "{evil}", "{evil}, pg_catalog"])
def test_ready_made_and_hand_written_triggers(live: Live, hostile: str, path: str) -> None:
    post(live)
    live.sql(HOSTILE.format(evil=hostile, schema=live.schema))
    for kind in ("text", "integer", "bigint", "boolean", "jsonb"):
        live.sql(OPERATOR.format(evil=hostile, type=kind))
    session = live.other(search_path=path.format(evil=hostile) if path != "''" else "")
    table = f'"{live.schema}".live_post'
    session.execute(f"INSERT INTO {table} (title) VALUES ('kept'), ('kept')")
    assert session.execute(f"SELECT array_agg(copies) FROM {table}").fetchone() == ([0, 1],)
    refused(session, f"DELETE FROM {table}", "Cannot delete rows from live_post table")
    refused(session, f"TRUNCATE {table}", "Cannot truncate rows")
    refused(session, f"UPDATE {table} SET body = 'y'", "Cannot update rows")
    refused(session, f"UPDATE {table} SET title = 'b'", 'Invalid transition of field "title" from "kept" to "b"')
    refused(session, f"INSERT INTO {table} (title) VALUES ('late')", "too late, a")
    session.execute(f"INSERT INTO {table} (title, body, copies) VALUES ('shoes', 'stone', 7)")
    refused(
        session,
        f"UPDATE {table} SET copies = 8 WHERE body OPERATOR(pg_catalog.=) 'stone'",
        "Cannot update or del",
    )
    found = f"SELECT title FROM {table} WHERE vector OPERATOR(pg_catalog.@@) 'shoe & stone'::pg_catalog.tsquery"
    assert session.execute(found).fetchall() == [("shoes",)]
    session.execute(
        f"ALTER TABLE {table} DISABLE TRIGGER USER; TRUNCATE {table}; ALTER TABLE {table} ENABLE TRIGGER USER"
    )
    session.execute(f"INSERT INTO {table} (title) VALUES ('kept'), ('kept')")
    session.execute(f"UPDATE {table} SET title = 'a' WHERE copies OPERATOR(pg_catalog.=) 0")
    assert session.execute(f"DELETE FROM {table} WHERE title OPERATOR(pg_catalog.=) 'a'").rowcount == 0
    assert session.execute(f"SELECT good FROM {table} ORDER BY copies").fetchall() == [(False,), (True,)]


def test_through_psql(live: Live) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("there is no psql program here")
    post(live)
    table, info = f'"{live.schema}".live_post', conninfo(live.connection)
    script = f"""
        INSERT INTO {table} (title) VALUES ('kept'), ('o''k'), ('kept');
        DELETE FROM {table};
        UPDATE {table} SET title = 'c' WHERE id = 1;
        BEGIN; INSERT INTO {table} (title) VALUES ('late'); COMMIT;
        SELECT count(*), sum(copies) FROM {table};
    """
    done = subprocess.run(
        [psql, "--no-psqlrc", "--tuples-only", "--no-align", "--host", info["host"], "--port", str(info["port"]),
         "--username", info["user"], "--dbname", info["dbname"]],
        input=script, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    errors = [line.partition("ERROR:  ")[2] for line in done.stderr.splitlines() if "ERROR:" in line]
    assert errors == [
        "pgtrigger: Cannot delete rows from live_post table",
        'pgtrigger: Invalid transition of field "title" from "kept" to "c" on table live_post',
        "too late, a",
    ]
    assert done.stdout.splitlines()[-1] == "3|1"


KINDS = (
    "text", "integer", "bigint", "boolean", "jsonb", "uuid", "numeric", "timestamptz", "bytea", '"char"', "oid",
)  # fmt: skip
# What bodies of events use, and types that stand for those to which they cast.
HOSTILE_TO_EVENTS = """
CREATE FUNCTION {evil}.strpos(text, text) RETURNS int LANGUAGE sql AS 'SELECT {evil}.hijacked()::int';
CREATE FUNCTION {evil}.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT {evil}.hijacked()::text';
CREATE FUNCTION {evil}.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT {evil}.hijacked()::text::bytea';
CREATE AGGREGATE {evil}.array_agg(bigint) (SFUNC = array_append, STYPE = bigint[], INITCOND = '{{-1}}');
CREATE FUNCTION {evil}.joined(text, text) RETURNS text LANGUAGE sql AS 'SELECT {evil}.hijacked()::text';
CREATE FUNCTION {evil}.merged(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT {evil}.hijacked()::text::jsonb';
CREATE OPERATOR {evil}.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = {evil}.joined);
CREATE OPERATOR {evil}.|| (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = {evil}.merged);
CREATE FUNCTION {evil}.equal(anyarray, anyarray) RETURNS boolean LANGUAGE sql AS 'SELECT {evil}.hijacked()';
CREATE OPERATOR {evil}.= (LEFTARG = anyarray, RIGHTARG = anyarray, FUNCTION = {evil}.equal);
CREATE FUNCTION {evil}.never() RETURNS boolean LANGUAGE sql AS 'SELECT {evil}.hijacked()';
CREATE DOMAIN {evil}.uuid AS text CHECK ({evil}.never());
CREATE DOMAIN {evil}.jsonb AS text CHECK ({evil}.never());
CREATE DOMAIN {evil}.text AS varchar CHECK ({evil}.never());
CREATE TABLE {evil}.live_postevent (LIKE {schema}.live_postevent);
CREATE TABLE {evil}.pghistory_context (LIKE {schema}.pghistory_context);
"""


def tracked_post(live: Live, **kwargs: Any) -> Any:
    """A tracked table, whose events are of every kind."""
    with redeclaring(LABEL, __name__) as declaration:
        with declaration.collecting():
            fields = {
                "title": models.TextField(null=True), "copies": models.IntegerField(db_default=0),
                "data": models.JSONField(db_default=models.Value({}, models.JSONField())),
            }  # fmt: skip
            tracked = type("Post", (models.Model,), {"__module__": __name__, **fields})
            pghistory.track(
                pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent("gone"),
                pghistory.UpdateEvent("much", condition=Q(new__copies__gt=2, old__title="a")), **kwargs,
            )(tracked)  # fmt: skip
        applied = live.apply(Context, *declaration.models)
    assert applied.error is None, applied.error
    return tracked


def hijack(live: Live, evil: str) -> None:
    """Make the hostile schema."""
    live.sql(HOSTILE.format(evil=evil, schema=live.schema))
    for kind in KINDS:
        live.sql(OPERATOR.format(evil=evil, type=f"pg_catalog.{kind}" if kind == '"char"' else kind))
    live.sql(HOSTILE_TO_EVENTS.format(evil=evil, schema=live.schema))


@pytest.mark.parametrize("chained", [False, True], ids=["", "chained"])
@pytest.mark.parametrize("level", [pghistory.Row, pghistory.Statement])
@pytest.mark.parametrize("path", ["''", "{evil}", "{evil}, pg_catalog"])
def test_events(live: Live, hostile: str, path: str, level: Any, chained: bool) -> None:
    tracked = tracked_post(live, level=level, hash_chain=chained, append_only=True)
    hijack(live, hostile)
    session = live.other(search_path=path.format(evil=hostile) if path != "''" else "")
    table = f'"{live.schema}".live_post'
    context = ("pgmagic.context_id", str(UUID(int=7))), ("pgmagic.context_metadata", '{"user": 1}')
    for setting in context:
        session.execute("SELECT pg_catalog.set_config(%s, %s, false)", setting)
    session.execute(f"INSERT INTO {table} (title) VALUES ('a'), ('b')")
    session.execute(f"UPDATE {table} SET title = title")
    session.execute(f"UPDATE {table} SET copies = 3")
    session.execute(f"UPDATE {table} SET title = NULL WHERE id OPERATOR(pg_catalog.=) 1")
    session.execute("SELECT pg_catalog.set_config('pgmagic.context_metadata', '{\"user\": 2}', false)")
    session.execute(f"UPDATE {table} SET title = NULL WHERE id OPERATOR(pg_catalog.=) 1")
    session.execute(f"UPDATE {table} SET id = id OPERATOR(pg_catalog.+) 1")
    session.execute(f"DELETE FROM {table} WHERE id OPERATOR(pg_catalog.=) 2")
    session.execute(f"TRUNCATE {table}")
    refused(session, f'DELETE FROM "{live.schema}".live_postevent', "Cannot update or delete rows")
    events = tracked.pgh_event_model.objects
    labels = sorted(events.values_list("pgh_label", flat=True))
    assert labels == ["gone", "gone", "insert", "insert", "much", "much", *["update"] * 5]
    assert {*events.values_list("pgh_context_id", flat=True)} == {UUID(int=7)}
    assert Context.objects.get().metadata == {"user": 2}
    if chained:
        assert not verify_chain(tracked.pgh_event_model, "default").breaks


@pytest.mark.parametrize("path", ["{evil}, pg_catalog"])
def test_many_rows_of_a_table_with_actions(live: Live, hostile: str, path: str) -> None:
    tracked = tracked_post(live)
    live.sql(
        "ALTER TABLE live_post ADD parent bigint, ADD FOREIGN KEY (parent) REFERENCES live_post ON DELETE SET NULL"
    )
    hijack(live, hostile)
    session = live.other(search_path=path.format(evil=hostile))
    session.execute(f"INSERT INTO \"{live.schema}\".live_post (title) VALUES ('a'), ('b'), (NULL)")
    session.execute(f"UPDATE \"{live.schema}\".live_post SET title = 'b'")
    labels = tracked.pgh_event_model.objects.values_list("pgh_label", flat=True)
    assert sorted(labels) == [*["insert"] * 3, *["update"] * 2]


@pytest.mark.parametrize("level", [pghistory.Row, pghistory.Statement])
def test_functions_of_events_set_nothing_for_their_call(live: Live, level: Any) -> None:
    tracked_post(live, level=level)
    settings = dict(
        live.sql("SELECT proname, proconfig::text FROM pg_proc WHERE pronamespace = current_schema()::regnamespace")
    )
    found = {name.rsplit("_", 1)[0]: value for name, value in settings.items()}
    # What somebody wrote himself is found along the path of its installation.
    expected = {
        "pgtrigger_insert_insert",
        "pgtrigger_update_update",
        "pgtrigger_gone_delete",
        "pgmagic_attach",
    }
    assert {name for name, value in found.items() if value is None} >= expected
