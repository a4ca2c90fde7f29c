from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.contrib.auth.models import AnonymousUser, User
from django.core.management import call_command
from django.db import models as django_models
from django.http import HttpResponse
from django.test import RequestFactory

from pgmagic import pghistory
from pgmagic.db.runtime.context import open_context
from pgmagic.declare.event_fields import DEFAULT, Default
from pgmagic.pghistory import models
from pgmagic.pghistory.middleware import HistoryMiddleware
from tests.history_support import History, declaring, model

# The names of django-pghistory 3.9.
UPSTREAM = {
    "AllChange", "AllDontChange", "AnyChange", "AnyDontChange", "Condition", "ContextForeignKey", "ContextJSONField",
    "ContextUUIDField", "DEFAULT", "Delete", "DeleteEvent", "F", "Field", "ForeignKey", "Insert", "InsertEvent",
    "ManualEvent", "New", "ObjForeignKey", "Old", "ProxyField", "Q", "RelatedField", "Row", "RowEvent", "Statement",
    "Tracker", "Update", "UpdateEvent", "__version__", "context", "create_event", "create_event_model", "track",
}  # fmt: skip
OLDER = {
    "AfterInsert", "AfterInsertOrUpdate", "AfterUpdate", "BeforeDelete", "BeforeUpdate", "BeforeUpdateOrDelete",
    "Snapshot",
}  # fmt: skip


def test_exports_are_upstreams_and_the_older_names() -> None:
    assert set(pghistory.__all__) == UPSTREAM | OLDER
    assert all(hasattr(pghistory, name) for name in pghistory.__all__)
    assert isinstance(DEFAULT, Default)
    assert (pghistory.Old, pghistory.New) == ("OLD", "NEW")


@pytest.mark.parametrize("name", ["Context", "Event", "Events", "AggregateEvent", "MiddlewareEvents"])
def test_models_are_where_upstream_has_them(name: str) -> None:
    assert hasattr(models, name)


def test_migrations_are_complete() -> None:
    call_command("makemigrations", "pghistory", check=True, dry_run=True, stdout=StringIO())


def seen(method: str, user: Any = None, *, asynchronous: bool = False, change: Any = None) -> Any:
    """Return the metadata of the context in which a view answers a request."""
    found: list[Any] = []

    def view(request: Any) -> HttpResponse:
        if change is not None:
            request.user = change
        opened = open_context()
        found.append(opened and opened.metadata)
        return HttpResponse()

    async def async_view(request: Any) -> HttpResponse:
        return view(request)

    request = getattr(RequestFactory(), method)("/path/?query=1")
    if user is not None:
        request.user = user
    if asynchronous:
        middleware = HistoryMiddleware(async_view)
        assert iscoroutinefunction(middleware)
        async_to_sync(middleware)(request)
    else:
        HistoryMiddleware(view)(request)
    return found[0]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["wsgi", "asgi"])
def test_middleware_attaches_user_and_path(asynchronous: bool) -> None:
    assert seen("post", User(pk=3), asynchronous=asynchronous) == {"user": 3, "url": "/path/"}
    assert seen("get", AnonymousUser(), asynchronous=asynchronous) == {"user": None, "url": "/path/"}
    assert seen("get", asynchronous=asynchronous) == {"user": None, "url": "/path/"}
    assert seen("options", User(pk=3), asynchronous=asynchronous) is None
    assert seen("put", asynchronous=asynchronous, change=User(pk=9)) == {"user": 9, "url": "/path/"}
    assert open_context() is None


def test_methods_of_the_middleware_are_a_setting(settings_with: Any) -> None:
    with settings_with(PGHISTORY_MIDDLEWARE_METHODS=("OPTIONS",)):
        assert seen("options") == {"user": None, "url": "/path/"}
        assert seen("get") is None


def test_migrations_install_what_triggers_call(history: History, settings_with: Any) -> None:
    call_command("migrate", "pghistory", verbosity=0)
    history.has_context = True
    with declaring() as declared:
        tracked = pghistory.track()(model("Thing", n=django_models.IntegerField()))
    history.install(declared, routines=False)
    with pghistory.context(user=1):
        tracked.objects.create(n=1)
    assert tracked.pgh_event_model.objects.get().pgh_context.metadata == {"user": 1}
    with settings_with(MIGRATION_MODULES={"hist": None}):
        call_command("migrate", "pghistory", "zero", verbosity=0)
    assert history.run("SELECT to_regproc('pgmagic_attach_context'), to_regclass('pghistory_context')") == [
        (None, None)
    ]
