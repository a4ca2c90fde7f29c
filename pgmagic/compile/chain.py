"""The hash chain of each object's events: what seals an event, and what finds a broken seal.

A hash is SHA-256 over the hash of the event before and the event's content: a JSON object, in the order of jsonb, of
the fields' names and their values as Postgres writes them under `PINNED` settings, whatever those of the session are.
Each event says which fields its hash covers, so that fields which come later change nothing.

Events of one object are recorded one behind the other, since whoever changes a row holds its lock. Only who records an
event by hand does not: the function then takes the row's lock itself, and the next `pgh_id` behind it.

Source: https://www.postgresql.org/docs/current/functions-binarystring.html (sha256)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django.db import models

from pgmagic.compile import bodies
from pgmagic.compile.baseline import live_keys
from pgmagic.compile.reading import object_fields
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal
from pgmagic.declare.event_chain import CHAIN_FIELDS, HASH, HASHED_FIELDS, PREVIOUS_HASH, HashChain
from pgmagic.errors import DeclarationError

Model = type[models.Model]
EventModel = type[Any]

ANCHOR_TABLE: Final = "pgmagic_anchor"
# More arguments than these a function call does not take; a pair is two.
_PAIRS = 40


@bodies.body.register
def _(trigger: HashChain, model: Model, schema: str | None) -> Fragment:
    event_model: Any = model
    table = identifier(schema, model._meta.db_table)
    keys = _keys(event_model)
    fields = {field.name: field for field in model._meta.local_concrete_fields}
    names = covered_fields(event_model)
    same = [compose("event.", identifier(column), " = NEW.", identifier(column)) for column in keys]
    content = content_sql("NEW", {name: str(fields[name].column) for name in names})
    return compose(
        "IF pg_catalog.pg_trigger_depth() = 1 THEN\n", _take_turn(event_model, schema, keys), "END IF;\n",
        "NEW.", identifier(PREVIOUS_HASH), " := (SELECT event.", identifier(HASH), " FROM ", table,
        " AS event\n  WHERE ", join(" AND ", same), " AND event.", identifier(HASH),
        " IS NOT NULL\n  ORDER BY event.pgh_id DESC LIMIT 1);\n",
        "NEW.", identifier(HASHED_FIELDS), " := ", _array(names), ";\n",
        "NEW.", identifier(HASH), " := ", _hash(compose("NEW.", identifier(PREVIOUS_HASH)), content), ";\n",
        "RETURN NEW;",
    )  # fmt: skip


def _take_turn(event_model: EventModel, schema: str | None, keys: Sequence[str]) -> Fragment:
    """Return what lets an event that is recorded by hand wait for whoever changes the row."""
    tracked = identifier(schema, event_model.pgh_tracked_model._meta.db_table)
    pairs = zip(live_keys(event_model), keys, strict=True)
    row = [compose("living.", identifier(live), " = NEW.", identifier(key)) for live, key in pairs]
    texts = [compose("NEW.", identifier(key), "::text") for key in keys]
    table = identifier(schema, event_model._meta.db_table)
    return compose(
        "PERFORM FROM ", tracked, " AS living WHERE ", join(" AND ", row), " FOR NO KEY UPDATE;\n",
        # Of a row that is gone, nothing is left to lock.
        "IF NOT FOUND THEN\n  PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(\n"
        "    pg_catalog.concat_ws(' ', TG_RELID, ", join(", ", texts), "), 0));\nEND IF;\n",
        "NEW.pgh_id := pg_catalog.nextval(pg_catalog.pg_get_serial_sequence(",
        literal(table.as_string(None)), ", 'pgh_id'));\n",
    )  # fmt: skip


def covered_fields(event_model: EventModel) -> list[str]:
    """Return the names of the fields that a hash covers, sorted: all but those of the chain itself."""
    return sorted(
        field.name for field in event_model._meta.local_concrete_fields if field.name not in CHAIN_FIELDS
    )


def content_sql(row: str, columns: Mapping[str, str]) -> Fragment:
    """Return the content of an event as text. columns: column by the name that the hash knows it by."""
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


def _hash(previous: Fragment, content: Fragment) -> Fragment:
    return compose(
        "pg_catalog.sha256(coalesce(", previous, ", '') || pg_catalog.convert_to(", content, ", 'UTF8'))"
    )


def _array(names: Iterable[str]) -> Fragment:
    return compose("ARRAY[", join(", ", [literal(name) for name in names]), "]::text[]")


def _keys(event_model: EventModel) -> list[str]:
    fields = object_fields(event_model)
    if not fields:
        raise DeclarationError(
            f"{event_model._meta.object_name} does not tell which object an event is of, and a hash chain is one of "
            f"the events of an object: leave obj_field= as it is, or track the primary key."
        )
    return [str(field.column) for field in fields]


def create_anchors_sql() -> Fragment:
    """Return the statement that creates the table of anchors, unless it is there."""
    return compose(
        "CREATE TABLE IF NOT EXISTS ", identifier(ANCHOR_TABLE),
        " (event_table text NOT NULL, obj text NOT NULL, pgh_id bigint NOT NULL, hash bytea NOT NULL, "
        "PRIMARY KEY (event_table, obj))",
    )  # fmt: skip


def anchor_sql(event_model: EventModel) -> Fragment:
    """Return what stands behind WITH to anchor the chains from which `gone`, whole events, are removed."""
    return compose(
        "INSERT INTO ", identifier(ANCHOR_TABLE), " AS anchor (event_table, obj, pgh_id, hash)\n"
        "  SELECT DISTINCT ON (obj) ", literal(event_model._meta.db_table), ", ", _object(event_model, "gone"),
        " AS obj, gone.pgh_id, gone.", identifier(HASH), " FROM gone\n  WHERE gone.", identifier(HASH),
        " IS NOT NULL ORDER BY obj, gone.pgh_id DESC\n"
        "  ON CONFLICT (event_table, obj) DO UPDATE SET pgh_id = excluded.pgh_id, hash = excluded.hash\n"
        "  WHERE anchor.pgh_id < excluded.pgh_id",
    )  # fmt: skip


def _object(event_model: EventModel, alias: str) -> Fragment:
    """Return the key of an event's object as text."""
    keys = [compose(identifier(alias, key), "::text") for key in _keys(event_model)]
    return compose("pg_catalog.jsonb_build_array(", join(", ", keys), ")::text")


def layouts_sql(event_model: EventModel) -> Fragment:
    """Return a query of every set of fields that hashes cover, with three of the events that it was used for."""
    return compose(
        "SELECT event.", identifier(HASHED_FIELDS), ", (array_agg(event.pgh_id ORDER BY event.pgh_id))[1:3] FROM ",
        identifier(event_model._meta.db_table), " AS event WHERE event.", identifier(HASH), " IS NOT NULL GROUP BY 1",
    )  # fmt: skip


def matches_sql(event_model: EventModel, columns: Mapping[str, str], events: Sequence[int]) -> Fragment:
    """Return a query of whether one of the events was sealed with these columns."""
    return compose(
        "SELECT EXISTS (SELECT FROM ", identifier(event_model._meta.db_table), " AS event WHERE event.pgh_id = ANY (",
        literal(list(events)), ") AND event.", identifier(HASH), " = ",
        _hash(identifier("event", PREVIOUS_HASH), content_sql("event", columns)), ")",
    )  # fmt: skip


def breaks_sql(
    event_model: EventModel,
    layouts: Sequence[tuple[Sequence[str], Mapping[str, str] | None]],
    *,
    anchored: bool,
) -> Fragment:
    """Return a query of the first broken link of each object.

    Its columns: the object's key (as many columns as it has), pgh_id, pgh_label, pgh_created_at, and what is wrong:
    `changed`, `cut`, `replaced`, `unsealed`, `dropped`. layouts: columns by name for each set of fields that hashes
    cover, None where they are no more. anchored: whether there is a table of anchors.
    """
    keys = _keys(event_model)
    columns = join(", ", [identifier("event", key) for key in keys])
    own, previous = identifier("event", HASH), identifier("event", PREVIOUS_HASH)
    cases = [
        compose(
            " WHEN event.", identifier(HASHED_FIELDS), " = ", _array(names), " THEN ",
            "NULL::bytea" if found is None else _hash(previous, content_sql("event", found)),
        )
        for names, found in layouts
    ]  # fmt: skip
    expected = compose("CASE", *cases, " END") if cases else compose("NULL::bytea")
    anchor = compose("NULL::bytea")
    if anchored:
        anchor = compose(
            "(SELECT anchor.hash FROM ", identifier(ANCHOR_TABLE), " AS anchor WHERE anchor.event_table = ",
            literal(event_model._meta.db_table), " AND anchor.obj = ", _object(event_model, "event"), ")",
        )  # fmt: skip
    return compose(
        "SELECT DISTINCT ON (", columns, ") ", columns,
        ", event.pgh_id, event.pgh_label, event.pgh_created_at, verdict\n"
        "FROM (SELECT event.*, lag(", own, ") OVER chain AS hash_before, bool_or(", own,
        " IS NOT NULL) OVER chain AS is_sealed\n      FROM ", identifier(event_model._meta.db_table),
        " AS event WINDOW chain AS (PARTITION BY ", columns, " ORDER BY event.pgh_id)) AS event,\n"
        "  LATERAL (SELECT ", expected, " AS hash) AS expected,\n"
        "  LATERAL (SELECT CASE\n"
        "    WHEN ", own, " IS NULL THEN CASE WHEN event.is_sealed THEN 'unsealed' END\n"
        "    WHEN event.hash_before IS NOT NULL AND ", previous, " IS DISTINCT FROM event.hash_before THEN 'replaced'\n"
        "    WHEN event.hash_before IS NULL AND ", previous, " IS NOT NULL\n"
        "      AND ", previous, " IS DISTINCT FROM ", anchor, " THEN 'cut'\n"
        "    WHEN expected.hash IS NULL THEN 'dropped'\n"
        "    WHEN ", own, " <> expected.hash THEN 'changed' END AS verdict) AS judged\n"
        "WHERE verdict IS NOT NULL ORDER BY ", columns, ", event.pgh_id",
    )  # fmt: skip
