"""`ignore`: the triggers that a block names do not fire for it, and nothing leaks out of it."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.db import DatabaseError, connections, models, transaction
from django.db import connection as default
from psycopg import sql

from pgmagic import pgtrigger
from pgmagic.db.runtime.session_settings import ServerSession
from pgmagic.errors import DeclarationError, TriggerError, UnknownTriggerError

KEEP, FIXED = "live.Post:keep", "live.Post:fixed"


@pytest.fixture
def post(live):
    """A model whose rows may neither be deleted nor changed."""
    return live.declare(
        "Post",
        [
            pgtrigger.Protect(name="keep", operation=pgtrigger.Delete),
            pgtrigger.ReadOnly(name="fixed", fields=["title"]),
        ],
        title=models.TextField(),
    )


def setting():
    """What the server's session holds, asked for without Django: nothing is sent on the way."""
    with default.connection.cursor() as cursor:
        return cursor.execute("SELECT coalesce(current_setting('pgmagic.ignore', true), '')").fetchone()[0]


def deletes(model):
    """Whether a new row can be deleted; it is gone either way."""
    pk = model.objects.create(title="a").pk
    try:
        with transaction.atomic():
            model.objects.filter(pk=pk).delete()
    except TriggerError:
        return False
    return True


def updates(model):
    pk = model.objects.create(title="a").pk
    try:
        with transaction.atomic():
            model.objects.filter(pk=pk).update(title="b")
    except TriggerError:
        return False
    return True


@pytest.fixture(autouse=True)
def nothing_leaks(schema):
    """No test leaves a setting on the server."""
    yield
    if default.connection is not None and not default.connection.closed:
        with default.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert setting() == ""


def test_block_ignores_the_named_triggers_only(post):
    assert (deletes(post), updates(post)) == (False, False)
    with pgtrigger.ignore(KEEP):
        assert (deletes(post), updates(post)) == (True, False)
    assert (deletes(post), updates(post)) == (False, False)
    assert setting() == ""


def test_block_without_uris_ignores_all(post):
    with pgtrigger.ignore():
        assert (deletes(post), updates(post)) == (True, True)
    assert (deletes(post), updates(post)) == (False, False)


def test_blocks_nest(post):
    with pgtrigger.ignore(KEEP):
        with pgtrigger.ignore(FIXED):
            assert (deletes(post), updates(post)) == (True, True)
            with pgtrigger.ignore(KEEP), pgtrigger.ignore():
                assert (deletes(post), updates(post)) == (True, True)
            assert (deletes(post), updates(post)) == (True, True)
        assert (deletes(post), updates(post)) == (True, False)
    with pgtrigger.ignore(), pgtrigger.ignore(KEEP):
        assert (deletes(post), updates(post)) == (True, True)
    assert (deletes(post), updates(post)) == (False, False)


def test_decorator_ignores_for_each_call(post):
    @pgtrigger.ignore(KEEP)
    def delete(depth):
        found = [deletes(post)]
        return found + delete(depth - 1) if depth else found

    assert delete(2) == [True] * 3
    assert not deletes(post)
    assert delete(0) == [True]


def test_exception_ends_the_block(post):
    with pytest.raises(ZeroDivisionError), pgtrigger.ignore():
        raise ZeroDivisionError
    assert setting() == ""
    assert not deletes(post)


def test_is_ignored_says_so(post):
    assert not pgtrigger.is_ignored(KEEP)
    with pgtrigger.ignore(KEEP):
        assert (pgtrigger.is_ignored(KEEP), pgtrigger.is_ignored(FIXED)) == (True, False)
    with pgtrigger.ignore():
        assert pgtrigger.is_ignored(FIXED)
    assert not pgtrigger.is_ignored(KEEP)


@pytest.mark.parametrize("uri", ["live.Post:nope", "live.Nope:keep"])
def test_unknown_uri_is_refused_and_nothing_is_ignored(post, uri):
    with (
        pytest.raises(UnknownTriggerError, match=r"registered are: live\.Post:fixed, live\.Post:keep"),
        pgtrigger.ignore(uri),
    ):
        pytest.fail("the block was entered")
    with (
        pytest.raises(DeclarationError, match="Trigger URI must be in the format"),
        pgtrigger.ignore(KEEP, "keep"),
    ):
        pytest.fail("the block was entered")
    assert setting() == ""


def test_trigger_that_cannot_be_ignored_is_refused(live):
    class Always(pgtrigger.Protect):
        ignorable = False

    model = live.declare("Post", [Always(name="keep", operation=pgtrigger.Delete)], title=models.TextField())
    with pytest.raises(DeclarationError, match=r"live\.Post:keep cannot be ignored"), pgtrigger.ignore(KEEP):
        pytest.fail("the block was entered")
    with pgtrigger.ignore():
        assert not deletes(model)


# Transactions


def test_block_inside_and_outside_of_a_transaction(post):
    with pgtrigger.ignore(KEEP), transaction.atomic():
        assert deletes(post)
    with transaction.atomic():
        with pgtrigger.ignore(KEEP):
            assert deletes(post)
        assert not deletes(post)
    assert setting() == ""


@pytest.mark.parametrize("raw", [False, True], ids=["django", "psycopg"])
def test_rollback_to_a_savepoint_inside_of_the_block_keeps_it(live, post, raw):
    def execute(statement):
        if raw:
            live.sql(sql.SQL(statement))
        else:
            live.sql(statement)

    with transaction.atomic():
        execute("SAVEPOINT before")
        with pgtrigger.ignore(KEEP):
            execute("ROLLBACK TO SAVEPOINT before")
            assert deletes(post)
        assert not deletes(post)


@pytest.mark.parametrize(
    "statement", ["-- go\nROLLBACK TO s", "/* go */ rollback to savepoint s", "  ROLLBACK TO s", "ABORT"]
)
def test_rollback_is_noticed_however_it_is_written(live, post, statement):
    live.sql("SELECT 1")
    post.objects.create(title="a")
    live.sql("BEGIN")
    live.sql("SAVEPOINT s")
    with pgtrigger.ignore(KEEP):
        live.sql(statement)
        assert live.sql("DELETE FROM live_post RETURNING title") == [("a",)]
    live.sql("ROLLBACK")


def test_rollback_to_a_savepoint_that_began_inside(post):
    with pgtrigger.ignore(KEEP):
        with pytest.raises(ZeroDivisionError), transaction.atomic(), transaction.atomic():
            raise ZeroDivisionError
        assert deletes(post)
    assert not deletes(post)


def test_rollback_after_the_block_does_not_bring_it_back(post):
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), transaction.atomic(), pgtrigger.ignore(KEEP):
            raise ZeroDivisionError
        assert setting() == ""
        assert not deletes(post)


def test_block_that_ends_in_a_transaction_which_is_rolled_back(post):
    block = pgtrigger.ignore(KEEP)
    block.__enter__()
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012
        block.__exit__(None, None, None)
        raise ZeroDivisionError
    assert not deletes(post)
    assert setting() == ""


def test_transaction_in_error_at_the_end_of_the_block(live, post):
    with pytest.raises(DatabaseError), transaction.atomic(), pgtrigger.ignore(KEEP):
        live.sql("SELECT 1/0")
    assert not deletes(post)
    with pgtrigger.ignore(KEEP):
        with pytest.raises(DatabaseError), transaction.atomic():
            live.sql("SELECT 1/0")
        assert deletes(post)


def test_block_entered_in_a_transaction_in_error(live, post):
    with transaction.atomic():
        post.objects.create(title="a")
        with pytest.raises(DatabaseError), transaction.atomic():  # noqa: PT012
            with pytest.raises(DatabaseError):
                live.sql("SELECT 1/0")
            with pgtrigger.ignore(KEEP):
                live.sql("SELECT 1")
        with pgtrigger.ignore(KEEP):
            assert deletes(post)
        assert not deletes(post)


def test_rejection_inside_the_block_changes_nothing(post):
    with pgtrigger.ignore(KEEP):
        assert not updates(post)
        assert deletes(post)
        assert not updates(post)
    assert not deletes(post)


def test_manual_transactions(live, post):
    transaction.set_autocommit(False)
    try:
        post.objects.create(title="a")
        with pgtrigger.ignore(KEEP):
            transaction.rollback()
            post.objects.create(title="b")
            assert post.objects.all().delete()[0] == 1
            transaction.commit()
            post.objects.create(title="c")
            assert post.objects.all().delete()[0] == 1
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert not deletes(post)


@pytest.mark.parametrize("statement", ["DISCARD ALL", "RESET ALL", "RESET pgmagic.ignore"])
def test_settings_reset_by_the_user_are_sent_again(live, post, statement):
    with pgtrigger.ignore(KEEP):
        live.sql(statement)
        live.sql(f'SET search_path TO "{live.schema}"')
        assert deletes(post)
    assert not deletes(post)


def test_deferred_trigger_is_ignored_if_the_block_is_open_at_commit(live):
    model = live.declare("Post", [
        pgtrigger.Trigger(name="late", when=pgtrigger.After, operation=pgtrigger.Insert,
                          timing=pgtrigger.Deferred, func="RAISE 'late';"),
    ], title=models.TextField())  # fmt: skip
    with pgtrigger.ignore("live.Post:late"), transaction.atomic():
        model.objects.create(title="a")
    with pytest.raises(TriggerError, match="late"), transaction.atomic(), pgtrigger.ignore("live.Post:late"):
        model.objects.create(title="b")
    assert model.objects.count() == 1


# Other ways to execute


def test_every_kind_of_statement_passes_unchanged(live, post):
    with pgtrigger.ignore(KEEP):
        assert live.sql("SELECT '100%%', %(a)s", {"a": 1}) == [("100%", 1)]
        assert live.sql("SELECT '100%'") == [("100%",)]
        assert live.sql(sql.SQL("SELECT {}").format(sql.Literal("100%"))) == [("100%",)]
        with default.cursor() as cursor:
            cursor.executemany("INSERT INTO live_post (title) VALUES (%s)", [("a",), ("b",)])
            cursor.execute(b"DELETE FROM live_post")
            assert cursor.rowcount == 2
        live.sql("VACUUM live_post")
        live.sql("CREATE INDEX CONCURRENTLY ON live_post (title)")
        list(post.objects.all().iterator())
    assert not deletes(post)


def test_raw_cursors_have_the_settings_when_the_block_begins_and_ends(post):
    post.objects.create(title="a")
    with pgtrigger.ignore(KEEP), default.connection.cursor() as cursor:
        assert cursor.execute("DELETE FROM live_post").rowcount == 1
    with default.connection.cursor() as cursor:
        cursor.execute("INSERT INTO live_post (title) VALUES ('b')")
        with pytest.raises(Exception, match="Cannot delete"):
            cursor.execute("DELETE FROM live_post")


def test_connection_reopened_inside_the_block(post):
    with pgtrigger.ignore(KEEP):
        default.close()
        assert deletes(post)
        default.close()
    assert not deletes(post)
    default.close()
    with pgtrigger.ignore(KEEP):
        assert deletes(post)


def test_nothing_is_sent_that_the_server_knows(post, monkeypatch):
    told = []
    original = ServerSession.execute_at_once
    monkeypatch.setattr(
        ServerSession, "execute_at_once", lambda *args: told.append(args[1].as_string()) or original(*args)
    )
    with default.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert told == []
        with pgtrigger.ignore(KEEP):
            for _ in range(5):
                cursor.execute("SELECT 1")
            with transaction.atomic():
                cursor.execute("SELECT 1")
    # Once at the beginning of the block, once at its end.
    assert len(told) == 2


# Threads, tasks, databases


def test_threads_share_nothing(post):
    inside, checked, found = threading.Event(), threading.Event(), []

    def other():
        inside.wait(10)
        found.append(deletes(post))
        with pgtrigger.ignore(FIXED):
            found.append(pgtrigger.is_ignored(KEEP))
        connections["default"].close()
        checked.set()

    thread = threading.Thread(target=other)
    thread.start()
    with pgtrigger.ignore(KEEP):
        inside.set()
        assert checked.wait(10)
        assert deletes(post)
    thread.join()
    assert found == [False, False]


def test_tasks_on_one_connection_share_nothing_else(post):
    async def work(ignored, log):
        for _ in range(5):
            if ignored:
                with pgtrigger.ignore(KEEP):
                    await asyncio.sleep(0)
                    log.append(deletes(post))
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
            log.append(deletes(post))

    async def both():
        logs = [], []
        await asyncio.gather(work(True, logs[0]), work(False, logs[1]))
        return logs

    with_block, without = asyncio.run(both())
    assert with_block == [True, False] * 5
    assert without == [False] * 5


def test_other_databases_are_left_alone(post, monkeypatch):
    monkeypatch.setitem(connections.settings, "elsewhere", connections.settings["default"])
    with pgtrigger.ignore(KEEP, databases=["default"]):
        assert deletes(post)
    with pgtrigger.ignore(KEEP, databases=["elsewhere"]):
        assert not deletes(post)
        with pgtrigger.ignore(FIXED, databases=["default"]):
            assert (deletes(post), updates(post)) == (False, True)
    assert not deletes(post)


def test_truncate_and_statement_triggers_are_ignored(live):
    live.declare(
        "Post",
        [
            pgtrigger.Protect(name="keep", operation=pgtrigger.Delete | pgtrigger.Truncate),
            pgtrigger.Protect(name="whole", operation=pgtrigger.Update, level=pgtrigger.Statement),
        ],
        title=models.TextField(),
    )
    with pgtrigger.ignore(KEEP, "live.Post:whole"):
        live.sql("TRUNCATE live_post")
        live.sql("INSERT INTO live_post (title) VALUES ('a')")
        live.sql("UPDATE live_post SET title = ''")
    for statement in ("TRUNCATE live_post", "UPDATE live_post SET title = ''"):
        with pytest.raises(TriggerError):
            live.sql(statement)


def test_trigger_of_a_view_is_ignored_in_its_body(live):
    live.sql("CREATE TABLE live_base (id bigserial PRIMARY KEY, title text)")
    live.sql("CREATE VIEW live_seen AS SELECT * FROM live_base")
    seen = live.declare("Seen", [
        pgtrigger.Trigger(name="t", when=pgtrigger.InsteadOf, operation=pgtrigger.Insert, func="RAISE 'no';"),
    ], meta={"managed": False}, title=models.TextField())  # fmt: skip
    live.apply(seen)
    with pytest.raises(TriggerError, match="no"):
        live.sql("INSERT INTO live_seen (title) VALUES ('a')")
    with pgtrigger.ignore("live.Seen:t"):
        live.sql("INSERT INTO live_seen (title) VALUES ('a')")
