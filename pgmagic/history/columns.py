"""Columns of a query as Python values: what Postgres sends for each kind of field, and what it still goes through."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from operator import itemgetter
from typing import Any, Final, Literal

import psycopg
from django.db import connections, models
from django.utils import timezone

from pgmagic.compile.event_values import object_fields
from pgmagic.compile.sql import Fragment, compose, identifier, join, render
from pgmagic.declare.model_types import AnyField

EventModel = type[Any]
Kind = Literal["integer", "boolean", "timestamp", "date", "text", "decimal", "float", "json", "uuid", "other"]

# From so many rows on it is worth saying how far the reading is; the rows then arrive in parts of a size.
_MANY: Final = 100_000
_CHUNK: Final = 10_000
# Parts need a client library of version 17. Source: https://www.postgresql.org/docs/current/libpq-single-row-mode.html
_STREAMS: Final = psycopg.pq.version() >= 170_000

# The first that a field is an instance of counts: a date-time is a date, too.
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
    """A column to read: its name, kind and SQL, and what a value still has to go through."""

    name: str
    kind: Kind
    sql: Fragment
    convert: Callable[[Any], Any] | None = None


def fetch(
    query: Fragment, using: str, progress: Callable[[int, int], None] | None = None
) -> list[tuple[Any, ...]]:
    """Return the rows of a query, read in the binary format over Django's own connection.

    progress: called now and then while many rows arrive, with how many did and about how many there are.
    """
    connection = connections[using]
    connection.ensure_connection()
    raw: Any = connection.connection
    statement = render(query).encode()
    # Django's own cursors bind parameters on the client, and take results as text.
    with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
        total = _estimate(cursor, statement) if progress is not None and _STREAMS else 0
        if progress is not None and total >= _MANY:
            return list(_streamed(cursor, statement, total, progress))
        cursor.execute(statement, binary=True)
        return cursor.fetchall()


def _estimate(cursor: Any, statement: bytes) -> int:
    """Return about how many rows a query has, as the planner thinks."""
    cursor.execute(b"EXPLAIN (FORMAT JSON) " + statement)
    [(plan,)] = cursor.fetchall()
    return int(plan[0]["Plan"]["Plan Rows"])


def _streamed(
    cursor: Any, statement: bytes, total: int, progress: Callable[[int, int], None]
) -> Iterator[tuple[Any, ...]]:
    for number, row in enumerate(cursor.stream(statement, binary=True, size=_CHUNK)):
        if number % _CHUNK == 0:
            progress(number, total)
        yield row


def object_column(event_model: EventModel) -> Column:
    """Return the column `pgh_obj_id`, over `event`: a tuple for a composite key, None where the events do not tell."""
    fields = object_fields(event_model)
    if len(fields) == 1:
        return column_of(fields[0], "pgh_obj_id")
    # Of a composite key, or of no object that the events tell: a tuple, or nothing.
    columns = [column_of(field, field.name).sql for field in fields]
    sql = compose("jsonb_build_array(", join(", ", columns), ")") if columns else compose("NULL::jsonb")
    return Column("pgh_obj_id", "other", sql, tuple)


def column_of(field: AnyField, name: str) -> Column:
    """Return a field of an event, over `event`, as a column of another name."""
    sql = compose("event.", identifier(field.column))
    source: Any = field
    while isinstance(source, models.ForeignKey):
        source = source.target_field
    kind: Kind = next((kind for fields, kind in _KINDS if isinstance(source, fields)), "other")
    if hasattr(source, "from_db_value") and not isinstance(source, models.JSONField):
        # A field of somebody's own: what it makes of a value is known to nobody else.
        return Column(name, "other", sql, _from_db(source))
    if isinstance(source, models.GenericIPAddressField):
        return Column(name, kind, compose("host(", sql, ")"))
    if isinstance(source, models.JSONField):
        # As text: psycopg would guess the encoding of each value, which takes longer than to read it.
        return Column(name, kind, compose(sql, "::text"), _reader(source.decoder))
    return Column(name, kind, sql, in_utc if kind == "timestamp" else None)


def _from_db(field: Any) -> Callable[[Any], Any]:
    return lambda value: field.from_db_value(value, None, None)


def _reader(decoder: Any) -> Callable[[str], Any]:
    """Return what reads JSON as Postgres writes it, without space around it; each text into a value of its own."""
    if decoder is not None:
        return lambda text: json.loads(text, cls=decoder)
    raw_decode = json.JSONDecoder().raw_decode
    return lambda text: raw_decode(text)[0]


def in_utc(value: datetime) -> datetime:
    """Return a time in UTC; one without a zone stays as it is."""
    return value if value.tzinfo is None or value.tzinfo is UTC else value.astimezone(UTC)


class Once(dict[str, Any]):
    """What texts stand for; a text that occurs in many rows is read once."""

    def __init__(self, read: Callable[[str], Any]) -> None:
        super().__init__()
        self.read = read

    def __missing__(self, text: str) -> Any:
        self[text] = found = self.read(text)
        return found


def parsed() -> Callable[[Any], Any]:
    """Return what reads JSON, each text once."""
    return Once(json.loads).__getitem__


def values_of(column: Column, position: int, rows: list[tuple[Any, ...]]) -> list[Any]:
    """Return the Python values of one column of rows."""
    values = map(itemgetter(position), rows)
    convert = column.convert
    if convert is None:
        return list(values)
    return [None if value is None else convert(value) for value in values]


def instant(moment: datetime | date) -> datetime:
    """Return a moment with a time zone: a date is its midnight, a time without a zone is in Django's current one."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment
