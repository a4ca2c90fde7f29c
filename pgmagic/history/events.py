"""Events by columns, as DataFrames need them: one query, and no model instance for any of the rows.

`Column` says what Postgres sends for a kind of field, and how a value is decoded; `as_of.py` reads with it, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from uuid import UUID

import psycopg
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, models

from pgmagic.compile.event_values import object_fields
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, render
from pgmagic.db.driver import driver_connection
from pgmagic.declare.model_types import AnyField, EventModel
from pgmagic.declare.trackers import tracked_fields
from pgmagic.errors import HistoryError
from pgmagic.history.event_labels import old_labels
from pgmagic.history.events_sql import context_expressions, event_source
from pgmagic.history.targets import instant

if TYPE_CHECKING:
    from psycopg.rows import TupleRow

    from pgmagic.tables.frame import Kind

Side = Literal["OLD", "NEW", "MIXED"]
"""The row that the events of a label hold: as it was before the change, or as it is after. `MIXED` in a frame that was
concatenated from frames that disagree."""

Decode: TypeAlias = Callable[[Any], object]
"""A function from the value that psycopg returns to the value in the frame."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called while many rows arrive, with how many arrived and about how many there are."""

# From this many rows on, the progress is reported; the rows then arrive in parts.
_MANY: Final = 100_000
_CHUNK: Final = 10_000
# Parts need a client library of version 17. Source: https://www.postgresql.org/docs/current/libpq-single-row-mode.html
_STREAMS: Final = psycopg.pq.version() >= 170_000

# The first class that a field is an instance of counts: a date-time field is a date field, too.
_KINDS: tuple[tuple[type[AnyField], Kind], ...] = (
    (models.BooleanField, "boolean"),
    (models.IntegerField, "integer"),
    (models.DateTimeField, "timestamp"),
    (models.DateField, "date"),
    (models.DecimalField, "decimal"),
    (models.FloatField, "float"),
    (models.JSONField, "json"),
    (models.UUIDField, "uuid"),
    (models.GenericIPAddressField, "text"),
    (models.CharField, "text"),
    (models.TextField, "text"),
    (models.FileField, "text"),
)


@dataclass(frozen=True)
class Column:
    """A column to read: its name, kind and SQL, and how its values are decoded."""

    name: str
    kind: Kind
    sql: Fragment
    decode: Decode | None = None


@dataclass(frozen=True)
class EventColumns:
    """Events in the order of `pgh_id`, column by column.

    columns: `pgh_id`, `pgh_created_at`, `pgh_label`, `pgh_obj_id`, `pgh_context_id`, `context`, then each tracked field
    by its name (followed by `_` if one of these has it already); lists of equal length. Times are in UTC. Events of one
    context may share its dict. kinds: what the values of a column are. sides: label -> the side of a change that its
    events hold. total: how many events there are without the limit.
    """

    columns: dict[str, list[object]]
    kinds: dict[str, Kind]
    sides: dict[str, Side]
    total: int


def read_events(
    event_model: EventModel,
    *,
    label: str | Collection[str] | None = None,
    since: datetime | date | None = None,
    until: datetime | date | None = None,
    context: Mapping[str, object] | None = None,
    obj_ids: Iterable[object] | None = None,
    limit: int | None = None,
    using: str = "default",
    progress: Progress | None = None,
) -> EventColumns:
    """Return the events of an event model, those of the current transaction included.

    label: one or several. since, until: bounds of `pgh_created_at`, the first inclusive, the second exclusive; see
    `instant`. context: events whose context has these values. obj_ids: primary keys of objects. limit: only this many
    of the latest events.

    Raises:
        HistoryError: the events store no context, or no single key of their object, but were filtered by it.
    """
    columns = _columns(event_model)
    conditions = []
    if label is not None:
        labels = [label] if isinstance(label, str) else list(label)
        conditions.append(compose("event.pgh_label = ANY (", literal(labels), "::text[])"))
    if since is not None:
        conditions.append(compose("event.pgh_created_at >= ", literal(instant(since))))
    if until is not None:
        conditions.append(compose("event.pgh_created_at < ", literal(instant(until))))
    if context:
        if not any(field.name == "pgh_context" for field in event_model._meta.local_concrete_fields):
            raise HistoryError(
                f"{event_model._meta.object_name} stores no context, so its events cannot be filtered by context."
            )
        wanted = literal(json.dumps(dict(context), cls=DjangoJSONEncoder))
        stored = context_expressions(event_model)["pgh_context"]
        conditions.append(compose(stored, " @> ", wanted, "::jsonb"))
    if obj_ids is not None:
        conditions.append(of_objects(event_model, obj_ids))
    where = compose(" WHERE ", join(" AND ", conditions)) if conditions else compose("")
    return _read(event_model, columns, compose(event_source(event_model), where), limit, using, progress)


def _read(
    event_model: EventModel,
    columns: list[Column],
    source: Fragment,
    limit: int | None,
    using: str,
    progress: Progress | None,
) -> EventColumns:
    # With a limit the latest events come first, and are reversed afterwards.
    tail = compose("") if limit is None else compose(" DESC LIMIT ", literal(limit))
    query = compose(
        "SELECT ", join(", ", [column.sql for column in columns]), " ", source, " ORDER BY event.pgh_id", tail
    )
    rows = fetch(query, using, progress)
    total = len(rows)
    if limit is not None:
        rows.reverse()
        if total == limit:
            total = fetch(compose("SELECT count(*) ", source), using)[0][0]
    old = old_labels(event_model)
    labels = [str(tracker.label) for tracker in event_model.pgh_trackers]
    return EventColumns(
        columns=decoded(columns, rows),
        kinds={column.name: column.kind for column in columns},
        sides={label: "OLD" if label in old else "NEW" for label in labels},
        total=total,
    )


def _columns(event_model: EventModel) -> list[Column]:
    context = context_expressions(event_model)
    keys = object_fields(event_model)
    if len(keys) == 1:
        key_column = column_of(keys[0], "pgh_obj_id")
    else:
        # A composite key is a tuple; without keys the events do not say which object they belong to.
        parts = [column_of(key, key.name).sql for key in keys]
        array = compose("jsonb_build_array(", join(", ", parts), ")") if parts else compose("NULL::jsonb")
        key_column = Column("pgh_obj_id", "other", array, tuple)
    columns = [
        Column("pgh_id", "integer", compose("event.pgh_id")),
        Column("pgh_created_at", "timestamp", compose("event.pgh_created_at"), _in_utc),
        Column("pgh_label", "text", compose("event.pgh_label")),
        key_column,
        # As texts: what the events of one context share is made once. Making UUIDs takes longer than all the rest.
        Column("pgh_context_id", "uuid", compose(context["pgh_context_id"], "::text"), Once(UUID).__getitem__),
        Column("context", "json", compose(context["pgh_context"], "::text"), Once(json.loads).__getitem__),
    ]
    taken = {column.name for column in columns}
    for event, _ in tracked_fields(event_model):
        columns.append(column_of(event, f"{event.name}_" if event.name in taken else event.name))
    return columns


def of_objects(event_model: EventModel, obj_ids: Iterable[object]) -> Fragment:
    """Return the condition on events, over `event`, that they belong to objects with these primary keys.

    Raises:
        HistoryError: the events do not have their object's key in one column, or a value is not a key of this type.
    """
    fields = object_fields(event_model)
    if len(fields) != 1:
        raise HistoryError(
            f"{event_model._meta.object_name} does not have its object's key in one column: read all events, and "
            f"choose among them."
        )
    source = _without_relations(fields[0])
    values = []
    for value in obj_ids:
        try:
            values.append(literal(source.get_db_prep_value(source.to_python(value), connections["default"])))
        except (ValidationError, TypeError, ValueError) as error:
            name = event_model.pgh_tracked_model._meta.object_name
            raise HistoryError(f"{value!r} is not a primary key of {name}.") from error
    if not values:
        return compose("FALSE")
    return compose("event.", identifier(fields[0].column), " IN (", join(", ", values), ")")


def _without_relations(field: AnyField) -> AnyField:
    """Return the field whose values a foreign key holds; any other field is returned as it is."""
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    return field


def column_of(field: AnyField, name: str) -> Column:
    """Return a field of an event, over `event`, as a column with another name."""
    sql = compose("event.", identifier(field.column))
    source = _without_relations(field)
    kind: Kind = next((kind for fields, kind in _KINDS if isinstance(source, fields)), "other")
    from_db_value = getattr(source, "from_db_value", None)
    if isinstance(source, models.JSONField):
        # As text: psycopg would guess the encoding of each value, which takes longer than to read it.
        text, decoder, raw_decode = compose(sql, "::text"), source.decoder, json.JSONDecoder().raw_decode
        if decoder is not None:
            return Column(name, kind, text, lambda value: json.loads(value, cls=decoder))
        # Postgres writes no space around JSON, so there is nothing to check at the end.
        return Column(name, kind, text, lambda value: raw_decode(value)[0])
    if from_db_value is not None:
        # A field of the user's own: only it knows what its values are.
        return Column(name, "other", sql, lambda value: from_db_value(value, None, None))
    if isinstance(source, models.GenericIPAddressField):
        return Column(name, kind, compose("host(", sql, ")"))
    return Column(name, kind, sql, _in_utc if kind == "timestamp" else None)


def _in_utc(value: datetime) -> datetime:
    return value if value.tzinfo is None or value.tzinfo is UTC else value.astimezone(UTC)


class Once(dict[str, object]):
    """The values of texts; a text that occurs in many rows is read once."""

    def __init__(self, read: Callable[[str], object]) -> None:
        super().__init__()
        self.read = read

    def __missing__(self, text: str) -> object:
        self[text] = found = self.read(text)
        return found


def fetch(query: Fragment, using: str, progress: Progress | None = None) -> list[TupleRow]:
    """Return the rows of a query, read in the binary format over Django's own connection."""
    connection = connections[using]
    connection.ensure_connection()
    statement = render(query).encode()
    # Django's own cursors bind parameters on the client, and take results as text.
    with connection.wrap_database_errors, psycopg.Cursor(driver_connection(connection)) as cursor:
        if progress is not None and _STREAMS:
            cursor.execute(b"EXPLAIN (FORMAT JSON) " + statement)
            [(plan,)] = cursor.fetchall()
            total = int(plan[0]["Plan"]["Plan Rows"])
            if total >= _MANY:
                rows = []
                for number, row in enumerate(cursor.stream(statement, binary=True, size=_CHUNK)):
                    if number % _CHUNK == 0:
                        progress(number, total)
                    rows.append(row)
                return rows
        cursor.execute(statement, binary=True)
        return cursor.fetchall()


def decoded(columns: list[Column], rows: list[TupleRow]) -> dict[str, list[object]]:
    """Return the Python values of rows by column."""
    found = {}
    for position, column in enumerate(columns):
        values, decode = map(itemgetter(position), rows), column.decode
        found[column.name] = (
            list(values) if decode is None else [None if value is None else decode(value) for value in values]
        )
    return found
