"""The PL/pgSQL of the ready-made triggers.

Everything that a body names is qualified or built in, so that it works under any `search_path`. A rejection keeps
the upstream packages' primary message and says the rest in Postgres's own error fields: schema, table, column,
constraint (the trigger's URI), detail (JSON: the row's key, its old and new values) and hint.

Source: https://www.postgresql.org/docs/current/plpgsql-errors-and-messages.html
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.fields import Field

from pgmagic.compile.offline import offline_connection
from pgmagic.compile.predicate import column_of, condition_sql, expression_sql, reason
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, quoted
from pgmagic.declare.conditions import Q, concrete_field, table_fields
from pgmagic.declare.ready_made import FSM, Protect, ReadOnly, SoftDelete
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import DeclarationError, PgMagicError

Model = type[models.Model]


@singledispatch
def body(trigger: Trigger, model: Model, schema: str | None) -> Fragment:
    """Return the PL/pgSQL between BEGIN and END of a ready-made trigger."""
    raise DeclarationError(f"{type(trigger).__name__} has no body of its own: give it a func or a get_func.")


@body.register
def _(trigger: Protect, model: Model, schema: str | None) -> Fragment:
    operations = " or ".join(str(operation).lower() for operation in trigger.operations)
    message = f"pgtrigger: Cannot {operations} rows from {model._meta.db_table} table"
    return _reject(trigger, model, literal(message), changes=table_fields(model))


@body.register
def _(trigger: ReadOnly, model: Model, schema: str | None) -> Fragment:
    operations = " or ".join(str(operation).lower() for operation in trigger.operations)
    message = f"pgtrigger: Cannot {operations} rows from {model._meta.db_table} table"
    fields = trigger.protected_fields(model)
    hint = f"These fields are read-only: {', '.join(field.name for field in fields)}."
    column = literal(fields[0].column) if len(fields) == 1 else None
    return _reject(trigger, model, literal(message), changes=fields, column=column, hint=literal(hint))


@body.register
def _(trigger: FSM, model: Model, schema: str | None) -> Fragment:
    field = concrete_field(model, str(trigger.field))
    _check_states(trigger, field)
    message = compose(
        "concat(", literal(f'pgtrigger: Invalid transition of field "{trigger.field}" from "'), ", ",
        _state_text("OLD", field), ", ", literal('" to "'), ", ", _state_text("NEW", field), ", ",
        literal(f'" on table {model._meta.db_table}'), ")",
    )  # fmt: skip
    return _reject(
        trigger,
        model,
        message,
        changes=[field],
        column=literal(field.column),
        hint=_next_states(trigger, model, field),
    )


@body.register
def _(trigger: SoftDelete, model: Model, schema: str | None) -> Fragment:
    field = concrete_field(model, str(trigger.field))
    keys = [
        compose("target.", identifier(key.column), " = ", column_of("OLD", key)) for key in primary_key(model)
    ]
    return compose(
        "UPDATE ", identifier(schema, model._meta.db_table), " AS target SET ", identifier(field.column), " = ",
        field_value(trigger.value, field), " WHERE ", join(" AND ", keys), ";\nRETURN NULL;",
    )  # fmt: skip


def transitions_guard(trigger: FSM, model: Model) -> Fragment:
    """Return a condition that is true where a transition is not listed.

    It belongs into the WHEN clause, where it costs no call of the function.
    """
    allowed = Q()
    for old, following in _transitions(trigger):
        allowed |= _state_is("old", trigger.field, [old]) & _state_is("new", trigger.field, following)
    return compose("(", condition_sql(allowed, model), " IS NOT TRUE)")


def _check_states(trigger: FSM, field: Field[Any, Any]) -> None:
    for state in trigger.states():
        try:
            quoted(field.get_db_prep_save(state, offline_connection()))
        except (ValidationError, ValueError, TypeError) as error:
            raise DeclarationError(
                f'The FSM "{trigger.name}" lists a state that is no value of '
                f"{field.model._meta.object_name}.{field.name}: {reason(error)}"
            ) from error


def _transitions(trigger: FSM) -> list[tuple[Any, list[Any]]]:
    """Return each state that can be left, with the states that may follow it."""
    pairs = trigger.transitions or ()
    return [
        (state, following)
        for state in trigger.states()
        if (following := [new for old, new in pairs if old == state])
    ]


def _state_is(row: str, field: Any, states: list[Any]) -> Q:
    known = [state for state in states if state is not None]
    alternatives = Q((f"{row}__{field}__in", known)) if known else Q()
    if len(known) < len(states):
        alternatives |= Q((f"{row}__{field}__isnull", True))
    return alternatives


def _state_text(row: Any, field: Field[Any, Any]) -> Fragment:
    return compose("coalesce(", column_of(row, field), "::text, 'NULL')")


def _next_states(trigger: FSM, model: Model, field: Field[Any, Any]) -> Fragment:
    cases = []
    for old, following in _transitions(trigger):
        condition = condition_sql(_state_is("old", trigger.field, [old]), model)
        sentence = f"From {_state_name(old)} it may go to {', '.join(map(_state_name, following))}."
        cases.append(compose(" WHEN ", condition, " THEN ", literal(sentence)))
    return compose("CASE", join("", cases), " ELSE ", literal("No transition leaves this state."), " END")


def _state_name(state: Any) -> str:
    return '"NULL"' if state is None else f'"{state}"'


def field_value(value: Any, field: Field[Any, Any]) -> Fragment:
    """Return a value of a field, or an expression on the row that is deleted, as SQL.

    Raises:
        DeclarationError: it is no value of the field.
    """
    try:
        if hasattr(value, "resolve_expression"):
            # The row that a BEFORE DELETE trigger updates is OLD.
            return expression_sql(value, field.model, "old")
        return quoted(field.get_db_prep_save(value, offline_connection()))
    except PgMagicError:
        raise
    except (ValidationError, ValueError, TypeError) as error:
        raise DeclarationError(
            f"{value!r} is no value of {field.model._meta.object_name}.{field.name}: {reason(error)}"
        ) from error


def primary_key(model: Model) -> list[Field[Any, Any]]:
    """Return the columns of the model's primary key, several for a composite one."""
    return list(getattr(model._meta, "pk_fields", None) or [model._meta.pk])


def _reject(
    trigger: Trigger,
    model: Model,
    message: Fragment,
    *,
    changes: list[Field[Any, Any]],
    column: Fragment | None = None,
    hint: Fragment | None = None,
) -> Fragment:
    """Return a RAISE with every error field filled in; it is the last statement of a body."""
    options = [
        compose("MESSAGE = ", message),
        compose("SCHEMA = TG_TABLE_SCHEMA"),
        compose("TABLE = TG_TABLE_NAME"),
        compose("CONSTRAINT = ", literal(trigger.get_uri(model))),
        compose("DETAIL = ", _detail(model, changes)),
    ]
    if column is not None:
        options.append(compose("COLUMN = ", column))
    if hint is not None:
        options.append(compose("HINT = ", hint))
    return compose("RAISE EXCEPTION USING\n  ", join(",\n  ", options), ";")


def _detail(model: Model, changes: list[Field[Any, Any]]) -> Fragment:
    """Return JSON as text: the operation, the row's key, and the columns before and after, by column name.

    An UPDATE shows only the columns that it changes; a DELETE has nothing after, an INSERT nothing before, and a
    TRUNCATE neither.
    """
    key_columns = [literal(key.column) for key in primary_key(model)]
    columns = [literal(field.column) for field in changes]
    return compose(
        "(SELECT jsonb_build_object(\n"
        "      'operation', lower(TG_OP),\n"
        "      'key', jsonb_object_agg(key, coalesce(before.value, after.value)) FILTER (WHERE key IN (",
        join(", ", key_columns), ")),\n"
        "      'old', jsonb_object_agg(key, before.value) FILTER (WHERE shown AND TG_OP <> 'INSERT'),\n"
        "      'new', jsonb_object_agg(key, after.value) FILTER (WHERE shown AND TG_OP <> 'DELETE'))::text\n"
        "    FROM jsonb_each(to_jsonb(OLD)) AS before FULL JOIN jsonb_each(to_jsonb(NEW)) AS after USING (key),\n"
        "      LATERAL (SELECT key IN (", join(", ", columns), ")\n"
        "        AND (TG_OP <> 'UPDATE' OR before.value IS DISTINCT FROM after.value)) AS filter(shown))",
    )  # fmt: skip
