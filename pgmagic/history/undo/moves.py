"""Keys that no event tells to have been there before a context: rows that it made, or moved there from another key.

An event of an update has the key that the row has behind it. So a row that is given another key ends, in events,
without an end, and begins at its new key without a beginning. Which rows these are is told by what they hold. Nothing
is guessed: what is not certain is a conflict.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple
from uuid import UUID

from pgmagic.compile.sql import render
from pgmagic.history.states_sql import changes_of, kinds_of, records_deletes, records_new_updates
from pgmagic.history.undo.objects import (
    Happened,
    Key,
    Touched,
    TouchedTable,
    key_sources,
    meanings,
    read_rows,
)
from pgmagic.history.undo.undo_sql import arrivals_sql, first_baseline_sql, vanished_sql

Vanished = list[tuple[Key, Happened]]

_WHICH = (
    "its key is new, and no event tells for sure which row was moved there: an event with the old row does "
    "(BeforeUpdate), next to a DeleteEvent"
)


class _Arrival(NamedTuple):
    """An event at a key that was free; is_update: whether it can be of no new row."""

    pgh_id: int
    is_update: bool
    is_ours: bool


def tell_new_keys(table: TouchedTable, cursor: Any, context_id: UUID, *, complete: bool) -> None:
    """Say of objects with a new key what they were before a context, if that is certain; see `Touched`.

    Adds the objects whose rows the context moved away to other keys.
    """
    new = [touched for touched in table.objects if touched.is_new_key]
    every_row_told = complete or _has_baseline_before(table, cursor, min(touched.since for touched in new))
    vanished = _vanished(table, cursor, max(touched.inside[-1].pgh_id for touched in table.objects))
    if not vanished:
        for touched in new:
            # An update of a row that nobody made is no proof of anything.
            if every_row_told and not _is_update(table, touched.inside[0].label):
                touched.before, touched.untold = None, None
        return
    moved = _moved(table, cursor, context_id, vanished, every_row_told=every_row_told)
    for touched in new:
        touched.before, touched.untold, touched.is_moved = None, None if moved else _WHICH, bool(moved)
    for key, event in moved:
        _leave(table, key, event)


def _has_baseline_before(table: TouchedTable, cursor: Any, pgh_id: int) -> bool:
    cursor.execute(render(first_baseline_sql(table.event_model)))
    found = cursor.fetchone()[0]
    return found is not None and found < pgh_id


def _vanished(table: TouchedTable, cursor: Any, until: int) -> Vanished:
    """Return the keys, with their last events, at which a row was before the end of the context, and is no more."""
    cursor.execute(render(vanished_sql(table.event_model)))
    size = len(Happened._fields)
    found = [(tuple(row[size:]), Happened(*row[:size])) for row in cursor.fetchall()]
    return [(key, event) for key, event in found if event.pgh_id <= until]


def _moved(
    table: TouchedTable, cursor: Any, context_id: UUID, vanished: Vanished, *, every_row_told: bool
) -> Vanished:
    """Return those of the keys at which rows vanished that the context moved away; none unless that is certain.

    As many rows must have left their keys as arrived at new ones, and nobody else's arrived since. Which they are is
    told by what they hold: the context's rows hold together what they held before, or all that vanished holds what
    arrived. Where every row has events, being as many is enough. A key that was left earlier has vanished, too: it must
    not be taken for one of them because it once held the same.
    """
    if not (records_deletes(table.event_model) and records_new_updates(table.event_model)):
        return []
    known = meanings(table.event_model)
    inside = {event.pgh_id for touched in table.objects for event in touched.inside}
    told = [
        (key, event)
        for key, event in vanished
        if event.pgh_id in inside or event.label not in known or not known[event.label].is_old
    ]
    arrivals = _arrivals(
        table, cursor, context_id, min([*inside, *(event.pgh_id for _, event in vanished)]) - 1
    )
    ours = [arrival for arrival in arrivals if arrival.is_ours]
    ids = [*(event.pgh_id for _, event in told), *(arrival.pgh_id for arrival in ours)]
    read_rows(
        table, cursor.db.alias, [*ids, *(found.before for found in table.objects if found.before is not None)]
    )
    left = _holding(table, told, _missing_before(table))
    arrived = Counter(_content(table, arrival.pgh_id) for arrival in ours)
    if not left and (
        every_row_told or Counter(_content(table, event.pgh_id) for _, event in told) == arrived
    ):
        left = told if len(told) == len(vanished) else []
    since = min((event.pgh_id for _, event in left), default=0)
    is_certain = (
        len(ours) == len(left)
        and all(arrival.is_update for arrival in ours)
        and not any(arrival.pgh_id > since and not arrival.is_ours for arrival in arrivals)
    )
    return left if is_certain else []


def _holding(table: TouchedTable, vanished: Vanished, wanted: Counter[str]) -> Vanished:
    """Return the vanished rows that hold what is wanted; none where that could be said of more of them."""
    found = [(key, event) for key, event in vanished if _content(table, event.pgh_id) in wanted]
    return found if Counter(_content(table, event.pgh_id) for _, event in found) == wanted else []


def _missing_before(table: TouchedTable) -> Counter[str]:
    """Return what rows hold behind a context and did not hold before it, where it only updated rows."""
    known = meanings(table.event_model)
    if any(known[event.label].kinds != {"UPDATE"} for found in table.objects for event in found.inside):
        return Counter()
    behind = Counter(_content(table, found.last) for found in table.objects if found.last is not None)
    return behind - Counter(
        _content(table, found.before) for found in table.objects if found.before is not None
    )


def _content(table: TouchedTable, pgh_id: int) -> str:
    """Return what the row of an event holds, apart from its key."""
    keys = {source.attname for source in key_sources(table.event_model)}
    return repr(sorted((name, value) for name, value in table.rows[pgh_id].items() if name not in keys))


def _arrivals(table: TouchedTable, cursor: Any, context_id: UUID, since: int) -> list[_Arrival]:
    cursor.execute(render(arrivals_sql(table.event_model, since)))
    return [
        _Arrival(pgh_id, _is_update(table, label), found == context_id)
        for pgh_id, label, found in cursor.fetchall()
    ]


def _is_update(table: TouchedTable, label: str) -> bool:
    return any(
        tracker.label == label and kinds_of(tracker) == {"UPDATE"}
        for tracker in changes_of(table.event_model)
    )


def _leave(table: TouchedTable, key: Key, event: Happened) -> None:
    """Note that a row was moved away from a key."""
    touched = next((found for found in table.objects if found.key == key), None)
    if touched is None:
        touched = Touched(key, [event], [], before=event.pgh_id)
        table.objects.append(touched)
    touched.last, touched.is_last_told, touched.is_moved = None, True, True
