"""Conditions to SQL on OLD and NEW.

In a trigger these are the row before and after; where the rows come out of transition tables, these are aliased
`old` and `new`, so that a condition, also one in raw SQL, reads the same everywhere and is never rewritten.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import singledispatch
from typing import Any, Literal, TypeGuard

from django.core.exceptions import EmptyResultSet, FieldError, FullResultSet, ValidationError
from django.db import models
from django.db.models import Aggregate, Subquery, Window
from django.db.models.sql import Query
from django.utils import timezone

from pgmagic.compile.offline import offline_connection
from pgmagic.compile.row_query import RowQuery
from pgmagic.compile.sql import Fragment, compose, identifier, join, merge, verbatim
from pgmagic.compile.sql_tokens import row_columns_in, rows_in
from pgmagic.declare.conditions import (
    Combined,
    Condition,
    Connector,
    Not,
    Q,
    _Change,
)
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.errors import ConditionError, PgMagicError

# Column types without an equality operator: their texts are compared.
# Source: https://www.postgresql.org/docs/current/functions-comparison.html
TYPES_WITHOUT_EQUALITY = {"json", "xml", "point", "polygon"}


def condition_sql(condition: Condition | models.Q, model: Model) -> Fragment:
    """Return a condition as SQL on the given row aliases; never empty, and safe to combine with AND.

    Raises:
        UnknownFieldError: it names a field that the model does not have.
        ConditionError: it needs a join, or Django does not know the lookup.
    """
    if renders_itself(condition):
        return _raw(condition.resolve(model))
    return _render(condition, model)


def renders_itself(condition: object) -> TypeGuard[Condition]:
    """Return whether it is a user's own kind of condition."""
    return isinstance(condition, Condition) and type(condition).resolve is not Condition.resolve


def _written_sql(condition: Condition, model: Model) -> str:
    """Return the SQL that the author of a condition wrote."""
    return condition.resolve(model) if renders_itself(condition) else str(condition.sql)


def _raw(sql: str) -> Fragment:
    """Return SQL on OLD and NEW that somebody wrote, as one operand: `(a) OR (b)` is, and so is `a -- why`."""
    return compose("(", verbatim(sql), "\n)" if "--" in sql else ")")


@singledispatch
def _render(condition: object, model: Model) -> Fragment:
    raise ConditionError(
        f"A condition is a Q, a Condition or a change condition, but {condition!r} was given."
    )


@_render.register
def _(condition: Condition, model: Model) -> Fragment:
    return _raw(str(condition.sql))


@_render.register
def _(condition: Combined, model: Model) -> Fragment:
    operands = [condition_sql(operand, model) for operand in condition.conditions]
    return compose("(", join(" AND " if condition.connector == "AND" else " OR ", operands), ")")


@_render.register
def _(condition: Not, model: Model) -> Fragment:
    negated = condition.condition
    if isinstance(negated, Combined) and not renders_itself(negated):
        # Each part by itself, so that a Q keeps treating NULL as `exclude()` does.
        connector: Connector = "OR" if negated.connector == "AND" else "AND"
        return condition_sql(Combined(connector, *(~part for part in negated.conditions)), model)
    if isinstance(negated, Not) and not renders_itself(negated):
        return condition_sql(negated.condition, model)
    return compose("NOT ", condition_sql(negated, model))


@_render.register
def _(condition: _Change, model: Model) -> Fragment:
    comparisons = [_changed(field, condition.changed) for field in condition.compared_fields(model)]
    if not comparisons:
        # No field is left to compare: none of no fields changed, and all of no fields did.
        return verbatim("TRUE" if condition.connector == "AND" else "FALSE")
    return compose("(", join(" AND " if condition.connector == "AND" else " OR ", comparisons), ")")


@_render.register(Q)
@_render.register(models.Q)
def _(condition: models.Q, model: Model) -> Fragment:
    query = RowQuery(model)
    connection = offline_connection()
    with _refusals(condition, model):
        try:
            # `__date` and `__year` speak of the current time zone: one declaration compiles alike wherever it is done.
            with timezone.override(timezone.get_default_timezone()):
                compiler = query.get_compiler(connection=connection)
                template, params = compiler.compile(_where(query, condition))
            sql = merge(template, params)
        except EmptyResultSet:
            return verbatim("FALSE")
        except FullResultSet:
            return verbatim("TRUE")
    return compose("(", verbatim(sql), ")") if sql else verbatim("TRUE")


def _where(query: RowQuery, condition: models.Q) -> Any:
    """Return a Q as the WHERE clause of a query."""
    _check_values(condition, query.row_model)
    return query.build_where(condition)


@contextmanager
def _refusals(condition: models.Q, model: Model) -> Iterator[None]:
    """Turn what Django finds wrong with a Q into an error of ours."""
    try:
        yield
    except PgMagicError:
        raise
    except (FieldError, ValidationError, ValueError, TypeError, LookupError) as error:
        # Its names only: the text of a value may be a query that would be sent.
        raise ConditionError(
            f"The condition on {', '.join(_names(condition))} of {model._meta.object_name} is not usable: "
            f"{reason(error)}"
        ) from error


def _check_values(condition: models.Q, model: Model) -> None:
    for child in condition.children:
        if isinstance(child, models.Q):
            _check_values(child, model)
            continue
        name, value = child if isinstance(child, tuple) else ("an expression", child)
        if isinstance(value, Iterator):
            raise ConditionError(
                f"The condition on {name} of {model._meta.object_name} holds an iterator, which is empty once it was "
                f"read: give it a list."
            )
        if any(_is_of_many_rows(part) for part in _parts(value)):
            raise ConditionError(
                f"The condition on {name} of {model._meta.object_name} asks other rows, and Postgres takes no subquery "
                f"or aggregate in a trigger's condition: ask in the body, as in IF EXISTS (SELECT …)."
            )


def _parts(value: Any) -> Iterator[Any]:
    """Iterate over a value, and over all that it is made of."""
    yield value
    inside = value if isinstance(value, list | tuple | set | frozenset) else ()
    if hasattr(value, "get_source_expressions"):
        inside = value.get_source_expressions()
    for part in inside:
        yield from _parts(part)


def _is_of_many_rows(part: Any) -> bool:
    return isinstance(part, models.QuerySet | Query | Subquery | Window | Aggregate)


def _names(condition: models.Q) -> Iterator[str]:
    for child in condition.children:
        if isinstance(child, models.Q):
            yield from _names(child)
        else:
            yield child[0] if isinstance(child, tuple) else "an expression"


def reason(error: Exception) -> str:
    """Return what Django found wrong with a value, in one line."""
    texts = error.messages if isinstance(error, ValidationError) else [str(error)]
    return " ".join(" ".join(texts).split())


def column_of(row: Literal["OLD", "NEW"], field: AnyField) -> Fragment:
    """Return the field's column of a row, such as `OLD."title"`."""
    return compose(verbatim(row), ".", identifier(field.column))


def _changed(field: AnyField, changed: bool) -> Fragment:
    cast = "::text" if field.db_type(offline_connection()) in TYPES_WITHOUT_EQUALITY else ""
    operator = " IS DISTINCT FROM " if changed else " IS NOT DISTINCT FROM "
    return compose(
        value_in("OLD", field), verbatim(cast), verbatim(operator),
        value_in("NEW", field), verbatim(cast),
    )  # fmt: skip


def value_in(row: Literal["OLD", "NEW"], field: AnyField) -> Fragment:
    """Return the field's value in a row: the column, or what a column that is computed when it is read stands for.

    Source: https://www.postgresql.org/docs/current/ddl-generated-columns.html (a trigger does not see virtual ones)
    """
    generated: Any = field
    if not field.generated or generated.db_persist:
        return column_of(row, field)
    kind = field.db_type(offline_connection()) or "text"
    alias: Literal["old", "new"] = "old" if row == "OLD" else "new"
    return compose("(", expression_sql(generated.expression, field.model, alias), verbatim(f")::{kind}"))


def expression_sql(expression: Any, model: Model, row: Literal["old", "new"]) -> Fragment:
    """Return an expression on the fields of a row, such as `Now()` or `F("title")`, as SQL.

    Raises:
        UnknownFieldError: it names a field that the model does not have.
        ConditionError: it needs a join, or is of many rows.
    """
    if any(isinstance(part, Aggregate | Window) for part in _parts(expression)):
        raise ConditionError(f"{expression!r} is of many rows, and a trigger sees one.")
    query = RowQuery(model, row)
    resolved = expression.resolve_expression(query)
    template, params = query.get_compiler(connection=offline_connection()).compile(resolved)
    return verbatim(merge(template, params))


def check_readable(condition: Condition | models.Q, model: Model) -> None:
    """Refuse SQL of somebody's own on what transition tables do not hold: columns that are computed when they are read.

    Raises:
        ConditionError: it names such a column.
    """
    if isinstance(condition, Combined | Not) and not renders_itself(condition):
        for part in condition.conditions if isinstance(condition, Combined) else (condition.condition,):
            check_readable(part, model)
        return
    if not isinstance(condition, Condition) or not (renders_itself(condition) or condition.sql):
        return
    named = {column for _, column in row_columns_in(_written_sql(condition, model))}
    for field in model._meta.concrete_fields:
        generated: Any = field
        if field.generated and not generated.db_persist and field.column in named:
            raise ConditionError(
                f"The condition names {field.column}, which Postgres computes when it is read: a trigger for each "
                f"statement finds nothing in it. Ask for it with a Q, or for what it is made of."
            )


def named_rows(condition: Condition | models.Q, model: Model) -> frozenset[str]:
    """Return which of `old` and `new` a condition names; of somebody's own SQL, which ones it may name.

    Raises:
        ConditionError: see `condition_sql`.
    """
    if renders_itself(condition) or (isinstance(condition, Condition) and condition.sql):
        return rows_in(_written_sql(condition, model))
    if isinstance(condition, Combined):
        return frozenset().union(*(named_rows(part, model) for part in condition.conditions))
    if isinstance(condition, Not):
        return named_rows(condition.condition, model)
    if not isinstance(condition, models.Q):
        # What compares the row before with the row after.
        return frozenset(("old", "new"))
    query = RowQuery(model)
    with _refusals(condition, model):
        _where(query, condition)
    return frozenset(query.named)
