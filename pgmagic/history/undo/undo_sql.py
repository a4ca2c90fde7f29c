"""The SQL of undo: the events of the objects that a context touched, and statements that put rows back from events.

Rows are put back inside the database, column by column, so that no value passes through Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pgmagic.compile.event_values import live_keys
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, render
from pgmagic.declare.model_types import EventModel
from pgmagic.declare.trackers import tracked_fields
from pgmagic.history.event_labels import end_labels, labels_by_hand, meanings
from pgmagic.history.events_sql import context_expressions, is_event_of, object_columns, same_object


def touched_sql(event_model: EventModel, context_id: UUID) -> Fragment:
    """Return a query of all events of the objects that a context touched, in the order of `pgh_id`.

    The columns: `pgh_id`, `pgh_created_at`, `pgh_label`, the id of the context, and the object's key.
    """
    keys = join(", ", object_columns(event_model, "event"))
    context = context_expressions(event_model)["pgh_context_id"]
    # The same expressions in the inner query, whose table has the same alias.
    return compose(
        "SELECT event.pgh_id, event.pgh_created_at, event.pgh_label, ", context, ", ", keys, " FROM ",
        _events(event_model), " WHERE (", keys, ") IN (SELECT ", keys, " FROM ", _events(event_model), " WHERE ",
        context, " = ", literal(context_id), ") ORDER BY event.pgh_id",
    )  # fmt: skip


def vanished_sql(event_model: EventModel) -> Fragment:
    """Return a query of the last events of objects that are gone, though no event says that they were deleted.

    The columns are those of `touched_sql`. It reads the whole event table.
    """
    keys = object_columns(event_model, "event")
    return compose(
        "SELECT event.pgh_id, event.pgh_created_at, event.pgh_label, ",
        context_expressions(event_model)["pgh_context_id"], ", ", join(", ", keys), " FROM (SELECT max(event.pgh_id) ",
        "AS pgh_id FROM ", _events(event_model), " WHERE ", _is_change(event_model, "event"), " GROUP BY ",
        join(", ", keys), ") AS last JOIN ", _events(event_model), " USING (pgh_id) WHERE NOT ",
        _has_label("event", end_labels(event_model)), " AND NOT EXISTS (SELECT FROM ", _live(event_model), " WHERE ",
        is_event_of(event_model, "event", "live"), ") ORDER BY event.pgh_id",
    )  # fmt: skip


def arrivals_sql(event_model: EventModel, since: int) -> Fragment:
    """Return a query of the events with the NEW row of an update, or of an insert or an update, at a key that was free.

    A key is free if it has no earlier event, or if its last event says that the row was deleted. since: the `pgh_id`
    after which events are read. The columns: `pgh_id`, `pgh_label`, the id of the context.
    """
    changed = [
        label for label, meaning in meanings(event_model).items() if not meaning.is_old and "UPDATE" in meaning.kinds
    ]
    return compose(
        "SELECT event.pgh_id, event.pgh_label, ", context_expressions(event_model)["pgh_context_id"], " FROM ",
        _events(event_model), " WHERE event.pgh_id > ", literal(since), " AND ", _has_label("event", changed),
        " AND coalesce((SELECT ", _has_label("before", end_labels(event_model)), " FROM ",
        identifier(event_model._meta.db_table), " AS before WHERE ", same_object(event_model, "before", "event"),
        " AND before.pgh_id < event.pgh_id AND ", _is_change(event_model, "before"),
        " ORDER BY before.pgh_id DESC LIMIT 1), true) ORDER BY event.pgh_id",
    )  # fmt: skip


def first_baseline_sql(event_model: EventModel) -> Fragment:
    """Return a query of the `pgh_id` of the first baseline: after it, every row that exists has an event."""
    labels = [str(tracker.label) for tracker in event_model.pgh_trackers]
    return compose("SELECT min(event.pgh_id) FROM ", _events(event_model), " WHERE NOT ", _has_label("event", labels))


def _is_change(event_model: EventModel, alias: str) -> Fragment:
    return compose("NOT ", _has_label(alias, labels_by_hand(event_model)))


def _has_label(alias: str, labels: Sequence[str]) -> Fragment:
    return compose(identifier(alias), ".pgh_label = ANY (", literal(list(labels)), "::text[])")


def lock_sql(event_model: EventModel, ids: Sequence[int]) -> Fragment:
    """Return a statement that locks the rows of the objects of some events, in the order of their keys."""
    keys = [identifier("live", key) for key in live_keys(event_model)]
    return compose(
        "SELECT FROM ", _live(event_model), " WHERE EXISTS (SELECT FROM ", _events(event_model), " WHERE ",
        is_event_of(event_model, "event", "live"), " AND ", _is_one_of(ids), ") ORDER BY ", join(", ", keys),
        " FOR UPDATE",
    )  # fmt: skip


def delete_sql(event_model: EventModel, ids: Sequence[int]) -> Fragment:
    """Return a statement that deletes the objects of some events."""
    return compose(
        "DELETE FROM ", _live(event_model), " USING ", _events(event_model), " WHERE ",
        is_event_of(event_model, "event", "live"), " AND ", _is_one_of(ids),
    )  # fmt: skip


def change_sql(event_model: EventModel, ids: Sequence[int]) -> Fragment:
    """Return a statement that makes rows what they were in some events."""
    keys = set(live_keys(event_model))
    values = [
        compose(identifier(live), " = ", identifier("event", column))
        for column, live in _pairs(event_model)
        if live not in keys
    ]
    return compose(
        "UPDATE ", _live(event_model), " SET ", join(", ", values), " FROM ", _events(event_model), " WHERE ",
        is_event_of(event_model, "event", "live"), " AND ", _is_one_of(ids),
    )  # fmt: skip


def cascading_sql(event_model: EventModel) -> Fragment:
    """Return a query of the tables whose rows Postgres deletes or changes together with the rows they refer to."""
    table = literal(render(identifier(event_model.pgh_tracked_model._meta.db_table)))
    return compose(
        "SELECT DISTINCT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND confrelid = to_regclass(",
        table, ") AND confdeltype NOT IN ('a', 'r') ORDER BY 1",
    )  # fmt: skip


def restore_sql(event_model: EventModel, ids: Sequence[int]) -> Fragment:
    """Return a statement that inserts the rows of events, the latest first: what they refer to was deleted last."""
    pairs = _pairs(event_model)
    return compose(
        "INSERT INTO ", identifier(event_model.pgh_tracked_model._meta.db_table), " (",
        join(", ", [identifier(live) for _, live in pairs]), ") SELECT ",
        join(", ", [identifier("event", column) for column, _ in pairs]), " FROM ", _events(event_model), " WHERE ",
        _is_one_of(ids), " ORDER BY event.pgh_id DESC",
    )  # fmt: skip


def _pairs(event_model: EventModel) -> list[tuple[str, str]]:
    return [
        (str(event.column), str(source.column)) for event, source in tracked_fields(event_model) if not source.generated
    ]


def _live(event_model: EventModel) -> Fragment:
    return compose(identifier(event_model.pgh_tracked_model._meta.db_table), " AS live")


def _events(event_model: EventModel) -> Fragment:
    return compose(identifier(event_model._meta.db_table), " AS event")


def _is_one_of(ids: Sequence[int]) -> Fragment:
    return compose("event.pgh_id = ANY (", literal(list(ids)), "::bigint[])")
