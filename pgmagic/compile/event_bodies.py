"""The body of an event trigger: one INSERT for each changed row, or one for all rows of a statement.

At statement level the rows are in the transition tables, aliased `old` and `new`. The rows of an update are paired by
their position (`transition_tables.py`): a join on the key would lose keys that change, and mix up the states of a row
that two ON DELETE SET NULL actions changed, which Postgres collects in the same transition tables. The join on the key
is faster, and gives the same pairs only if both tables list the same keys in the same order, and no key twice.

Most statements change one row, which needs no pairing. For all others the tables are joined by a FULL JOIN, which is
never a nested loop. A separate statement finds out which of the two is needed: PL/pgSQL keeps the plan of a statement's
first execution, so that a statement which is only executed for single rows is planned for single rows.

Bodies name their operators and functions with their schema, so that they need no `SET search_path`, which costs more
than comparing the row.

Source: https://www.postgresql.org/docs/current/sql-createtrigger.html (REFERENCING)
        https://www.postgresql.org/docs/current/plpgsql-implementation.html#PLPGSQL-PLAN-CACHING
"""

from __future__ import annotations

from collections.abc import Iterable

from pgmagic.compile import bodies
from pgmagic.compile.event_values import CONTEXT_FIELDS, event_columns
from pgmagic.compile.operators import condition_in_body, has_built_in_equality
from pgmagic.compile.predicate import named_rows
from pgmagic.compile.qualified import EQUALS
from pgmagic.compile.rejecting import primary_key
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, verbatim
from pgmagic.compile.transition_tables import IS_PARTITIONED, POSITION, numbered, of_pairs
from pgmagic.declare.composer import NEW_VALUES, OLD_VALUES, missing_row
from pgmagic.declare.event_trigger import EventTrigger
from pgmagic.declare.model_types import Model
from pgmagic.declare.vocabulary import Operation, Row, Truncate
from pgmagic.errors import DeclarationError

_TABLES = {"old": compose(identifier(OLD_VALUES), " AS old"), "new": compose(identifier(NEW_VALUES), " AS new")}
# Foreign keys whose actions may update one row several times in a statement. Source: catalog-pg-constraint.html
_HAS_ACTIONS = compose(
    "EXISTS (SELECT FROM pg_catalog.pg_constraint AS c WHERE c.conrelid", EQUALS, "TG_RELID AND c.contype", EQUALS,
    "'f'\n    AND (c.confdeltype", EQUALS, "ANY (ARRAY['n', 'd']::pg_catalog.\"char\"[])\n    OR c.confupdtype", EQUALS,
    "ANY (ARRAY['c', 'n', 'd']::pg_catalog.\"char\"[])))",
)  # fmt: skip
# Whether no two rows of a statement can have the same key, not even until the end of the transaction.
_HAS_KEY = compose(
    "EXISTS (SELECT FROM pg_catalog.pg_index AS i\n    WHERE i.indrelid", EQUALS,
    "TG_RELID AND i.indisprimary AND i.indimmediate AND i.indisvalid)",
)  # fmt: skip


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
    *special, last = branches
    tests = [
        compose("IF TG_OP", EQUALS, literal(name), " THEN\n", statements, "\nRETURN NULL;\nEND IF;\n")
        for name, statements in special
    ]
    return compose(*tests, last[1], "\nRETURN NULL;")


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
        self.condition = condition_in_body(trigger, model)
        self.named = frozenset() if condition is None else named_rows(condition, model)

    def of_row(self) -> Fragment:
        """Return the statement that records the row of a trigger that fires for each row."""
        return compose(self.into, "VALUES (", join(", ", self.columns.values()), ");")

    def of_statement(self, operation: Operation) -> Fragment:
        """Return the statements that record the rows of a statement."""
        needed = {self.trigger.row.lower()} | self.named
        if (row := missing_row(operation)) in needed:
            raise DeclarationError(
                f'The condition of the events "{self.trigger.label}" names the {row} row, which {operation} does not '
                f"have: give each operation a tracker of its own."
            )
        if len(needed) == 1:
            return self._select(_TABLES[needed.pop()], self.condition)
        return self._of_pairs(self.condition or verbatim("TRUE"))

    def of_table(self) -> Fragment:
        """Return what records the rows that TRUNCATE will remove: the table's own, or those of all partitions."""
        own = compose("(old.tableoid", EQUALS, "TG_RELID\n    OR ", IS_PARTITIONED, ")")
        where = own if self.condition is None else compose(own, "\n  AND ", self.condition)
        return self._select(compose(self.table, " AS old"), where)

    def _of_pairs(self, condition: Fragment) -> Fragment:
        """Return what records the pairs of rows of an update."""
        position = identifier(POSITION)
        pairs = compose(
            numbered(OLD_VALUES), " AS old\n  FULL JOIN ", numbered(NEW_VALUES), " AS new ON old.", position, EQUALS,
            "new.", position,
        )  # fmt: skip
        where = of_pairs(condition)
        single = join(", ", [_TABLES["old"], _TABLES["new"]])
        return compose(
            "IF NOT EXISTS (SELECT FROM ", identifier(NEW_VALUES), " OFFSET 1) THEN\n",
            self._select_values(self.columns.values(), single, condition),
            "\nELSIF ", _HAS_ACTIONS, " THEN\n",
            # A hash join keeps the order only while it fits into memory; the order matters if a row is listed twice.
            self._select(pairs, where, compose("\nORDER BY new.", position)),
            *self._by_key(where),
            "\nELSE\n",
            self._select(pairs, where),
            "\nEND IF;",
        )  # fmt: skip

    def _by_key(self, where: Fragment) -> list[Fragment]:
        """Return the branch for keys that did not change, which is a third faster than numbering the rows."""
        keys = primary_key(self.model)
        if len(keys) > 1 or not has_built_in_equality(keys[0]):
            return []
        key = identifier(keys[0].column)
        same_keys = compose(
            "(SELECT pg_catalog.array_agg(old.", key, ") FROM ", _TABLES["old"], ")\n   ", EQUALS,
            "(SELECT pg_catalog.array_agg(new.", key, ") FROM ", _TABLES["new"], ")",
        )  # fmt: skip
        pairs = compose(_TABLES["old"], "\n  FULL JOIN ", _TABLES["new"], " ON old.", key, EQUALS, "new.", key)
        test = compose("\nELSIF ", _HAS_KEY, "\n  AND ", same_keys, " THEN\n")
        return [test, self._select(pairs, where)]

    def _select(self, source: Fragment, where: Fragment | None, tail: Fragment | None = None) -> Fragment:
        fields = self.trigger.event_model._meta.local_concrete_fields
        context_columns = {field.column for field in fields if field.name in CONTEXT_FIELDS}
        values = [
            # A subquery is executed once for a statement, and only if there is an event at all.
            compose("(SELECT ", value, ")") if column in context_columns else value
            for column, value in self.columns.items()
        ]
        return self._select_values(values, source, where, tail)

    def _select_values(
        self, values: Iterable[Fragment], source: Fragment, where: Fragment | None, tail: Fragment | None = None
    ) -> Fragment:
        return compose(
            self.into, "SELECT ", join(", ", values), "\nFROM ", source,
            compose("" if where is None else "\nWHERE ", where or ""), tail or "", ";",
        )  # fmt: skip
