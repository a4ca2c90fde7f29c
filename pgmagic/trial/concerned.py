"""A row, and a change of it, that a rule concerns: found by asking the server for the rule's condition."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice, product
from typing import Literal, LiteralString

from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseFailure
from django.db import models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.compile.predicate import condition_sql
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, render, verbatim
from pgmagic.compile.sql_tokens import row_columns_in
from pgmagic.db.runtime.ignore import ignore
from pgmagic.declare.conditions import composite_key, table_fields
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.declare.trigger import Trigger
from pgmagic.declare.vocabulary import Row, UpdateOf
from pgmagic.trial.attempts import Done, attempt
from pgmagic.trial.examples import any_row, made_up, make_row
from pgmagic.trial.sample_values import unique_fields, unused_value, values_of

Values = dict[str, object]
Operation = Literal["INSERT", "UPDATE", "DELETE", "TRUNCATE"]

# How many changes are tried until nothing else forbids one, and for how many the server is asked at all.
_MOST_CANDIDATES = 30
_MOST_ASKED = 400
# How many rows are looked at for each change.
_MOST_ROWS = 10_000


@dataclass(frozen=True)
class Concerned:
    """What a rule concerns.

    key: the row's, None for a row to insert; a tuple for a composite key. values: what is changed, or inserted.
    brought: what was changed in the row before, so that the rule concerns it. is_made_up: whether the row was inserted
    for the purpose.
    """

    key: object = None
    values: Values = field(default_factory=dict)
    brought: Values = field(default_factory=dict)
    is_made_up: bool = False

    def shown_key(self, model: Model) -> object:
        """Return the key as a frame shows it: by column if it is composite, None for a row that was made up."""
        if self.is_made_up or not isinstance(self.key, tuple):
            return None if self.is_made_up else self.key
        return {str(each.column): value for each, value in zip(key_fields(model), self.key, strict=True)}

    def about(self, operation: Operation, model: Model) -> Iterator[str]:
        """Yield a sentence about a row that was made up or changed so that the rule concerns it."""
        if self.is_made_up:
            yield "The table is empty, so a row was made up."
        if self.brought:
            names = {each.attname: each.name for each in model._meta.concrete_fields}
            brought = ", ".join(f"{names[name]}={value!r}" for name, value in self.brought.items())
            yield f"{operation}: the rule concerns no existing row, so a row was changed to {brought} first."


def key_fields(model: Model) -> list[AnyField]:
    """Return the fields of a model's primary key."""
    composite = composite_key(model)
    if composite:
        return [each for each in composite.fields if isinstance(each, models.Field)]
    return [each for each in table_fields(model) if each.primary_key]


@dataclass(frozen=True)
class Search:
    """Looks for what a trigger of a model concerns, in a transaction that is rolled back.

    An existing row is preferred; else a row is changed so that the rule concerns it, or made up, while pgmagic's
    triggers are ignored. condition: the WHEN clause as Postgres prints it, None if the trigger has none.
    """

    model: Model
    trigger: Trigger
    condition: str | None
    connection: BaseDatabaseWrapper
    # The row that was made up, if the table was empty.
    made: list[models.Model] = field(default_factory=list)

    def operations(self) -> list[Operation]:
        """Return the operations that the trigger is declared for."""
        every: tuple[Operation, ...] = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
        declared = [str(each) for each in self.trigger.operations]
        return [name for name in every if any(each.startswith(name) for each in declared)]

    def for_delete(self) -> Concerned | None:
        """Return a row whose deletion the rule concerns."""
        using = self.connection.alias
        return self._best(self._found([{}]), lambda found: self.rows_of(found)._raw_delete(using))

    def for_update(self) -> Concerned | None:
        """Return a row and a change of it that the rule concerns."""
        fields = self._changeable()
        # The fields that the condition names come first.
        named = [each for each in self._named("new") if each in fields]
        single = self._single([*named, *(each for each in fields if each not in named)])
        changes = chain(single, self._together(fields))
        return self._best(self._found(changes), lambda found: self.rows_of(found).update(**found.values))

    def for_insert(self) -> Concerned | None:
        """Return the values of a row whose insertion the rule concerns."""

        def insert(found: Concerned) -> None:
            self.model(**found.values).save(force_insert=True, using=self.connection.alias)

        return self._best(self._inserts(), insert)

    def needs(self) -> str:
        """Return what a row needs for the rule to concern it."""
        return f"no row that it concerns was found; it needs: {self._condition_text or 'a row'}"

    # Candidates.

    def _found(self, changes: Iterable[Values]) -> Iterator[Concerned]:
        """Yield rows with a change that the rule concerns: first as they are, then changed so that it does."""
        if any_row(self.model, self.connection.alias) is None:

            def make() -> None:
                self.made[:] = [make_row(self.model, self.connection.alias)]

            if self._is_possible(make):
                make()
            else:
                self.made.clear()
        tried = list(islice(changes, _MOST_ASKED))
        for change in tried:
            for key in self._keys({}, change):
                yield Concerned(key, change, is_made_up=bool(self.made))
        for brought, change in islice(product(self._combinations(self._named("old")), tried), _MOST_ASKED):
            for key in self._keys(brought, change):
                yield Concerned(key, change, brought, is_made_up=bool(self.made))

    def _changeable(self) -> list[AnyField]:
        """Return the fields whose change the trigger's operations are about, without the key."""
        columns: set[str] = set()
        for operation in self.trigger.operations:
            if isinstance(operation, UpdateOf):
                columns |= set(operation.columns)
        keys = key_fields(self.model)
        fields = [each for each in self._fields() if each not in keys]
        return [each for each in fields if not columns or {each.name, each.attname} & columns]

    def _inserts(self) -> Iterator[Concerned]:
        """Yield rows that the rule concerns as they are inserted: a usual row, and that with some values changed."""
        using = self.connection.alias
        row = any_row(self.model, using) or made_up(self.model, using)
        unique = unique_fields(self.model)
        # A row without a field of its own is written with its key: SQL has no list of no columns.
        fields = [each for each in self._fields() if not isinstance(each, models.AutoField)] or self._fields()
        base: Values = {}
        for each in fields:
            base[each.attname] = getattr(row, each.attname)
            if each.name in unique:
                other = unused_value(each, self.model, using)
                base[each.attname] = base[each.attname] if other is None else other
        nothing = compose("NULL::", identifier(self.model._meta.db_table))
        for change in islice(({}, *self._single(fields), *self._together(fields)), _MOST_ASKED):
            values = {**base, **change}
            new = self._changed(nothing, values)
            if self._rows(compose("SELECT 1 FROM ", new, " AS new WHERE ", self._condition())):
                yield Concerned(None, values)

    def _single(self, fields: Iterable[AnyField]) -> Iterator[Values]:
        """Yield a value for one field after the other."""
        condition, using = self._condition_text or "", self.connection.alias
        for each in fields:
            for value in values_of(each, self.model, self.trigger, condition, using):
                yield {each.attname: value}

    def _combinations(self, fields: Iterable[AnyField]) -> Iterator[Values]:
        """Yield values for several fields together, those of a single one first."""
        keys = key_fields(self.model)
        listed = [list(self._single([each])) for each in fields if each not in keys]
        for known in listed:
            yield from known
        if len(listed) > 1:
            for chosen in product(*listed):
                yield {name: value for part in chosen for name, value in part.items()}

    def _together(self, fields: Iterable[AnyField]) -> Iterator[Values]:
        """Yield values for the fields together that the condition names of the new row, if there are several."""
        named = [each for each in self._named("new") if each in fields]
        if len(named) > 1:
            yield from self._combinations(named)

    def _fields(self) -> list[AnyField]:
        return [each for each in table_fields(self.model) if not each.generated]

    def _named(self, row: str) -> list[AnyField]:
        """Return the fields of a row (`old` or `new`) that the condition names."""
        columns = {column for name, column in row_columns_in(self._condition_text or "") if name == row}
        return [each for each in self._fields() if each.column in columns]

    # The choice of a candidate, whose row is then changed so that the rule concerns it.

    def _best(self, candidates: Iterator[Concerned], change: Callable[[Concerned], object]) -> Concerned | None:
        """Return the first candidate that only pgmagic's triggers can prevent, or else the first with a row."""
        first: Concerned | None = None
        for found in islice(candidates, _MOST_CANDIDATES):

            def bring(found: Concerned = found) -> None:
                self._bring(found)

            def done(found: Concerned = found) -> None:
                self._bring(found)
                with ignore():
                    change(found)

            if self._is_possible(done):
                self._bring(found)
                return found
            if first is None and self._is_possible(bring):
                first = found
        if first is not None:
            self._bring(first)
        return first

    def _is_possible(self, change: Callable[[], object]) -> bool:
        try:
            return isinstance(attempt(self.connection, change, None, self.model._meta.db_table), Done)
        except (TypeError, ValueError):
            return False

    def _bring(self, found: Concerned) -> None:
        if found.brought:
            with ignore():
                self.rows_of(found).update(**found.brought)

    def rows_of(self, found: Concerned) -> models.QuerySet[models.Model]:
        """Return the row that was found, as a query set."""
        return models.QuerySet(self.model, using=self.connection.alias).filter(pk=found.key)

    # What the server is asked.

    def _keys(self, brought: Values, change: Values) -> Iterator[object]:
        """Yield the key of a row for which the condition holds, after both changes were made to it."""
        keys = join(", ", [identifier("old", str(each.column)) for each in key_fields(self.model)])
        limit = verbatim(f" LIMIT {_MOST_ROWS}" if brought or change else "")
        differs = verbatim("old.* IS DISTINCT FROM new.*" if change else "true")
        query = compose(
            "SELECT ", keys, " FROM (SELECT stored FROM ", identifier(self.model._meta.db_table), " AS stored", limit,
            ") AS found CROSS JOIN LATERAL ", self._changed("found.stored", brought), " AS old CROSS JOIN LATERAL ",
            self._changed("old", change), " AS new WHERE ", differs, " AND ", self._condition(), " ORDER BY ", keys,
            " LIMIT 1",
        )  # fmt: skip
        for row in self._rows(query):
            yield row[0] if len(row) == 1 else tuple(row)

    def _changed(self, row: LiteralString | Fragment, values: Values) -> Fragment:
        """Return the SQL of a row with some of its values changed."""
        columns = {each.attname: str(each.column) for each in table_fields(self.model)}
        plain = {
            columns[name]: f"\\x{bytes(value).hex()}" if isinstance(value, bytes | memoryview) else value
            for name, value in values.items()
        }
        text = json.dumps(plain, cls=DjangoJSONEncoder)
        return compose("pg_catalog.jsonb_populate_record(", row, ", ", literal(text), "::jsonb)")

    def _condition(self) -> Fragment:
        text = self._condition_text
        return compose("(", verbatim(text), ")") if text else verbatim("true")

    @property
    def _condition_text(self) -> str | None:
        if self.condition is not None:
            return self.condition
        declared = self.trigger.get_condition(self.model) if self.trigger.level != Row else None
        return render(condition_sql(declared, self.model)) if declared is not None else None

    def _rows(self, query: Fragment) -> list[tuple[object, ...]]:
        try:
            with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
                cursor.execute(render(query))
                return list(cursor.fetchall())
        except DatabaseFailure:
            # The column does not take a value, or the condition fails for a row: the rule concerns nothing here.
            return []
