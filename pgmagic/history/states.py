"""The rows of a tracked table as they stood at an instant, by columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypedDict

from pgmagic.compile.event_values import object_fields
from pgmagic.compile.sql import Fragment
from pgmagic.declare.trackers import tracked_fields
from pgmagic.errors import HistoryError
from pgmagic.history.columns import Column, Kind, column_of, fetch, instant, values_of
from pgmagic.history.events import of_objects
from pgmagic.history.states_sql import (
    end_labels,
    labels_apart,
    old_update_labels,
    records_every_update,
    records_new_updates,
    states_sql,
    unknown_sql,
    without_events_sql,
)

EventModel = type[Any]


@dataclass(frozen=True)
class ObjectStates:
    """Rows as they stood, column by column, in the order of their primary keys.

    columns: the primary key's fields, then the other tracked ones, by name; lists of equal length. keys: which of them
    are the primary key. kinds: what the values of a column are. when: the instant, with its time zone. untold: how many
    objects were there in a state that no event tells. eventless: how many rows of now have no event at all.
    is_complete: whether every update becomes an event.
    """

    columns: dict[str, list[Any]]
    keys: list[str]
    kinds: dict[str, Kind]
    when: datetime
    untold: int
    eventless: int
    is_complete: bool


def read_states(
    event_model: EventModel,
    when: datetime | date,
    *,
    obj_ids: Iterable[Any] | None = None,
    using: str = "default",
) -> ObjectStates:
    """Return the rows of a tracked table as they stood at an instant.

    when: what happened at this very moment counts; a date is its midnight, a time without a zone is in Django's current
    one. obj_ids: primary keys of the objects to look at.

    Raises:
        HistoryError: the events do not tell which object they are of.
    """
    columns, keys = _columns(event_model)
    moment = instant(when)
    conditions: list[Fragment] = [] if obj_ids is None else [of_objects(event_model, obj_ids)]
    rows = fetch(states_sql(event_model, moment, [column.sql for column in columns], conditions), using)
    return ObjectStates(
        columns={column.name: values_of(column, position, rows) for position, column in enumerate(columns)},
        keys=keys,
        kinds={column.name: column.kind for column in columns},
        when=moment,
        untold=_count(unknown_sql(event_model, moment, conditions), using),
        # Of single objects it is plain to see.
        eventless=_count(without_events_sql(event_model), using) if obj_ids is None else 0,
        is_complete=records_every_update(event_model),
    )


class LabelRoles(TypedDict):
    """What the events of some labels say about how rows stood."""

    ends: list[str]
    apart: list[str]
    updates_are_new: bool


def tells_the_present(event_model: EventModel) -> bool:
    """Return whether events tell the rows of now: not where only rows as they were before updates are recorded."""
    return not old_update_labels(event_model) or records_new_updates(event_model)


def label_roles(event_model: EventModel) -> LabelRoles:
    """Return the labels of deletes, those that say nothing, and whether each update has an event with its NEW row."""
    return {
        "ends": end_labels(event_model),
        "apart": labels_apart(event_model),
        "updates_are_new": records_new_updates(event_model),
    }


def _count(query: Fragment, using: str) -> int:
    [(count,)] = fetch(query, using)
    return int(count)


def _columns(event_model: EventModel) -> tuple[list[Column], list[str]]:
    """Return the columns to read, the primary key first, and the names of the key's."""
    fields = object_fields(event_model)
    if not fields:
        raise HistoryError(
            f"{event_model._meta.object_name} does not tell which object an event is of, so there is no table to put "
            f"together: track the primary key, or leave out obj_field=None."
        )
    options: Any = event_model.pgh_tracked_model._meta
    names = [field.name for field in getattr(options, "pk_fields", None) or [options.pk]]
    keys = [column_of(field, name) for field, name in zip(fields, names, strict=True)]
    others = [
        column_of(field, field.name) for field, _ in tracked_fields(event_model) if field.name not in names
    ]
    return [*keys, *others], names
