"""A query whose columns are those of OLD and NEW, so that Django renders conditions on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

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
    concrete_fields,
)
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.errors import ConditionError

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.expressions import Expression
    from django.db.models.sql.compiler import SQLCompiler


class RowQuery(Query):
    """A query whose names are `old__field` and `new__field`, and which joins nothing.

    row: the row that is meant by a name without `old__` or `new__`; None refuses such a name.
    """

    def __init__(self, model: Model, row: Literal["old", "new"] | None = None) -> None:
        super().__init__(model)
        self.row = row
        self.row_model = model
        # The rows that have been named.
        self.named: set[str] = set()

    def solve_lookup_type(self, lookup: str, summarize: bool = False) -> tuple[list[str], tuple[str, ...], Any]:
        """Return the lookups and the column of a name, in the form that Django's `build_filter` expects."""
        column, rest = self._column(lookup)
        return rest, (), column

    def resolve_ref(self, name: str, *_args: object, **_kwargs: object) -> Any:
        """Return the column, with its transforms, that an F means."""
        column, transforms = self._column(name)
        if isinstance(column, RowColumns):
            raise ConditionError(_not_as_one(column))
        for transform in transforms:
            column = self.try_transform(column, transform)
        return column

    def build_filter(  # type: ignore[override]
        self, filter_expr: Any, branch_negated: bool = False, current_negated: bool = False, **kwargs: Any
    ) -> Any:
        """Return a condition of the WHERE clause; a negated condition is true for NULL, as Django's `exclude()` is."""
        if isinstance(filter_expr, Condition) and not isinstance(filter_expr, models.Q):
            raise ConditionError(
                f"{filter_expr!r} cannot be inside of Q(…): combine the two with & or | instead, "
                f"Q(…) & {filter_expr!r}."
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
            # A field can be named "old", too.
            row, path = self.row, [row, *path]
        if row not in ("old", "new") or not path:
            raise ConditionError(
                f"A condition on {self.row_model._meta.object_name} names a field as old__… or new__…, "
                f"but {name!r} was given."
            )
        self.named.add(row)
        key = composite_key(self.row_model)
        if key is not None and path[0] in ("pk", key.name):
            parts = concrete_fields(self.row_model, ["pk"])
            columns = RowColumns(row.upper(), parts, parts, key)
            if path[1:2] in (["df"], ["ndf"]):
                raise ConditionError(_not_as_one(columns))
            return columns, path[1:]
        field = concrete_field(self.row_model, path[0])
        rest = path[1:]
        if field.is_relation and rest:
            rest = _lookups_after(field, rest)
        return RowColumn(row.upper(), field), rest


class RowColumn(Col):
    """A column of OLD or NEW.

    Django 6.1 quotes every alias, which earlier versions left to a setting, and `"OLD"` does not mean a trigger's OLD.
    """

    def as_sql(  # type: ignore[override]
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[object]]:
        """Return the row's name as PL/pgSQL knows it, and the quoted column; the expression of a virtual column.

        Source: https://www.postgresql.org/docs/current/ddl-generated-columns.html (a trigger does not see virtual ones)
        """
        field: AnyField = self.target
        expression = virtual_expression(field)
        if expression is not None:
            row = RowQuery(field.model, "old" if self.alias == "OLD" else "new")
            template, params = compiler.compile(expression.resolve_expression(row))
            return f"({template})::{field.db_type(connection)}", list(params)
        return f"{self.alias}.{connection.ops.quote_name(str(field.column))}", []


class RowColumns(ColPairs):
    """The columns of a composite key in OLD or NEW."""

    def get_cols(self) -> list[Col]:
        """Return each column."""
        return [
            RowColumn(self.alias, target, source) for target, source in zip(self.targets, self.sources, strict=True)
        ]


def virtual_expression(field: AnyField) -> Expression | None:
    """Return the expression of a column that Postgres computes when it is read; None for every other column."""
    generated: Any = field
    return generated.expression if field.generated and not generated.db_persist else None


def _not_as_one(columns: RowColumns) -> str:
    names = " and ".join(field.name for field in columns.targets)
    return (
        f"The composite key of {columns.output_field.model._meta.object_name} cannot be compared as a whole with "
        f"another row's: compare {names} one by one, or use AnyChange('pk')."
    )


def _lookups_after(field: AnyField, rest: list[str]) -> list[str]:
    """Return the path after a foreign key without its target's key, which is the foreign key's own column."""
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
    sources: list[Any]
    for lookup in children:
        if not _knows_null(lookup):
            for side in (lookup.lhs, lookup.rhs):
                expression = side
                while len(sources := getattr(expression, "get_source_expressions", list)()) == 1:
                    # The column is inside of its transforms.
                    expression = sources[0]
                if isinstance(expression, Col) and expression.target.null:
                    clause.add(IsNull(expression, False), AND)


def _knows_null(lookup: Any) -> bool:
    """Return whether a lookup treats NULL as a value."""
    name = getattr(lookup, "lookup_name", "")
    # A right side of None is JSON's null: Django reads both JSON's null and NULL as None.
    if isinstance(lookup, IsDistinctFrom | IsNotDistinctFrom) or name == "isnull" or lookup.rhs is None:
        return True
    values = lookup.rhs if isinstance(lookup.rhs, list | tuple | set | frozenset) else ()
    # Since Django 6.1, `in` is true for NULL if None is among its values.
    return django.VERSION >= (6, 1) and name == "in" and None in values
