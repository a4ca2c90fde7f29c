"""The objects that a context touched, and what each of them was before and behind it, as far as events tell."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import models

from pgmagic.compile.partitions import is_partitioned_sql
from pgmagic.compile.sql import render
from pgmagic.declare.trackers import tracked_fields
from pgmagic.history.states_sql import labels_by_hand, records_new_updates
from pgmagic.history.undo.moves import tell_new_keys
from pgmagic.history.undo.objects import (
    EventModel,
    Happened,
    Key,
    Meaning,
    Touched,
    TouchedTable,
    key_sources,
    meanings,
    parts,
    read_rows,
)
from pgmagic.history.undo.undo_sql import missing_fields, touched_sql

_MOVED = (
    "it was there before, and no event tells whether it was deleted since or moved to another partition: a DeleteEvent "
    "does"
)
_NO_EARLIER = "no earlier event tells what it was: a baseline does (backfill)"


def read_touched(
    cursor: Any, event_model: EventModel, context_id: UUID, *, complete: bool = False
) -> TouchedTable:
    """Return what a context touched, as the events of one event model tell.

    complete: whether every row was tracked since it was made, as the user knows.
    """
    cursor.execute(render(touched_sql(event_model, context_id)))
    by_key: dict[Key, list[Happened]] = {}
    known = meanings(event_model)
    for pgh_id, created_at, label, found, *key in cursor.fetchall():
        by_key.setdefault(tuple(key), []).append(Happened(pgh_id, created_at, label, found))
    cursor.execute(render(is_partitioned_sql(event_model.pgh_tracked_model)))
    is_partitioned = cursor.fetchone() == (True,)
    table = TouchedTable(event_model, [], missing_fields(event_model), is_partitioned)
    for key, events in by_key.items():
        inside = [event for event in events if event.context_id == context_id and event.label in known]
        if inside:
            table.objects.append(Touched(key, events, inside))
    alias = cursor.db.alias
    read_rows(table, alias, [event.pgh_id for touched in table.objects for event in touched.inside])
    by_hand = set(labels_by_hand(event_model))
    for touched in table.objects:
        _tell(touched, table, known, by_hand)
    if any(touched.is_new_key for touched in table.objects):
        tell_new_keys(table, cursor, context_id, complete=complete)
    read_rows(table, alias, [touched.before for touched in table.objects if touched.before is not None])
    _read_live(table, alias)
    return table


def _read_live(table: TouchedTable, alias: str) -> None:
    """Read the rows of now."""
    names = [source.attname for _, source in tracked_fields(table.event_model)]
    keys = [source.attname for source in key_sources(table.event_model)]
    lookup = "pk__in" if len(keys) > 1 else f"{keys[0]}__in"
    for part in parts([touched.key if len(keys) > 1 else touched.key[0] for touched in table.objects]):
        found: Any = models.QuerySet(table.model, using=alias).filter(**{lookup: part})
        for row in found.values(*dict.fromkeys([*keys, *names])):
            table.live[tuple(row[name] for name in keys)] = {name: row[name] for name in names}


def _tell(touched: Touched, table: TouchedTable, known: dict[str, Meaning], by_hand: Collection[str]) -> None:
    """Say what an object was before the context and behind it, or why no event tells."""
    first = touched.inside[0]
    meaning = known[first.label]
    companion = _old_companion(touched, table, known)
    if meaning.is_old:
        touched.before = first.pgh_id
    elif meaning.is_insert:
        touched.before = None
        if table.is_partitioned and _was_there(touched, known, by_hand):
            touched.untold = _MOVED
    elif companion is not None:
        touched.before = companion.pgh_id
    else:
        _tell_from_earlier(touched, known, meaning, by_hand, records_new_updates(table.event_model))
    last = touched.inside[-1]
    if known[last.label].is_delete:
        touched.last, touched.is_last_told = None, True
    elif not known[last.label].is_old:
        touched.last, touched.is_last_told = last.pgh_id, True


def _was_there(touched: Touched, known: dict[str, Meaning], by_hand: Collection[str]) -> bool:
    """Return whether the events before the context's end without a delete."""
    first = touched.inside[0].pgh_id
    earlier = [event for event in touched.events if event.pgh_id < first and event.label not in by_hand]
    return bool(earlier) and not (earlier[-1].label in known and known[earlier[-1].label].is_delete)


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
        if told is not None and told.is_delete:
            touched.before = None
            touched.is_new_key = "INSERT" not in meaning.kinds
            touched.untold = _NO_EARLIER if touched.is_new_key else None
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
    else:
        touched.is_new_key = True
    label = touched.inside[0].label
    if "INSERT" in meaning.kinds:
        touched.untold = (
            f'its first event, "{label}", does not tell whether it was created or changed: an InsertEvent does, or an '
            f"earlier baseline (backfill), or you, by undo_plan(..., complete=True)"
        )
    else:
        touched.untold = _NO_EARLIER
