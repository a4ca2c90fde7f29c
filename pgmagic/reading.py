"""History as DataFrames: `pgmagic.history(...)` and `pgmagic.diff(...)`.

This is where `db/`, which reads events, and `frames/`, which knows nothing of a database, meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.apps import apps
from django.db import models

from pgmagic.db.events import read_events
from pgmagic.errors import HistoryError
from pgmagic.frames.diff import DiffFrame, diff_frame
from pgmagic.frames.history import HistoryFrame, history_frame

Model = type[models.Model]


def history(
    target: Model | models.Model | str,
    *,
    label: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    context: Mapping[str, Any] | None = None,
    limit: int | None = None,
    using: str = "default",
) -> HistoryFrame:
    """Return the events of a model, of one object, or of a model by its name, in the order of `pgh_id`.

    since and until bound `pgh_created_at` (inclusive, exclusive); context keeps the events whose context has these
    values; limit keeps the latest events, and a note says of how many. Events of the current transaction are seen.

    Columns: `pgh_id` (Int64), `pgh_created_at` (datetime64 in UTC), `pgh_label` (string), `pgh_obj_id`,
    `pgh_context_id` (uuid.UUID), `context` (dict), then the tracked fields by name, with faithful dtypes.

    Raises:
        HistoryError: the target is no tracked model, nor an object of one.
    """
    model, object_id = _resolve(target)
    return _history(
        model,
        None if object_id is None else [object_id],
        caption=f"History of {model._meta.object_name}" + ("" if object_id is None else f" {object_id}"),
        label=label, since=since, until=until, context=context, limit=limit, using=using,
    )  # fmt: skip


def diff(
    target: Model | models.Model | str,
    *,
    label: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    context: Mapping[str, Any] | None = None,
    limit: int | None = None,
    using: str = "default",
) -> DiffFrame:
    """Return what each event changed against the one before it of the same object, one row for each changed field.

    Takes what `history` takes. The event before is one of the same label, if a label is given; it need not be among
    the events that since, context and limit choose. Columns: `pgh_created_at` (datetime64 in UTC), `pgh_obj_id`,
    `pgh_label`, `field`, `before`, `after`, `context`. An object's first event has nothing before it, and no row.

    Raises:
        HistoryError: the target is no tracked model, nor an object of one.
    """
    chosen = history(target, label=label, since=since, until=until, context=context, limit=limit, using=using)
    if since is None and not context and limit is None:
        return diff_frame(chosen)
    model, object_id = _resolve(target)
    compared = _history(
        model, _objects(chosen) if object_id is None else [object_id], label=label, until=until, using=using
    )
    found = diff_frame(compared, of=set(chosen["pgh_id"]))
    found.notes += chosen.notes
    return found


# More objects than these are not worth naming to the server one by one.
_MAX_NAMED_OBJECTS = 1_000


def _objects(events: HistoryFrame) -> list[Any] | None:
    """Return the keys of the events' objects, None if they are many or unknown."""
    keys = events["pgh_obj_id"]
    return None if keys.isna().any() or keys.nunique() > _MAX_NAMED_OBJECTS else keys.unique().tolist()


def _history(
    model: Model, obj_ids: list[Any] | None, *, caption: str | None = None, **filters: Any
) -> HistoryFrame:
    events = read_events(_event_model(model), obj_ids=obj_ids, **filters)
    shown = len(events.columns["pgh_id"])
    notes = [f"The latest {shown:,} of {events.total:,} events."] if shown < events.total else []
    return history_frame(events.columns, events.kinds, sides=events.sides, caption=caption, notes=notes)


def _resolve(target: Model | models.Model | str) -> tuple[Model, Any]:
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


def _event_model(model: Model) -> Model:
    if hasattr(model, "pgh_tracked_model"):
        return model
    event_model = getattr(model, "pgh_event_model", None)
    if event_model is None:
        raise HistoryError(
            f"{model._meta.object_name} is not tracked: put @pghistory.track() above its class and run the cell again."
        )
    return event_model  # type: ignore[no-any-return]
