"""The rows of a tracked table as they stood at an instant, from its events.

An event with the NEW row says what its object is from then on. An event with the OLD row says what the object was until
then, and that of a delete, that the object is gone. So the state at an instant is the row of the latest event up to it;
or, if that event has no NEW row, the row of the next event, if that has the OLD row; or, without a next event, the row
as it is now.

Source: https://www.postgresql.org/docs/current/queries-with.html
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pgmagic.compile.event_values import live_keys, object_fields
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal
from pgmagic.declare.model_types import EventModel
from pgmagic.declare.trackers import tracked_fields
from pgmagic.history.event_labels import end_labels, labels_apart, new_update_labels, old_update_labels, records_every
from pgmagic.history.events_sql import is_event_of


def states_sql(
    event_model: EventModel, when: datetime, selected: Sequence[Fragment], conditions: Sequence[Fragment]
) -> Fragment:
    """Return a query of the rows at an instant, one for each object that existed, in the order of their keys.

    selected: what to select, over the event's columns as `event`. conditions: on events, also over `event`.
    """
    old = [*end_labels(event_model), *old_update_labels(event_model)]
    arms = [
        _arm(event_model, "before", compose("FROM before WHERE NOT ", _is_one_of("before", old)) if old else
             compose("FROM before"))
    ]  # fmt: skip
    old_updates = old_update_labels(event_model)
    if old:
        # The latest event does not hold the state, but the next event does.
        unknown = [_is_one_of("before", old_updates)] if old_updates else []
        if records_every(event_model, "INSERT"):
            unknown.append(compose("before.pgh_id IS NULL"))
        follows = compose(
            "FROM after LEFT JOIN before USING (", join(", ", _keys(event_model)), ") WHERE ",
            _is_one_of("after", old), " AND (", join(" OR ", unknown or [compose("FALSE")]), ")",
        )  # fmt: skip
        arms.append(_arm(event_model, "after", follows))
    if old_updates:
        arms.append(_live_arm(event_model))

    def side(name: Fragment, operator: Fragment, chosen: Fragment) -> Fragment:
        return compose(
            name, " AS (SELECT whole.* FROM ", _found(event_model, when, conditions, operator, chosen), " JOIN ",
            identifier(event_model._meta.db_table), " AS whole ON whole.pgh_id = found.pgh_id)",
        )  # fmt: skip

    return compose(
        # The latest event of each object up to the instant, and the next event.
        "WITH ", side(compose("before"), compose("<= "), compose("max")), ",\n",
        side(compose("after"), compose("> "), compose("min")), "\n"
        "SELECT ", join(", ", selected), " FROM (", join("\nUNION ALL\n", arms), ") AS event ORDER BY ",
        join(", ", [compose("event.", key) for key in _keys(event_model)]),
    )  # fmt: skip


def unknown_sql(event_model: EventModel, when: datetime, conditions: Sequence[Fragment]) -> Fragment:
    """Return a query of how many objects existed at an instant in a state that no event holds.

    Their first event comes later, and is a change.
    """
    updates = new_update_labels(event_model)
    if not updates:
        return compose("SELECT 0")
    table = identifier(event_model._meta.db_table)
    keys = _keys(event_model)
    same = [compose("before.", key, " = after.", key) for key in keys]
    wanted = [*same, *_wanted(event_model, "before"), compose("before.pgh_created_at <= ", _instant(when))]
    old = old_update_labels(event_model)
    is_unknown = _is_one_of("before", old) if old else compose("false")
    # Materialized, and looked up one by one: the planner expects an event before the instant for almost every object,
    # and would group all events again for each object without one.
    return compose(
        "WITH after AS MATERIALIZED (SELECT whole.pgh_label, ", join(", ", [compose("whole.", key) for key in keys]),
        " FROM ", _found(event_model, when, conditions, compose("> "), compose("min")), " JOIN ", table,
        " AS whole ON whole.pgh_id = found.pgh_id)\nSELECT count(*) FROM after WHERE ", _is_one_of("after", updates),
        " AND coalesce((SELECT ", is_unknown, " FROM ", table, " AS before WHERE ", join(" AND ", wanted),
        " ORDER BY before.pgh_id DESC LIMIT 1), true)",
    )  # fmt: skip


def without_events_sql(event_model: EventModel) -> Fragment:
    """Return a query of how many rows of the table have no event at all."""
    return compose(
        "SELECT count(*) FROM ", identifier(event_model.pgh_tracked_model._meta.db_table), " AS live WHERE NOT EXISTS "
        "(SELECT FROM ", identifier(event_model._meta.db_table), " AS event WHERE ",
        is_event_of(event_model, "event", "live"), ")",
    )  # fmt: skip


def _found(
    event_model: EventModel, when: datetime, conditions: Sequence[Fragment], operator: Fragment, chosen: Fragment
) -> Fragment:
    """Return a subquery of the latest event, or the next event, of each object: its `pgh_id` alone.

    The keys alone are grouped, and the rows fetched by their ids: sorting whole rows takes ten times as long.
    """
    keys = _keys(event_model)
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
    # By name: a table that was altered has its columns in another order than the model.
    columns = [identifier(side, field.column) for field in event_model._meta.local_concrete_fields]
    return compose("SELECT ", join(", ", columns), " ", source)


def _live_arm(event_model: EventModel) -> Fragment:
    """Return the rows as they are now, of objects whose last event of all holds the row before a change."""
    tracked = event_model.pgh_tracked_model
    live = {event.column: source.column for event, source in tracked_fields(event_model)}
    live |= {
        field.column: column for field, column in zip(object_fields(event_model), live_keys(event_model), strict=True)
    }
    columns = [
        compose("live.", identifier(live[field.column]))
        if field.column in live
        else compose("before.", identifier(field.column))
        for field in event_model._meta.local_concrete_fields
    ]
    return compose(
        "SELECT ", join(", ", columns), " FROM before JOIN ", identifier(tracked._meta.db_table), " AS live ON ",
        is_event_of(event_model, "before", "live"), " LEFT JOIN after USING (", join(", ", _keys(event_model)),
        ") WHERE after.pgh_id IS NULL AND ", _is_one_of("before", old_update_labels(event_model)),
    )  # fmt: skip


def _keys(event_model: EventModel) -> list[Fragment]:
    return [identifier(field.column) for field in object_fields(event_model)]


def _is_one_of(alias: str, labels: Sequence[str]) -> Fragment:
    return compose(identifier(alias), ".pgh_label IN (", join(", ", map(literal, labels)), ")")
