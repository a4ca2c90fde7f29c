"""The objects that a context touched, and what each of them was before and behind it, as far as events tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import models

from pgmagic.compile.reading import object_fields
from pgmagic.compile.row_states import changes_of, kinds_of, labels_by_hand, records_new_updates
from pgmagic.compile.sql import render
from pgmagic.compile.undoing import missing_fields, touched_sql
from pgmagic.declare.event_trigger import Old
from pgmagic.declare.trackers import tracked_fields

EventModel = type[Any]
Key = tuple[Any, ...]


class Happened(NamedTuple):
    """An event, without its row."""

    pgh_id: int
    created_at: datetime
    label: str
    context_id: UUID | None


class Meaning(NamedTuple):
    """What a label's events are: the side of the row that they hold, and the operations that they stand for."""

    is_old: bool
    kinds: frozenset[str]

    @property
    def is_delete(self) -> bool:
        """Whether the object is gone behind them."""
        return self.is_old and self.kinds <= {"DELETE", "TRUNCATE"}

    @property
    def is_insert(self) -> bool:
        """Whether the object was not there before them."""
        return self.kinds == {"INSERT"}


@dataclass
class Touched:
    """One object: all its events, and those of the context among them.

    before: the event whose row the object had before the context, None where there was no row. untold: why no event
    tells that. last: the event whose row it had when the context was done, None for no row.
    """

    key: Key
    events: list[Happened]
    inside: list[Happened]
    before: int | None = None
    untold: str | None = None
    last: int | None = None
    is_last_told: bool = False


@dataclass
class TouchedTable:
    """What a context touched of one tracked table, as one of its event tables tells.

    rows: the rows of the events that `Touched` names, by `pgh_id`. live: the rows of now, by key. names: the fields.
    """

    event_model: EventModel
    objects: list[Touched]
    missing: list[str]
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    live: dict[Key, dict[str, Any]] = field(default_factory=dict)

    @property
    def model(self) -> type[models.Model]:
        """The tracked model."""
        return self.event_model.pgh_tracked_model  # type: ignore[no-any-return]


def meanings(event_model: EventModel) -> dict[str, Meaning]:
    """Return what the events of each label are; those made by hand and baselines are no changes, and have none."""
    return {
        str(tracker.label): Meaning(tracker.row == Old, frozenset(kinds_of(tracker)))
        for tracker in changes_of(event_model)
    }


def read_touched(cursor: Any, event_model: EventModel, context_id: UUID) -> TouchedTable:
    """Return what a context touched, as the events of one event model tell."""
    cursor.execute(render(touched_sql(event_model, context_id)))
    by_key: dict[Key, list[Happened]] = {}
    known = meanings(event_model)
    for pgh_id, created_at, label, found, *key in cursor.fetchall():
        by_key.setdefault(tuple(key), []).append(Happened(pgh_id, created_at, label, found))
    table = TouchedTable(event_model, [], missing_fields(event_model))
    for key, events in by_key.items():
        inside = [event for event in events if event.context_id == context_id and event.label in known]
        if inside:
            table.objects.append(Touched(key, events, inside))
    alias = cursor.db.alias
    _read_rows(table, alias, [event.pgh_id for touched in table.objects for event in touched.inside])
    by_hand = set(labels_by_hand(event_model))
    for touched in table.objects:
        _tell(touched, table, known, by_hand)
    _read_rows(table, alias, [touched.before for touched in table.objects if touched.before is not None])
    _read_live(table, alias)
    return table


def _read_rows(table: TouchedTable, alias: str, ids: Iterable[int]) -> None:
    """Read the rows of events that are not known yet."""
    names = {event.attname: source.attname for event, source in tracked_fields(table.event_model)}
    for part in _parts(sorted(set(ids) - set(table.rows))):
        for row in (
            models.QuerySet(table.event_model, using=alias).filter(pk__in=part).values("pgh_id", *names)
        ):
            table.rows[row["pgh_id"]] = {source: row[event] for event, source in names.items()}


def _read_live(table: TouchedTable, alias: str) -> None:
    """Read the rows of now."""
    names = [source.attname for _, source in tracked_fields(table.event_model)]
    keys = [source.attname for source in key_sources(table.event_model)]
    lookup = "pk__in" if len(keys) > 1 else f"{keys[0]}__in"
    for part in _parts([touched.key if len(keys) > 1 else touched.key[0] for touched in table.objects]):
        found: Any = models.QuerySet(table.model, using=alias).filter(**{lookup: part})
        for row in found.values(*dict.fromkeys([*keys, *names])):
            table.live[tuple(row[name] for name in keys)] = {name: row[name] for name in names}


def key_sources(event_model: EventModel) -> list[Any]:
    """Return the fields of the tracked model that tell its objects apart in events."""
    sources = {event.name: source for event, source in tracked_fields(event_model)}
    return [
        found.target_field if found.name == "pgh_obj" else sources[found.name]
        for found in object_fields(event_model)
    ]


def _parts(values: Sequence[Any], size: int = 5_000) -> Iterable[Sequence[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _tell(touched: Touched, table: TouchedTable, known: dict[str, Meaning], by_hand: Collection[str]) -> None:
    """Say what an object was before the context and behind it, or why no event tells."""
    first = touched.inside[0]
    meaning = known[first.label]
    companion = _old_companion(touched, table, known)
    if meaning.is_old:
        touched.before = first.pgh_id
    elif meaning.is_insert:
        touched.before = None
    elif companion is not None:
        touched.before = companion.pgh_id
    else:
        _tell_from_earlier(touched, known, meaning, by_hand, records_new_updates(table.event_model))
    last = touched.inside[-1]
    if known[last.label].is_delete:
        touched.last, touched.is_last_told = None, True
    elif not known[last.label].is_old:
        touched.last, touched.is_last_told = last.pgh_id, True


def _old_companion(touched: Touched, table: TouchedTable, known: dict[str, Meaning]) -> Happened | None:
    """Return the event with the OLD row of an object's first change, where its trigger fired behind that of the NEW."""
    first, *others = touched.inside
    for event in others:
        meaning = known[event.label]
        if event.created_at != first.created_at:
            return None
        if meaning.is_old and "UPDATE" in meaning.kinds:
            # The OLD row of a later change is the NEW row of this one.
            return event if table.rows.get(event.pgh_id) != table.rows.get(first.pgh_id) else None
    return None


def _tell_from_earlier(
    touched: Touched,
    known: dict[str, Meaning],
    meaning: Meaning,
    by_hand: Collection[str],
    is_complete: bool,
) -> None:
    """Say what an object was from the events before the context's; `meaning` is that of the context's first."""
    first = touched.inside[0].pgh_id
    for event in reversed(touched.events):
        if event.pgh_id >= first or event.label in by_hand:
            continue
        told = known.get(event.label)
        if told is not None and told.is_delete and "INSERT" in meaning.kinds:
            touched.before = None
            return
        if not is_complete:
            touched.untold = "not every update is recorded, so that what it was is not known"
            return
        if told is None or not told.is_old:
            # The NEW row of a change, or a baseline: nothing came between that is not recorded.
            touched.before = event.pgh_id
            return
        if told.kinds != {"UPDATE"}:
            break
    label = touched.inside[0].label
    if "INSERT" in meaning.kinds:
        touched.untold = (
            f'its first event, "{label}", does not tell whether it was created or changed: an InsertEvent does, or a '
            f"baseline (backfill)"
        )
    else:
        touched.untold = "no earlier event tells what it was: a baseline does (backfill)"
