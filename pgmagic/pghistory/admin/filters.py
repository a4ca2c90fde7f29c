"""The filters beside a list of events: label, event model, object."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

from django.apps import apps
from django.contrib.admin import SimpleListFilter
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest

from pgmagic.declare.model_types import EventModel, Model, is_event_model
from pgmagic.pghistory.event_queries import EventsQuerySet, registered_event_models

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    Page: TypeAlias = ModelAdmin[models.Model]

Rows: TypeAlias = "models.QuerySet[models.Model]"
Lookups: TypeAlias = list[tuple[str, str]]


class LabelFilter(SimpleListFilter):
    """By label. The labels are those of the trackers, because to collect them from the events would read all events."""

    title = "label"
    parameter_name = "label"

    def lookups(self, request: HttpRequest, model_admin: Page) -> Lookups:
        """Return the labels of the event model, or of all event models."""
        model = model_admin.model
        event_models = [model] if is_event_model(model) else registered_event_models()
        labels = {str(tracker.label) for event_model in event_models for tracker in event_model.pgh_trackers}
        return [(label, label) for label in sorted(labels)]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Keep the events of the label."""
        return queryset if self.value() is None else queryset.filter(pgh_label=self.value())


class EventModelFilter(SimpleListFilter):
    """By event model."""

    title = "event model"
    parameter_name = "event_model"

    def lookups(self, request: HttpRequest, model_admin: Page) -> Lookups:
        """Return the event models."""
        return [(found._meta.label_lower, found._meta.label) for found in registered_event_models()]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Keep the events of the event model."""
        if self.value() is None:
            return queryset
        found = {model._meta.label_lower: model for model in registered_event_models()}.get(str(self.value()))
        events = cast("EventsQuerySet", queryset)
        return cast("Rows", events.across(found) if found else events.none())


class _OnDemandFilter(SimpleListFilter):
    """A filter that a link sets; it is shown only while it is used."""

    def has_output(self) -> bool:
        return self.value() is not None

    def lookups(self, request: HttpRequest, model_admin: Page) -> Lookups:
        # At least one, or Django ignores the parameter.
        value = request.GET.get(str(self.parameter_name)) or ""
        return [(value, value)]


class ObjectFilter(_OnDemandFilter):
    """By object, as `app.Model:primary key`."""

    title = "object"
    parameter_name = "obj"

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Keep the events of the object, or those that refer to it; none if the text names no object."""
        if self.value() is None:
            return queryset
        found = object_of(str(self.value()))
        if found is None:
            return queryset.none()
        if not isinstance(queryset, EventsQuerySet):
            return _of_object(queryset, found)
        is_reference = request.GET.get(MethodFilter.parameter_name) == "references"
        return cast("Rows", queryset.references(found) if is_reference else queryset.tracks(found))


class MethodFilter(_OnDemandFilter):
    """Whether the filter by object shows the object's events (tracks), or those that refer to it (references)."""

    title = "method"
    parameter_name = "method"

    def has_output(self) -> bool:
        """Return whether the list is filtered by an object."""
        return ObjectFilter.parameter_name in self.request.GET

    def lookups(self, request: HttpRequest, model_admin: Page) -> Lookups:
        """Return both methods."""
        return [("tracks", "tracks"), ("references", "references")]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Keep all events: the filter by object reads the method."""
        return queryset


class BackFilter(_OnDemandFilter):
    """The page that the list was opened from: it is kept in the list's links, and filters nothing."""

    title = "back"
    parameter_name = "back"

    def has_output(self) -> bool:
        """Return False: it is no choice of the user's."""
        return False

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Keep all events."""
        return queryset


# The name of `ObjectFilter` in django-pghistory.
ObjFilter = ObjectFilter


def object_of(text: str) -> models.Model | None:
    """Return an object, also a deleted one, by `app.Model:primary key`; None if the text has another form."""
    label, _, key = text.partition(":")
    try:
        model: Model = apps.get_model(label)
        return model(pk=model._meta.pk.to_python(key))
    except (LookupError, ValueError, TypeError, ValidationError):
        return None


def _of_object(queryset: Rows, found: models.Model) -> Rows:
    """Return the events of an object, out of those of one event model."""
    event_model = cast("EventModel", queryset.model)
    names = {field.name for field in event_model._meta.fields}
    tracked = event_model.pgh_tracked_model._meta
    if found._meta.concrete_model is not tracked.concrete_model:
        return queryset.none()
    if "pgh_obj" in names:
        return queryset.filter(pgh_obj_id=found.pk)
    if tracked.pk.name in names:
        return queryset.filter(**{tracked.pk.attname: found.pk})
    return queryset.none()
