"""A table as it stood at an instant: `pgmagic.as_of(...)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from types import MappingProxyType

import pandas as pd
from django.db import models
from django.utils import timezone

from pgmagic.compile.event_values import object_fields
from pgmagic.declare.model_types import AnyField, EventModel, Model
from pgmagic.declare.trackers import tracked_fields
from pgmagic.errors import HistoryError
from pgmagic.history.as_of_sql import states_sql, unknown_sql, without_events_sql
from pgmagic.history.event_labels import records_every
from pgmagic.history.events import Column, column_of, decoded, fetch, of_objects
from pgmagic.history.targets import Target, event_model_of, instant, named, resolve, tracked_model
from pgmagic.tables.frame import Kind, ResultFrame, faithful, kept, python_values


class AsOfFrame(ResultFrame):
    """One row for each object that existed, in the order of the primary keys.

    The index is the primary key, with the name of its field; a composite key has a level for each of its fields.

    Columns:
        every other tracked field, by name, with a dtype that loses nothing (`pgmagic.tables.frame`); a foreign key
        is the key that it refers to. Columns of related rows that were asked for: `author__name` and so on; missing
        if there was no related row.
    """

    columns_contract = MappingProxyType({})


def as_of(target: Target, when: datetime | date, *, related: Sequence[str] = (), using: str = "default") -> AsOfFrame:
    """Return a tracked model's table, or one object's row, as it stood at an instant, from its events.

    An event's time is the start of its transaction. So the table is exact if no transaction was running at this
    instant; a transaction that was running counts with everything that it did. Rows whose state no event holds are left
    out, and a note counts them. No lock is taken but that of a SELECT.

    Args:
        target: A tracked model or one of its event models, an object, or the name of a model.
        when: The instant; changes at this very moment count. A date is its midnight; a time without a zone is in
            Django's current time zone.
        related: Names of foreign keys whose rows, as they stood at the same instant, are added as columns
            `author__name`; also `author__country`, after `author`. Rows that are deleted by now are included.
        using: The database.

    Returns:
        An `AsOfFrame`, one row for each object that existed, in the order of the primary key, which is the index. The
        columns are the other tracked fields, with dtypes that lose nothing; times are in UTC, NULL is missing.

    Raises:
        HistoryError: The target is not tracked, its events do not have the key of their object, or a related model is
            not tracked.

    Example:
        >>> recorded = pgmagic.history(post)["pgh_created_at"].iloc[-1].to_pydatetime()
        >>> _ = Post.objects.update(title="Hello again")
        >>> pgmagic.as_of(Post, recorded)["title"].tolist()
        ['Hello']
    """
    model, obj_ids = resolve(target)
    event_model = event_model_of(model)
    columns, keys = _columns(event_model)
    moment = instant(when)
    conditions = [] if obj_ids is None else [of_objects(event_model, obj_ids)]
    rows = fetch(states_sql(event_model, moment, [column.sql for column in columns], conditions), using)
    tracked = tracked_model(model)
    shown = timezone.localtime(moment).isoformat(sep=" ", timespec="auto" if moment.microsecond else "seconds")
    frame = as_of_frame(
        decoded(columns, rows),
        {column.name: column.kind for column in columns},
        keys,
        caption=f"{named(tracked, obj_ids)} as of {shown}",
    )
    if not records_every(event_model, "UPDATE"):
        frame.notes.append("Not every update is recorded: rows are what they were when they were last recorded.")
    [(unknown,)] = fetch(unknown_sql(event_model, moment, conditions), using)
    if unknown:
        frame.notes.append(
            f"{unknown:,} more existed, in a state that no event holds: their first event is a later change."
        )
    # Of single objects it is plain to see.
    [(eventless,)] = fetch(without_events_sql(event_model), using) if obj_ids is None else [(0,)]
    if eventless:
        frame.notes.append(
            f"{eventless:,} rows of today have no event at all, and are left out: "
            f"pghistory.backfill({tracked._meta.object_name}) records rows as they are."
        )
    for path in related:
        frame = _with_related(frame, tracked, path, moment, using)
    return frame


def as_of_frame(
    columns: Mapping[str, Sequence[object]],
    kinds: Mapping[str, Kind],
    keys: Sequence[str],
    *,
    caption: str | None = None,
) -> AsOfFrame:
    """Return rows, given column by column as Python values, as an `AsOfFrame` in their order.

    keys: the names of the columns that are the primary key.
    """
    arrays = {name: kept(faithful(values, kinds[name])) for name, values in columns.items()}
    index = [pd.Index(arrays[name], name=name) for name in keys]
    frame = AsOfFrame({name: array for name, array in arrays.items() if name not in keys}, caption=caption)
    frame.index = index[0] if len(index) == 1 else pd.MultiIndex.from_arrays(index, names=list(keys))
    return frame


def _columns(event_model: EventModel) -> tuple[list[Column], list[str]]:
    """Return the columns to read, the primary key first, and the names of those of the key."""
    fields = object_fields(event_model)
    if not fields:
        raise HistoryError(
            f"{event_model._meta.object_name} does not say which object an event belongs to, so there is no table to "
            f"put together: track the primary key, or leave out obj_field=None."
        )
    options = event_model.pgh_tracked_model._meta
    pk_fields: list[AnyField] = getattr(options, "pk_fields", None) or [options.pk]
    names = [field.name for field in pk_fields]
    keys = [column_of(field, name) for field, name in zip(fields, names, strict=True)]
    others = [column_of(field, field.name) for field, _ in tracked_fields(event_model) if field.name not in names]
    return [*keys, *others], names


def _with_related(frame: AsOfFrame, model: Model, path: str, when: datetime, using: str) -> AsOfFrame:
    """Return a frame with the columns of the rows that a foreign key referred to, named `field__column`."""
    source = model
    key = ""
    for step in path.split("__"):
        field = next((found for found in source._meta.concrete_fields if found.name == step), None)
        if not isinstance(field, models.ForeignKey) or not isinstance(field.related_model, type):
            raise HistoryError(f"{source._meta.object_name} has no foreign key {step!r} whose rows could be added.")
        source, key = field.related_model, str(field.target_field.name)
    if path not in frame.columns:
        raise HistoryError(f"{path!r} is not among the columns: track it, or name the foreign key before it first.")
    related = as_of(source, when, using=using)
    by_key = related if list(related.index.names) == [key] else related.reset_index().set_index(key)
    found = by_key.reindex(frame[path])
    # If there is no such row, pandas puts a NaN among Python values.
    columns = {
        f"{path}__{name}": kept(python_values(found[name].array) if found[name].dtype == object else found[name].array)
        for name in found.columns
    }
    added = pd.DataFrame(columns).set_axis(frame.index)
    joined = AsOfFrame(pd.concat([pd.DataFrame(frame), added], axis=1), caption=frame.caption)
    joined.notes = [*frame.notes, *(note for note in related.notes if note not in frame.notes)]
    return joined
