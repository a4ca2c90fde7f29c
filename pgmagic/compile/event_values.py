"""The values that an event's trigger inserts, and the function that attaches the context, as SQL.

The context that is open in a session is in two of its settings: the id, and the metadata as JSON. The function writes
the context into the shared table only when an event needs it, and notes that in a setting of the transaction. A
rollback to a savepoint undoes both the row and the note, so that the next event writes the context again.

Source: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SET
        https://www.postgresql.org/docs/current/sql-insert.html#SQL-ON-CONFLICT
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.db import models

from pgmagic.compile import ddl
from pgmagic.compile.clock import clock_sql
from pgmagic.compile.desired import DesiredRoutine
from pgmagic.compile.predicate import column_of, value_in
from pgmagic.compile.qualified import DIFFERS, EQUALS, JOINED
from pgmagic.compile.rejecting import primary_key
from pgmagic.compile.sql import DollarQuoted, Fragment, compose, identifier, literal, render, verbatim
from pgmagic.compile.target import Target
from pgmagic.declare.event_trigger import EventTrigger
from pgmagic.declare.model_types import AnyField, EventModel, Model
from pgmagic.declare.trackers import tracked_fields
from pgmagic.errors import DeclarationError

CONTEXT_ID_SETTING: Final = "pgmagic.context_id"
CONTEXT_METADATA_SETTING: Final = "pgmagic.context_metadata"
# Set for the transaction: the id and metadata that it has written already.
CONTEXT_WRITTEN_SETTING: Final = "pgmagic.context_written"

# The fields of an event that hold its context.
CONTEXT_FIELDS: Final = frozenset({"pgh_context", "pgh_context_id"})

CONTEXT_TABLE: Final = "pghistory_context"
ATTACH_FUNCTION: Final = "pgmagic_attach_context"


def event_columns(trigger: EventTrigger, schema: str | None) -> dict[str, Fragment]:
    """Return the value that a trigger inserts into each column of its event table, in the table's order.

    Raises:
        DeclarationError: if a column needs a value that no trigger can know.
    """
    event_model = trigger.event_model
    own = own_columns(event_model, schema, literal(trigger.label))
    mirrored = {event.column: value_in(trigger.row, tracked) for event, tracked in tracked_fields(event_model)}
    columns: dict[str, Fragment] = {}
    for field in event_model._meta.local_concrete_fields:
        column = str(field.column)
        if field.name == "pgh_obj" and isinstance(field, models.ForeignKey):
            columns[column] = column_of(trigger.row, field.target_field)
        elif field.name in own:
            columns[column] = own[field.name]
        elif column in mirrored:
            columns[column] = mirrored[column]
        else:
            check_optional(field, event_model)
    return columns


def own_columns(event_model: EventModel, schema: str | None, label: Fragment) -> dict[str, Fragment]:
    """Return the values of the event's own fields by name, except for the object."""
    columns = {"pgh_created_at": clock_sql(), "pgh_label": label}
    fields = {field.name: field for field in event_model._meta.local_concrete_fields}
    context = fields.get("pgh_context")
    if isinstance(context, models.ForeignKey):
        # Most sessions have no context, and need no call.
        attach = compose(identifier(schema, ATTACH_FUNCTION), "()")
        columns["pgh_context"] = _in_context(attach)
    elif context is not None:
        columns["pgh_context"] = _in_context(compose(_metadata(), "::pg_catalog.jsonb"))
    if "pgh_context_id" in fields:
        columns["pgh_context_id"] = _in_context(compose(_setting(CONTEXT_ID_SETTING), "::pg_catalog.uuid"))
    return columns


def _setting(name: str) -> Fragment:
    """Return a setting of the session: NULL if it was never set, empty after the last block was closed."""
    return compose("pg_catalog.current_setting(", literal(name), ", true)")


def _in_context(value: Fragment) -> Fragment:
    """Return a value, or NULL if no context is open."""
    return compose("CASE WHEN ", _setting(CONTEXT_ID_SETTING), DIFFERS, "'' THEN ", value, " END")


def _metadata() -> Fragment:
    return compose("coalesce(", _unless_empty(CONTEXT_METADATA_SETTING), ", '{}')")


def _unless_empty(name: str) -> Fragment:
    return compose("CASE WHEN ", _setting(name), DIFFERS, "'' THEN ", _setting(name), " END")


def check_optional(field: AnyField, event_model: EventModel) -> None:
    """Check that an event needs no value for a field of its own.

    Raises:
        DeclarationError: if the field needs a value.
    """
    if field.null or field.has_db_default() or field.primary_key:
        return
    raise DeclarationError(
        f"The field '{field.name}' of {event_model._meta.object_name} mirrors nothing, so no trigger can fill it: "
        f"give it null=True or db_default=."
    )


def has_shared_context(event_model: Model) -> bool:
    """Return whether the events' contexts are in the shared table."""
    return any(
        field.name == "pgh_context" and isinstance(field, models.ForeignKey)
        for field in event_model._meta.local_concrete_fields
    )


def compile_routines(event_models: Iterable[Model], target: Target) -> tuple[DesiredRoutine, ...]:
    """Return the functions that the triggers of event models share: the one that attaches the context, if needed."""
    if not any(has_shared_context(event_model) for event_model in event_models):
        return ()
    return (attach_routine(target),)


def attach_routine(target: Target) -> DesiredRoutine:
    """Return the function that writes the open context, once for each state of it, and returns the context's id.

    The function returns NULL if no context is open. It adds keys to a context that another transaction wrote. It locks
    nothing if the row already has all keys.
    """
    name = identifier(target.schema, ATTACH_FUNCTION)
    table = identifier(target.schema, CONTEXT_TABLE)
    text = compose(
        "\nDECLARE\n"
        "  open_id pg_catalog.text := ", _unless_empty(CONTEXT_ID_SETTING), ";\n"
        "  open_metadata pg_catalog.text;\n"
        "BEGIN\n"
        "IF open_id IS NULL THEN RETURN NULL; END IF;\n"
        "open_metadata := ", _metadata(), ";\n"
        "IF ", _setting(CONTEXT_WRITTEN_SETTING), EQUALS, "(open_id", JOINED, "open_metadata) THEN\n"
        "  RETURN open_id::pg_catalog.uuid;\n"
        "END IF;\n"
        "IF NOT EXISTS (SELECT FROM ", table, " AS known WHERE known.id", EQUALS, "open_id::pg_catalog.uuid\n"
        "    AND (known.metadata", JOINED, "open_metadata::pg_catalog.jsonb)", EQUALS, "known.metadata) THEN\n"
        "  INSERT INTO ", table, " AS known (id, created_at, updated_at, metadata)\n"
        "  VALUES (open_id::pg_catalog.uuid, pg_catalog.now(), pg_catalog.now(), open_metadata::pg_catalog.jsonb)\n"
        "  ON CONFLICT (id) DO UPDATE\n"
        "  SET metadata = known.metadata", JOINED, "excluded.metadata, updated_at = excluded.updated_at;\n"
        "END IF;\n"
        "PERFORM pg_catalog.set_config(", literal(CONTEXT_WRITTEN_SETTING), ", open_id", JOINED,
        "open_metadata, true);\n"
        "RETURN open_id::pg_catalog.uuid;\n"
        "END;\n",
    )  # fmt: skip
    # Without a schema, the table is found along the path of the installing session, whatever a session's path will be.
    path = verbatim("" if target.schema else " SET search_path FROM CURRENT")
    create = compose(
        "CREATE OR REPLACE FUNCTION ",
        name,
        "() RETURNS uuid LANGUAGE plpgsql",
        path,
        " AS ",
        DollarQuoted(render(text)),
        ";",
    )
    return DesiredRoutine(ATTACH_FUNCTION, render(create), ddl.drop_function(target.schema, ATTACH_FUNCTION))


def object_fields(event_model: EventModel) -> list[Any]:
    """Return the fields that identify the object of an event; none if the events do not identify it."""
    own = {field.name: field for field in event_model._meta.local_concrete_fields}
    if "pgh_obj" in own:
        return [own["pgh_obj"]]
    tracked = event_model.pgh_tracked_model
    keys = primary_key(tracked)
    mirrored = {source.name: field for field, source in tracked_fields(event_model)}
    return [mirrored[key.name] for key in keys] if all(key.name in mirrored for key in keys) else []


def live_keys(event_model: EventModel) -> list[str]:
    """Return the columns of the tracked table that `object_fields` mirror."""
    sources = {event.name: source for event, source in tracked_fields(event_model)}
    return [
        str(field.target_field.column if field.name == "pgh_obj" else sources[field.name].column)
        for field in object_fields(event_model)
    ]
