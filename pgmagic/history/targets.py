"""The arguments that the functions of history have in common: a model or an object, and an instant."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import TypeAlias, TypeGuard

from django.apps import apps
from django.db import models
from django.utils import timezone

from pgmagic.declare.model_types import EventModel, Model
from pgmagic.errors import HistoryError

Target: TypeAlias = Model | models.Model | str
"""A model, an object, or the name of a model."""


def resolve(target: Target) -> tuple[Model, list[object] | None]:
    """Return the model, and the primary key of the object in a list; None for all objects.

    Raises:
        HistoryError: the target is something else, or an object without a key, or no model has the name, or several
            have it.
    """
    if isinstance(target, models.Model):
        if None in (target.pk if isinstance(target.pk, tuple) else (target.pk,)):
            name = target._meta.object_name
            raise HistoryError(
                f"This {name} has no primary key, because it was never saved or was deleted: give an object that has "
                f"one, as {name}(pk=3) has, or the model {name} for all objects."
            )
        return type(target), [target.pk]
    if isinstance(target, type) and issubclass(target, models.Model):
        return target, None
    if not isinstance(target, str):
        raise HistoryError(f"History is read for a model, an object or a model's name, but {target!r} was given.")
    found = [
        model for model in apps.get_models() if target.lower() in (model._meta.label_lower, str(model._meta.model_name))
    ]
    if len(found) == 1:
        return found[0], None
    if found:
        labels = ", ".join(model._meta.label for model in found)
        raise HistoryError(f'There are several models named "{target}": say which of {labels}.')
    raise HistoryError(f'There is no model named "{target}": run the cell that declares it, or name another.')


def named(model: Model, obj_ids: list[object] | None) -> str:
    """Return the name of a model, followed by the key of the object if there is one: `Post 3`."""
    return " ".join([str(model._meta.object_name), *map(str, obj_ids or ())])


def is_event_model(model: object) -> TypeGuard[EventModel]:
    """Return whether something is an event model."""
    return hasattr(model, "pgh_tracked_model")


def event_model_of(model: Model) -> EventModel:
    """Return the event model of a tracked model, or the model itself if it is an event model.

    Raises:
        HistoryError: the model is not tracked.
    """
    if is_event_model(model):
        return model
    event_model: EventModel | None = getattr(model, "pgh_event_model", None)
    if event_model is None:
        raise HistoryError(
            f"{model._meta.object_name} is not tracked: put @pghistory.track() above its class and run the cell again."
        )
    return event_model


def event_models_of(model: Model) -> dict[str, EventModel]:
    """Return the event models of a tracked model by label; an event model is returned under an empty label.

    Raises:
        HistoryError: the model is not tracked.
    """
    if is_event_model(model):
        return {"": model}
    found: dict[str, EventModel] = getattr(model, "pgh_event_models", {})
    if not found:
        name = getattr(getattr(model, "_meta", None), "object_name", repr(model))
        raise HistoryError(f"{name} is not tracked, so it has no events: put @pghistory.track() above its class.")
    return found


def tracked_model(model: Model) -> Model:
    """Return the model that an event model tracks; any other model is returned as it is."""
    return model.pgh_tracked_model if is_event_model(model) else model


def instant(moment: datetime | date) -> datetime:
    """Return a moment with a time zone: a date is its midnight, a time without a zone is in Django's current one."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment
