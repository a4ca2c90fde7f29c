"""Modules that projects import from django-pghistory, though it documents none of them."""

from __future__ import annotations

import json
import pickle
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models
from django.test import override_settings

from pgmagic import pghistory
from pgmagic.errors import ContextError, DeclarationError
from pgmagic.pghistory import config, constants, core, runtime, trigger, utils
from pgmagic.pghistory.models import Context, Event, EventQuerySet, PGHistoryJSONField
from tests.history_support import History, declaring, model

KNOWN = uuid.UUID(int=5)


@pytest.fixture
def tracker() -> Iterator[Any]:
    """The tracker of contexts; no context is open before a test and after it."""
    yield runtime._tracker
    if hasattr(runtime._tracker, "value"):
        del runtime._tracker.value


@pytest.fixture
def item(history: History) -> Any:
    """A tracked model."""

    def declare() -> Any:
        return pghistory.track(pghistory.InsertEvent())(model("Item", n=models.IntegerField()))

    return history.declare(declare)


def recorded(item: Any) -> list[Any]:
    """Return the context of each event."""
    events = item.pgh_event_model.objects.select_related("pgh_context").order_by("pgh_id")
    return [event.pgh_context and (event.pgh_context_id, event.pgh_context.metadata) for event in events]


def test_tracker_has_a_value_while_a_context_is_open(tracker: Any) -> None:
    assert not hasattr(tracker, "value")
    with pghistory.context(a=1) as opened:
        assert tracker.value is opened
        assert isinstance(tracker.value, runtime.Context)
        with pghistory.context(b=2):
            assert tracker.value == (opened.id, {"a": 1, "b": 2})
        pghistory.context(c=3)
        assert tracker.value.metadata == {"a": 1, "b": 2, "c": 3}
    with pytest.raises(AttributeError, match="No context is open"):
        _ = tracker.value
    with pytest.raises(AttributeError):
        del tracker.value


def test_context_that_is_set_on_the_tracker_goes_on_elsewhere(item: Any, tracker: Any) -> None:
    with pghistory.context(user=1) as opened:
        item.objects.create(n=1)
        sent = pickle.dumps(tracker.value)
    item.objects.create(n=2)
    tracker.value = pickle.loads(sent)  # noqa: S301
    with connection.execute_wrapper(runtime._inject_history_context):
        item.objects.create(n=3)
    with pghistory.context(task="t"):
        item.objects.create(n=4)
    assert tracker.value.id == opened.id
    del tracker.value
    item.objects.create(n=5)
    tracker.value = runtime.Context(id=str(KNOWN), metadata={"q": "it's"})
    item.objects.create(n=6)
    metadata = {"user": 1, "task": "t"}
    same = (opened.id, metadata)
    assert recorded(item) == [same, None, same, same, None, (KNOWN, {"q": "it's"})]
    assert Context.objects.count() == 2


def test_what_is_written_into_the_open_metadata_is_recorded(item: Any, tracker: Any) -> None:
    with pghistory.context(a=1, b=1, c=1) as opened:
        tracker.value.metadata["a"] = 2
        tracker.value.metadata.update(d=4)
        del tracker.value.metadata["b"]
        assert opened.metadata.pop("c") == 1
        opened.metadata.setdefault("e", 5)
        metadata = opened.metadata
        metadata |= {"f": 6}
        with pytest.raises(ContextError):
            opened.metadata["g"] = object()
        item.objects.create(n=1)
    opened.metadata["late"] = True
    item.objects.create(n=2)
    assert recorded(item) == [(opened.id, {"a": 2, "d": 4, "e": 5, "f": 6}), None]


def test_injecting_passes_a_statement_on_as_it_is() -> None:
    seen: list[Any] = []

    def execute(*arguments: Any) -> str:
        seen.append(arguments)
        return "done"

    arguments = ("UPDATE x SET a = %s", (1,), False, {"connection": connection})
    assert runtime._inject_history_context(execute, *arguments) == "done"
    assert seen == [arguments]


def test_core_has_what_the_package_has(history: History) -> None:
    names = {*core.__all__} - {"event_models"}
    assert {name: getattr(core, name) for name in names} == {name: getattr(pghistory, name) for name in names}
    assert (constants.DEFAULT, pghistory.core, pghistory.utils) == (pghistory.DEFAULT, core, utils)
    with pytest.raises(AttributeError, match=r"module 'pgmagic\.pghistory' has no attribute 'collectors'"):
        _ = pghistory.collectors


def test_event_models_are_found_by_what_they_track_and_refer_to(declared_here: None) -> None:
    with declaring():
        author = pghistory.track()(model("Author", name=models.TextField()))
        post = pghistory.track()(model("Post", author=models.ForeignKey(author, models.CASCADE)))
        note = pghistory.track(obj_field=None)(model("Note", author=models.ForeignKey(author, models.CASCADE)))
        proxy = model("Proxy", bases=(author,), meta={"proxy": True})

    def found(**filters: Any) -> list[str]:
        return [
            event_model.__name__ for event_model in core.event_models(**filters) if "hist" in event_model._meta.label
        ]

    assert found() == ["AuthorEvent", "NoteEvent", "PostEvent"]
    assert found(references_model=author) == found(references_model=proxy) == ["AuthorEvent", "NoteEvent", "PostEvent"]
    assert found(references_model=post) == found(tracks_model=post) == ["PostEvent"]
    assert found(tracks_model=proxy) == ["AuthorEvent"]
    assert found(tracks_model=note) == []
    assert found(tracks_model=note, include_missing_pgh_obj=True) == ["NoteEvent"]
    assert found(models=[post.pgh_event_model], tracks_model=author) == []


SETTINGS: dict[str, tuple[Any, Any, Any]] = {
    "append_only": (False, True, True),
    "created_at_function": ("NOW()", "CLOCK_TIMESTAMP()", "CLOCK_TIMESTAMP()"),
    "default_trackers": (None, (), ()),
    "exclude_field_kwargs": ({}, {"django.db.models.TextField": ["help_text"]}, {models.TextField: ["help_text"]}),
    "install_context_func_on_migrate": (False, True, True),
    "json_encoder": (DjangoJSONEncoder, "json.JSONEncoder", json.JSONEncoder),
    "level": (pghistory.Statement, pghistory.Row, pghistory.Row),
    "middleware_methods": (("GET", "POST", "PUT", "PATCH", "DELETE"), ["POST"], ("POST",)),
    "base_model": (Event, Event, Event),
    "context_field": (None, None, None),
    "obj_field": (None, None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_config_says_what_a_setting_is_now(name: str) -> None:
    default, given, found = SETTINGS[name]
    function = getattr(config, name)
    if default is not None or name == "default_trackers":
        assert function() == default
    with override_settings(**{f"PGHISTORY_{name.upper()}": given}):
        assert function() == found


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("context_field", pghistory.ContextForeignKey), ("context_id_field", pghistory.ContextUUIDField),
        ("field", pghistory.Field), ("foreign_key_field", pghistory.ForeignKey),
        ("obj_field", pghistory.ObjForeignKey), ("related_field", pghistory.RelatedField),
    ],
)  # fmt: skip
def test_config_says_how_fields_are_made(name: str, kind: type) -> None:
    assert type(getattr(config, name)()) is kind
    given = kind(db_index=True)  # type: ignore[call-arg]
    with override_settings(**{f"PGHISTORY_{name.upper()}": given}):
        assert getattr(config, name)() is given
    assert getattr(config, kind.__name__) is kind


def test_query_set_of_an_event_model_is_the_one_that_projects_extend(declared_here: None) -> None:
    with declaring():
        post = pghistory.track()(model("Post", title=models.TextField()))

        class Own(EventQuerySet):
            def titled(self) -> Any:
                return self.exclude(title="")

        own = pghistory.track(pghistory.InsertEvent(), attrs={"objects": Own.as_manager()})(
            model("Own", title=models.TextField())
        )
    assert type(post.pgh_event_model.objects.all()) is EventQuerySet
    assert type(own.pgh_event_model.objects.titled()) is Own


def test_json_fields_of_upstream_are_written_as_the_field_that_event_models_have() -> None:
    plain = models.JSONField(encoder=DjangoJSONEncoder, null=True)
    assert utils.JSONField(null=True).deconstruct() == plain.deconstruct()
    assert PGHistoryJSONField is utils.JSONField
    assert utils.JSONField(encoder=None).encoder is None


def test_trigger_of_old_migrations_asks_for_what_it_needs() -> None:
    with pytest.raises(DeclarationError, match="name a tracker such as pghistory"):
        trigger.Event(label="made")


def test_filters_of_the_admin_are_where_upstream_has_them() -> None:
    from pgmagic.pghistory.admin.core import BackFilter, EventModelAdmin, ObjFilter

    assert (ObjFilter.parameter_name, BackFilter.parameter_name) == ("obj", "back")
    assert ObjFilter in EventModelAdmin.list_filter
