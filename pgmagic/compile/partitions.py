"""Event tables in partitions, one for each month in UTC.

Postgres wants the partition's column in every unique index, so the primary key of such a table is (`pgh_id`,
`pgh_created_at`); to Django it still is `pgh_id`, which one sequence counts for all partitions. A default partition
takes what has no month yet, so that no event is ever refused.

Source: https://www.postgresql.org/docs/current/ddl-partitioning.html#DDL-PARTITIONING-DECLARATIVE
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import models
from django.db.backends.postgresql.schema import DatabaseSchemaEditor

from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, render, verbatim
from pgmagic.declare.names import MAX_NAME_BYTES, shorten

Model = type[models.Model]
EventModel = type[Any]

_PARTITIONED_BY = "pgh_created_at"
_SEQUENCE = "_pgh_id_seq"


class PartitionedEditor(DatabaseSchemaEditor):
    """Django's schema editor, but for the tables that it creates: they are partitioned."""

    _create_fk_sql: Any

    def table_sql(self, model: Any) -> tuple[str, list[Any]]:
        """Return the statement that creates the table; an identity column it may have from Postgres 17 on only."""
        pk = model._meta.pk
        sequence = literal(render(identifier(_name(model._meta.db_table, _SEQUENCE))))
        columns = [
            compose(identifier(pk.column), " bigint NOT NULL DEFAULT nextval(", sequence, "::regclass)")
        ]
        params: list[Any] = []
        for field in model._meta.local_fields:
            definition, more = self.column_sql(model, field)
            if field is pk or definition is None:
                continue
            columns.append(compose(identifier(field.column), " ", verbatim(definition)))
            params += more or []
            if field.remote_field and field.db_constraint:
                self.deferred_sql.append(self._create_fk_sql(model, field, "_fk_%(to_table)s_%(to_column)s"))
        constraints = [
            verbatim(str(constraint.constraint_sql(model, self))) for constraint in model._meta.constraints
        ]
        key = compose("PRIMARY KEY (", identifier(pk.column), ", ", identifier(_column(model)), ")")
        statement = compose(
            "CREATE TABLE ", identifier(model._meta.db_table), " (", join(", ", [*columns, *constraints, key]),
            ") PARTITION BY RANGE (", identifier(_column(model)), ")",
        )  # fmt: skip
        return render(statement), params


def with_partitions(event_model: EventModel, create: Sequence[str]) -> tuple[str, ...]:
    """Return the statements of `PartitionedEditor` with those that make the sequence and the default partition."""
    table = event_model._meta.db_table
    sequence = identifier(_name(table, _SEQUENCE))
    pk = identifier(table, event_model._meta.pk.column)
    return (
        render(compose("CREATE SEQUENCE ", sequence, ";")),
        *create,
        render(compose("ALTER SEQUENCE ", sequence, " OWNED BY ", pk, ";")),
        render(
            compose(
                "CREATE TABLE ", identifier(default_name(event_model)), " PARTITION OF ", identifier(table), " DEFAULT;"
            )
        ),
    )  # fmt: skip


def _column(model: Any) -> str:
    return str(model._meta.get_field(_PARTITIONED_BY).column)


def _name(table: str, tail: str) -> str:
    """Return a name that begins like a table's; cut ones are told apart by a digest."""
    if len((table + tail).encode()) <= MAX_NAME_BYTES:
        return table + tail
    tail = f"_{hashlib.sha256(table.encode()).hexdigest()[:8]}{tail}"
    return shorten(table, MAX_NAME_BYTES - len(tail)) + tail


def default_name(event_model: EventModel) -> str:
    """Return the name of the default partition."""
    return _name(event_model._meta.db_table, "_default")


def month_name(event_model: EventModel, month: datetime) -> str:
    """Return the name of a month's partition."""
    return _name(event_model._meta.db_table, f"_{month:%Y_%m}")


def following(month: datetime) -> datetime:
    """Return the beginning of the month behind another."""
    return datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)


def month_statements(event_model: EventModel, month: datetime) -> list[Fragment]:
    """Return the statements that make the partition of a month, and move there what lies in the default one."""
    table, part = identifier(event_model._meta.db_table), identifier(month_name(event_model, month))
    column = identifier(_column(event_model))
    start, end = literal(month), literal(following(month))
    return [
        compose("CREATE TABLE ", part, " (LIKE ", table, " INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"),
        compose(
            "WITH moved AS (DELETE FROM ", identifier(default_name(event_model)), " WHERE ", column, " >= ", start,
            " AND ", column, " < ", end, " RETURNING *) INSERT INTO ", part, " SELECT * FROM moved",
        ),
        compose("ALTER TABLE ", table, " ATTACH PARTITION ", part, " FOR VALUES FROM (", start, ") TO (", end, ")"),
    ]  # fmt: skip


def lock_sql(event_model: EventModel) -> Fragment:
    """Return the statement that keeps events out of the default partition while some of them are moved."""
    return compose("LOCK TABLE ", identifier(event_model._meta.db_table), " IN SHARE ROW EXCLUSIVE MODE")


def is_partitioned_sql(event_model: EventModel) -> Fragment:
    """Return a query of whether the table is partitioned; no row where there is none."""
    table = literal(render(identifier(event_model._meta.db_table)))
    return compose("SELECT relkind = 'p' FROM pg_catalog.pg_class WHERE oid = to_regclass(", table, ")")


def exists_sql(event_model: EventModel, month: datetime) -> Fragment:
    """Return a query of whether there is a table of the name that a month's partition has."""
    name = literal(render(identifier(month_name(event_model, month))))
    return compose("SELECT to_regclass(", name, ") IS NOT NULL")
