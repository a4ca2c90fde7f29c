"""Statements and transactions of psycopg's own, which do not pass through Django, inside blocks."""

from __future__ import annotations

from contextlib import ExitStack, closing

import psycopg
import pytest
from django.db import connection as default
from django.db import models, transaction
from psycopg import sql

from pgmagic import pghistory, pgtrigger

KEEP = "live.Post:keep"


@pytest.fixture
def post(live):
    model = live.declare("Post", [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)], title=models.TextField())
    model.objects.create(title="a")
    return model


def raw():
    return default.connection


def deletes(table="live_post"):
    """Whether a statement of psycopg's may delete, now; nothing is kept of it."""
    in_transaction = raw().info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    with psycopg.Cursor(raw()) as cursor:
        cursor.execute("SAVEPOINT deletes" if in_transaction else "BEGIN")
        try:
            cursor.execute(f"DELETE FROM {table}")
        except psycopg.Error:
            return False
        else:
            return True
        finally:
            cursor.execute("ROLLBACK TO SAVEPOINT deletes" if in_transaction else "ROLLBACK")


ENDINGS = {
    "text": "ROLLBACK; BEGIN",
    "bytes": b"ROLLBACK; BEGIN",
    "composed": sql.SQL("{}; BEGIN").format(sql.SQL("ROLLBACK")),
    "behind another": sql.SQL("SELECT 1; ROLLBACK; BEGIN"),
    "commented": "/* back */ ROLLBACK; BEGIN",
    "chained": "ROLLBACK AND CHAIN",
    "chained bytes": b"COMMIT AND CHAIN",
    "reset all": "RESET ALL",
    "reset": b"RESET pgmagic.ignore",
    "rollback": "ROLLBACK",
    "abort": sql.SQL("ABORT"),
    "to a savepoint": "ROLLBACK TO SAVEPOINT before",
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("by", ["cursor", "connection"])
def test_block_holds_after_statements_that_reset_its_settings(live, post, ending, by):
    table = f'"{live.schema}".live_post'
    raw().execute("BEGIN; SAVEPOINT before")
    with pgtrigger.ignore(KEEP):
        assert deletes(table)
        (raw().cursor() if by == "cursor" else raw()).execute(ending)
        assert deletes(table)
    assert not deletes(table)
    raw().execute("ROLLBACK")
    assert not deletes(table)


@pytest.mark.parametrize("statement", ["DISCARD ALL", b"DISCARD ALL", "RESET ALL"])
def test_block_holds_after_the_session_is_cleared(live, post, statement):
    with pgtrigger.ignore(KEEP), pgtrigger.schema(live.schema, "public"):
        raw().execute(statement)
        assert deletes()
        assert raw().execute("SHOW search_path").fetchone() == (f'"{live.schema}", "public"',)
    default.close()


@pytest.mark.parametrize("ending", ["ROLLBACK", b"ROLLBACK", "method"])
def test_block_that_ended_in_a_transaction_is_over_after_its_rollback(post, ending):
    """The rollback brings back what was set in front of the transaction."""
    block = ExitStack()
    block.enter_context(pgtrigger.ignore(KEEP))
    raw().execute("BEGIN")
    block.close()
    raw().rollback() if ending == "method" else raw().execute(ending)
    assert not deletes()


def test_block_of_psycopg_that_is_rolled_back(post):
    """A savepoint of `raw.transaction()`, in either order."""
    block = ExitStack()
    block.enter_context(pgtrigger.ignore(KEEP))
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), raw().transaction():  # noqa: PT012
            block.close()
            raise ZeroDivisionError
        assert not deletes()
        with raw().transaction(force_rollback=True):
            block.enter_context(pgtrigger.ignore(KEEP))
        assert deletes()
        with raw().transaction() as inner:
            block.close()
            raise psycopg.Rollback(inner)
        assert not deletes()
    assert not deletes()


@pytest.mark.parametrize("method", ["commit", "rollback"])
def test_block_outlives_the_transaction_that_it_began_in(post, method):
    raw().execute("BEGIN")
    with pgtrigger.ignore(KEEP):
        getattr(raw(), method)()
        assert deletes()
    assert not deletes()


def test_context_of_events_after_a_rollback_of_psycopg(live):
    with default.cursor() as cursor:
        cursor.execute("BEGIN")
        with pghistory.context(user=1):
            raw().execute("ROLLBACK; BEGIN")
            told = psycopg.Cursor(raw()).execute("SELECT current_setting('pgmagic.context_metadata')").fetchone()
        cursor.execute("ROLLBACK")
    assert told == ('{"user": 1}',)


def test_every_way_to_execute_has_the_settings(post):
    with pgtrigger.ignore(KEEP):
        # As another task on this connection would leave it.
        for execute in (
            lambda cursor: cursor.execute("DELETE FROM live_post"),
            lambda cursor: cursor.executemany("DELETE FROM live_post WHERE title = %s", [("a",), ("b",)]),
            lambda cursor: list(cursor.stream("DELETE FROM live_post RETURNING id")),
        ):
            post.objects.create(title="a")
            psycopg.Cursor(raw()).execute("ROLLBACK")
            with raw().cursor() as cursor:
                cursor.execute("BEGIN")
                psycopg.Cursor(raw()).execute("RESET pgmagic.ignore")
                default.execute_wrappers[0].forget()
                execute(cursor)
                cursor.execute("ROLLBACK")


def test_cursors_stay_what_they_were(live):
    with closing(raw().cursor(row_factory=psycopg.rows.dict_row)) as cursor:
        assert isinstance(cursor, psycopg.Cursor)
        assert cursor.execute("SELECT %s AS n", [1]).fetchall() == [{"n": 1}]
    with transaction.atomic(), raw().cursor("named") as named:
        assert isinstance(named, psycopg.ServerCursor)
        assert named.execute("SELECT 1").fetchall() == [(1,)]
    with raw().cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE copied (n int)")
        with cursor.copy("COPY copied FROM STDIN") as copy:
            copy.write("1\n")
        with cursor.copy("COPY copied TO STDOUT") as copy:
            assert b"".join(copy) == b"1\n"


def test_pipeline_is_not_disturbed(post):
    with raw().pipeline(), raw().cursor() as cursor:
        with pgtrigger.ignore(KEEP):
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)
        cursor.execute("SELECT 2")
        assert cursor.fetchone() == (2,)
    assert not deletes()
