"""With a pooler that gives each transaction another server session, settings are sent with it, and none stays."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connections, models, transaction
from django.db import connection as default
from django.test import override_settings
from psycopg import sql

from pgmagic import pghistory, pgtrigger
from pgmagic.db import backend
from pgmagic.db.runtime.attaching import POOLER_SETTING, is_behind_pooler
from pgmagic.db.runtime.pooled import PooledSession
from pgmagic.db.runtime.session_settings import session_of
from pgmagic.errors import TriggerError
from pgmagic.pghistory.models import Context
from tests.db.live import conninfo
from tests.db.pooler import TransactionPooler
from tests.history_support import history, history_schema, model  # noqa: F401

KEEP = "hist.Thing:keep"
SETTINGS = ("pgmagic.ignore", "pgmagic.context_id", "pgmagic.context_metadata", "pgmagic.own_search_path")


@pytest.fixture
def thing(history):  # noqa: F811
    """A tracked model whose rows cannot be deleted; rows with n < 0 are refused at COMMIT."""

    def declare():
        thing = pghistory.track(pghistory.InsertEvent())(model("Thing", n=models.IntegerField(unique=True)))
        pgtrigger.register(
            pgtrigger.Protect(name="keep", operation=pgtrigger.Delete),
            pgtrigger.Trigger(
                name="late", when=pgtrigger.After, operation=pgtrigger.Insert, timing=pgtrigger.Deferred,
                func="IF NEW.n < 0 THEN RAISE EXCEPTION 'late'; END IF; RETURN NULL;",
            ),
        )(thing)  # fmt: skip
        return thing

    return history.declare(declare)


@pytest.fixture
def pooler(thing, history):  # noqa: F811
    """The default connection, from now on through a pooler of two server sessions."""
    info = conninfo(default)
    default.close()
    found = TransactionPooler(**info, options=f"-c search_path={history.schema}")
    former, schema = backend.choice.url, backend.choice.schema
    backend.choice.url = (
        f"postgresql://{info['user']}@127.0.0.1:{found.port}/{info['dbname']}?sslmode=disable&gssencmode=disable"
    )
    backend.choice.schema = None
    with override_settings(**{POOLER_SETTING: True}):
        yield found
        default.close()
    assert kept(found) == []
    found.close()
    backend.choice.url, backend.choice.schema = former, schema


def kept(pooler):
    """What the server sessions keep of what they were sent: values of settings, and `path` if theirs is another."""
    found = []
    for server in pooler.backends:
        found += [
            server.execute("SELECT coalesce(current_setting(%s, true), '')", [name]).fetchone()[0] for name in SETTINGS
        ]
        own = "SELECT setting <> reset_val FROM pg_settings WHERE name = 'search_path'"
        found += ["path"] if server.execute(own).fetchone()[0] else []
    return [value for value in found if value]


def pids(number):
    with default.cursor() as cursor:
        found = []
        for _ in range(number):
            cursor.execute("SELECT pg_backend_pid()")
            found.append(cursor.fetchone()[0])
        return found


def contexts(thing):
    events = thing.pgh_event_model.objects.order_by("n")
    return [(event.n, event.pgh_context and event.pgh_context.metadata) for event in events]


def test_every_transaction_has_another_server_session(pooler):
    first, second, third = pids(3)
    assert first == third != second
    with transaction.atomic():
        assert len(set(pids(3))) == 1
    with pgtrigger.ignore():
        assert len(set(pids(2))) == 2


def test_without_the_setting_the_pooler_would_break_a_block(pooler, thing):
    with override_settings(**{POOLER_SETTING: False}):
        thing.objects.create(n=1)
        with pgtrigger.ignore(KEEP):
            seen = set()
            for _ in range(4):
                with default.cursor() as cursor:
                    cursor.execute("SELECT coalesce(current_setting('pgmagic.ignore', true), '') <> ''")
                    seen.add(cursor.fetchone()[0])
        default.close()
    assert seen == {True, False}
    for server in pooler.backends:
        server.execute("DISCARD ALL")


def test_ignore_travels_with_each_statement(pooler, thing):
    thing.objects.bulk_create([thing(n=n) for n in range(6)])
    with pgtrigger.ignore(KEEP):
        for n in range(4):
            assert thing.objects.filter(n=n).delete()[0] == 1
    for n in (4, 5):
        with pytest.raises(TriggerError, match="Cannot delete"):
            thing.objects.filter(n=n).delete()


def test_context_travels_with_each_statement(pooler, thing):
    thing.objects.create(n=0)
    with pghistory.context(user=1):
        for n in range(1, 5):
            thing.objects.create(n=n)
        with default.cursor() as cursor:
            cursor.executemany("INSERT INTO hist_thing (n) VALUES (%s)", [(5,), (6,)])
            cursor.execute("SELECT '100%'")
            cursor.execute(sql.SQL("INSERT INTO hist_thing (n) VALUES ({})").format(7))
    thing.objects.create(n=8)
    assert contexts(thing) == [(0, None), *((n, {"user": 1}) for n in range(1, 8)), (8, None)]
    assert Context.objects.count() == 1


def test_context_travels_with_each_transaction(pooler, thing):
    with pghistory.context(user=1):
        for n in (1, 2, 3):
            with transaction.atomic():
                thing.objects.create(n=n)
                with pghistory.context(step=n):
                    thing.objects.create(n=n * 10)
                with pytest.raises(ZeroDivisionError), transaction.atomic(), pghistory.context(lost=n):  # noqa: PT012
                    thing.objects.create(n=n * 100)
                    raise ZeroDivisionError
                thing.objects.create(n=n * 1000)
    with transaction.atomic():
        thing.objects.create(n=4)
        with pghistory.context(user=2):
            thing.objects.create(n=5)
        thing.objects.create(n=6)
    found = dict(contexts(thing))
    assert {n: found[n] for n in (4, 5, 6)} == {4: None, 5: {"user": 2}, 6: None}
    assert all(found[n * factor]["user"] == 1 for n in (1, 2, 3) for factor in (1, 10, 1000))
    assert set(found) == {n * factor for n in (1, 2, 3) for factor in (1, 10, 1000)} | {4, 5, 6}


def test_isolation_level_of_the_user_s_transaction_is_kept(pooler, thing):
    with pghistory.context(user=1), default.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
        cursor.execute("SHOW transaction_isolation")
        assert cursor.fetchone() == ("serializable",)
        cursor.execute("INSERT INTO hist_thing (n) VALUES (1)")
        cursor.execute("COMMIT")
        cursor.execute("INSERT INTO hist_thing (n) VALUES (2)")
        cursor.execute(sql.SQL("BEGIN"))
        cursor.execute("INSERT INTO hist_thing (n) VALUES (3)")
        cursor.execute(sql.SQL("ROLLBACK"))
        cursor.execute("/* odd */ BEGIN")
        cursor.execute("INSERT INTO hist_thing (n) VALUES (4)")
        cursor.execute("/* odd */ COMMIT")
    assert contexts(thing) == [(1, {"user": 1}), (2, {"user": 1}), (4, {"user": 1})]


def test_statement_that_may_not_run_in_a_transaction(pooler, thing):
    with pghistory.context(user=1), pgtrigger.ignore(), default.cursor() as cursor:
        cursor.execute("VACUUM hist_thing")
        cursor.execute("CREATE INDEX CONCURRENTLY ON hist_thing (n)")
        cursor.execute("INSERT INTO hist_thing (n) VALUES (1)")
    assert thing.objects.count() == 1


def test_refused_statement_is_rolled_back_and_the_next_one_works(pooler, thing):
    with pghistory.context(user=1):
        thing.objects.create(n=1)
        with pytest.raises(IntegrityError):
            thing.objects.create(n=1)
        with pytest.raises(TriggerError, match="Cannot delete"):
            thing.objects.all().delete()
        with pytest.raises(IntegrityError), transaction.atomic():
            thing.objects.create(n=1)
        thing.objects.create(n=2)
    assert contexts(thing) == [(1, {"user": 1}), (2, {"user": 1})]


def test_deferred_trigger_rejects_at_the_commit_of_a_statement(pooler, thing):
    with pghistory.context(user=1):
        with default.cursor() as cursor, pytest.raises(TriggerError, match="late"):
            cursor.execute("INSERT INTO hist_thing (n) VALUES (-1)")
        with pytest.raises(TriggerError, match="late"), transaction.atomic():
            thing.objects.create(n=-2)
        with transaction.atomic(), pgtrigger.ignore("hist.Thing:late"):
            thing.objects.create(n=3)
            pgtrigger.constraints(pgtrigger.Immediate, "hist.Thing:late")
        with pgtrigger.ignore("hist.Thing:late"), default.cursor() as cursor:
            cursor.execute("INSERT INTO hist_thing (n) VALUES (-4)")
    assert contexts(thing) == [(-4, {"user": 1}), (3, {"user": 1})]


def test_schema_travels_along(pooler, thing):
    with pgtrigger.schema("elsewhere"):
        for _ in range(3):
            with default.cursor() as cursor:
                cursor.execute("SHOW search_path")
                assert cursor.fetchone() == ('"elsewhere"',)
        with transaction.atomic(), default.cursor() as cursor:
            with pgtrigger.schema("more"):
                cursor.execute("SHOW search_path")
                assert cursor.fetchone() == ('"elsewhere", "more"',)
            cursor.execute("SHOW search_path")
            assert cursor.fetchone() == ('"elsewhere"',)
    assert thing.objects.count() == 0


def test_manual_transactions(pooler, thing):
    with pghistory.context(user=1):
        transaction.set_autocommit(False)
        try:
            thing.objects.create(n=1)
            transaction.rollback()
            thing.objects.create(n=2)
            transaction.commit()
            thing.objects.create(n=3)
            transaction.commit()
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)
    assert contexts(thing) == [(2, {"user": 1}), (3, {"user": 1})]


def test_setting_names_databases(connection):
    with override_settings(**{POOLER_SETTING: ["other"]}):
        assert (is_behind_pooler("other"), is_behind_pooler("default")) == (True, False)
    with override_settings(**{POOLER_SETTING: True}):
        assert is_behind_pooler("default")
        default.close()
        default.ensure_connection()
        assert isinstance(session_of(default), PooledSession)
    default.close()
    assert connections["default"].connection is None
    assert not is_behind_pooler("default")
