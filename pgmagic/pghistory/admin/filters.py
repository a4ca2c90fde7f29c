"""The filters beside a list of events: label, event model, object."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.admin import SimpleListFilter
from django.core.exceptions import ValidationError
from django.db import models

from pgmagic.pghistory.event_queries import registered_event_models

Lookups = list[tuple[str, str]]


class LabelFilter(SimpleListFilter):
    """By label. Those that trackers declare are offered: asking all events for theirs would read them all."""

    title = "label"
    parameter_name = "label"

    def lookups(self, request: Any, model_admin: Any) -> Lookups:
        """Return the labels of the event model, or of all of them."""
        event_models = (
            [model_admin.model] if hasattr(model_admin.model, "pgh_trackers") else registered_event_models()
        )
        labels = {str(tracker.label) for event_model in event_models for tracker in event_model.pgh_trackers}
        return [(label, label) for label in sorted(labels)]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Keep the events of the label."""
        return queryset if self.value() is None else queryset.filter(pgh_label=self.value())


class EventModelFilter(SimpleListFilter):
    """By event model."""

    title = "event model"
    parameter_name = "event_model"

    def lookups(self, request: Any, model_admin: Any) -> Lookups:
        """Return the event models."""
        return [(found._meta.label_lower, found._meta.label) for found in registered_event_models()]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Keep the events of the event model."""
        if self.value() is None:
            return queryset
        found = {model._meta.label_lower: model for model in registered_event_models()}
        return queryset.across(found[self.value()]) if self.value() in found else queryset.none()


class _OnDemandFilter(SimpleListFilter):
    """A filter that a link brings along; it is shown only while it is used."""

    def has_output(self) -> bool:
        return self.value() is not None

    def lookups(self, request: Any, model_admin: Any) -> Lookups:
        # At least one, or Django takes no notice of the parameter.
        value = request.GET.get(self.parameter_name)
        return self.choices_of(value)

    def choices_of(self, value: str | None) -> Lookups:
        """Return what can be chosen."""
        return [(value or "", value or "")]


class ObjectFilter(_OnDemandFilter):
    """By object, as `app.Model:primary key`."""

    title = "object"
    parameter_name = "obj"

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Keep the events of the object, or those that refer to it; of one that was never there, none."""
        if self.value() is None:
            return queryset
        found = object_of(str(self.value()))
        if found is None:
            return queryset.none()
        if hasattr(queryset, "tracks"):
            is_reference = request.GET.get(MethodFilter.parameter_name) == "references"
            return queryset.references(found) if is_reference else queryset.tracks(found)
        return _of_object(queryset, found)


class MethodFilter(_OnDemandFilter):
    """Whether an object's events are meant, or those that refer to it."""

    title = "method"
    parameter_name = "method"

    def has_output(self) -> bool:
        """Be shown where an object was asked for."""
        return ObjectFilter.parameter_name in self.request.GET

    def choices_of(self, value: str | None) -> Lookups:
        """Return both."""
        return [("tracks", "tracks"), ("references", "references")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Keep all: the filter by object asks for the method."""
        return queryset


def object_of(text: str) -> models.Model | None:
    """Return an object, also one that is gone, by `app.Model:primary key`; None for a text that means none."""
    label, _, key = text.partition(":")
    try:
        model: Any = apps.get_model(label)
        return model(pk=model._meta.pk.to_python(key))  # type: ignore[no-any-return]
    except (LookupError, ValueError, TypeError, ValidationError):
        return None


def _of_object(queryset: Any, found: models.Model) -> Any:
    """Return the events of an object out of those of one event model."""
    event_model: Any = queryset.model
    fields = {field.name for field in event_model._meta.fields}
    tracked: Any = event_model.pgh_tracked_model._meta
    if found._meta.concrete_model is not tracked.concrete_model:
        return queryset.none()
    name = "pgh_obj_id" if "pgh_obj" in fields else tracked.pk.attname
    return (
        queryset.filter(**{name: found.pk})
        if "pgh_obj" in fields or tracked.pk.name in fields
        else queryset.none()
    )
