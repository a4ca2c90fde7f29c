"""Other databases and other ways to bind parameters: `ignore`, `schema` and `context` work there, too."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.db import connection as default
from django.db import connections, models
from psycopg import sql

from pgmagic import pghistory, pgtrigger
from pgmagic.db.runtime.context import open_context
from pgmagic.errors import TriggerError
from tests.db.live import conninfo

KEEP = "live.Post:keep"
READ = (
    "SELECT coalesce(current_setting('pgmagic.ignore', true), ''), "
    "coalesce(current_setting('pgmagic.context_metadata', true), ''), current_setting('search_path')"
)


@pytest.fixture
def post(live):
    """A model whose rows may not be deleted."""
    return live.declare("Post", [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)], title=models.TextField())


@pytest.fixture(params=[True, False], ids=["server_side_binding", "client_side_binding"])
def other(live, request, monkeypatch):
    """A second alias, with Django's own engine, in the schema of the test."""
    info = conninfo(live.connection)
    monkeypatch.setitem(connections.settings, "other", {
        "ENGINE": "django.db.backends.postgresql", "NAME": info["dbname"], "USER": info["user"],
        "HOST": info["host"], "PORT": info["port"], "PASSWORD": info["password"],
        "OPTIONS": {"server_side_binding": request.param, "options": f"-c search_path={live.schema}"},
    })  # fmt: skip
    connections.configure_settings(connections.settings)
    yield connections["other"]
    connections["other"].close()
    del connections["other"]


def test_every_alias_is_covered(post, other):
    post.objects.using("other").create(title="a")
    with pgtrigger.ignore(KEEP), pghistory.context(user=1), pgtrigger.schema("a"):
        for connection in (default, other):
            with connection.cursor() as cursor:
                cursor.execute(READ)
                ignored, metadata, path = cursor.fetchone()
            assert (KEEP.partition(":")[2] in ignored, metadata, path) == (True, '{"user": 1}', '"a"')
    with pytest.raises(TriggerError):
        post.objects.using("other").delete()
    with pgtrigger.ignore(KEEP, databases=["default"]), pytest.raises(TriggerError):
        post.objects.using("other").delete()
    with pgtrigger.ignore(KEEP, databases=["other"]):
        post.objects.using("other").delete()


def test_every_kind_of_statement_passes_unchanged(post, other):
    parameters, many = {"title": "100%"}, [{"title": "a"}, {"title": "b"}]
    with (
        pgtrigger.ignore(KEEP),
        pghistory.context(user=1),
        pgtrigger.schema("pg_temp"),
        other.cursor() as cursor,
    ):
        cursor.execute("CREATE TEMPORARY TABLE things (title text)")
        cursor.execute("INSERT INTO things VALUES (%(title)s)", parameters)
        cursor.executemany("INSERT INTO things VALUES (%(title)s)", many)
        cursor.execute("SELECT title FROM things WHERE title LIKE '%'")
        assert [title for (title,) in cursor.fetchall()] == ["100%", "a", "b"]
        cursor.execute(sql.SQL("SELECT {} || '%'").format(sql.Literal("100%")))
        assert cursor.fetchone() == ("100%%",)
        cursor.execute("VACUUM things")
        cursor.execute("CREATE INDEX CONCURRENTLY ON things (title)")
    assert (parameters, many) == ({"title": "100%"}, [{"title": "a"}, {"title": "b"}])


def test_empty_list_of_databases_means_none(post):
    post.objects.create(title="a")
    with pgtrigger.ignore(KEEP, databases=[]), pytest.raises(TriggerError):
        post.objects.all().delete()


def test_trigger_that_cannot_be_ignored_never_is(live):
    class Always(pgtrigger.Protect):
        ignorable = False

    live.declare("Post", [Always(name="keep", operation=pgtrigger.Delete)], title=models.TextField())
    with pgtrigger.ignore():
        assert not pgtrigger.is_ignored(KEEP)


def test_decorated_coroutine_and_generators(post):
    delete = sync_to_async(lambda: post.objects.all().delete()[0])

    @pgtrigger.ignore(KEEP)
    async def run():
        await asyncio.sleep(0)
        return await delete(), pgtrigger.is_ignored(KEEP)

    @pgtrigger.ignore(KEEP)
    def produce():
        for _ in range(2):
            post.objects.create(title="a")
            yield post.objects.all().delete()[0], pgtrigger.is_ignored(KEEP)

    post.objects.create(title="a")

    async def main():
        try:
            return await run()
        finally:
            await sync_to_async(connections.close_all)()

    assert asyncio.run(main()) == (1, True)
    for found in produce():
        assert found == (1, True)
        assert not pgtrigger.is_ignored(KEEP)
        post.objects.create(title="b")
        with pytest.raises(TriggerError):
            post.objects.all().delete()
        with pgtrigger.ignore():
            post.objects.all().delete()


def test_async_blocks(post):
    async def main():
        async with pgtrigger.ignore(KEEP), pghistory.context(user=1), pgtrigger.schema("a"):
            assert pgtrigger.is_ignored(KEEP)
            assert open_context().metadata == {"user": 1}
        assert not pgtrigger.is_ignored(KEEP)
        assert open_context() is None

    asyncio.run(main())
