"""Conditions to SQL on OLD and NEW.

In a trigger these are the row before and after; where the rows come out of transition tables, these are aliased
`old` and `new`, so that a condition, also one in raw SQL, reads the same everywhere and is never rewritten.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from typing import Any, Literal, TypeGuard

from django.core.exceptions import EmptyResultSet, FieldError, FullResultSet, ValidationError
from django.db import models
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import Col
from django.db.models.fields import Field
from django.db.models.lookups import IsNull
from django.db.models.sql import Query
from django.db.models.sql.where import AND, WhereNode
from django.utils import timezone

from pgmagic.compile.offline import offline_connection
from pgmagic.compile.sql import Fragment, compose, identifier, join, merge, verbatim
from pgmagic.declare.conditions import (
    Combined,
    Condition,
    Connector,
    IsDistinctFrom,
    IsNotDistinctFrom,
    Not,
    Q,
    _Change,
    concrete_field,
)
from pgmagic.errors import ConditionError, DeclarationError, PgMagicError

Model = type[models.Model]


# Column types without an equality operator: their texts are compared.
# Source: https://www.postgresql.org/docs/current/functions-comparison.html
_TYPES_WITHOUT_EQUALITY = {"json", "xml", "point", "polygon"}


def condition_sql(condition: Condition | models.Q, model: Model) -> Fragment:
    """Return a condition as SQL on the given row aliases; never empty, and safe to combine with AND.

    Raises:
        UnknownFieldError: it names a field that the model does not have.
        ConditionError: it needs a join, or Django does not know the lookup.
    """
    if _renders_itself(condition):
        return _raw(condition.resolve(model))
    return _render(condition, model)


def _renders_itself(condition: object) -> TypeGuard[Condition]:
    """Return whether it is a user's own kind of condition."""
    return isinstance(condition, Condition) and type(condition).resolve is not Condition.resolve


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
    if isinstance(negated, Combined) and not _renders_itself(negated):
        # Each part by itself, so that a Q keeps treating NULL as `exclude()` does.
        connector: Connector = "OR" if negated.connector == "AND" else "AND"
        return condition_sql(Combined(connector, *(~part for part in negated.conditions)), model)
    if isinstance(negated, Not) and not _renders_itself(negated):
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
    query = _RowQuery(model)
    connection = offline_connection()
    try:
        # `__date` and `__year` speak of the current time zone: one declaration compiles alike wherever it is done.
        with timezone.override(timezone.get_default_timezone()):
            where = query.build_where(condition)
            template, params = query.get_compiler(connection=connection).compile(where)
        sql = merge(template, params)
    except EmptyResultSet:
        return verbatim("FALSE")
    except FullResultSet:
        return verbatim("TRUE")
    except PgMagicError:
        raise
    except (FieldError, ValidationError, ValueError, TypeError, LookupError) as error:
        # Its names only: the text of a value may be a query that would be sent.
        raise ConditionError(
            f"The condition on {', '.join(_names(condition))} of {model._meta.object_name} is not usable: "
            f"{reason(error)}"
        ) from error
    return compose("(", verbatim(sql), ")") if sql else verbatim("TRUE")


def _names(condition: models.Q) -> Iterator[str]:
    for child in condition.children:
        if isinstance(child, models.Q):
            yield from _names(child)
        elif isinstance(child, tuple):
            yield child[0]


def reason(error: Exception) -> str:
    """Return what Django found wrong with a value, in one line."""
    texts = error.messages if isinstance(error, ValidationError) else [str(error)]
    return " ".join(" ".join(texts).split())


def column_of(row: Literal["OLD", "NEW"], field: Field[Any, Any]) -> Fragment:
    """Return the field's column of a row, such as `OLD."title"`."""
    return compose(verbatim(row), ".", identifier(field.column))


def _changed(field: Field[Any, Any], changed: bool) -> Fragment:
    cast = "::text" if field.db_type(offline_connection()) in _TYPES_WITHOUT_EQUALITY else ""
    operator = " IS DISTINCT FROM " if changed else " IS NOT DISTINCT FROM "
    return compose(
        column_of("OLD", field), verbatim(cast), verbatim(operator),
        column_of("NEW", field), verbatim(cast),
    )  # fmt: skip


def expression_sql(expression: Any, model: Model, row: Literal["old", "new"]) -> Fragment:
    """Return an expression on the fields of a row, such as `Now()` or `F("title")`, as SQL.

    Raises:
        UnknownFieldError: it names a field that the model does not have.
        ConditionError: it needs a join.
    """
    query = _RowQuery(model, row)
    resolved = expression.resolve_expression(query)
    template, params = query.get_compiler(connection=offline_connection()).compile(resolved)
    return verbatim(merge(template, params))


class _RowQuery(Query):
    """A query whose names are `old__field` and `new__field`, and which joins nothing.

    row: the row that a name without `old__` or `new__` is of; None refuses such a name.
    """

    def __init__(self, model: Model, row: Literal["old", "new"] | None = None) -> None:
        super().__init__(model)
        self.row = row
        self.row_model = model

    def solve_lookup_type(
        self, lookup: str, summarize: bool = False
    ) -> tuple[list[str], tuple[str, ...], Any]:
        """Return the lookups and the column that a name stands for, as Django's `build_filter` asks for them."""
        column, rest = self._column(lookup)
        return rest, (), column

    def resolve_ref(self, name: str, *_args: Any, **_kwargs: Any) -> Any:
        """Return the column, with its transforms, that an F stands for."""
        column, transforms = self._column(name)
        for transform in transforms:
            column = self.try_transform(column, transform)
        return column

    def build_filter(  # type: ignore[override]
        self, filter_expr: Any, branch_negated: bool = False, current_negated: bool = False, **kwargs: Any
    ) -> Any:
        """Return a condition of the WHERE clause; a negated one is true of NULL, as Django's `exclude()` is."""
        if isinstance(filter_expr, Condition) and not isinstance(filter_expr, models.Q):
            raise ConditionError(
                f"{filter_expr!r} stands inside of Q(…): combine the two with & or | instead, Q(…) & {filter_expr!r}."
            )
        clause, joins = super().build_filter(
            filter_expr, branch_negated=branch_negated, current_negated=current_negated, **kwargs
        )
        if current_negated and isinstance(filter_expr, tuple):
            _guard_against_null(clause)
        return clause, joins

    def _column(self, name: str) -> tuple[Any, list[str]]:
        row, *path = name.split(LOOKUP_SEP)
        if self.row and row not in ("old", "new"):
            row, path = self.row, [row, *path]
        if row not in ("old", "new") or not path:
            raise ConditionError(
                f"A condition on {self.row_model._meta.object_name} names a field as old__… or new__…, "
                f"but {name!r} was given."
            )
        field = concrete_field(self.row_model, path[0])
        rest = path[1:]
        if field.is_relation and rest:
            rest = _without_target(field, rest)
        return _RowColumn(row.upper(), field), rest


class _RowColumn(Col):
    """A column of OLD or NEW.

    Django before 6.1 could be told to leave these two unquoted; since then it quotes every alias, and `"OLD"` is not
    the row that a trigger calls OLD.
    """

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        return f"{self.alias}.{connection.ops.quote_name(self.target.column)}", []


def _without_target(field: Field[Any, Any], rest: list[str]) -> list[str]:
    """Return what is left of a path behind a foreign key: its target's key is the foreign key's own column."""
    name = rest[0]
    if name == "pk" or name in {target.name for target in field.foreign_related_fields}:  # type: ignore[attr-defined]
        return rest[1:]
    if field.get_lookup(name) or field.get_transform(name):
        return rest
    raise ConditionError(
        f"A trigger sees only the row itself: '{field.name}__{name}' would need a join with "
        f"{field.related_model._meta.object_name}. Compare {field.attname}, or test it in the body."  # type: ignore[union-attr]
    )


def _guard_against_null(clause: WhereNode) -> None:
    children: list[Any] = list(clause.children)
    for lookup in children:
        if (
            isinstance(lookup, IsDistinctFrom | IsNotDistinctFrom)
            or getattr(lookup, "lookup_name", "") == "isnull"
            # JSON's null: Django reads both it and NULL as None.
            or lookup.rhs is None
        ):
            continue
        for side in (lookup.lhs, lookup.rhs):
            column = _nullable_column(side)
            if column is not None:
                clause.add(IsNull(column, False), AND)


def _nullable_column(expression: Any) -> Col | None:
    """Return the nullable column at the bottom of an expression made of transforms."""
    while not isinstance(expression, Col):
        sources: list[Any] = getattr(expression, "get_source_expressions", list)()
        if len(sources) != 1:
            return None
        expression = sources[0]
    return expression if expression.target.null else None


def compile_condition(condition: Condition | models.Q | None, model: Model) -> Fragment | None:
    """Return the condition of a trigger, or None without one.

    Raises:
        DeclarationError: it is no condition.
    """
    if condition is None:
        return None
    if not isinstance(condition, Condition | models.Q):
        raise DeclarationError(f"A trigger's condition is a Q or a Condition, but {condition!r} was given.")
    return condition_sql(condition, model)
