from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from django.apps import apps
from django.contrib.contenttypes.fields import GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from pgmagic import pghistory
from pgmagic.declare import registry
from pgmagic.declare.event_indexes import ContextIndex, TimeIndex
from pgmagic.errors import DeclarationError
from pgmagic.pghistory.models import Event
from tests.history_support import MODULE, declared_here, declaring, model, settings_with  # noqa: F401

pytestmark = pytest.mark.usefixtures("declared_here")


def tracked(
    *trackers: Any, fields_of_model: dict[str, Any] | None = None, model_meta: Any = None, **kwargs: Any
) -> Any:
    fields = fields_of_model or {"n": models.IntegerField(), "long_note": models.TextField(default="")}
    with declaring():
        return pghistory.track(*trackers, **kwargs)(model("Thing", **fields, meta=model_meta or {}))


def own(event_model: Any) -> dict[str, Any]:
    return {field.name: field for field in event_model._meta.local_fields if field.name.startswith("pgh_")}


def test_an_event_model_has_its_own_fields_before_the_mirrored_ones() -> None:
    thing = tracked()
    event = thing.pgh_event_model
    assert [field.name for field in event._meta.local_fields] == [
        "pgh_id", "pgh_created_at", "pgh_label", "pgh_obj", "pgh_context", "id", "n", "long_note",
    ]  # fmt: skip
    assert issubclass(event, Event)
    assert event._meta.label == "hist.ThingEvent"
    assert event.pgh_tracked_model is thing
    assert [tracker.label for tracker in event.pgh_trackers] == ["insert", "update"]
    assert thing.pgh_event_models == {"insert": event, "update": event}
    obj = own(event)["pgh_obj"]
    assert (obj.related_model, obj.remote_field.related_name, obj.db_constraint) == (thing, "events", False)
    assert own(event)["pgh_context"].null


def test_indexes_serve_an_objects_events_in_order_and_the_events_of_a_context() -> None:
    indexes = {tuple(index.fields): index for index in tracked().pgh_event_model._meta.indexes}
    assert set(indexes) == {("pgh_obj", "pgh_id"), ("pgh_context",), ("pgh_created_at",)}
    assert type(indexes["pgh_context",]) is ContextIndex
    assert all(len(index.name) <= 30 for index in indexes.values())
    chosen = tracked(obj_field=pghistory.ObjForeignKey(related_name="h", db_index=True)).pgh_event_model
    assert [tuple(index.fields) for index in chosen._meta.indexes] == [("pgh_context",), ("pgh_created_at",)]
    assert own(chosen)["pgh_obj"].db_index
    mine = tracked(meta={"indexes": [models.Index(fields=["pgh_obj"], name="mine")]}).pgh_event_model
    assert [tuple(index.fields) for index in mine._meta.indexes] == [
        ("pgh_obj",), ("pgh_context",), ("pgh_created_at",)
    ]  # fmt: skip
    assert type(indexes["pgh_created_at",]) is TimeIndex
    by_time = tracked(meta={"indexes": [models.Index(fields=["pgh_created_at"], name="own")]}).pgh_event_model
    assert [index.name for index in by_time._meta.indexes if "pgh_created_at" in index.fields] == ["own"]


def test_indexes_of_a_subset_of_context_storage() -> None:
    stored = tracked(context_field=pghistory.ContextJSONField()).pgh_event_model
    assert ("pgh_context_id",) in {tuple(index.fields) for index in stored._meta.indexes}
    by_tree = tracked(context_field=pghistory.ContextForeignKey(db_index=True)).pgh_event_model
    assert [index.fields for index in by_tree._meta.indexes] == [["pgh_obj", "pgh_id"], ["pgh_created_at"]]
    assert own(by_tree)["pgh_context"].db_index
    copies = pghistory.ContextUUIDField(db_index=True)
    by_tree = tracked(context_field=pghistory.ContextJSONField(), context_id_field=copies).pgh_event_model
    assert [index.fields for index in by_tree._meta.indexes] == [["pgh_obj", "pgh_id"], ["pgh_created_at"]]
    assert own(by_tree)["pgh_context_id"].db_index
    without = tracked(context_field=None, obj_field=None).pgh_event_model
    assert [tuple(index.fields) for index in without._meta.indexes] == [("pgh_created_at",)]


@pytest.mark.parametrize(
    ("kwargs", "name", "accessor"),
    [
        ({}, "ThingEvent", "events"),
        ({"fields": ["long_note"]}, "ThingLongNoteEvent", "long_note_events"),
        ({"fields": ["n", "long_note"]}, "ThingNLongNoteEvent", "n_long_note_events"),
        ({"exclude": ["n"]}, "ThingEvent", "events"),
        ({"model_name": "Past"}, "Past", "events"),
        ({"obj_field": pghistory.ObjForeignKey(related_name="past")}, "ThingEvent", "past"),
        ({"obj_field": pghistory.ObjForeignKey()}, "ThingEvent", "thingevent_set"),
    ],
)
def test_names_are_those_of_upstream(kwargs: Any, name: str, accessor: str) -> None:
    event = tracked(**kwargs).pgh_event_model
    assert event.__name__ == name
    assert own(event)["pgh_obj"].remote_field.get_accessor_name() == accessor


def test_several_event_models_are_chosen_by_label() -> None:
    with declaring():
        thing = model("Thing", a=models.IntegerField(), b=models.IntegerField())
        pghistory.track(pghistory.UpdateEvent("a"), fields=["a"])(thing)
        assert thing.pgh_event_model.__name__ == "ThingAEvent"
        assert hasattr(thing, "events")
        pghistory.track(pghistory.UpdateEvent("b"), fields=["b"])(thing)
    assert {label: found.__name__ for label, found in thing.pgh_event_models.items()} == {
        "a": "ThingAEvent", "b": "ThingBEvent",
    }  # fmt: skip
    with pytest.raises(DeclarationError, match="Thing has 2 event models: choose one by its label"):
        _ = thing.pgh_event_model
    assert not hasattr(thing, "events")


def test_settings_are_defaults_of_arguments(settings_with: Any) -> None:  # noqa: F811
    class Base(Event):
        class Meta:
            abstract = True
            app_label = "hist"

        def said(self) -> str:
            return f"{self.pgh_label}!"

    with settings_with(
        PGHISTORY_APPEND_ONLY=True,
        PGHISTORY_BASE_MODEL=Base,
        PGHISTORY_OBJ_FIELD=None,
        PGHISTORY_CONTEXT_FIELD=pghistory.ContextJSONField(),
        PGHISTORY_CONTEXT_ID_FIELD=None,
        PGHISTORY_DEFAULT_TRACKERS=(pghistory.DeleteEvent(),),
    ):
        event = tracked().pgh_event_model
        explicit = tracked(pghistory.InsertEvent(), append_only=False, context_field=None).pgh_event_model
    assert event(pgh_label="x").said() == "x!"
    assert set(own(event)) == {"pgh_id", "pgh_created_at", "pgh_label", "pgh_context"}
    assert event.pgh_append_only
    assert [tracker.label for tracker in event.pgh_trackers] == ["delete"]
    assert not explicit.pgh_append_only
    assert set(own(explicit)) == {"pgh_id", "pgh_created_at", "pgh_label"}


def test_related_name_setting_default_stands_for_events(settings_with: Any) -> None:  # noqa: F811
    with settings_with(PGHISTORY_OBJ_FIELD=pghistory.ObjForeignKey(null=True)):
        obj = own(tracked().pgh_event_model)["pgh_obj"]
    assert (obj.null, obj.remote_field.related_name) == (True, "events")


def test_attrs_and_meta_extend_the_model() -> None:
    event = tracked(
        attrs={"n": models.TextField(null=True), "extra": models.IntegerField(null=True)},
        meta={"db_table": "past", "ordering": ["-pgh_id"]},
    ).pgh_event_model
    assert type(event._meta.get_field("n")) is models.TextField
    assert (event._meta.db_table, event._meta.ordering) == ("past", ["-pgh_id"])
    assert event._meta.get_field("extra").null


UPDATE_DELETE, AND_TRUNCATE = {"append_only": "UPDATE OR DELETE"}, {"append_only_truncate": "TRUNCATE"}


@pytest.mark.parametrize(
    ("append_only", "refused"),
    [(False, {}), (True, UPDATE_DELETE), (1, UPDATE_DELETE), ("truncate", UPDATE_DELETE | AND_TRUNCATE)],
)
@pytest.mark.parametrize("as_setting", [False, True])
def test_append_only_refuses_truncate_only_if_it_says_so(
    settings_with: Any,  # noqa: F811
    as_setting: bool,
    append_only: Any,
    refused: dict[str, str],
) -> None:
    with settings_with(PGHISTORY_APPEND_ONLY=append_only if as_setting else False):
        event = tracked(**({} if as_setting else {"append_only": append_only})).pgh_event_model
    names = {trigger.name: str(trigger.operation) for owner, trigger in registry.registered() if owner is event}
    assert names == refused
    assert event.pgh_append_only == append_only


def test_append_only_is_a_boolean_or_truncate() -> None:
    with pytest.raises(DeclarationError, match="The events of Thing are given append_only='strict', which is neither"):
        tracked(append_only="strict")


@pytest.mark.parametrize(
    ("fields", "kwargs", "message"),
    [
        ({}, {"fields": ["nope"]}, "Thing has no field named 'nope'"),
        ({}, {"exclude": ["nope"]}, "Thing has no field named 'nope'"),
        ({}, {"fields": "n"}, "a list of field names, but 'n' was given"),
        ({}, {"exclude": "n,long_note"}, "a list of field names, but 'n,long_note' was given"),
        (
            {"tags": models.ManyToManyField(ContentType)},
            {"fields": ["tags"]},
            "'tags' has no column .* Thing",
        ),
        ({"notes": GenericRelation(ContentType)}, {"fields": ["notes"]}, "'notes' has no column .* Thing"),
        (
            {"pgh_label": models.TextField()},
            {},
            "'pgh_label' of Thing has the name of a field that every event has",
        ),
        ({"events": models.IntegerField()}, {}, "Thing has a field 'events', the name by which its events"),
    ],
)
def test_fields_that_cannot_be_tracked_are_named(fields: Any, kwargs: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        tracked(fields_of_model={"n": models.IntegerField(), **fields}, **kwargs)


def test_an_unknown_field_is_djangos_error_too() -> None:
    with pytest.raises(FieldDoesNotExist):
        tracked(fields=["nope"])


def test_many_to_many_fields_are_left_out_unless_named() -> None:
    event = tracked(
        fields_of_model={"n": models.IntegerField(), "tags": models.ManyToManyField(ContentType)}
    ).pgh_event_model
    assert "tags" not in {field.name for field in event._meta.get_fields()}


def test_fields_that_begin_like_ours_are_kept() -> None:
    event = tracked(fields_of_model={"pghost": models.TextField(), "pgh_else": models.TextField()}).pgh_event_model
    assert {"pghost", "pgh_else"} <= {field.name for field in event._meta.fields}


def test_installed_packages_models_need_an_app_of_yours() -> None:
    with pytest.raises(
        DeclarationError, match=r'ContentType belongs to the installed package "django.contrib.contenttypes"'
    ):
        pghistory.track()(ContentType)


def test_composite_keys_need_no_object_field() -> None:
    fields = {
        "pk": models.CompositePrimaryKey("a", "b"), "a": models.IntegerField(), "b": models.IntegerField(),
    }  # fmt: skip
    with pytest.raises(DeclarationError, match=r"Thing has a composite primary key.*obj_field=None"):
        tracked(fields_of_model=fields)
    event = tracked(
        fields_of_model={name: field.clone() for name, field in fields.items()}, obj_field=None
    ).pgh_event_model
    assert [field.name for field in event._meta.local_fields] == [
        "pgh_id",
        "pgh_created_at",
        "pgh_label",
        "pgh_context",
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    ("base", "fields", "name", "accessor"),
    [
        ("Base", None, "ThingBase", "bases"),
        ("BaseEvent", ["n"], "ThingNBaseevent", "n_base_events"),
        ("audit_log", None, "ThingAuditLog", "audit_logs"),
        ("HTTPLog", None, "ThingHttplog", "http_logs"),
        ("Event", ["n"], "ThingNEvent", "n_events"),
    ],
)
def test_a_base_of_ones_own_gives_the_name_that_it_gives_upstream(
    base: str, fields: list[str] | None, name: str, accessor: str
) -> None:
    event = tracked(base_model=model(base, bases=(Event,), meta={"abstract": True}), fields=fields).pgh_event_model
    assert event.__name__ == name
    assert own(event)["pgh_obj"].remote_field.get_accessor_name() == accessor


def test_a_base_that_is_not_an_abstract_model_is_refused() -> None:
    with pytest.raises(DeclarationError, match="The base of an event model is an abstract model"):
        tracked(base_model=ContentType)


def test_event_models_are_published_in_the_tracked_models_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(MODULE)
    monkeypatch.setitem(sys.modules, MODULE, module)
    first = tracked()
    assert module.ThingEvent is first.pgh_event_model
    again = tracked()
    assert module.ThingEvent is again.pgh_event_model
    module.ThingEvent = "something else"
    tracked()
    assert module.ThingEvent == "something else"


def test_abstract_event_models_register_nothing_until_they_are_subclassed() -> None:
    with declaring():
        thing = model("Thing", n=models.IntegerField())
        base = pghistory.create_event_model(thing, pghistory.InsertEvent("made"))
        assert base._meta.abstract
        assert not hasattr(thing, "pgh_event_models")
        event = model("Made", bases=(base,))
    assert thing.pgh_event_models == {"made": event}
    assert [trigger.event_model for owner, trigger in registry.registered() if owner is thing] == [event]


def test_events_of_an_inherited_model_hold_its_own_table() -> None:
    with declaring():
        parent = pghistory.track()(model("Parent", a=models.IntegerField()))
        child = pghistory.track()(model("Child", bases=(parent,), b=models.IntegerField()))
    assert parent.pgh_event_model is not child.pgh_event_model
    assert set(parent.pgh_event_models) == set(child.pgh_event_models) == {"insert", "update"}
    mirrored = [field.name for field in child.pgh_event_model._meta.local_fields if not field.name.startswith("pgh_")]
    assert mirrored == ["parent_ptr", "b"]
    assert child.pgh_event_model.can_revert


def test_indexes_need_no_app_of_djangos() -> None:
    """Django 6 refuses those of django.contrib.postgres to a project that has not installed it."""
    assert not apps.is_installed("django.contrib.postgres")
    assert tracked().pgh_event_model.check(databases=["default"]) == []
