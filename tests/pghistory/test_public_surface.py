from __future__ import annotations

from inspect import signature
from io import StringIO
from operator import attrgetter
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
from pgmagic.declare.event_fields import DEFAULT, UNSET, Default
from pgmagic.pghistory import models
from pgmagic.pghistory.middleware import HistoryMiddleware
from pgmagic.pghistory.models import Events
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
BEYOND = {"backfill", "create_partitions", "prune_events"}

TRACKING = (
    "fields=None, exclude=None, obj_field=UNSET, context_field=UNSET, context_id_field=UNSET, append_only=UNSET, "
    "model_name=None, app_label=None, base_model=None, attrs=None, meta=None"
)
ROW_EVENT = "label=None, *, condition=UNSET, operation=None, row=None, trigger_name=None, level=None"
CHANGE = "*, exclude=None, exclude_auto=None"
# The signatures of django-pghistory 3.9, as `inspect.signature` shows them; the names after `*` and `**` do not count.
# Arguments beyond them may follow, by keyword.
SIGNATURES = {
    "AllChange": CHANGE, "AllDontChange": CHANGE, "AnyChange": CHANGE, "AnyDontChange": CHANGE,
    "Condition": "sql=None",
    "ContextForeignKey": "*, null=True, related_query_name=DEFAULT, **",
    "ContextJSONField": "*, null=True, **", "ContextUUIDField": "*, null=True, **",
    "DeleteEvent": ROW_EVENT, "InsertEvent": ROW_EVENT, "RowEvent": ROW_EVENT, "UpdateEvent": ROW_EVENT,
    "F": "*, **",
    "Field": (
        "*, primary_key=UNSET, unique=UNSET, blank=UNSET, null=UNSET, db_index=UNSET, editable=UNSET, "
        "unique_for_date=UNSET, unique_for_month=UNSET, unique_for_year=UNSET"
    ),
    "ForeignKey": "*, on_delete=UNSET, db_constraint=UNSET, **",
    "ManualEvent": "label=None", "Tracker": "label=None",
    "ObjForeignKey": "*, related_name=DEFAULT, related_query_name=DEFAULT, **",
    "ProxyField": "proxy, field",
    "Q": "*, _connector=None, _negated=False, **",
    "RelatedField": "*, related_name=UNSET, related_query_name=UNSET, **",
    # A positional argument is taken only to be refused in a sentence.
    "context": "*, **",
    "create_event": "obj, *, label, using='default'",
    "create_event_model": f"tracked_model, *, {TRACKING}, abstract=True, level=None",
    "track": f"*, {TRACKING}, level=None",
    "Tracker.setup": "self, event_model", "Tracker.pghistory_setup": "self, event_model",
    "RowEvent.add_event_trigger": "self, event_model",
    # Beyond upstream: the names of older tutorials, and ours.
    **dict.fromkeys(sorted(OLDER), ROW_EVENT),
    "backfill": "model, *, label='backfill', using=None",
    "create_partitions": "model, *, months=3, since=None, using=None",
    "prune_events": "model, *, older_than=None, keep_last=None, with_last=False, batch_size=10000, using=None",
}  # fmt: skip
MODEL_SIGNATURES = {
    # Upstream's `using` is 'default'; ours is the event's own database.
    "Event.revert": "self, using=None",
    "Event.pghistory_setup": "",
    "EventsQuerySet.across": "self, *", "EventsQuerySet.tracks": "self, *", "EventsQuerySet.references": "self, *",
    "EventsQuerySet.target": "self, *",
}  # fmt: skip


def written(function: Any) -> str:
    """Return a signature as `SIGNATURES` has it."""
    parts: list[str] = []
    for parameter in signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            parts.append("**")
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.KEYWORD_ONLY) and "*" not in parts:
            parts.append("*")
        if parameter.kind is not parameter.VAR_POSITIONAL:
            default = parameter.default
            words = {UNSET: "UNSET", DEFAULT: "DEFAULT"}
            shown = words.get(default, repr(default)) if default is not parameter.empty else None
            parts.append(parameter.name if shown is None else f"{parameter.name}={shown}")
    return ", ".join(parts)


@pytest.mark.parametrize("path", sorted(SIGNATURES))
def test_signatures_are_upstreams(path: str) -> None:
    assert written(attrgetter(path)(pghistory)).startswith(SIGNATURES[path].removesuffix(", **"))


@pytest.mark.parametrize("path", sorted(MODEL_SIGNATURES))
def test_signatures_of_models_are_upstreams(path: str) -> None:
    assert written(attrgetter(path)(models)) == MODEL_SIGNATURES[path]


def test_every_callable_has_a_frozen_signature() -> None:
    values = {"DEFAULT", "Delete", "Insert", "New", "Old", "Row", "Statement", "Update", "__version__"}
    assert (UPSTREAM | OLDER | BEYOND) - values == {path for path in SIGNATURES if "." not in path}


def test_events_have_upstreams_columns() -> None:
    assert [(field.name, field.get_internal_type()) for field in Events._meta.fields] == [
        ("pgh_slug", "TextField"), ("pgh_model", "CharField"), ("pgh_id", "BigIntegerField"),
        ("pgh_created_at", "DateTimeField"), ("pgh_label", "TextField"), ("pgh_data", "JSONField"),
        ("pgh_diff", "JSONField"), ("pgh_context_id", "UUIDField"), ("pgh_context", "JSONField"),
        ("pgh_obj_model", "CharField"), ("pgh_obj_id", "TextField"),
    ]  # fmt: skip
    assert [field.name for field in models.Context._meta.fields] == [
        "id",
        "created_at",
        "updated_at",
        "metadata",
    ]


def test_exports_are_upstreams_and_the_older_names() -> None:
    assert set(pghistory.__all__) == UPSTREAM | OLDER | BEYOND
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
