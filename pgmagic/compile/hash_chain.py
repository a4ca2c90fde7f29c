"""The hash chain of each object's events: the trigger that seals an event.

A hash is SHA-256 over the hash of the event before and the event's content. The content is a JSON object, in the order
of jsonb, of the fields' names and values. Postgres writes the values under `PINNED` settings, whatever the settings of
the session are. Each event lists the fields that its hash covers, so that fields which are added later change nothing.

Events of one object are recorded one after the other, since a session that changes a row holds its lock. A session
that records an event by hand does not: then the function takes the lock itself, and the next `pgh_id` after the lock.

Source: https://www.postgresql.org/docs/current/functions-binarystring.html (sha256)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from pgmagic.compile import bodies
from pgmagic.compile.event_values import live_keys, object_fields
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal
from pgmagic.declare.event_chain import CHAIN_FIELDS, HASH, HASHED_FIELDS, PREVIOUS_HASH, HashChain
from pgmagic.declare.model_types import EventModel, Model
from pgmagic.errors import DeclarationError

# A function call takes at most 100 arguments; a pair is two arguments.
_PAIRS = 40


@bodies.body.register
def _(trigger: HashChain, model: Model, schema: str | None) -> Fragment:
    event_model = cast("EventModel", model)
    table = identifier(schema, model._meta.db_table)
    keys = key_columns(event_model)
    fields = {field.name: field for field in model._meta.local_concrete_fields}
    names = covered_fields(event_model)
    same = [compose("event.", identifier(column), " = NEW.", identifier(column)) for column in keys]
    content = content_sql("NEW", {name: str(fields[name].column) for name in names})
    return compose(
        "IF pg_catalog.pg_trigger_depth() = 1 THEN\n", _take_turn(event_model, schema, keys), "END IF;\n",
        "NEW.", identifier(PREVIOUS_HASH), " := (SELECT event.", identifier(HASH), " FROM ", table,
        " AS event\n  WHERE ", join(" AND ", same), " AND event.", identifier(HASH),
        " IS NOT NULL\n  ORDER BY event.pgh_id DESC LIMIT 1);\n",
        "NEW.", identifier(HASHED_FIELDS), " := ", name_array(names), ";\n",
        "NEW.", identifier(HASH), " := ", hash_sql(compose("NEW.", identifier(PREVIOUS_HASH)), content), ";\n",
        "RETURN NEW;",
    )  # fmt: skip


def _take_turn(event_model: EventModel, schema: str | None, keys: Sequence[str]) -> Fragment:
    """Return the statements by which an event that is recorded by hand waits for sessions that change the row."""
    tracked = identifier(schema, event_model.pgh_tracked_model._meta.db_table)
    pairs = zip(live_keys(event_model), keys, strict=True)
    row = [compose("living.", identifier(live), " = NEW.", identifier(key)) for live, key in pairs]
    texts = [compose("NEW.", identifier(key), "::text") for key in keys]
    table = identifier(schema, event_model._meta.db_table)
    return compose(
        "PERFORM FROM ", tracked, " AS living WHERE ", join(" AND ", row), " FOR NO KEY UPDATE;\n",
        # A row that was deleted cannot be locked.
        "IF NOT FOUND THEN\n  PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(\n"
        "    pg_catalog.concat_ws(' ', TG_RELID, ", join(", ", texts), "), 0));\nEND IF;\n",
        "NEW.pgh_id := pg_catalog.nextval(pg_catalog.pg_get_serial_sequence(",
        literal(table.as_string(None)), ", 'pgh_id'));\n",
    )  # fmt: skip


def covered_fields(event_model: EventModel) -> list[str]:
    """Return the names of the fields that a hash covers, sorted: all except those of the chain itself."""
    return sorted(field.name for field in event_model._meta.local_concrete_fields if field.name not in CHAIN_FIELDS)


def content_sql(row: str, columns: Mapping[str, str]) -> Fragment:
    """Return the content of an event as text. columns: each column by its name in the hash."""
    pairs = [
        compose(literal(name), ", ", identifier(row, column) if row != "NEW" else compose("NEW.", identifier(column)),
                "::text")
        for name, column in columns.items()
    ]  # fmt: skip
    objects = [
        compose("pg_catalog.jsonb_build_object(", join(", ", pairs[start : start + _PAIRS]), ")")
        for start in range(0, len(pairs), _PAIRS)
    ]
    return compose("(", join(" || ", objects), ")::text")


def hash_sql(previous: Fragment, content: Fragment) -> Fragment:
    """Return the hash of an event, from the hash of the event before it and its content."""
    return compose("pg_catalog.sha256(coalesce(", previous, ", '') || pg_catalog.convert_to(", content, ", 'UTF8'))")


def name_array(names: Iterable[str]) -> Fragment:
    """Return the names as an array of texts."""
    return compose("ARRAY[", join(", ", [literal(name) for name in names]), "]::text[]")


def key_columns(event_model: EventModel) -> list[str]:
    """Return the columns that identify the object of an event.

    Raises:
        DeclarationError: if the events do not identify their object.
    """
    fields = object_fields(event_model)
    if not fields:
        raise DeclarationError(
            f"{event_model._meta.object_name} does not identify the object of an event, and a hash chain links the "
            f"events of one object: leave obj_field= as it is, or track the primary key."
        )
    return [str(field.column) for field in fields]
