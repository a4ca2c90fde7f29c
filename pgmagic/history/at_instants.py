"""Tables as they stood: `pgmagic.as_of(...)` and `pgmagic.timeline(...)`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from django.db import models
from django.utils import timezone

from pgmagic.errors import HistoryError
from pgmagic.history.as_of import AsOfFrame, as_of_frame, with_related
from pgmagic.history.columns import instant
from pgmagic.history.reading import read_history
from pgmagic.history.states import ObjectStates, label_roles, read_states, tells_the_present
from pgmagic.history.targets import Model, event_model_of, resolve, tracked_model
from pgmagic.history.timeline import TimelineFrame, timeline_frame


def as_of(
    target: Model | models.Model | str,
    when: datetime | date,
    *,
    related: Sequence[str] = (),
    using: str = "default",
) -> AsOfFrame:
    """Return a model's table, or one object's row, as it stood at an instant, out of its events.

    when: what happened at this moment counts; a date is its midnight, a time without a zone is in Django's current one.
    related: foreign keys whose rows, as they stood at the same instant, are put beside, as `author__name`; also
    `author__country`, through one that is there already. Rows that are deleted by now are there if they were then.

    An event's time is the start of its transaction. So the table is exact where no transaction was under way at this
    instant: one that was counts with all it did. Rows whose state no event tells are left out, and a note counts them.

    The index is the primary key; the columns are the tracked fields, as in `history`.

    Raises:
        HistoryError: the target is not tracked, its events do not tell their object, or a related model is not tracked.
    """
    model, object_id = resolve(target)
    event_model = event_model_of(model)
    states = read_states(event_model, when, obj_ids=None if object_id is None else [object_id], using=using)
    name = str(tracked_model(model)._meta.object_name)
    frame = as_of_frame(
        states.columns,
        states.kinds,
        states.keys,
        caption=f"{name}{'' if object_id is None else f' {object_id}'} as of {_shown(states.when)}",
        notes=_untold(states, name),
    )
    for path in related:
        frame = _beside(frame, tracked_model(model), path, states.when, using)
    return frame


def timeline(
    target: Model | models.Model | str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    using: str = "default",
) -> TimelineFrame:
    """Return how long each state of each object was valid, out of the events of a model or of one object.

    since, until: only states that were valid at some time between the two. Columns: `pgh_obj_id`, `valid_from` and
    `valid_to` (datetime64 in UTC; missing where the state began before any event, or still is valid), then the tracked
    fields, as in `history`. `.plot()` draws it.

    Raises:
        HistoryError: the target is no tracked model, nor an object of one.
    """
    model, object_id = resolve(target)
    event_model = event_model_of(model)
    caption = f"Timeline of {tracked_model(model)._meta.object_name}" + (
        "" if object_id is None else f" {object_id}"
    )
    frame = timeline_frame(
        read_history(model, None if object_id is None else [object_id], using=using),
        **label_roles(event_model),
    )
    if since is not None:
        frame = frame[frame["valid_to"].isna() | (frame["valid_to"] > instant(since))]
    if until is not None:
        frame = frame[frame["valid_from"].isna() | (frame["valid_from"] < instant(until))]
    frame = frame.reset_index(drop=True)
    frame.caption = caption
    if not tells_the_present(event_model):
        frame.notes.append("These events hold rows as they were; how they are now is in the table, not here.")
    return frame


def _shown(moment: datetime) -> str:
    return timezone.localtime(moment).isoformat(
        sep=" ", timespec="seconds" if not moment.microsecond else "auto"
    )


def _untold(states: ObjectStates, name: str) -> list[str]:
    notes = []
    if not states.is_complete:
        notes.append("Not every update is recorded: rows are what they were when they were last recorded.")
    if states.untold:
        notes.append(
            f"{states.untold:,} more were there, in a state that no event tells: their first event is a later change."
        )
    if states.eventless:
        notes.append(
            f"{states.eventless:,} rows of today have no event at all, and are left out: pghistory.backfill({name}) "
            f"records rows as they are."
        )
    return notes


def _beside(frame: AsOfFrame, model: Model, path: str, when: datetime, using: str) -> AsOfFrame:
    """Return a frame with the rows beside it that a foreign key referred to."""
    source: Any = model
    field: Any = None
    for step in path.split("__"):
        field = next((found for found in source._meta.concrete_fields if found.name == step), None)
        if not isinstance(field, models.ForeignKey) or not isinstance(field.related_model, type):
            raise HistoryError(
                f"{source._meta.object_name} has no foreign key {step!r} to put related rows beside."
            )
        source = field.related_model
    if path not in frame.columns:
        raise HistoryError(
            f"{path!r} is not among the columns: it is not tracked, or name the foreign key before it first."
        )
    found = as_of(source, when, using=using)
    key = str(field.target_field.name)
    if list(found.index.names) != [key]:
        found = found.reset_index().set_index(key)
    return with_related(frame, path, found)
