"""Conditions to SQL on OLD and NEW.

In a trigger these are the row before and after. Transition tables are aliased `old` and `new`, so that a condition,
also one in raw SQL, is the same everywhere and is never rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import singledispatch
from typing import Any, Literal, TypeGuard

from django.core.exceptions import EmptyResultSet, FieldError, FullResultSet, ValidationError
from django.db import models
from django.db.models import Aggregate, Subquery, Window
from django.db.models.sql import Query
from django.db.models.sql.where import WhereNode
from django.utils import timezone

from pgmagic.compile.offline import offline_connection
from pgmagic.compile.row_query import RowQuery, virtual_expression
from pgmagic.compile.sql import Fragment, compose, identifier, join, merge, verbatim
from pgmagic.compile.sql_tokens import row_columns_in, rows_in
from pgmagic.declare.conditions import Change, Combined, Condition, Connector, Not, Q
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.errors import ConditionError, PgMagicError

# Column types without an equality operator: their texts are compared.
# Source: https://www.postgresql.org/docs/current/functions-comparison.html
TYPES_WITHOUT_EQUALITY = {"json", "xml", "point", "polygon"}


def condition_sql(condition: Condition | models.Q, model: Model) -> Fragment:
    """Return a condition as SQL on OLD and NEW; never empty, and safe to combine with AND.

    Raises:
        UnknownFieldError: if the condition names a field that the model does not have.
        ConditionError: if the condition needs a join, or Django does not know the lookup.
    """
    if renders_itself(condition):
        return _raw(condition.resolve(model))
    return built_in_sql(condition, model)


def renders_itself(condition: object) -> TypeGuard[Condition]:
    """Return whether a condition is of a user's own class, which renders it."""
    return isinstance(condition, Condition) and type(condition).resolve is not Condition.resolve


def _written_sql(condition: Condition | models.Q, model: Model) -> str | None:
    """Return the SQL that the author of a condition wrote; None if pgmagic renders the condition."""
    if renders_itself(condition):
        return condition.resolve(model)
    return (condition.sql or None) if isinstance(condition, Condition) else None


def _raw(sql: str) -> Fragment:
    """Return the user's own SQL on OLD and NEW as one operand, such as `(a) OR (b)`, or `a -- why`."""
    return compose("(", verbatim(sql), "\n)" if "--" in sql else ")")


@singledispatch
def built_in_sql(condition: object, model: Model) -> Fragment:
    """Return a condition as SQL by what it holds; a class's own `resolve` may ask for that."""
    raise ConditionError(f"A condition is a Q, a Condition or a change condition, but {condition!r} was given.")


@built_in_sql.register
def _(condition: Condition, model: Model) -> Fragment:
    return _raw(str(condition.sql))


@built_in_sql.register
def _(condition: Combined, model: Model) -> Fragment:
    operands = [condition_sql(operand, model) for operand in condition.conditions]
    return compose("(", join(" AND " if condition.connector == "AND" else " OR ", operands), ")")


@built_in_sql.register
def _(condition: Not, model: Model) -> Fragment:
    negated = condition.condition
    if isinstance(negated, Combined) and not renders_itself(negated):
        # Each part is negated, so that a Q still treats NULL as `exclude()` does.
        connector: Connector = "OR" if negated.connector == "AND" else "AND"
        return condition_sql(Combined(connector, *(~part for part in negated.conditions)), model)
    if isinstance(negated, Not) and not renders_itself(negated):
        return condition_sql(negated.condition, model)
    return compose("NOT ", condition_sql(negated, model))


@built_in_sql.register
def _(condition: Change, model: Model) -> Fragment:
    operator = verbatim(" IS DISTINCT FROM " if condition.changed else " IS NOT DISTINCT FROM ")
    comparisons = []
    for field in condition.compared_fields(model):
        without_equality = field.db_type(offline_connection()) in TYPES_WITHOUT_EQUALITY
        cast = verbatim("::text" if without_equality else "")
        comparisons.append(compose(value_in("OLD", field), cast, operator, value_in("NEW", field), cast))
    if not comparisons:
        # No field is left to compare: "any of no fields" is false, and "all of no fields" is true.
        return verbatim("TRUE" if condition.connector == "AND" else "FALSE")
    return compose("(", join(" AND " if condition.connector == "AND" else " OR ", comparisons), ")")


@built_in_sql.register(Q)
@built_in_sql.register(models.Q)
def _(condition: models.Q, model: Model) -> Fragment:
    query = RowQuery(model)
    connection = offline_connection()
    with _refusals(condition, model):
        try:
            # `__date` and `__year` depend on the current time zone: the default makes a declaration compile the same.
            with timezone.override(timezone.get_default_timezone()):
                compiler = query.get_compiler(connection=connection)
                template, params = compiler.compile(_where(query, condition))
            sql = merge(template, params)
        except EmptyResultSet:
            return verbatim("FALSE")
        except FullResultSet:
            return verbatim("TRUE")
    return compose("(", verbatim(sql), ")") if sql else verbatim("TRUE")


def _where(query: RowQuery, condition: models.Q) -> WhereNode:
    """Return a Q as the WHERE clause of a query."""
    _check_values(condition, query.row_model)
    return query.build_where(condition)


@contextmanager
def _refusals(condition: models.Q, model: Model) -> Iterator[None]:
    """Raise Django's errors about a Q as a `ConditionError`."""
    try:
        yield
    except PgMagicError:
        raise
    except (FieldError, ValidationError, ValueError, TypeError, LookupError) as error:
        # Only the names: to show a value that is a query would execute the query.
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
        if any(isinstance(part, models.QuerySet | Query | Subquery | Window | Aggregate) for part in _parts(value)):
            raise ConditionError(
                f"The condition on {name} of {model._meta.object_name} reads other rows, but Postgres allows no "
                f"subquery or aggregate in a trigger's condition: read them in the body, as in IF EXISTS (SELECT …)."
            )


def _parts(value: object) -> Iterator[object]:
    """Yield a value, and all parts of it."""
    yield value
    inside: Iterable[object] = value if isinstance(value, list | tuple | set | frozenset) else ()
    if hasattr(value, "get_source_expressions"):
        inside = value.get_source_expressions()
    for part in inside:
        yield from _parts(part)


def _names(condition: models.Q) -> Iterator[str]:
    for child in condition.children:
        if isinstance(child, models.Q):
            yield from _names(child)
        else:
            yield child[0] if isinstance(child, tuple) else "an expression"


def reason(error: Exception) -> str:
    """Return the text of Django's error about a value, in one line."""
    texts = error.messages if isinstance(error, ValidationError) else [str(error)]
    return " ".join(" ".join(texts).split())


def column_of(row: Literal["OLD", "NEW"], field: AnyField) -> Fragment:
    """Return the field's column of a row, such as `OLD."title"`."""
    return compose(verbatim(row), ".", identifier(field.column))


def value_in(row: Literal["OLD", "NEW"], field: AnyField) -> Fragment:
    """Return the field's value in a row: the column, or the expression of a column that is computed when it is read.

    Source: https://www.postgresql.org/docs/current/ddl-generated-columns.html (a trigger does not see virtual ones)
    """
    expression = virtual_expression(field)
    if expression is None:
        return column_of(row, field)
    kind = field.db_type(offline_connection()) or "text"
    alias: Literal["old", "new"] = "old" if row == "OLD" else "new"
    return compose("(", expression_sql(expression, field.model, alias), verbatim(f")::{kind}"))


def expression_sql(expression: Any, model: Model, row: Literal["old", "new"]) -> Fragment:
    """Return an expression on the fields of a row, such as `Now()` or `F("title")`, as SQL.

    Raises:
        UnknownFieldError: if the expression names a field that the model does not have.
        ConditionError: if the expression needs a join, or computes something from many rows.
    """
    if any(isinstance(part, Aggregate | Window) for part in _parts(expression)):
        raise ConditionError(f"{expression!r} needs many rows, but a trigger sees only one row.")
    query = RowQuery(model, row)
    resolved = expression.resolve_expression(query)
    template, params = query.get_compiler(connection=offline_connection()).compile(resolved)
    return verbatim(merge(template, params))


def check_readable(condition: Condition | models.Q, model: Model) -> None:
    """Refuse the user's own SQL on columns that are computed when they are read: transition tables do not hold them.

    Raises:
        ConditionError: if the condition names such a column.
    """
    written = _written_sql(condition, model)
    if written is not None:
        named = {pair[1] for pair in row_columns_in(written)}
        for field in model._meta.concrete_fields:
            if field.column in named and virtual_expression(field) is not None:
                raise ConditionError(
                    f"The condition names {field.column}, which Postgres computes when it is read: a trigger for each "
                    f"statement finds nothing in it. Write the condition as a Q, or name the columns it is made of."
                )
    elif isinstance(condition, Combined):
        for part in condition.conditions:
            check_readable(part, model)
    elif isinstance(condition, Not):
        check_readable(condition.condition, model)


def named_rows(condition: Condition | models.Q, model: Model) -> frozenset[str]:
    """Return which of `old` and `new` a condition names; for the user's own SQL, which rows it may name.

    Raises:
        ConditionError: see `condition_sql`.
    """
    written = _written_sql(condition, model)
    if written is not None:
        return rows_in(written)
    if isinstance(condition, Combined):
        return frozenset().union(*(named_rows(part, model) for part in condition.conditions))
    if isinstance(condition, Not):
        return named_rows(condition.condition, model)
    if not isinstance(condition, models.Q):
        # It compares the row before with the row after.
        return frozenset(("old", "new"))
    query = RowQuery(model)
    with _refusals(condition, model):
        _where(query, condition)
    return frozenset(query.named)
