"""What undoes a context: the events of the objects that it touched, and statements that put rows back out of events.

Rows are put back inside the database, column by column, so that no value passes through Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pgmagic.compile.baseline import live_keys
from pgmagic.compile.history import has_shared_context
from pgmagic.compile.reading import context_expressions, object_fields
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal
from pgmagic.declare.conditions import table_fields
from pgmagic.declare.trackers import tracked_fields

EventModel = type[Any]


def tells_contexts(event_model: EventModel) -> bool:
    """Return whether the events of an event model say in which context they were recorded, and of which object."""
    names = {field.name for field in event_model._meta.local_concrete_fields}
    return bool((has_shared_context(event_model) or "pgh_context_id" in names) and object_fields(event_model))


def missing_fields(event_model: EventModel) -> list[str]:
    """Return the names of the tracked table's fields that its events do not have."""
    mirrored = {source.name for _, source in tracked_fields(event_model)}
    return [
        found.name
        for found in table_fields(event_model.pgh_tracked_model)
        if not found.generated and found.name not in mirrored
    ]


def touched_sql(event_model: EventModel, context_id: UUID) -> Fragment:
    """Return a query of all events of the objects that a context touched, in the order of `pgh_id`.

    The columns: `pgh_id`, `pgh_created_at`, `pgh_label`, the id of the context, and the object's key.
    """
    keys = [field.column for field in object_fields(event_model)]
    table = identifier(event_model._meta.db_table)
    context = context_expressions(event_model)["pgh_context_id"]
    selected = [
        compose("event.pgh_id, event.pgh_created_at, event.pgh_label, ", context),
        *(identifier("event", key) for key in keys),
    ]
    # The same expression over the inner query, whose table goes by the same name.
    touched = compose(
        "SELECT ", join(", ", [identifier("event", key) for key in keys]), " FROM ", table, " AS event WHERE ", context,
        " = ", literal(context_id),
    )  # fmt: skip
    return compose(
        "SELECT ", join(", ", selected), " FROM ", table, " AS event WHERE (",
        join(", ", [identifier("event", key) for key in keys]), ") IN (", touched, ") ORDER BY event.pgh_id",
    )  # fmt: skip


def lock_sql(event_model: EventModel, ids: Sequence[int]) -> Fragment:
    """Return a statement that locks the rows of the objects of some events, in the order of their keys."""
    keys = [identifier("live", key) for key in live_keys(event_model)]
    return compose(
        "SELECT FROM ", _live(event_model), " WHERE EXISTS (SELECT FROM ", _events(event_model), " WHERE ",
        _same(event_model), " AND ", _is_one_of(ids), ") ORDER BY ", join(", ", keys), " FOR UPDATE",
    )  # fmt: skip


def delete_sql(event_model: EventModel, ids: Sequence[int]) -> Fragment:
    """Return a statement that deletes the objects of some events."""
    return compose(
        "DELETE FROM ", _live(event_model), " USING ", _events(event_model), " WHERE ", _same(event_model), " AND ",
        _is_one_of(ids),
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
        _same(event_model), " AND ", _is_one_of(ids),
    )  # fmt: skip


def restore_sql(event_model: EventModel, ids: Sequence[int]) -> Fragment:
    """Return a statement that inserts the rows of some events, the latest first, as what they refer to went last."""
    pairs = _pairs(event_model)
    return compose(
        "INSERT INTO ", identifier(event_model.pgh_tracked_model._meta.db_table), " (",
        join(", ", [identifier(live) for _, live in pairs]), ") SELECT ",
        join(", ", [identifier("event", column) for column, _ in pairs]), " FROM ", _events(event_model), " WHERE ",
        _is_one_of(ids), " ORDER BY event.pgh_id DESC",
    )  # fmt: skip


def _pairs(event_model: EventModel) -> list[tuple[str, str]]:
    return [
        (str(event.column), str(source.column))
        for event, source in tracked_fields(event_model)
        if not source.generated
    ]


def _live(event_model: EventModel) -> Fragment:
    return compose(identifier(event_model.pgh_tracked_model._meta.db_table), " AS live")


def _events(event_model: EventModel) -> Fragment:
    return compose(identifier(event_model._meta.db_table), " AS event")


def _same(event_model: EventModel) -> Fragment:
    return join(
        " AND ",
        [
            compose(identifier("live", column), " = ", identifier("event", field.column))
            for field, column in zip(object_fields(event_model), live_keys(event_model), strict=True)
        ],
    )


def _is_one_of(ids: Sequence[int]) -> Fragment:
    return compose("event.pgh_id = ANY (", literal(list(ids)), "::bigint[])")
