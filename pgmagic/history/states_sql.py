"""The rows of a tracked table as they stood at an instant, out of its events.

An event with the NEW row says how its object is from then on. One with the OLD row says how it was until then, and
of a delete that the object is gone. So the state at an instant is the row of the latest event up to it; or, where that
has no NEW row, the row of the next event, if that is an OLD one; or, where no event follows, the row as it is now.

Source: https://www.postgresql.org/docs/current/queries-with.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import models

from pgmagic.compile.event_values import live_keys, object_fields
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal
from pgmagic.declare.conditions import Condition
from pgmagic.declare.event_trigger import New, Old
from pgmagic.declare.trackers import RowEvent, Tracker, tracked_fields

EventModel = type[Any]


def changes_of(event_model: EventModel) -> list[RowEvent]:
    """Return the trackers whose events are changes of rows, not records made by hand."""
    return [tracker for tracker in event_model.pgh_trackers if isinstance(tracker, RowEvent)]


def labels_apart(event_model: EventModel) -> list[str]:
    """Return the labels whose events say nothing about how rows stood.

    Events made by hand may hold what no row ever held, unless all events are. Of an update that is recorded from both
    sides, the NEW row says it all; which of the two comes first depends on the names of their triggers.
    """
    recorded = changes_of(event_model)
    if not recorded:
        return []
    apart = labels_by_hand(event_model)
    if records_new_updates(event_model):
        apart += _labels(
            tracker for tracker in recorded if tracker.row == Old and kinds_of(tracker) == {"UPDATE"}
        )
    return apart


def labels_by_hand(event_model: EventModel) -> list[str]:
    """Return the labels of events that no change causes."""
    recorded = changes_of(event_model)
    return _labels(tracker for tracker in event_model.pgh_trackers if tracker not in recorded)


def records_new_updates(event_model: EventModel) -> bool:
    """Return whether every update becomes an event with the NEW row."""
    return any(
        tracker.row == New and "UPDATE" in kinds_of(tracker) and not _is_conditional(tracker)
        for tracker in changes_of(event_model)
    )


def records_every_update(event_model: EventModel) -> bool:
    """Return whether every update becomes an event, from either side."""
    return any(
        "UPDATE" in kinds_of(tracker) and not _is_conditional(tracker) for tracker in changes_of(event_model)
    )


def end_labels(event_model: EventModel) -> list[str]:
    """Return the labels of events behind which the object is gone."""
    return _labels(
        tracker
        for tracker in changes_of(event_model)
        if tracker.row == Old and kinds_of(tracker) <= {"DELETE", "TRUNCATE"}
    )


def old_update_labels(event_model: EventModel) -> list[str]:
    """Return the labels of events with an OLD row behind which the object may live on."""
    others = {*end_labels(event_model), *labels_apart(event_model)}
    return [
        label
        for label in _labels(tracker for tracker in changes_of(event_model) if tracker.row == Old)
        if label not in others
    ]


def new_update_labels(event_model: EventModel) -> list[str]:
    """Return the labels of events with a NEW row before which the object was there already."""
    return _labels(
        tracker
        for tracker in changes_of(event_model)
        if tracker.row == New and "INSERT" not in kinds_of(tracker)
    )


def records_inserts(event_model: EventModel) -> bool:
    """Return whether every new row becomes an event: then a row without one was there before tracking began."""
    return any(
        "INSERT" in kinds_of(tracker) and not _is_conditional(tracker) for tracker in changes_of(event_model)
    )


def records_deletes(event_model: EventModel) -> bool:
    """Return whether every deleted row becomes an event: then a row that is gone without one has another key now."""
    return any(
        "DELETE" in kinds_of(tracker) and not _is_conditional(tracker) for tracker in changes_of(event_model)
    )


def _is_conditional(tracker: RowEvent) -> bool:
    return isinstance(tracker.condition, Condition | models.Q)


def kinds_of(tracker: RowEvent) -> set[str]:
    """Return the names of the operations that a tracker records."""
    return {single.name for single in tracker.operation or ()}


def _labels(trackers: Iterable[Tracker]) -> list[str]:
    return [str(tracker.label) for tracker in trackers]


def states_sql(
    event_model: EventModel, when: datetime, selected: Sequence[Fragment], conditions: Sequence[Fragment]
) -> Fragment:
    """Return a query of the rows at an instant, one for each object that was there, in the order of their keys.

    selected: what to select, over the event's columns as `event`. conditions: on events, also over `event`.
    """
    arms = [_arm(event_model, "before", _when_new(event_model))]
    if _old(event_model):
        arms.append(_arm(event_model, "after", _when_old_follows(event_model)))
    if old_update_labels(event_model):
        arms.append(_live_arm(event_model))
    keys = [compose("event.", identifier(field.column)) for field in object_fields(event_model)]
    return compose(
        *_sides(event_model, when, conditions),
        "SELECT ", join(", ", selected), " FROM (", join("\nUNION ALL\n", arms), ") AS event ORDER BY ",
        join(", ", keys),
    )  # fmt: skip


def unknown_sql(event_model: EventModel, when: datetime, conditions: Sequence[Fragment]) -> Fragment:
    """Return a query of how many objects were there at an instant in a state that no event tells.

    Their first event comes later, and is a change.
    """
    updates = new_update_labels(event_model)
    if not updates:
        return compose("SELECT 0")
    table = identifier(event_model._meta.db_table)
    keys = [identifier(field.column) for field in object_fields(event_model)]
    same = join(" AND ", [compose("before.", key, " = after.", key) for key in keys])
    wanted = join(
        " AND ", [same, *_wanted(event_model, "before"), compose("before.pgh_created_at <= ", _instant(when))]
    )
    old = old_update_labels(event_model)
    is_untold = _is_one_of("before", old) if old else compose("false")
    # Apart, and looked up one by one: the planner takes almost every object to have an event before the instant, and
    # would group all events anew for each that has none.
    return compose(
        "WITH after AS MATERIALIZED (SELECT whole.pgh_label, ", join(", ", [compose("whole.", key) for key in keys]),
        " FROM ", _found(event_model, when, conditions, compose("> "), compose("min")), " JOIN ", table,
        " AS whole ON whole.pgh_id = found.pgh_id)\nSELECT count(*) FROM after WHERE ", _is_one_of("after", updates),
        " AND coalesce((SELECT ", is_untold, " FROM ", table, " AS before WHERE ", wanted,
        " ORDER BY before.pgh_id DESC LIMIT 1), true)",
    )  # fmt: skip


def without_events_sql(event_model: EventModel) -> Fragment:
    """Return a query of how many rows of the table have no event at all."""
    same = [
        compose("event.", identifier(field.column), " = live.", identifier(column))
        for field, column in zip(object_fields(event_model), live_keys(event_model), strict=True)
    ]
    return compose(
        "SELECT count(*) FROM ", identifier(event_model.pgh_tracked_model._meta.db_table), " AS live WHERE NOT EXISTS "
        "(SELECT FROM ", identifier(event_model._meta.db_table), " AS event WHERE ", join(" AND ", same), ")",
    )  # fmt: skip


def _sides(event_model: EventModel, when: datetime, conditions: Sequence[Fragment]) -> list[Fragment]:
    """Return the WITH of a query: the latest event of each object up to the instant, and the next one."""

    def side(name: Fragment, operator: Fragment, chosen: Fragment) -> Fragment:
        return compose(
            name, " AS (SELECT whole.* FROM ", _found(event_model, when, conditions, operator, chosen), " JOIN ",
            identifier(event_model._meta.db_table), " AS whole ON whole.pgh_id = found.pgh_id)",
        )  # fmt: skip

    return [
        compose("WITH "),
        side(compose("before"), compose("<= "), compose("max")),
        compose(",\n"),
        side(compose("after"), compose("> "), compose("min")),
        compose("\n"),
    ]


def _found(
    event_model: EventModel,
    when: datetime,
    conditions: Sequence[Fragment],
    operator: Fragment,
    chosen: Fragment,
) -> Fragment:
    """Return a subquery of the latest event, or the next one, of each object: its `pgh_id` alone.

    The keys alone are grouped, and the rows fetched by their ids: sorting whole rows takes ten times as long.
    """
    keys = [identifier(field.column) for field in object_fields(event_model)]
    known = [compose("event.", key, " IS NOT NULL") for key in keys]
    in_time = compose("event.pgh_created_at ", operator, _instant(when))
    return compose(
        "(SELECT ", chosen, "(event.pgh_id) AS pgh_id FROM ", identifier(event_model._meta.db_table),
        " AS event WHERE ", join(" AND ", [*conditions, *known, *_wanted(event_model, "event"), in_time]),
        " GROUP BY ", join(", ", keys), ") AS found",
    )  # fmt: skip


def _wanted(event_model: EventModel, alias: str) -> list[Fragment]:
    apart = labels_apart(event_model)
    return [compose("NOT ", _is_one_of(alias, apart))] if apart else []


def _instant(when: datetime) -> Fragment:
    return compose(literal(when), "::timestamptz")


def _arm(event_model: EventModel, side: str, source: Fragment) -> Fragment:
    # One by one: a table that was altered has its columns in another order than the model.
    columns = [identifier(side, field.column) for field in event_model._meta.local_concrete_fields]
    return compose("SELECT ", join(", ", columns), " ", source)


def _when_new(event_model: EventModel) -> Fragment:
    old = _old(event_model)
    return compose("FROM before WHERE NOT ", _is_one_of("before", old)) if old else compose("FROM before")


def _when_old_follows(event_model: EventModel) -> Fragment:
    """Return the condition that the latest event does not tell the state, and the next one does."""
    untold = [_is_one_of("before", old_update_labels(event_model))] if old_update_labels(event_model) else []
    if records_inserts(event_model):
        untold.append(compose("before.pgh_id IS NULL"))
    return compose(
        "FROM after LEFT JOIN before USING (", _keys(event_model), ") WHERE ", _is_one_of("after", _old(event_model)),
        " AND (", join(" OR ", untold or [compose("FALSE")]), ")",
    )  # fmt: skip


def _live_arm(event_model: EventModel) -> Fragment:
    """Return the rows as they are now, of objects whose last event of all holds the row before a change."""
    tracked = event_model.pgh_tracked_model
    live = {event.column: source.column for event, source in tracked_fields(event_model)}
    live |= {
        field.column: column
        for field, column in zip(object_fields(event_model), live_keys(event_model), strict=True)
    }
    columns = [
        compose("live.", identifier(live[field.column]))
        if field.column in live
        else compose("before.", identifier(field.column))
        for field in event_model._meta.local_concrete_fields
    ]
    same = [
        compose("live.", identifier(column), " = before.", identifier(field.column))
        for field, column in zip(object_fields(event_model), live_keys(event_model), strict=True)
    ]
    return compose(
        "SELECT ", join(", ", columns), " FROM before JOIN ", identifier(tracked._meta.db_table), " AS live ON ",
        join(" AND ", same), " LEFT JOIN after USING (", _keys(event_model), ") WHERE after.pgh_id IS NULL AND ",
        _is_one_of("before", old_update_labels(event_model)),
    )  # fmt: skip


def _keys(event_model: EventModel) -> Fragment:
    return join(", ", [identifier(field.column) for field in object_fields(event_model)])


def _old(event_model: EventModel) -> list[str]:
    return [*end_labels(event_model), *old_update_labels(event_model)]


def _is_one_of(alias: str, labels: Sequence[str]) -> Fragment:
    return compose(identifier(alias), ".pgh_label IN (", join(", ", map(literal, labels)), ")")
