"""The exception by which a body rejects a row or a statement.

A rejection keeps the upstream packages' primary message and puts the rest into Postgres's own error fields: schema,
table, column, constraint (the trigger's URI), detail (JSON: the row's key, its old and new values) and hint.

Source: https://www.postgresql.org/docs/current/plpgsql-errors-and-messages.html
"""

from __future__ import annotations

from dataclasses import dataclass

from pgmagic.compile.sql import Fragment, compose, join, literal, verbatim
from pgmagic.compile.transition_tables import ARE_UNPAIRED
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.declare.trigger import Trigger
from pgmagic.declare.vocabulary import Insert, Operation, Update

_BEFORE = verbatim("jsonb_object_agg(key, before.value)")
_AFTER = verbatim("jsonb_object_agg(key, after.value)")


@dataclass(frozen=True)
class Rejection:
    """What a trigger reports when it rejects: the message, and the fields whose values it shows."""

    trigger: Trigger
    model: Model
    message: Fragment
    changes: list[AnyField]
    column: Fragment | None = None
    hint: Fragment | None = None


def reject_row(rejection: Rejection) -> Fragment:
    """Return the statement that rejects the row for which the trigger fires, whatever the operation is."""
    is_changed = "TG_OP <> 'UPDATE' OR before.value IS DISTINCT FROM after.value"
    detail = _detail(
        rejection,
        verbatim("TG_OP"),
        compose(_BEFORE, " FILTER (WHERE shown AND TG_OP <> 'INSERT')"),
        compose(_AFTER, " FILTER (WHERE shown AND TG_OP <> 'DELETE')"),
        verbatim(f"\n        AND ({is_changed})"),
    )
    return _raise(rejection, detail)


def reject_touched_rows(rejection: Rejection, operation: Operation, rows: Fragment, condition: Fragment) -> Fragment:
    """Return the block that rejects a statement if it touched a row that fulfils the condition, and shows that row.

    rows: the FROM clause, with the rows `old` and `new`. condition: is also true for a row without its pair.
    """
    is_update = operation == Update
    unpaired = reject_unpaired(rejection.trigger, rejection.model) if is_update else compose("")
    detail = _detail(
        rejection,
        literal(operation.name),
        verbatim("NULL") if operation == Insert else compose(_BEFORE, " FILTER (WHERE shown)"),
        compose(_AFTER, " FILTER (WHERE shown)") if is_update or operation == Insert else verbatim("NULL"),
        verbatim("\n        AND before.value IS DISTINCT FROM after.value" if is_update else ""),
    )
    return compose(
        "DECLARE rejected text;\nBEGIN\nSELECT ", detail, " INTO rejected\n  FROM ", rows, "\n  WHERE ", condition,
        " LIMIT 1;\nIF FOUND THEN\n", unpaired, _raise(rejection, verbatim("rejected")), "\nEND IF;\nEND;",
    )  # fmt: skip


def reject_unpaired(trigger: Trigger, model: Model) -> Fragment:
    """Return the statement that rejects an UPDATE whose rows cannot be paired; see `transition_tables`."""
    message = (
        f"pgtrigger: Cannot tell what became of each row of {model._meta.db_table}: a BEFORE INSERT trigger kept a row "
        f"out of the partition that it was to move to"
    )
    hint = (
        "A trigger at statement level sees such a row before the statement only, and not which one it is: declare it "
        "with level=pgtrigger.Row."
    )
    options = [*_place(trigger, model, literal(message)), compose("HINT = ", literal(hint))]
    return compose("IF ", ARE_UNPAIRED, " THEN\n", _raise_using(options), "\nEND IF;\n")


def primary_key(model: Model) -> list[AnyField]:
    """Return the columns of the model's primary key, several for a composite one."""
    return list(getattr(model._meta, "pk_fields", None) or [model._meta.pk])


def _raise(rejection: Rejection, detail: Fragment) -> Fragment:
    options = [*_place(rejection.trigger, rejection.model, rejection.message), compose("DETAIL = ", detail)]
    if rejection.column is not None:
        options.append(compose("COLUMN = ", rejection.column))
    if rejection.hint is not None:
        options.append(compose("HINT = ", rejection.hint))
    return _raise_using(options)


def _place(trigger: Trigger, model: Model, message: Fragment) -> list[Fragment]:
    return [
        compose("MESSAGE = ", message),
        compose("SCHEMA = TG_TABLE_SCHEMA"),
        compose("TABLE = TG_TABLE_NAME"),
        compose("CONSTRAINT = ", literal(trigger.get_uri(model))),
    ]


def _raise_using(options: list[Fragment]) -> Fragment:
    return compose("RAISE EXCEPTION USING\n  ", join(",\n  ", options), ";")


def _detail(rejection: Rejection, operation: Fragment, old: Fragment, new: Fragment, changed: Fragment) -> Fragment:
    """Return JSON as text: the operation, the row's key, and the values before and after, by column name.

    An UPDATE shows only the columns that it changes. A DELETE has no values after, an INSERT none before, and a
    TRUNCATE has neither, unless it is rejected for a certain row. old, new: the values before and after. changed: the
    condition under which a column is shown.
    """
    key_columns = [literal(key.column) for key in primary_key(rejection.model)]
    columns = [literal(field.column) for field in rejection.changes]
    return compose(
        "(SELECT jsonb_build_object(\n"
        "      'operation', lower(", operation, "),\n"
        "      'key', jsonb_object_agg(key, coalesce(before.value, after.value)) FILTER (WHERE key IN (",
        join(", ", key_columns), ")),\n"
        "      'old', ", old, ",\n"
        "      'new', ", new, ")::text\n"
        # With a star, since a bare `old` would mean a column of that name.
        "    FROM jsonb_each(to_jsonb(OLD.*)) AS before FULL JOIN jsonb_each(to_jsonb(NEW.*)) AS after USING (key),\n"
        "      LATERAL (SELECT key IN (", join(", ", columns), ")", changed, ") AS filter(shown))",
    )  # fmt: skip
