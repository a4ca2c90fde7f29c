"""The SQL of hash chains: queries that find the first broken link, and the anchors that pruning leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pgmagic.compile.hash_chain import content_sql, hash_sql, key_columns, name_array
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal
from pgmagic.declare.event_chain import HASH, HASHED_FIELDS, PREVIOUS_HASH
from pgmagic.declare.model_types import EventModel

ANCHOR_TABLE: Final = "pgmagic_anchor"


def create_anchors_sql() -> Fragment:
    """Return the statement that creates the table of anchors, unless it exists."""
    return compose(
        "CREATE TABLE IF NOT EXISTS ", identifier(ANCHOR_TABLE),
        " (event_table text NOT NULL, obj text NOT NULL, pgh_id bigint NOT NULL, hash bytea NOT NULL, "
        "PRIMARY KEY (event_table, obj))",
    )  # fmt: skip


def anchor_sql(event_model: EventModel) -> Fragment:
    """Return the statement that anchors the chains from which the events in `gone` are removed; for use in a WITH."""
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
    keys = [compose(identifier(alias, key), "::text") for key in key_columns(event_model)]
    return compose("pg_catalog.jsonb_build_array(", join(", ", keys), ")::text")


def layouts_sql(event_model: EventModel) -> Fragment:
    """Return a query of each set of fields that hashes cover, with three events whose hashes cover it."""
    return compose(
        "SELECT event.", identifier(HASHED_FIELDS), ", (array_agg(event.pgh_id ORDER BY event.pgh_id))[1:3] FROM ",
        identifier(event_model._meta.db_table), " AS event WHERE event.", identifier(HASH), " IS NOT NULL GROUP BY 1",
    )  # fmt: skip


def matches_sql(event_model: EventModel, columns: Mapping[str, str], events: Sequence[int]) -> Fragment:
    """Return a query of whether one of the events was sealed with these columns."""
    return compose(
        "SELECT EXISTS (SELECT FROM ", identifier(event_model._meta.db_table), " AS event WHERE event.pgh_id = ANY (",
        literal(list(events)), ") AND event.", identifier(HASH), " = ",
        hash_sql(identifier("event", PREVIOUS_HASH), content_sql("event", columns)), ")",
    )  # fmt: skip


def breaks_sql(
    event_model: EventModel, layouts: Sequence[tuple[Sequence[str], Mapping[str, str] | None]], *, anchored: bool
) -> Fragment:
    """Return a query of the first broken link of each object.

    Its columns: the object's key (as many columns as it has), pgh_id, pgh_label, pgh_created_at, and what is wrong:
    `changed`, `cut`, `replaced`, `unsealed`, `dropped`. layouts: columns by name for each set of fields that hashes
    cover, None if some of the fields no longer exist. anchored: whether the table of anchors exists.
    """
    keys = key_columns(event_model)
    columns = join(", ", [identifier("event", key) for key in keys])
    own, previous = identifier("event", HASH), identifier("event", PREVIOUS_HASH)
    cases = [
        compose(
            " WHEN event.", identifier(HASHED_FIELDS), " = ", name_array(names), " THEN ",
            "NULL::bytea" if found is None else hash_sql(previous, content_sql("event", found)),
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
