"""Which events may go, and the statement that removes a batch of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgmagic.compile.event_values import live_keys
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal
from pgmagic.history.chain_sql import anchor_sql
from pgmagic.history.event_source import object_columns

EventModel = type[Any]


@dataclass(frozen=True)
class Retention:
    """Which events are kept.

    before: only events from before this instant may go. keep_last: so many of the latest events of each object stay.
    with_last: the last event of a row that exists may go, too.
    """

    before: datetime | None
    keep_last: int
    with_last: bool


def prune_sql(event_model: EventModel, retention: Retention, behind: int, size: int) -> Fragment:
    """Return the statement that removes a batch of events, in the order of `pgh_id`.

    It returns one row: how many events are gone, and the greatest `pgh_id` among them. behind: the one of the batch
    before.
    """
    table = identifier(event_model._meta.db_table)
    conditions = [compose("event.pgh_id > ", literal(behind)), *_conditions(event_model, retention)]
    is_chain = getattr(event_model, "pgh_hash_chain", False)
    anchored = compose(",\nanchored AS (", anchor_sql(event_model), ")") if is_chain else compose("")
    return compose(
        "WITH doomed AS MATERIALIZED (\n  SELECT event.pgh_id FROM ", table, " AS event\n  WHERE ",
        join("\n    AND ", conditions), "\n  ORDER BY event.pgh_id LIMIT ", literal(size), "),\n",
        "gone AS (DELETE FROM ", table, " AS event USING doomed WHERE event.pgh_id = doomed.pgh_id\n"
        "  RETURNING event.*)", anchored, "\n"
        "SELECT count(*), max(gone.pgh_id) FROM gone",
    )  # fmt: skip


def _conditions(event_model: EventModel, retention: Retention) -> list[Fragment]:
    conditions = []
    if retention.before is not None:
        conditions.append(compose("event.pgh_created_at < ", literal(retention.before)))
        if getattr(event_model, "pgh_hash_chain", False):
            # An event that stays between two that go would be without either neighbour.
            conditions.append(compose("NOT EXISTS (", _younger_before(event_model, retention.before), ")"))
    if retention.keep_last:
        number = literal(retention.keep_last)
        conditions.append(
            compose(
                "(SELECT count(*) FROM (", _later(event_model), " LIMIT ", number, ") AS later) = ", number
            )
        )
    elif not retention.with_last and object_columns(event_model, "event"):
        conditions.append(
            compose("(EXISTS (", _later(event_model), ") OR NOT EXISTS (", _living(event_model), "))")
        )
    return conditions


def _later(event_model: EventModel) -> Fragment:
    """Return a query of the later events of the same object."""
    same = zip(object_columns(event_model, "later"), object_columns(event_model, "event"), strict=True)
    return compose(
        "SELECT FROM ", identifier(event_model._meta.db_table), " AS later WHERE ",
        join(" AND ", [compose(later, " = ", event) for later, event in same]),
        " AND later.pgh_id > event.pgh_id",
    )  # fmt: skip


def _younger_before(event_model: EventModel, before: datetime) -> Fragment:
    """Return a query of the events before an event, of the same object, that are too young to go."""
    same = zip(object_columns(event_model, "earlier"), object_columns(event_model, "event"), strict=True)
    return compose(
        "SELECT FROM ", identifier(event_model._meta.db_table), " AS earlier WHERE ",
        join(" AND ", [compose(earlier, " = ", event) for earlier, event in same]),
        " AND earlier.pgh_id < event.pgh_id AND earlier.pgh_created_at >= ", literal(before),
    )  # fmt: skip


def _living(event_model: EventModel) -> Fragment:
    """Return a query of the row that an event is of."""
    keys = [identifier("living", column) for column in live_keys(event_model)]
    same = zip(keys, object_columns(event_model, "event"), strict=True)
    return compose(
        "SELECT FROM ", identifier(event_model.pgh_tracked_model._meta.db_table), " AS living WHERE ",
        join(" AND ", [compose(key, " = ", event) for key, event in same]),
    )  # fmt: skip
