"""The PL/pgSQL of the ready-made triggers.

Everything that a body names is qualified or built in, so that it works under any `search_path`. A function whose body
holds a condition keeps the path of its installation (`functions.py`).
"""

from __future__ import annotations

from functools import singledispatch

from django.core.exceptions import ValidationError

from pgmagic.compile import state_machines
from pgmagic.compile.offline import offline_connection
from pgmagic.compile.predicate import check_readable, column_of, condition_sql, expression_sql, named_rows, reason
from pgmagic.compile.rejecting import Rejection, primary_key, reject_row, reject_touched_rows
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, quoted, verbatim
from pgmagic.compile.transition_tables import touched_condition, touched_rows
from pgmagic.declare.composer import missing_row
from pgmagic.declare.conditions import concrete_field, table_fields
from pgmagic.declare.fsm import FSM
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.declare.ready_made import Protect, ReadOnly, SoftDelete, UpdateSearchVector
from pgmagic.declare.trigger import Trigger
from pgmagic.declare.vocabulary import Operation, Statement, Truncate
from pgmagic.errors import DeclarationError, PgMagicError


@singledispatch
def body(trigger: Trigger, model: Model, schema: str | None) -> Fragment:
    """Return the PL/pgSQL between BEGIN and END of a ready-made trigger."""
    raise DeclarationError(f"{type(trigger).__name__} has no body: give it a func or a get_func.")


@body.register
def _(trigger: Protect, model: Model, schema: str | None) -> Fragment:
    return _protection(trigger, Rejection(trigger, model, _cannot(trigger, model), table_fields(model)), schema)


@body.register
def _(trigger: ReadOnly, model: Model, schema: str | None) -> Fragment:
    fields = trigger.protected_fields(model)
    rejection = Rejection(
        trigger,
        model,
        _cannot(trigger, model),
        fields,
        column=literal(fields[0].column) if len(fields) == 1 else None,
        hint=literal(f"These fields are read-only: {', '.join(field.name for field in fields)}."),
    )
    return _protection(trigger, rejection, schema)


def _cannot(trigger: Protect, model: Model) -> Fragment:
    operations = " or ".join(str(operation).lower() for operation in trigger.operations)
    return literal(f"pgtrigger: Cannot {operations} rows from {model._meta.db_table} table")


def _protection(trigger: Protect, rejection: Rejection, schema: str | None) -> Fragment:
    """Return a body that rejects a row or, at statement level, the rows that a statement touches."""
    judged = [operation for operation in trigger.operations if is_judged_in_body(trigger, operation)]
    if not judged:
        return reject_row(rejection)
    condition = trigger.get_condition(rejection.model)
    where, named = verbatim("TRUE"), frozenset[str]()
    if condition is not None:
        check_readable(condition, rejection.model)
        named = named_rows(condition, rejection.model)
        where = condition_sql(condition, rejection.model)
    branches = []
    for operation in judged:
        if (missing := missing_row(operation)) in named:
            raise DeclarationError(
                f'{operation} has no {missing} row, but the condition of "{trigger.name}" names it: declare the rule '
                f"for {operation} as a trigger of its own."
            )
        rows = touched_rows(operation, rejection.model, schema)
        judgement = reject_touched_rows(rejection, operation, rows, touched_condition(operation, where))
        branches.append(
            compose("IF TG_OP = ", literal(operation.name), " THEN\n", judgement, "\nRETURN NULL;\nEND IF;\n")
        )
    # A function must not end without a RETURN, even if no operation gets there.
    is_rest = len(judged) < len(trigger.operations)
    return compose(*branches, reject_row(rejection) if is_rest else verbatim("RETURN NULL;"))


def is_judged_in_body(trigger: Protect, operation: Operation) -> bool:
    """Return whether the body, not the WHEN clause, finds out if an operation touches a protected row."""
    if operation == Truncate:
        return trigger.condition is not None
    return trigger.level == Statement and trigger.referencing is not None


@body.register
def _(trigger: FSM, model: Model, schema: str | None) -> Fragment:
    return state_machines.body(trigger, model)


@body.register
def _(trigger: UpdateSearchVector, model: Model, schema: str | None) -> Fragment:
    vector = concrete_field(model, str(trigger.vector_field))
    if vector.db_type(offline_connection()) != "tsvector":
        raise DeclarationError(
            f"UpdateSearchVector fills a SearchVectorField, but {model._meta.object_name}.{vector.name} is a "
            f"{type(vector).__name__}."
        )
    documents = [
        compose(column_of("NEW", concrete_field(model, name)), "::text") for name in trigger.document_fields or ()
    ]
    return compose(
        column_of("NEW", vector), " := to_tsvector(", literal(trigger.config_name), "::regconfig, concat_ws(' ', ",
        join(", ", documents), "));\nRETURN NEW;",
    )  # fmt: skip


@body.register
def _(trigger: SoftDelete, model: Model, schema: str | None) -> Fragment:
    field = concrete_field(model, str(trigger.field))
    name = f"{field.model._meta.object_name}.{field.name}"
    if field.generated:
        raise DeclarationError(
            f'The SoftDelete "{trigger.name}" cannot set {name}, which Postgres generates: name the field from which '
            f"it is generated."
        )
    if trigger.value is None and not field.null:
        raise DeclarationError(
            f'The SoftDelete "{trigger.name}" would set {name} to NULL: give the field null=True, or value= something '
            f"else."
        )
    keys = [compose("target.", identifier(key.column), " = ", column_of("OLD", key)) for key in primary_key(model)]
    return compose(
        "UPDATE ", identifier(schema, model._meta.db_table), " AS target SET ", identifier(field.column), " = ",
        field_value(trigger.value, field), " WHERE ", join(" AND ", keys), ";\nRETURN NULL;",
    )  # fmt: skip


def field_value(value: object, field: AnyField) -> Fragment:
    """Return a value of a field, or an expression on the deleted row, as SQL.

    Raises:
        DeclarationError: if the value does not fit the field.
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
            f"{value!r} is not a value of {field.model._meta.object_name}.{field.name}: {reason(error)}"
        ) from error
