"""Event tables in partitions, one for each month in UTC.

Postgres wants the partition's column in every unique index, so the primary key of such a table is (`pgh_id`,
`pgh_created_at`). For Django it still is `pgh_id`, which one sequence counts for all partitions. A default partition
holds the events of months without a partition, so that no event is ever refused.

Source: https://www.postgresql.org/docs/current/ddl-partitioning.html#DDL-PARTITIONING-DECLARATIVE
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db.backends.postgresql.schema import DatabaseSchemaEditor

from pgmagic.compile.sql import DollarQuoted, Fragment, compose, identifier, join, literal, render, verbatim
from pgmagic.declare.model_types import Model
from pgmagic.declare.names import MAX_NAME_BYTES, PARTITION_OPTION, shorten

# How many months get a partition ahead of time, beside the present month.
MONTHS_AHEAD = 3

_PARTITIONED_BY = "pgh_created_at"
_SEQUENCE = "_pgh_id_seq"


def partition_of(model: Model) -> str | None:
    """Return by what a model's table is partitioned, also for a model that Django makes from migrations."""
    return getattr(model._meta, PARTITION_OPTION, None)


class PartitionedEditor(DatabaseSchemaEditor):
    """Django's schema editor, except that it creates partitioned tables."""

    def table_sql(self, model: Model) -> tuple[str, list[object]]:
        """Return the statement that creates the table."""
        return partitioned_table_sql(self, model)


def partitioned_table_sql(editor: Any, model: Model) -> tuple[str, list[object]]:
    """Return the statement that creates a partitioned table, which can have an identity column since Postgres 17."""
    pk = model._meta.pk
    columns = [compose(identifier(pk.column), " bigint NOT NULL DEFAULT ", next_key(model))]
    params: list[object] = []
    for field in model._meta.local_fields:
        definition, more = editor.column_sql(model, field)
        if field is pk or definition is None:
            continue
        columns.append(compose(identifier(field.column), " ", verbatim(definition)))
        params += more or []
        if getattr(field, "db_constraint", False):
            editor.deferred_sql.append(editor._create_fk_sql(model, field, "_fk_%(to_table)s_%(to_column)s"))
    constraints = [verbatim(str(constraint.constraint_sql(model, editor))) for constraint in model._meta.constraints]
    statement = compose(
        "CREATE TABLE ", identifier(model._meta.db_table), " (",
        join(", ", [*columns, *constraints, compose("PRIMARY KEY ", key_columns(model))]),
        ") ", partitioning(model),
    )  # fmt: skip
    return render(statement), params


def with_partitions(event_model: Model, create: Sequence[str], now: datetime) -> tuple[str, ...]:
    """Return the statements that create a partitioned table, its sequence and its partitions."""
    return (before_table(event_model), *create, *after_table(event_model, now))


def before_table(event_model: Model) -> str:
    """Return the statement that creates the sequence of the keys."""
    return render(compose("CREATE SEQUENCE ", sequence_name(event_model), ";"))


def after_table(event_model: Model, now: datetime) -> list[str]:
    """Return the statements that create the default partition of a new table, and those of the months from `now` on."""
    table = identifier(event_model._meta.db_table)
    months = [
        compose(
            "CREATE TABLE ", identifier(month_name(event_model, month)), " PARTITION OF ", table, " ", _bounds(month),
            ";",
        )
        for month in months_from(now)
    ]  # fmt: skip
    default = identifier(default_name(event_model))
    return [
        render(statement)
        for statement in (
            own_sequence(event_model),
            compose("CREATE TABLE ", default, " PARTITION OF ", table, " DEFAULT;"),
            *months,
        )
    ]


def own_sequence(event_model: Model) -> Fragment:
    """Return the statement that makes the sequence belong to the table's key, so that both are dropped together."""
    pk = identifier(event_model._meta.db_table, event_model._meta.pk.column)
    return compose("ALTER SEQUENCE ", sequence_name(event_model), " OWNED BY ", pk, ";")


def next_key(event_model: Model) -> Fragment:
    """Return the expression that counts the keys."""
    return compose("nextval(", literal(render(sequence_name(event_model))), "::regclass)")


def key_columns(event_model: Model) -> Fragment:
    """Return the columns of the primary key, in parentheses."""
    return compose("(", identifier(event_model._meta.pk.column), ", ", time_column(event_model), ")")


def partitioning(event_model: Model) -> Fragment:
    """Return the clause that makes a table partitioned."""
    return compose("PARTITION BY RANGE (", time_column(event_model), ")")


def time_column(model: Model) -> Fragment:
    """Return the column by which a table is partitioned."""
    return identifier(time_column_name(model))


def time_column_name(model: Model) -> str:
    """Return the name of the column by which a table is partitioned."""
    return str({field.name: field.column for field in model._meta.fields}[_PARTITIONED_BY])


def _name(table: str, tail: str) -> str:
    """Return a table's name with a tail; if the name is too long, a digest replaces its end."""
    if len((table + tail).encode()) <= MAX_NAME_BYTES:
        return table + tail
    tail = f"_{hashlib.sha256(table.encode()).hexdigest()[:8]}{tail}"
    return shorten(table, MAX_NAME_BYTES - len(tail)) + tail


def sequence_name(event_model: Model) -> Fragment:
    """Return the name of the sequence of the keys."""
    return identifier(_name(event_model._meta.db_table, _SEQUENCE))


def default_name(event_model: Model) -> str:
    """Return the name of the default partition of a new table."""
    return _name(event_model._meta.db_table, "_default")


def former_name(event_model: Model) -> str:
    """Return the name that a partitioned table has while another takes its place."""
    return _name(event_model._meta.db_table, "_former")


def month_name(event_model: Model, month: datetime) -> str:
    """Return the name of a new partition for a month."""
    return _name(event_model._meta.db_table, f"_{month:%Y_%m}")


def month_of(moment: datetime) -> datetime:
    """Return the beginning of a moment's month."""
    return datetime(moment.year, moment.month, 1, tzinfo=UTC)


def following(month: datetime) -> datetime:
    """Return the beginning of the next month."""
    return datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)


def months_from(now: datetime, months: int = MONTHS_AHEAD) -> list[datetime]:
    """Return the beginnings of a moment's month and of the given number of months after it."""
    found = [month_of(now)]
    for _ in range(months):
        found.append(following(found[-1]))
    return found


def _bounds(month: datetime) -> Fragment:
    return compose("FOR VALUES FROM (", literal(month), ") TO (", literal(following(month)), ")")


def month_statements(event_model: Model, month: datetime, default: Fragment | None) -> list[Fragment]:
    """Return the statements that create the partition of a month, and move its events there from the default one.

    default: the name of the default partition; None if the table has no default partition.
    """
    table, part = identifier(event_model._meta.db_table), identifier(month_name(event_model, month))
    column = time_column(event_model)
    start, end = literal(month), literal(following(month))
    create = compose("CREATE TABLE ", part, " (LIKE ", table, " INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    attach = compose("ALTER TABLE ", table, " ATTACH PARTITION ", part, " ", _bounds(month))
    if default is None:
        return [create, attach]
    moving = compose(
        "WITH moved AS (DELETE FROM ", default, " WHERE ", column, " >= ", start,
        " AND ", column, " < ", end, " RETURNING *) INSERT INTO ", part, " SELECT * FROM moved",
    )  # fmt: skip
    return [create, moving, attach]


def lock_sql(event_model: Model) -> Fragment:
    """Return the statement that keeps events out of the default partition while some of them are moved."""
    return compose("LOCK TABLE ", identifier(event_model._meta.db_table), " IN SHARE ROW EXCLUSIVE MODE")


def is_partitioned_sql(event_model: Model) -> Fragment:
    """Return a query of whether the table is partitioned; no row if the table does not exist."""
    return compose("SELECT relkind = 'p' FROM pg_catalog.pg_class WHERE oid = ", regclass(event_model))


def default_sql(event_model: Model) -> Fragment:
    """Return a query of the name of the default partition, as SQL; no row if there is no default partition."""
    return compose(
        "SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = ",
        regclass(event_model), " AND pg_get_expr(relpartbound, inhrelid) = 'DEFAULT'",
    )  # fmt: skip


def covered_sql(event_model: Model, months: Sequence[datetime]) -> Fragment:
    """Return a query of the positions, from 1, of the months that overlap with a partition.

    Postgres shows bounds as text only. The text is read as it was written: in the session's own time zone, and in the
    ISO style, without which psycopg cannot read times either. An open bound (`MINVALUE`) has no quotes.
    """
    return compose(
        "SELECT place FROM unnest(", literal(list(months)), "::timestamptz[]) WITH ORDINALITY AS asked (month, place) ",
        "WHERE EXISTS (",
        "SELECT FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid, ",
        "pg_get_expr(relpartbound, inhrelid) AS bound, ",
        r"regexp_match(bound, '^FOR VALUES FROM \((?:''(.*)''|MINVALUE)\) TO \((?:''(.*)''|MAXVALUE)\)$') AS part ",
        "WHERE inhparent = ", regclass(event_model), " AND part IS NOT NULL ",
        "AND coalesce(part[1]::timestamptz, '-infinity') < (month AT TIME ZONE 'UTC' + interval '1 month') "
        "AT TIME ZONE 'UTC' AND coalesce(part[2]::timestamptz, 'infinity') > month)",
    )  # fmt: skip


def regclass(event_model: Model) -> Fragment:
    """Return the expression that finds the table along the `search_path`; NULL if it does not exist."""
    return compose("to_regclass(", literal(render(identifier(event_model._meta.db_table))), ")")


def renamed_sql(former_table: str, event_model: Model) -> str:
    """Return the statement that renames the partitions of a renamed table, and its sequence, after the table.

    Partitions and sequences that somebody else named keep their names.
    """
    table = event_model._meta.db_table
    # As long as the tails of partitions, so that long names are cut at the same place.
    tail = "_" * len("_2000_01")
    former, new = (_name(name, tail).removesuffix(tail) for name in (former_table, table))
    body = compose(
        "\nDECLARE\n  part record;\nBEGIN\n",
        "  FOR part IN SELECT inhrelid, relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid\n",
        "      WHERE inhparent = ", regclass(event_model), " AND starts_with(relname, ", literal(former), ")\n",
        "      AND substr(relname, ", literal(len(former) + 1), r") ~ '^_(default|\d{4}_\d\d)$' LOOP", "\n",
        "    EXECUTE format('ALTER TABLE %s RENAME TO %I', part.inhrelid::regclass, ", literal(new),
        " || substr(part.relname, ", literal(len(former) + 1), "));\n  END LOOP;\n",
        "  IF to_regclass(pg_get_serial_sequence(", literal(render(identifier(table))), ", ",
        literal(event_model._meta.pk.column), ")) = to_regclass(",
        literal(render(identifier(_name(former_table, _SEQUENCE)))), ") THEN\n",
        "    ALTER SEQUENCE ", identifier(_name(former_table, _SEQUENCE)), " RENAME TO ", sequence_name(event_model),
        ";\n  END IF;\nEND\n",
    )  # fmt: skip
    return render(compose("DO ", DollarQuoted(render(body)), ";"))
