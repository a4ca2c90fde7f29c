"""A baseline event for each row that a table has: what is there before tracking began becomes part of the history."""

from __future__ import annotations

from typing import Any

from pgmagic.compile.event_values import CONTEXT_FIELDS, check_optional, live_keys, object_fields, own_columns
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal
from pgmagic.declare.trackers import tracked_fields

EventModel = type[Any]


def baseline_sql(event_model: EventModel, label: str, *, lacking: bool) -> Fragment:
    """Return the statement that records every row of the tracked table under a label.

    lacking: only rows without an event of this label.

    Raises:
        DeclarationError: an event needs a value that nobody can know.
    """
    own = own_columns(event_model, None, literal(label))
    mirrored = {event.name: source.column for event, source in tracked_fields(event_model)}
    values: dict[str, Fragment] = {}
    for field in event_model._meta.local_concrete_fields:
        if field.name == "pgh_obj":
            values[field.column] = identifier("live", field.target_field.column)
        elif field.name in CONTEXT_FIELDS and field.name in own:
            # Once for the statement, not for each row.
            values[field.column] = compose("(SELECT ", own[field.name], ")")
        elif field.name in own:
            values[field.column] = own[field.name]
        elif field.name in mirrored:
            values[field.column] = identifier("live", mirrored[field.name])
        else:
            check_optional(field, event_model)
    return compose(
        "INSERT INTO ", identifier(event_model._meta.db_table), " (", join(", ", map(identifier, values)), ")\nSELECT ",
        join(", ", values.values()), "\nFROM ", identifier(event_model.pgh_tracked_model._meta.db_table), " AS live",
        *([compose("\nWHERE NOT EXISTS (", events_of(event_model, label), ")")] if lacking else []),
    )  # fmt: skip


def events_of(event_model: EventModel, label: str) -> Fragment:
    """Return a query of the events of a row, aliased `live`, under a label."""
    columns = live_keys(event_model)
    same = [
        compose(identifier("event", field.column), " = ", identifier("live", column))
        for field, column in zip(object_fields(event_model), columns, strict=True)
    ]
    return compose(
        "SELECT FROM ", identifier(event_model._meta.db_table), " AS event WHERE ",
        join(" AND ", [*same, compose("event.pgh_label = ", literal(label))]),
    )  # fmt: skip
