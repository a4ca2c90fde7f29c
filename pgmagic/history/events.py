"""Events by columns, as DataFrames want them: one query, and no model instance for any of the rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, models

from pgmagic.compile.event_values import object_fields
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal
from pgmagic.declare.model_types import AnyField
from pgmagic.declare.trackers import tracked_fields
from pgmagic.errors import HistoryError
from pgmagic.history.columns import (
    Column,
    Kind,
    Once,
    column_of,
    fetch,
    in_utc,
    instant,
    object_column,
    parsed,
    values_of,
)
from pgmagic.history.event_source import context_expressions, event_source, old_labels

EventModel = type[Any]
Side = Literal["OLD", "NEW", "MIXED"]


@dataclass(frozen=True)
class EventColumns:
    """Events in the order of `pgh_id`, column by column.

    columns: `pgh_id`, `pgh_created_at`, `pgh_label`, `pgh_obj_id`, `pgh_context_id`, `context`, then each tracked field
    by its name (with `_` behind it where one of these has it already); lists of equal length. Times are in UTC.
    Events of one context may share its dict. kinds: what the values of a column are. sides: label -> the side of a
    change that its events hold. total: how many events there are without the limit.
    """

    columns: dict[str, list[Any]]
    kinds: dict[str, Kind]
    sides: dict[str, Side]
    total: int


def read_events(
    event_model: EventModel,
    *,
    label: str | Collection[str] | None = None,
    since: datetime | date | None = None,
    until: datetime | date | None = None,
    context: Mapping[str, Any] | None = None,
    obj_ids: Iterable[Any] | None = None,
    limit: int | None = None,
    using: str = "default",
    progress: Callable[[int, int], None] | None = None,
) -> EventColumns:
    """Return the events of an event model, those of the present transaction too.

    label: one or several. since, until: bounds of `pgh_created_at`, the first included, the second not; a date is its
    midnight, a time without a zone is in Django's current one. context: events whose context holds these keys with
    these values. obj_ids: primary keys of objects. limit: only so many of the latest events. progress: as in `fetch`.

    Raises:
        HistoryError: the events tell neither their object nor a context, and it was asked for one.
    """
    columns = _columns(event_model)
    conditions = list(_conditions(event_model, label, since, until, context, obj_ids))
    source = compose(
        event_source(event_model),
        compose(" WHERE ", join(" AND ", conditions)) if conditions else compose(""),
    )
    # The latest events come first where only some are wanted, and are turned round afterwards.
    tail = compose("" if limit is None else " DESC LIMIT ", "" if limit is None else literal(limit))
    query = compose(
        "SELECT ", join(", ", [column.sql for column in columns]), " ", source, " ORDER BY event.pgh_id", tail
    )
    rows = fetch(query, using, progress)
    total = len(rows)
    if limit is not None:
        rows.reverse()
        if total == limit:
            total = fetch(compose("SELECT count(*) ", source), using)[0][0]
    return EventColumns(
        columns={column.name: values_of(column, position, rows) for position, column in enumerate(columns)},
        kinds={column.name: column.kind for column in columns},
        sides=_sides(event_model),
        total=total,
    )


def _sides(event_model: EventModel) -> dict[str, Side]:
    old = set(old_labels(event_model))
    return {
        str(tracker.label): "OLD" if tracker.label in old else "NEW" for tracker in event_model.pgh_trackers
    }


def _columns(event_model: EventModel) -> list[Column]:
    context = context_expressions(event_model)
    columns = [
        Column("pgh_id", "integer", compose("event.pgh_id")),
        Column("pgh_created_at", "timestamp", compose("event.pgh_created_at"), in_utc),
        Column("pgh_label", "text", compose("event.pgh_label")),
        object_column(event_model),
        # As texts: what all events of one context share is made once. Making UUIDs takes longer than all the rest.
        Column(
            "pgh_context_id", "uuid", compose(context["pgh_context_id"], "::text"), Once(UUID).__getitem__
        ),
        Column("context", "json", compose(context["pgh_context"], "::text"), parsed()),
    ]
    taken = {column.name for column in columns}
    for event, _ in tracked_fields(event_model):
        columns.append(column_of(event, f"{event.name}_" if event.name in taken else event.name))
    return columns


def _conditions(
    event_model: EventModel,
    label: str | Collection[str] | None,
    since: datetime | date | None,
    until: datetime | date | None,
    context: Mapping[str, Any] | None,
    obj_ids: Iterable[Any] | None,
) -> Iterable[Fragment]:
    if label is not None:
        labels = [label] if isinstance(label, str) else list(label)
        yield compose("event.pgh_label = ANY (", literal(labels), "::text[])")
    if since is not None:
        yield compose("event.pgh_created_at >= ", literal(instant(since)))
    if until is not None:
        yield compose("event.pgh_created_at < ", literal(instant(until)))
    if context:
        yield _in_context(event_model, context)
    if obj_ids is not None:
        yield of_objects(event_model, obj_ids)


def _in_context(event_model: EventModel, context: Mapping[str, Any]) -> Fragment:
    if not any(field.name == "pgh_context" for field in event_model._meta.local_concrete_fields):
        raise HistoryError(
            f"{event_model._meta.object_name} stores no context, so its events cannot be told by one."
        )
    wanted = literal(json.dumps(dict(context), cls=DjangoJSONEncoder))
    return compose(context_expressions(event_model)["pgh_context"], " @> ", wanted, "::jsonb")


def of_objects(event_model: EventModel, obj_ids: Iterable[Any]) -> Fragment:
    """Return a condition on events, over `event`, that they are of objects with these primary keys.

    Raises:
        HistoryError: the events do not tell by one key which object they are of, or something is no such key.
    """
    fields = object_fields(event_model)
    if len(fields) != 1:
        raise HistoryError(
            f"{event_model._meta.object_name} does not tell by one key which object an event is of: read all "
            f"events, and choose among them."
        )
    column = compose("event.", identifier(fields[0].column))
    values = [_key(fields[0], value, event_model) for value in obj_ids]
    return compose(column, " IN (", join(", ", values), ")") if values else compose("FALSE")


def _key(field: AnyField, value: Any, event_model: EventModel) -> Fragment:
    source: Any = field
    while isinstance(source, models.ForeignKey):
        source = source.target_field
    try:
        return literal(source.get_db_prep_value(source.to_python(value), connections["default"]))
    except (ValidationError, TypeError, ValueError) as error:
        name = event_model.pgh_tracked_model._meta.object_name
        raise HistoryError(f"{value!r} is no primary key of {name}.") from error
