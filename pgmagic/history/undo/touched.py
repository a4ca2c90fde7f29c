"""The objects that a context touched, with their events and rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from django.db import models
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from pgmagic.compile.event_values import object_fields
from pgmagic.compile.partitions import is_partitioned_sql
from pgmagic.compile.sql import render
from pgmagic.declare.model_types import AnyField, EventModel, Model
from pgmagic.declare.trackers import tracked_fields
from pgmagic.history.event_labels import meanings
from pgmagic.history.recording import missing_fields
from pgmagic.history.undo.undo_sql import touched_sql
from pgmagic.history.undo.undo_step import Key, Row

T = TypeVar("T")


class Happened(NamedTuple):
    """An event, without its row."""

    pgh_id: int
    created_at: datetime
    label: str
    context_id: UUID | None

    @property
    def described(self) -> str:
        """Where and when it happened, as in `outside any context: "update" at 2024-05-01 12:00:00+02:00`."""
        where = f"in the context {self.context_id}" if self.context_id else "outside any context"
        moment = timezone.localtime(self.created_at).isoformat(sep=" ", timespec="seconds")
        return f'{where}: "{self.label}" at {moment}'


@dataclass
class Touched:
    """One object: all its events, and the events of the context among them.

    before: the event whose row the object had before the context, None for no row. unknown: why `before` is not known.
    last: the event whose row it had at the end of the context, None for no row; only if is_last_known. is_new_key:
    whether no event shows that a row had this key before. is_moved: whether its row came from or went to another key.
    """

    key: Key
    events: list[Happened]
    inside: list[Happened]
    before: int | None = None
    unknown: str | None = None
    last: int | None = None
    is_last_known: bool = False
    is_new_key: bool = False
    is_moved: bool = False

    @property
    def since(self) -> int:
        """The `pgh_id` of the first event by which the context touched it."""
        return (self.inside or self.events[-1:])[0].pgh_id

    @property
    def event(self) -> int:
        """The `pgh_id` of an event with its key and, if there is one, its former row."""
        return self.before or self.since

    def earlier(self, by_hand: Collection[str]) -> list[Happened]:
        """Return its events before those of the context, without those that were made by hand."""
        return [event for event in self.events if event.pgh_id < self.since and event.label not in by_hand]


@dataclass
class TouchedTable:
    """What a context touched in one tracked table, according to one of its event tables.

    missing: the fields that the events do not have. rows: the rows of events, by `pgh_id`. live: the present rows, by
    key. is_partitioned: whether the tracked table is partitioned, so that an insert may be of a row that moved.
    """

    event_model: EventModel
    objects: list[Touched]
    missing: list[str]
    is_partitioned: bool = False
    rows: dict[int, Row] = field(default_factory=dict)
    live: dict[Key, Row] = field(default_factory=dict)

    @property
    def with_new_key(self) -> list[Touched]:
        """The objects with a new key."""
        return [touched for touched in self.objects if touched.is_new_key]

    @property
    def inside_ids(self) -> set[int]:
        """The `pgh_id` of the context's events."""
        return {event.pgh_id for touched in self.objects for event in touched.inside}

    def row_of(self, event: int | None) -> Row | None:
        """Return the row of an event; None for no event."""
        return None if event is None else self.rows[event]

    def object_at(self, key: Key, last_event: Happened) -> Touched:
        """Return the object with a key; if the context did not touch it, it is added with its last event."""
        for touched in self.objects:
            if touched.key == key:
                return touched
        added = Touched(key, [last_event], [], before=last_event.pgh_id)
        self.objects.append(added)
        return added

    @property
    def model(self) -> Model:
        """The tracked model."""
        return self.event_model.pgh_tracked_model


def touched_table(cursor: CursorWrapper, event_model: EventModel, context_id: UUID) -> TouchedTable:
    """Return the objects that a context touched, according to one event model, with all their events."""
    cursor.execute(render(touched_sql(event_model, context_id)))
    by_key: dict[Key, list[Happened]] = {}
    for pgh_id, created_at, label, found, *key in cursor.fetchall():
        by_key.setdefault(tuple(key), []).append(Happened(pgh_id, created_at, label, found))
    cursor.execute(render(is_partitioned_sql(event_model.pgh_tracked_model)))
    is_partitioned = cursor.fetchone() == (True,)
    table = TouchedTable(event_model, [], missing_fields(event_model), is_partitioned)
    known = meanings(event_model)
    for key, events in by_key.items():
        inside = [event for event in events if event.context_id == context_id and event.label in known]
        if inside:
            table.objects.append(Touched(key, events, inside))
    return table


def read_live(table: TouchedTable, alias: str) -> None:
    """Read the present rows."""
    names = [source.attname for _, source in tracked_fields(table.event_model)]
    keys = [source.attname for source in key_sources(table.event_model)]
    lookup = "pk__in" if len(keys) > 1 else f"{keys[0]}__in"
    for part in _parts([touched.key if len(keys) > 1 else touched.key[0] for touched in table.objects]):
        rows: models.QuerySet[models.Model] = models.QuerySet(table.model, using=alias)
        found = rows.filter(**{lookup: part})
        for row in found.values(*dict.fromkeys([*keys, *names])):
            table.live[tuple(row[name] for name in keys)] = {name: row[name] for name in names}


def read_rows(table: TouchedTable, alias: str, ids: Iterable[int]) -> None:
    """Read the rows of events that were not read yet."""
    names = {event.attname: source.attname for event, source in tracked_fields(table.event_model)}
    for part in _parts(sorted(set(ids) - set(table.rows))):
        for row in models.QuerySet(table.event_model, using=alias).filter(pk__in=part).values("pgh_id", *names):
            table.rows[row["pgh_id"]] = {source: row[event] for event, source in names.items()}


def key_sources(event_model: EventModel) -> list[AnyField]:
    """Return the fields of the tracked model whose values its events have as the key of the object."""
    sources = {event.name: source for event, source in tracked_fields(event_model)}
    return [
        found.target_field if found.name == "pgh_obj" and isinstance(found, models.ForeignKey) else sources[found.name]
        for found in object_fields(event_model)
    ]


def _parts(values: Sequence[T], size: int = 5_000) -> Iterable[Sequence[T]]:
    """Iterate over values in parts that a statement can name."""
    return (values[start : start + size] for start in range(0, len(values), size))
