"""The rows that a statement touched, from its transition tables, so that conditions on OLD and NEW hold for them.

Each row before the statement is paired with the row after it. Joining on the key would lose rows whose key the
statement changes, and mix up rows that swap keys. Postgres appends to both transition tables once for each updated row,
in the same order, so rows are paired by their position. The manual does not promise this order: a property test checks
it on every supported version.

A row is in the OLD table alone in one case only: an UPDATE moved it to another partition, where a BEFORE INSERT trigger
returned NULL. All rows after it would be paired with the wrong rows, so such a statement is rejected.

Source: https://www.postgresql.org/docs/current/sql-createtrigger.html (REFERENCING)
        https://www.postgresql.org/docs/current/plpgsql-implementation.html#PLPGSQL-VAR-SUBST (use_column)
"""

from __future__ import annotations

from typing import NoReturn

from pgmagic.compile.predicate import check_readable, condition_sql, named_rows
from pgmagic.compile.qualified import EQUALS
from pgmagic.compile.sql import Fragment, compose, identifier, join, render, verbatim
from pgmagic.declare.composer import NEW_VALUES, OLD_VALUES, Composer, check_rows
from pgmagic.declare.model_types import Model
from pgmagic.declare.vocabulary import Delete, Insert, Operation, Truncate, Update
from pgmagic.errors import DeclarationError

# Makes `old` and `new` in a function's SQL mean the tables of that name, not PL/pgSQL's own rows, which are empty.
PREFER_COLUMNS = "#variable_conflict use_column"

_TABLES = {"old": OLD_VALUES, "new": NEW_VALUES}
POSITION = "pgmagic_position"
IS_PARTITIONED = compose(
    "(SELECT c.relkind", EQUALS, "'p' FROM pg_catalog.pg_class AS c WHERE c.oid", EQUALS, "TG_RELID)"
)  # fmt: skip
# Whether rows cannot be paired by position, because a row of an UPDATE is missing in the NEW table.
ARE_UNPAIRED = compose(
    "(SELECT count(*) FROM ", identifier(OLD_VALUES), ") <> (SELECT count(*) FROM ", identifier(NEW_VALUES), ")"
)  # fmt: skip
_ROW = "pgmagic_row"
# No column has this name: the bare name of a table means its row only if no column has that name.
_TABLE = "pgmagic_table"


def touched_rows(operation: Operation, model: Model, schema: str | None) -> Fragment:
    """Return the FROM clause with the rows that a statement touched, as `old` and `new`.

    A row that an operation does not have is a row without columns. For TRUNCATE, the rows of the table itself are read
    before it happens. The WHERE clause is `touched_condition`.
    """
    if operation == Insert:
        return compose(identifier(NEW_VALUES), " AS new, (SELECT) AS old")
    if operation == Delete:
        return compose(identifier(OLD_VALUES), " AS old, (SELECT) AS new")
    if operation == Truncate:
        return compose(identifier(schema, model._meta.db_table), " AS old, (SELECT) AS new")
    return compose(
        numbered(OLD_VALUES), " AS old FULL JOIN ", numbered(NEW_VALUES), " AS new USING (", identifier(POSITION), ")"
    )


def touched_condition(operation: Operation, condition: Fragment) -> Fragment:
    """Return a condition on `touched_rows`; for an update it is also true for a row without a pair."""
    if operation != Update:
        return condition
    return compose(of_pairs(condition), " OR ", identifier("new", POSITION), " IS NULL")


def of_pairs(condition: Fragment) -> Fragment:
    """Return a condition on pairs of rows that the planner does not analyse.

    Both tables have the same positions, so a FULL JOIN finds the same pairs as an inner join. But a FULL JOIN is always
    hashed or merged, while an inner join that was planned for a statement of two rows is a nested loop, and PL/pgSQL
    would keep that plan for a statement of a hundred thousand rows. A plain condition is true only for whole pairs, so
    that the planner would replace the FULL JOIN by an inner join.
    """
    return compose("coalesce(", condition, ", FALSE)")


def numbered(table: str) -> Fragment:
    """Return a transition table with the position of each row in it."""
    number = identifier(POSITION)
    return compose("(SELECT pg_catalog.row_number() OVER () AS ", number, ", * FROM ", identifier(table), ")")


def transition_kwargs(trigger: Composer, model: Model) -> dict[str, object]:
    """Return the placeholders of a statement-level function's text: the rows for which the condition holds."""
    return {
        "cond_old_values": _Rows(trigger, model, "cond_old_values", "old"),
        "cond_new_values": _Rows(trigger, model, "cond_new_values", "new"),
        "cond_joined_values": _Rows(trigger, model, "cond_joined_values", "old", "new"),
    }


class _Rows:
    """The rows of one placeholder, as text; refused only if a function uses the placeholder."""

    def __init__(self, trigger: Composer, model: Model, template: str, *sides: str) -> None:
        self.trigger = trigger
        self.model = model
        self.template = template
        self.condition = trigger.get_condition(model)
        self.sides = frozenset(sides)

    def __str__(self) -> str:
        needed = self.sides | (named_rows(self.condition, self.model) if self.condition is not None else set())
        self._check(needed)
        if self.condition is None:
            return render(_rows(needed))
        # Aliased inside of a scalar subquery: outside, the rows keep the names by which the function knows them.
        aliases = [compose("(SELECT ", identifier(_TABLES[row]), ".*) AS ", verbatim(row)) for row in sorted(needed)]
        check_readable(self.condition, self.model)
        condition = condition_sql(self.condition, self.model)
        where = compose(" WHERE (SELECT ", condition, " FROM ", join(", ", aliases), ")")
        return render(compose(_rows(needed), where))

    def _check(self, needed: frozenset[str]) -> None:
        if self.trigger.referencing is None:
            self._refuse("is for triggers at statement level, after Insert, Update or Delete")
        for operation in self.trigger.operations:
            if operation == Truncate:
                self._refuse("has no rows for TRUNCATE")
            check_rows(self.trigger, operation, needed, self.template)

    def _refuse(self, why: str) -> NoReturn:
        raise DeclarationError(f'The "{{{self.template}}}" of the trigger "{self.trigger.name}" {why}.')


def _rows(needed: frozenset[str]) -> Fragment:
    """Return the rows under the names by which a function knows them, each with its table's own columns."""
    if len(needed) == 1:
        return identifier(*(_TABLES[row] for row in needed))
    before, after = (
        compose("(SELECT row_number() OVER () AS ", identifier(POSITION), ", ", identifier(_TABLE), " AS ",
                identifier(_ROW), " FROM ", identifier(table), " AS ", identifier(_TABLE), ") AS ",
                identifier(f"pgmagic_{row}"))
        for row, table in _TABLES.items()
    )  # fmt: skip
    columns = [
        compose(" CROSS JOIN LATERAL (SELECT (", identifier(f"pgmagic_{row}", _ROW), ").*) AS ", identifier(table))
        for row, table in _TABLES.items()
    ]  # fmt: skip
    return compose(before, " FULL JOIN ", after, " USING (", identifier(POSITION), ")", *columns)
