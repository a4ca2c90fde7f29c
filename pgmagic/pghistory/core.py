"""Compatibility: what projects import from django-pghistory's module of this name; new code uses `pghistory`."""

from __future__ import annotations

from collections.abc import Sequence

from pgmagic.declare.event_models import create_event_model, track
from pgmagic.declare.model_types import EventModel, Model
from pgmagic.declare.proxy_fields import ProxyField
from pgmagic.declare.trackers import DeleteEvent, InsertEvent, ManualEvent, RowEvent, Tracker, UpdateEvent
from pgmagic.history.recording import create_event
from pgmagic.pghistory.event_queries import registered_event_models

__all__ = [
    "DeleteEvent",
    "InsertEvent",
    "ManualEvent",
    "ProxyField",
    "RowEvent",
    "Tracker",
    "UpdateEvent",
    "create_event",
    "create_event_model",
    "event_models",
    "track",
]


def event_models(
    models: Sequence[EventModel] | None = None,
    references_model: Model | None = None,
    tracks_model: Model | None = None,
    include_missing_pgh_obj: bool = False,
) -> list[EventModel]:
    """Return event models, those that pass every filter that is given.

    Args:
        models: the event models to choose from; all that are registered, unless given.
        references_model: only those with a foreign key to this model; a proxy stands for its model.
        tracks_model: only those whose `pgh_obj` leads to this model.
        include_missing_pgh_obj: with `tracks_model`, also those of this model that have no `pgh_obj`.
    """
    found = [*registered_event_models()] if models is None else [*models]
    if references_model is not None:
        found = [model for model in found if references_model._meta.concrete_model in _related(model).values()]
    if tracks_model is not None:
        found = [model for model in found if _tracks(model, tracks_model, include_missing_pgh_obj)]
    return found


def _related(event_model: EventModel) -> dict[str, Model | None]:
    """Return the models that foreign keys of an event model lead to, by the name of the field."""
    return {
        field.name: field.related_model._meta.concrete_model
        for field in event_model._meta.fields
        if field.related_model is not None
    }


def _tracks(event_model: EventModel, model: Model, include_missing_pgh_obj: bool) -> bool:
    related = _related(event_model)
    if "pgh_obj" not in related and include_missing_pgh_obj:
        return event_model.pgh_tracked_model._meta.concrete_model is model._meta.concrete_model
    return related.get("pgh_obj") is model._meta.concrete_model
