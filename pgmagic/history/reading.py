"""Events as DataFrames: `pgmagic.history(...)` and `pgmagic.diff(...)`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import models

from pgmagic.history.diff import DiffFrame, diff_frame
from pgmagic.history.event_frame import HistoryFrame, history_frame
from pgmagic.history.events import read_events
from pgmagic.history.targets import Model, event_model_of, resolve
from pgmagic.tables.progress import Bar


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
    model, object_id = resolve(target)
    return read_history(
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
    model, object_id = resolve(target)
    compared = read_history(
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


def read_history(
    model: Model, obj_ids: list[Any] | None, *, caption: str | None = None, **filters: Any
) -> HistoryFrame:
    """Return the events of a model, or of objects of it; the filters are those of `read_events`."""
    with Bar("Reading events") as bar:
        events = read_events(event_model_of(model), obj_ids=obj_ids, progress=bar.show, **filters)
    shown = len(events.columns["pgh_id"])
    notes = [f"The latest {shown:,} of {events.total:,} events."] if shown < events.total else []
    return history_frame(events.columns, events.kinds, sides=events.sides, caption=caption, notes=notes)
