"""The pages: their common base, the page of one event model, and the page of all events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from pgmagic.pghistory.admin import config
from pgmagic.pghistory.admin.counting import LimitedPaginator
from pgmagic.pghistory.admin.filters import (
    BackFilter,
    EventModelFilter,
    LabelFilter,
    MethodFilter,
    ObjectFilter,
    ObjFilter,
)

if TYPE_CHECKING:
    from django.contrib.admin.options import _FieldGroups, _ListDisplayT

    from pgmagic.declare.model_types import EventRow
    from pgmagic.pghistory.models import Events

    _ModelAdmin = admin.ModelAdmin[models.Model]
else:
    _ModelAdmin = admin.ModelAdmin

_OWN = ("pgh_id", "pgh_created_at", "pgh_label")


class BaseEventAdmin(_ModelAdmin):
    """A list of events and a page for each, for users with the permission to view; nobody adds, changes or deletes."""

    actions = None
    paginator = LimitedPaginator
    show_full_result_count = False
    # Facets count the events of each label, for which Postgres would read all events once more.
    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: triggers write events."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: an event is what happened."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: an event is what happened."""
        return False

    @admin.display(description="object")
    def pgh_object(self, event: EventRow | Events) -> str:
        """Return a link to the object's page, or the model and the primary key if there is no page."""
        key = getattr(event, "pgh_obj_id", None)
        if key is None:
            return "-"
        # Not `isinstance`: Django imports this module before it imports models.
        if hasattr(event, "pgh_tracked_model"):
            tracked = event.pgh_tracked_model
        else:
            tracked = apps.get_model(event.pgh_obj_model)
        options = tracked._meta
        text = f"{options.label} {key}"
        try:
            url = reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[quote(key)])
        except NoReverseMatch:
            return text
        return format_html('<a href="{}">{}</a>', url, text)

    @admin.display(description="context")
    def pgh_context_metadata(self, event: EventRow | Events) -> str:
        """Return the context's metadata as JSON."""
        context = getattr(event, "pgh_context", None)
        return _as_json(getattr(context, "metadata", context))


class EventModelAdmin(BaseEventAdmin):
    """The page of one event model: `@admin.register(PostEvent) class PostEventAdmin(EventModelAdmin)`.

    Unless the class names others, the list shows the event's own columns, and the page of an event all fields.
    """

    list_filter = (LabelFilter, ObjectFilter, BackFilter)
    ordering = ("-pgh_id",)

    def get_list_display(self, request: HttpRequest) -> _ListDisplayT[models.Model]:
        """Return the event's own columns, unless the class names others."""
        if tuple(self.list_display) != ("__str__",):
            return self.list_display
        return (*_OWN, "pgh_object", "pgh_context_metadata")

    def get_list_select_related(self, request: HttpRequest) -> bool | list[str]:
        """Fetch contexts with their events."""
        context = {field.name: field for field in self.model._meta.fields}.get("pgh_context")
        return ["pgh_context"] if isinstance(context, models.ForeignKey) else False

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> _FieldGroups:
        """Return the event's own fields and the tracked fields; foreign keys as the recorded keys."""
        if self.fields or self.fieldsets:
            return super().get_fields(request, obj)
        tracked = [field.attname for field in self.model._meta.fields if not field.name.startswith("pgh_")]
        return [*_OWN, "pgh_object", "pgh_context_metadata", *tracked]

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> list[str] | tuple[str, ...]:
        """Return every field."""
        return self.get_fields(request, obj)  # type: ignore[return-value]


class EventsAdmin(BaseEventAdmin):
    """The page of the events of all models; the settings `PGHISTORY_ADMIN_…` configure it."""

    list_filter = (LabelFilter, EventModelFilter, MethodFilter, ObjectFilter, BackFilter)
    fields = (
        "pgh_model", "pgh_id", "pgh_created_at", "pgh_label", "pgh_object", "pgh_changes", "pgh_recorded",
        "pgh_context_id", "pgh_context_metadata",
    )  # fmt: skip
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[models.Model]:
        """Return the events that the settings name; none before a filter is chosen, if the settings say so."""
        events: models.QuerySet[models.Model] = config.queryset()
        is_list = request.resolver_match is None or not request.resolver_match.kwargs.get("object_id")
        filters = {kind.parameter_name for kind in (LabelFilter, EventModelFilter, ObjectFilter)}
        if is_list and not config.shows_all_events() and not filters & {*request.GET}:
            return events.none()
        return events

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Return the order that the settings name."""
        return config.ordering()

    def get_list_display(self, request: HttpRequest) -> _ListDisplayT[models.Model]:
        """Return the columns that the settings name."""
        return config.list_display()

    @admin.display(description="changes")
    def pgh_changes(self, event: Events) -> str:
        """Return what changed, a line for each field."""
        lines = [(field, _short(before), _short(after)) for field, (before, after) in (event.pgh_diff or {}).items()]
        return format_html_join(SafeString("<br>"), "{}: {} → {}", lines) if lines else "-"

    @admin.display(description="recorded")
    def pgh_recorded(self, event: Events) -> str:
        """Return the tracked fields as JSON."""
        return _as_json(event.pgh_data)


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)


def _as_json(value: object) -> str:
    if value is None:
        return "-"
    text = json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, indent=1)
    return format_html('<pre style="margin: 0; white-space: pre-wrap">{}</pre>', text)


# The filters are imported from here, as in django-pghistory.
__all__ = [
    "BackFilter", "BaseEventAdmin", "EventModelAdmin", "EventModelFilter", "EventsAdmin", "LabelFilter",
    "MethodFilter", "ObjFilter",
]  # fmt: skip
