"""Rows with a new key: keys for which no event shows whether a row existed before the context.

The context made these rows, or changed their key. An event of an update has the key that the row has after it. So in
events, a row whose key is changed ends without a delete, and begins at its new key without an insert. Which rows these
are is found by their contents. Nothing is guessed: a row that is not certain has a conflict.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, TypeAlias
from uuid import UUID

from django.db.backends.utils import CursorWrapper

from pgmagic.compile.sql import render
from pgmagic.declare.event_trigger import New
from pgmagic.history.event_labels import meanings, records_every
from pgmagic.history.undo.touched import Happened, TouchedTable, key_sources, read_rows
from pgmagic.history.undo.undo_sql import arrivals_sql, first_baseline_sql, vanished_sql
from pgmagic.history.undo.undo_step import Key

Vanished: TypeAlias = list[tuple[Key, Happened]]
"""Keys at which there is no row any more though no event says that it was deleted, with their last events."""

_WHICH = (
    "its key is new, and no event shows for certain which row was moved there: an event with the old row does "
    "(BeforeUpdate), next to a DeleteEvent"
)


class _Arrival(NamedTuple):
    """An event at a key that was free; is_update: whether it cannot be of a new row."""

    pgh_id: int
    is_update: bool
    is_ours: bool


def find_moved_rows(table: TouchedTable, cursor: CursorWrapper, context_id: UUID, *, complete: bool) -> None:
    """Set what the objects with a new key were before a context, if that is certain; see `Touched`.

    Adds the objects whose rows the context moved to other keys.
    """
    cursor.execute(render(first_baseline_sql(table.event_model)))
    [(baseline,)] = cursor.fetchall()
    first = min(touched.since for touched in table.with_new_key)
    every_row_known = complete or (baseline is not None and baseline < first)
    vanished = _vanished(table, cursor)
    if not vanished:
        for touched in table.with_new_key:
            # An update of a row that nobody made proves nothing.
            if every_row_known and not _is_update(table, touched.inside[0].label):
                touched.before, touched.unknown = None, None
        return
    moved = _moved(table, cursor, context_id, vanished, every_row_known=every_row_known)
    for touched in table.with_new_key:
        touched.before, touched.unknown, touched.is_moved = None, None if moved else _WHICH, bool(moved)
    for key, event in moved:
        left = table.object_at(key, event)
        left.last, left.is_last_known, left.is_moved = None, True, True


def _vanished(table: TouchedTable, cursor: CursorWrapper) -> Vanished:
    """Return the keys at which there was a row before the end of the context, and is none any more."""
    until = max(touched.inside[-1].pgh_id for touched in table.objects)
    cursor.execute(render(vanished_sql(table.event_model)))
    size = len(Happened._fields)
    found = [(tuple(row[size:]), Happened(*row[:size])) for row in cursor.fetchall()]
    return [(key, event) for key, event in found if event.pgh_id <= until]


def _moved(
    table: TouchedTable, cursor: CursorWrapper, context_id: UUID, vanished: Vanished, *, every_row_known: bool
) -> Vanished:
    """Return the keys at which rows vanished because the context moved the rows; empty unless that is certain.

    As many rows must have left their keys as arrived at new keys, and no row of anybody else arrived since. Which rows
    they are is found by their contents: the context's rows together hold what they held before, or all vanished rows
    hold what arrived. If every row has events, equal numbers suffice. A key that was left earlier has vanished, too: it
    must not be taken for one of them because its row once held the same.
    """
    if not (records_every(table.event_model, "DELETE") and records_every(table.event_model, "UPDATE", New)):
        return []
    inside, known = table.inside_ids, meanings(table.event_model)
    since = min([*inside, *(event.pgh_id for _, event in vanished)]) - 1
    cursor.execute(render(arrivals_sql(table.event_model, since)))
    arrivals = [
        _Arrival(pgh_id, _is_update(table, label), found == context_id) for pgh_id, label, found in cursor.fetchall()
    ]
    ours = [arrival for arrival in arrivals if arrival.is_ours]
    candidates = []
    for key, event in vanished:
        if event.pgh_id in inside or event.label not in known or not known[event.label].is_old:
            candidates.append((key, event))
    are_all = len(candidates) == len(vanished)
    left = _left_by_content(table, cursor.db.alias, candidates, ours, every_row_known, are_all)
    return left if _is_certain(left, arrivals) else []


def _is_certain(left: Vanished, arrivals: list[_Arrival]) -> bool:
    first = min((event.pgh_id for _, event in left), default=0)
    ours = 0
    for arrival in arrivals:
        if arrival.is_ours and not arrival.is_update:
            return False
        if not arrival.is_ours and arrival.pgh_id > first:
            return False
        ours += arrival.is_ours
    return ours == len(left)


def _left_by_content(
    table: TouchedTable, alias: str, candidates: Vanished, ours: list[_Arrival], every_row_known: bool, are_all: bool
) -> Vanished:
    """Return the candidates that hold what the context moved. are_all: whether all vanished rows are candidates."""
    contents = _contents(table, alias, [event.pgh_id for _, event in candidates])
    missing = _missing_after(table, alias)
    left = [found for found, held in zip(candidates, contents, strict=True) if held in missing]
    if Counter(held for held in contents if held in missing) != missing:
        # More rows than the moved rows hold the same.
        left = []
    if left or not are_all:
        return left
    arrived = _contents(table, alias, [arrival.pgh_id for arrival in ours])
    return candidates if every_row_known or sorted(contents) == sorted(arrived) else []


def _missing_after(table: TouchedTable, alias: str) -> Counter[str]:
    """Return what rows hold after a context and did not hold before it, if the context only updated rows."""
    known = meanings(table.event_model)
    if any(known[event.label].kinds != {"UPDATE"} for found in table.objects for event in found.inside):
        return Counter()
    after = [found.last for found in table.objects if found.last is not None]
    before = [found.before for found in table.objects if found.before is not None]
    return Counter(_contents(table, alias, after)) - Counter(_contents(table, alias, before))


def _contents(table: TouchedTable, alias: str, ids: list[int]) -> list[str]:
    """Return what the rows of events hold, without their keys."""
    read_rows(table, alias, ids)
    keys = {source.attname for source in key_sources(table.event_model)}
    rows = [{name: value for name, value in table.rows[pgh_id].items() if name not in keys} for pgh_id in ids]
    return [repr(sorted(row.items())) for row in rows]


def _is_update(table: TouchedTable, label: str) -> bool:
    meaning = meanings(table.event_model).get(label)
    return meaning is not None and meaning.kinds == {"UPDATE"}
