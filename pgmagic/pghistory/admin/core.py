"""The pages: what all of them are, the page of one event model, and the page of all events."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from pgmagic.pghistory.admin import config
from pgmagic.pghistory.admin.counting import LimitedPaginator
from pgmagic.pghistory.admin.filters import EventModelFilter, LabelFilter, MethodFilter, ObjectFilter

_OWN = ("pgh_id", "pgh_created_at", "pgh_label")


class BaseEventAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list of events and a page for each, for those who may view them; nobody adds, changes or deletes any."""

    actions = None
    paginator = LimitedPaginator
    show_full_result_count = False
    # Facets count each label's events, which is reading all of them once more.
    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request: Any, obj: Any = None) -> bool:
        """Refuse: triggers write events."""
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        """Refuse: events are what happened."""
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        """Refuse: events are what happened."""
        return False

    @admin.display(description="object")
    def pgh_object(self, event: Any) -> str | SafeString:
        """Return a link to the object's page, its primary key where there is none."""
        return _link(*_object_key(event))

    @admin.display(description="context")
    def pgh_context_metadata(self, event: Any) -> SafeString:
        """Return the context's metadata."""
        context = getattr(event, "pgh_context", None)
        return _as_json(getattr(context, "metadata", context))


class EventModelAdmin(BaseEventAdmin):
    """The page of one event model: `@admin.register(PostEvent) class PostEventAdmin(EventModelAdmin)`."""

    list_filter = (LabelFilter, ObjectFilter)
    ordering = ("-pgh_id",)

    def get_list_display(self, request: Any) -> Any:
        """Return the event's own columns, unless the class names others."""
        if tuple(self.list_display) != ("__str__",):
            return self.list_display
        return (*_OWN, "pgh_object", "pgh_context_metadata")

    def get_list_select_related(self, request: Any) -> Any:
        """Fetch contexts with their events."""
        context = {field.name: field for field in self.model._meta.fields}.get("pgh_context")
        return ["pgh_context"] if isinstance(context, models.ForeignKey) else False

    def get_fields(self, request: Any, obj: Any = None) -> Any:
        """Return the event's own fields, and the tracked ones; keys as they were recorded, whatever became of them."""
        if self.fields or self.fieldsets:
            return super().get_fields(request, obj)
        tracked = [field.attname for field in self.model._meta.fields if not field.name.startswith("pgh_")]
        return [*_OWN, "pgh_object", "pgh_context_metadata", *tracked]

    def get_readonly_fields(self, request: Any, obj: Any = None) -> Any:
        """Return every field."""
        return self.get_fields(request, obj)


class EventsAdmin(BaseEventAdmin):
    """The page of the events of all models."""

    list_filter = (LabelFilter, EventModelFilter, MethodFilter, ObjectFilter)
    fields = (
        "pgh_model", "pgh_id", "pgh_created_at", "pgh_label", "pgh_object", "pgh_changes", "pgh_recorded",
        "pgh_context_id", "pgh_context_metadata",
    )  # fmt: skip
    readonly_fields = fields

    def get_queryset(self, request: Any) -> Any:
        """Return the events that the settings name; none before something was filtered for, if they say so."""
        events = config.queryset()
        is_list = request.resolver_match is None or not request.resolver_match.kwargs.get("object_id")
        filters = {kind.parameter_name for kind in (LabelFilter, EventModelFilter, ObjectFilter)}
        if is_list and not config.shows_all_events() and not filters & {*request.GET}:
            return events.none()
        return events

    def get_ordering(self, request: Any) -> Any:
        """Return the order that the settings name."""
        return config.ordering()

    def get_list_display(self, request: Any) -> Any:
        """Return the columns that the settings name."""
        return config.list_display()

    @admin.display(description="changes")
    def pgh_changes(self, event: Any) -> str | SafeString:
        """Return what changed, a line for each field."""
        lines = [
            (field, _short(before), _short(after))
            for field, (before, after) in (event.pgh_diff or {}).items()
        ]
        return format_html_join(SafeString("<br>"), "{}: {} → {}", lines) if lines else "-"

    @admin.display(description="recorded")
    def pgh_recorded(self, event: Any) -> SafeString:
        """Return the tracked fields."""
        return _as_json(event.pgh_data)


def _object_key(event: Any) -> tuple[Any, Any]:
    """Return the tracked model, or its label, and the primary key of an event's object."""
    if hasattr(event, "pgh_tracked_model"):
        return event.pgh_tracked_model._meta, getattr(event, "pgh_obj_id", None)
    from django.apps import apps

    return apps.get_model(event.pgh_obj_model)._meta, event.pgh_obj_id


def _link(options: Any, key: Any) -> str | SafeString:
    if key is None:
        return "-"
    text = f"{options.label} {key}"
    try:
        url = reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[quote(key)])
    except NoReverseMatch:
        return text
    return format_html('<a href="{}">{}</a>', url, text)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)


def _as_json(value: Any) -> SafeString:
    if value is None:
        return format_html("{}", "-")
    text = json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, indent=1)
    return format_html('<pre style="margin: 0; white-space: pre-wrap">{}</pre>', text)


__all__ = ["BaseEventAdmin", "EventModelAdmin", "EventsAdmin"]
