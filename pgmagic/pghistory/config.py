"""Compatibility: django-pghistory's module of settings: its field classes, and a function for each setting.

Each function returns what holds now. New code takes the classes from `pghistory`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from django.core.serializers.json import DjangoJSONEncoder

from pgmagic.compile.clock import created_at_function
from pgmagic.declare import doors
from pgmagic.declare.event_fields import (
    ContextForeignKey,
    ContextJSONField,
    ContextUUIDField,
    Field,
    ForeignKey,
    ObjForeignKey,
    RelatedField,
    imported,
    setting,
)
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.declare.trackers import Tracker
from pgmagic.declare.vocabulary import Level, Statement
from pgmagic.pghistory.installing import installs_context_function
from pgmagic.pghistory.middleware import METHODS

if TYPE_CHECKING:
    import json

    from django.contrib.admin import ModelAdmin
    from django.db.models import QuerySet

    from pgmagic.pghistory.models import Events

__all__ = [
    "ContextForeignKey", "ContextJSONField", "ContextUUIDField", "Field", "ForeignKey", "ObjForeignKey", "RelatedField",
    "admin_all_events", "admin_class", "admin_list_display", "admin_model", "admin_ordering", "admin_queryset",
    "append_only", "base_model", "context_field", "context_id_field", "created_at_function", "default_trackers",
    "exclude_field_kwargs", "field", "foreign_key_field", "install_context_func_on_migrate", "json_encoder", "level",
    "middleware_methods", "obj_field", "related_field",
]  # fmt: skip


def append_only() -> bool:
    """Return whether events cannot be changed or deleted (`PGHISTORY_APPEND_ONLY`)."""
    return bool(setting("PGHISTORY_APPEND_ONLY", False))


def base_model() -> Model:
    """Return the abstract base of event models (`PGHISTORY_BASE_MODEL`)."""
    found: Model = imported(setting("PGHISTORY_BASE_MODEL")) or doors.event_base()()
    return found


def context_field() -> ContextForeignKey | ContextJSONField | None:
    """Return how `pgh_context` is made (`PGHISTORY_CONTEXT_FIELD`)."""
    found: ContextForeignKey | ContextJSONField | None = setting("PGHISTORY_CONTEXT_FIELD", ContextForeignKey())
    return found


def context_id_field() -> ContextUUIDField | None:
    """Return how `pgh_context_id` is made (`PGHISTORY_CONTEXT_ID_FIELD`)."""
    found: ContextUUIDField | None = setting("PGHISTORY_CONTEXT_ID_FIELD", ContextUUIDField())
    return found


def default_trackers() -> Sequence[Tracker] | None:
    """Return what `track()` records if it names no tracker (`PGHISTORY_DEFAULT_TRACKERS`); None without the setting."""
    found: Sequence[Tracker] | None = setting("PGHISTORY_DEFAULT_TRACKERS")
    return found


def exclude_field_kwargs() -> Mapping[type[AnyField] | str, Sequence[str]]:
    """Return the arguments that the fields of events do not take over (`PGHISTORY_EXCLUDE_FIELD_KWARGS`)."""
    return {imported(kind): names for kind, names in (setting("PGHISTORY_EXCLUDE_FIELD_KWARGS") or {}).items()}


def field() -> Field:
    """Return how every field of an event is made (`PGHISTORY_FIELD`)."""
    found: Field = setting("PGHISTORY_FIELD") or Field()
    return found


def foreign_key_field() -> ForeignKey:
    """Return how every foreign key of an event is made (`PGHISTORY_FOREIGN_KEY_FIELD`)."""
    found: ForeignKey = setting("PGHISTORY_FOREIGN_KEY_FIELD") or ForeignKey()
    return found


def install_context_func_on_migrate() -> bool:
    """Return whether `migrate` installs the function of contexts (`PGHISTORY_INSTALL_CONTEXT_FUNC_ON_MIGRATE`)."""
    return installs_context_function()


def json_encoder() -> type[json.JSONEncoder]:
    """Return what encodes the metadata of contexts (`PGHISTORY_JSON_ENCODER`)."""
    found: type[json.JSONEncoder] = imported(setting("PGHISTORY_JSON_ENCODER", DjangoJSONEncoder))
    return found


def level() -> Level:
    """Return the level of event triggers (`PGHISTORY_LEVEL`); by statement, where Postgres can, without the setting."""
    found: Level = setting("PGHISTORY_LEVEL") or Statement
    return found


def middleware_methods() -> tuple[str, ...]:
    """Return the methods of requests for which the middleware opens a context (`PGHISTORY_MIDDLEWARE_METHODS`)."""
    return tuple(setting("PGHISTORY_MIDDLEWARE_METHODS", METHODS))


def obj_field() -> ObjForeignKey | None:
    """Return how `pgh_obj` is made (`PGHISTORY_OBJ_FIELD`)."""
    found: ObjForeignKey | None = setting("PGHISTORY_OBJ_FIELD", ObjForeignKey())
    return found


def related_field() -> RelatedField:
    """Return how every relation of an event is made (`PGHISTORY_RELATED_FIELD`)."""
    found: RelatedField = setting("PGHISTORY_RELATED_FIELD") or RelatedField()
    return found


# The settings of the admin have their home with it; it is imported when Django is ready.


def admin_all_events() -> bool:
    """Return whether the page shows events before a filter is chosen (`PGHISTORY_ADMIN_ALL_EVENTS`)."""
    from pgmagic.pghistory.admin import config

    return config.shows_all_events()


def admin_class() -> type[ModelAdmin[Events]]:
    """Return the class of the page of all events (`PGHISTORY_ADMIN_CLASS`)."""
    from pgmagic.pghistory.admin import config

    return config.admin_class()


def admin_list_display() -> tuple[str, ...]:
    """Return the columns of the page (`PGHISTORY_ADMIN_LIST_DISPLAY`)."""
    from pgmagic.pghistory.admin import config

    return config.list_display()


def admin_model() -> type[Events]:
    """Return the model of the page (`PGHISTORY_ADMIN_MODEL`)."""
    from pgmagic.pghistory.admin import config

    return config.model()


def admin_ordering() -> tuple[str, ...]:
    """Return the order of the page (`PGHISTORY_ADMIN_ORDERING`)."""
    from pgmagic.pghistory.admin import config

    return config.ordering()


def admin_queryset() -> QuerySet[Events]:
    """Return the events that the page shows (`PGHISTORY_ADMIN_QUERYSET`)."""
    from pgmagic.pghistory.admin import config

    return config.queryset()
