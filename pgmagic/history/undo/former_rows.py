"""The objects that a context touched, and what each of them was before the context, as far as events show it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from django.db.backends.utils import CursorWrapper

from pgmagic.declare.event_trigger import New
from pgmagic.declare.model_types import EventModel
from pgmagic.history.event_labels import Meaning, labels_by_hand, meanings, records_every
from pgmagic.history.undo.moved_rows import find_moved_rows
from pgmagic.history.undo.touched import Happened, Touched, TouchedTable, read_live, read_rows, touched_table

_MOVED = (
    "it existed before, and no event shows whether it was deleted since or moved to another partition: a DeleteEvent "
    "does"
)
_NO_EARLIER = "no earlier event shows what it was: a baseline does (backfill)"


def read_touched(
    cursor: CursorWrapper, event_model: EventModel, context_id: UUID, *, complete: bool = False
) -> TouchedTable:
    """Return what a context touched, according to the events of one event model.

    complete: whether every row was tracked since it was made, as the user knows.
    """
    table = touched_table(cursor, event_model, context_id)
    alias, known = cursor.db.alias, meanings(event_model)
    read_rows(table, alias, table.inside_ids)
    by_hand = set(labels_by_hand(event_model))
    for touched in table.objects:
        _find_former_row(touched, table, known, by_hand)
        last = touched.inside[-1]
        if known[last.label].is_delete:
            touched.last, touched.is_last_known = None, True
        elif not known[last.label].is_old:
            touched.last, touched.is_last_known = last.pgh_id, True
    if any(touched.is_new_key for touched in table.objects):
        find_moved_rows(table, cursor, context_id, complete=complete)
    read_rows(table, alias, [touched.before for touched in table.objects if touched.before is not None])
    read_live(table, alias)
    return table


def _find_former_row(
    touched: Touched, table: TouchedTable, known: Mapping[str, Meaning], by_hand: Collection[str]
) -> None:
    """Set what an object was before the context, or why it is not known."""
    first = touched.inside[0]
    meaning = known[first.label]
    companion = _old_companion(touched, table, known)
    if meaning.is_old:
        touched.before = first.pgh_id
    elif meaning.is_insert:
        touched.before = None
        earlier = touched.earlier(by_hand)
        latest = known.get(earlier[-1].label) if earlier else None
        if table.is_partitioned and earlier and not (latest is not None and latest.is_delete):
            touched.unknown = _MOVED
    elif companion is not None:
        touched.before = companion.pgh_id
    else:
        is_complete = records_every(table.event_model, "UPDATE", New)
        _find_in_earlier_events(touched, known, by_hand, is_complete)


def _old_companion(touched: Touched, table: TouchedTable, known: Mapping[str, Meaning]) -> Happened | None:
    """Return the event with the OLD row of an object's first change, if its trigger fired after that of the NEW row."""
    first, *others = touched.inside
    for event in others:
        meaning = known[event.label]
        if event.created_at != first.created_at:
            return None
        if meaning.is_old and "UPDATE" in meaning.kinds:
            # The OLD row of a later change is the NEW row of this change.
            return event if table.rows.get(event.pgh_id) != table.rows.get(first.pgh_id) else None
    return None


def _find_in_earlier_events(
    touched: Touched, known: Mapping[str, Meaning], by_hand: Collection[str], is_complete: bool
) -> None:
    """Set what an object was from the events before the context. is_complete: whether they have every update."""
    first = touched.inside[0]
    may_be_insert = "INSERT" in known[first.label].kinds
    for event in reversed(touched.earlier(by_hand)):
        meaning = known.get(event.label)
        if meaning is not None and meaning.is_delete:
            touched.before = None
            touched.is_new_key = not may_be_insert
            touched.unknown = _NO_EARLIER if touched.is_new_key else None
            return
        if not is_complete:
            touched.unknown = "not every update is recorded, so that what it was is not known"
            return
        if meaning is None or not meaning.is_old:
            # The NEW row of a change, or a baseline: every change since then is recorded.
            touched.before = event.pgh_id
            return
        if meaning.kinds != {"UPDATE"}:
            break
    else:
        touched.is_new_key = True
    touched.unknown = _NO_EARLIER
    if may_be_insert:
        touched.unknown = (
            f'its first event, "{first.label}", does not show whether it was created or changed: an InsertEvent does, '
            f"or an earlier baseline (backfill), or you, by undo_plan(..., complete=True)"
        )
