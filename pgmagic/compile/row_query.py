"""A query whose columns are those of OLD and NEW: how Django is brought to render a condition on them."""

from __future__ import annotations

from typing import Any, Literal

import django
from django.db import models
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import Col, ColPairs
from django.db.models.lookups import IsNull
from django.db.models.sql import Query
from django.db.models.sql.where import AND, WhereNode

from pgmagic.declare.conditions import (
    Condition,
    IsDistinctFrom,
    IsNotDistinctFrom,
    composite_key,
    concrete_field,
)
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.errors import ConditionError


class RowQuery(Query):
    """A query whose names are `old__field` and `new__field`, and which joins nothing.

    row: the row that a name without `old__` or `new__` is of; None refuses such a name.
    """

    def __init__(self, model: Model, row: Literal["old", "new"] | None = None) -> None:
        super().__init__(model)
        self.row = row
        self.row_model = model
        # The rows that were named so far.
        self.named: set[str] = set()

    def solve_lookup_type(
        self, lookup: str, summarize: bool = False
    ) -> tuple[list[str], tuple[str, ...], Any]:
        """Return the lookups and the column that a name stands for, as Django's `build_filter` asks for them."""
        column, rest = self._column(lookup)
        return rest, (), column

    def resolve_ref(self, name: str, *_args: Any, **_kwargs: Any) -> Any:
        """Return the column, with its transforms, that an F stands for."""
        column, transforms = self._column(name)
        if isinstance(column, RowColumns):
            raise ConditionError(_not_as_one(column))
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
        if self.row and (row not in ("old", "new") or not path):
            # A field may be called "old", too.
            row, path = self.row, [row, *path]
        if row not in ("old", "new") or not path:
            raise ConditionError(
                f"A condition on {self.row_model._meta.object_name} names a field as old__… or new__…, "
                f"but {name!r} was given."
            )
        self.named.add(row)
        key = composite_key(self.row_model)
        if key is not None and path[0] in ("pk", key.name):
            columns = RowColumns(row.upper(), key.fields, key.fields, key)
            if path[1:2] in (["df"], ["ndf"]):
                raise ConditionError(_not_as_one(columns))
            return columns, path[1:]
        field = concrete_field(self.row_model, path[0])
        rest = path[1:]
        if field.is_relation and rest:
            rest = _without_target(field, rest)
        return RowColumn(row.upper(), field), rest


class RowColumn(Col):
    """A column of OLD or NEW.

    Django before 6.1 could be told to leave these two unquoted; since then it quotes every alias, and `"OLD"` is not
    the row that a trigger calls OLD.
    """

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        """Return the row's name as PL/pgSQL knows it, and the quoted column; of a virtual column, what it is made of.

        Source: https://www.postgresql.org/docs/current/ddl-generated-columns.html (a trigger does not see virtual ones)
        """
        field: Any = self.target
        if field.generated and not field.db_persist:
            row = RowQuery(field.model, "old" if self.alias == "OLD" else "new")
            template, params = compiler.compile(field.expression.resolve_expression(row))
            return f"({template})::{field.db_type(connection)}", list(params)
        return f"{self.alias}.{connection.ops.quote_name(self.target.column)}", []


class RowColumns(ColPairs):
    """The columns of a composite key in OLD or NEW."""

    def get_cols(self) -> list[Col]:
        """Return each column."""
        return [
            RowColumn(self.alias, target, source)
            for target, source in zip(self.targets, self.sources, strict=True)
        ]


def _not_as_one(columns: RowColumns) -> str:
    names = " and ".join(field.name for field in columns.targets)
    return (
        f"The composite key of {columns.output_field.model._meta.object_name} cannot be compared as one with another "
        f"row's: compare {names} by themselves, or use AnyChange('pk')."
    )


def _without_target(field: AnyField, rest: list[str]) -> list[str]:
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
            or _finds_null(lookup)
        ):
            continue
        for side in (lookup.lhs, lookup.rhs):
            column = _nullable_column(side)
            if column is not None:
                clause.add(IsNull(column, False), AND)


def _finds_null(lookup: Any) -> bool:
    """Return whether the lookup is true of NULL: since Django 6.1, `in` is, where None is among its values."""
    return (
        django.VERSION >= (6, 1)
        and getattr(lookup, "lookup_name", "") == "in"
        and isinstance(lookup.rhs, list | tuple | set | frozenset)
        and None in lookup.rhs
    )


def _nullable_column(expression: Any) -> Col | None:
    """Return the nullable column at the bottom of an expression made of transforms."""
    while not isinstance(expression, Col):
        sources: list[Any] = getattr(expression, "get_source_expressions", list)()
        if len(sources) != 1:
            return None
        expression = sources[0]
    return expression if expression.target.null else None
