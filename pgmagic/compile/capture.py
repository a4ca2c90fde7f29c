"""What an event trigger does: one INSERT for each changed row, or one for all rows of a statement.

At statement level the rows come out of the transition tables, aliased `old` and `new`, and those of an update are
paired by their position (`transitions.py`): a join on the key would lose keys that change, and mix up the states of a
row that two ON DELETE SET NULL actions changed, which Postgres gathers with each other. Only where both tables list the
same keys in the same order, and none of them twice, is the faster join on the key the same.

Most statements change one row, which needs no pairing. For all others the tables are joined by a FULL JOIN, which is
never a nested loop.

Source: https://www.postgresql.org/docs/current/sql-createtrigger.html (REFERENCING)
        https://www.postgresql.org/docs/current/plpgsql-implementation.html#PLPGSQL-PLAN-CACHING
"""

from __future__ import annotations

from django.db import models

from pgmagic.compile import bodies
from pgmagic.compile.history import CONTEXT_FIELDS, event_columns
from pgmagic.compile.operators import has_built_in_equality
from pgmagic.compile.predicate import condition_sql, named_rows
from pgmagic.compile.rejections import primary_key
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, verbatim
from pgmagic.compile.transitions import IS_PARTITIONED, POSITION, numbered, of_pairs
from pgmagic.declare.composer import NEW_VALUES, OLD_VALUES
from pgmagic.declare.event_trigger import EventTrigger
from pgmagic.declare.vocabulary import Delete, Insert, Operation, Row, Truncate
from pgmagic.errors import DeclarationError

Model = type[models.Model]

_TABLES = {
    "old": compose(identifier(OLD_VALUES), " AS old"),
    "new": compose(identifier(NEW_VALUES), " AS new"),
}
# Foreign keys whose actions may update one row several times in a statement. Source: catalog-pg-constraint.html
_HAS_ACTIONS = verbatim(
    "EXISTS (SELECT FROM pg_catalog.pg_constraint AS c WHERE c.conrelid = TG_RELID AND c.contype = 'f'\n"
    "    AND (c.confdeltype IN ('n', 'd') OR c.confupdtype IN ('c', 'n', 'd')))"
)
# Whether no two rows of a statement can have the same key, not even until the end of the transaction.
_HAS_KEY = verbatim(
    "EXISTS (SELECT FROM pg_catalog.pg_index AS i\n"
    "    WHERE i.indrelid = TG_RELID AND i.indisprimary AND i.indimmediate AND i.indisvalid)"
)


@bodies.body.register
def _(trigger: EventTrigger, model: Model, schema: str | None) -> Fragment:
    insert = _Insert(trigger, model, schema)
    branches: list[tuple[str, Fragment]] = []
    if trigger.records_truncate:
        branches.append((str(Truncate), insert.of_table()))
    if trigger.level == Row:
        branches.append(("", insert.of_row()))
    else:
        branches += [(str(operation), insert.of_statement(operation)) for operation in trigger.operations]
    *special, (_, rest) = branches
    tests = [
        compose("IF TG_OP = ", literal(name), " THEN\n", statements, "\nRETURN NULL;\nEND IF;\n")
        for name, statements in special
    ]
    return compose(*tests, rest, "\nRETURN NULL;")


class _Insert:
    """The statements that write events, for one trigger."""

    def __init__(self, trigger: EventTrigger, model: Model, schema: str | None) -> None:
        self.trigger = trigger
        self.model = model
        self.table = identifier(schema, model._meta.db_table)
        self.columns = event_columns(trigger, schema)
        target = identifier(schema, trigger.event_model._meta.db_table)
        names = join(", ", [identifier(column) for column in self.columns])
        self.into = compose("INSERT INTO ", target, " (", names, ")\n")
        condition = trigger.get_condition(model)
        self.condition = None if condition is None else condition_sql(condition, model)
        self.named = frozenset() if condition is None else named_rows(condition, model)

    def of_row(self) -> Fragment:
        """Return what records the row of a trigger that fires for each one."""
        return compose(self.into, "VALUES (", join(", ", self.columns.values()), ");")

    def of_statement(self, operation: Operation) -> Fragment:
        """Return what records the rows of a statement."""
        needed = {self.trigger.row.lower()} | self.named
        for row, without in (("old", Insert), ("new", Delete)):
            if row in needed and operation == without:
                raise DeclarationError(
                    f'The condition of the events "{self.trigger.label}" speaks of the {row} row, and {operation} has '
                    f"none: give each operation a tracker of its own."
                )
        if len(needed) == 1:
            return self._select(_TABLES[needed.pop()], self.condition)
        return self._of_pairs(self.condition or verbatim("TRUE"))

    def of_table(self) -> Fragment:
        """Return what records the rows that TRUNCATE is about to remove: the table's own, or all of its partitions."""
        own = compose("(old.tableoid = TG_RELID\n    OR ", IS_PARTITIONED, ")")
        where = own if self.condition is None else compose(own, "\n  AND ", self.condition)
        return self._select(compose(self.table, " AS old"), where)

    def _of_pairs(self, condition: Fragment) -> Fragment:
        one = compose(_first(OLD_VALUES), " AS old, ", _first(NEW_VALUES), " AS new")
        several = compose("EXISTS (SELECT FROM ", identifier(NEW_VALUES), " OFFSET 1)")
        position = identifier(POSITION)
        pairs = compose(
            numbered(OLD_VALUES), " AS old\n  FULL JOIN ", numbered(NEW_VALUES), " AS new ON old.", position, " = new.",
            position,
        )  # fmt: skip
        where = of_pairs(condition)
        return compose(
            self._select(one, compose(condition, "\n  AND NOT ", several)),
            "\nIF FOUND THEN RETURN NULL; END IF;\n",
            "IF NOT ", several, " THEN RETURN NULL; END IF;\n",
            # Hashing keeps the order as long as it fits into memory; it matters where a row is there several times.
            "IF ", _HAS_ACTIONS, " THEN\n",
            self._select(pairs, where, compose("\nORDER BY new.", position)),
            *self._by_key(where),
            "\nELSE\n",
            self._select(pairs, where),
            "\nEND IF;",
        )  # fmt: skip

    def _by_key(self, where: Fragment) -> list[Fragment]:
        """Return the branch for keys that stayed as they were: a third faster than numbering the rows."""
        keys = primary_key(self.model)
        if len(keys) > 1 or not has_built_in_equality(keys[0]):
            return []
        key = identifier(keys[0].column)
        same_keys = compose(
            "(SELECT array_agg(old.", key, ") FROM ", _TABLES["old"], ")\n    = (SELECT array_agg(new.", key, ") FROM ",
            _TABLES["new"], ")",
        )  # fmt: skip
        pairs = compose(_TABLES["old"], "\n  FULL JOIN ", _TABLES["new"], " ON old.", key, " = new.", key)
        test = compose("\nELSIF ", _HAS_KEY, "\n  AND ", same_keys, " THEN\n")
        return [test, self._select(pairs, where)]

    def _select(self, source: Fragment, where: Fragment | None, tail: Fragment | None = None) -> Fragment:
        values = [
            # Once for a statement, and only if there is an event at all.
            compose("(SELECT ", value, ")") if column in self._context_columns() else value
            for column, value in self.columns.items()
        ]
        return compose(
            self.into, "SELECT ", join(", ", values), "\nFROM ", source,
            compose("" if where is None else "\nWHERE ", where or ""), tail or "", ";",
        )  # fmt: skip

    def _context_columns(self) -> set[str]:
        fields = self.trigger.event_model._meta.local_concrete_fields
        return {field.column for field in fields if field.name in CONTEXT_FIELDS}


def _first(table: str) -> Fragment:
    # The limit also bounds what the planner expects: without it, one large statement would leave a plan whose cost
    # has every later one compiled.
    return compose("(SELECT * FROM ", identifier(table), " LIMIT 1)")
