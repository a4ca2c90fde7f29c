"""What history is asked of: a model, an object, or a model by its name."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import models

from pgmagic.errors import HistoryError

Model = type[models.Model]


def resolve(target: Model | models.Model | str) -> tuple[Model, Any]:
    """Return the model, and the primary key of the object, None for all of them.

    Raises:
        HistoryError: it is neither, or there is no such model, or several.
    """
    if isinstance(target, models.Model):
        return type(target), target.pk
    if isinstance(target, type) and issubclass(target, models.Model):
        return target, None
    if isinstance(target, str):
        return _model_named(target), None
    raise HistoryError(f"History is asked of a model, an object or a model's name, but {target!r} was given.")


def _model_named(name: str) -> Model:
    found = [
        model
        for model in apps.get_models()
        if name.lower() in (model._meta.label_lower, str(model._meta.model_name))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        labels = ", ".join(model._meta.label for model in found)
        raise HistoryError(f'There are several models named "{name}": say which of {labels}.')
    raise HistoryError(f'There is no model named "{name}": run the cell that declares it, or name another.')


def event_model_of(model: Model) -> Model:
    """Return the event model of a tracked model, or the model itself if it is one.

    Raises:
        HistoryError: the model is not tracked.
    """
    if hasattr(model, "pgh_tracked_model"):
        return model
    event_model = getattr(model, "pgh_event_model", None)
    if event_model is None:
        raise HistoryError(
            f"{model._meta.object_name} is not tracked: put @pghistory.track() above its class and run the cell again."
        )
    return event_model  # type: ignore[no-any-return]


def tracked_model(model: Model) -> Model:
    """Return the model that an event model tracks, or the model itself if it is none."""
    return getattr(model, "pgh_tracked_model", model)
