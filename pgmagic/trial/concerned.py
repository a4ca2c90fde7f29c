"""A row, and a change of it, that a rule really concerns: found by asking the server for its condition."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any, LiteralString

from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseFailure
from django.db import models, transaction

from pgmagic.compile.predicate import condition_sql
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, render, verbatim
from pgmagic.compile.sql_tokens import row_columns_in
from pgmagic.db.runtime.ignore import ignore
from pgmagic.declare.conditions import composite_key, table_fields
from pgmagic.declare.trigger import Trigger
from pgmagic.declare.vocabulary import Row, UpdateOf
from pgmagic.trial.attempts import attempt
from pgmagic.trial.examples import any_row, made_up, make_row
from pgmagic.trial.sample_values import unique_fields, unused_value, values_of

Model = type[models.Model]
Values = dict[str, Any]

# How many changes are tried for one that nothing else forbids, and how many are asked for at all.
_MOST_CANDIDATES = 30
_MOST_ASKED = 400
# How many rows are looked at for each change.
_MOST_ROWS = 10_000


@dataclass(frozen=True)
class Concerned:
    """What a rule concerns.

    key: of the row, None for one that is inserted; a tuple for a composite key. values: what is changed, or inserted.
    brought: what was changed of the row before, so that the rule concerns it. is_made_up: whether it was inserted for
    the purpose.
    """

    key: Any = None
    values: Values = field(default_factory=dict)
    brought: Values = field(default_factory=dict)
    is_made_up: bool = False


def key_fields(model: Model) -> list[Any]:
    """Return the fields of a model's primary key."""
    composite = composite_key(model)
    concrete: Any = model._meta.concrete_model
    return list(composite.fields) if composite else [concrete._meta.pk]


@dataclass(frozen=True)
class Search:
    """Looks for what a trigger of a model concerns, in a transaction that is given up.

    A row that is there is preferred; else one is brought to where the rule concerns it, or made up, while triggers of
    pgmagic's are ignored. condition: the WHEN clause as Postgres prints it, None where the trigger has none.
    """

    model: Model
    trigger: Trigger
    condition: str | None
    connection: Any
    # The row that was made up, if the table was empty.
    made: list[Any] = field(default_factory=list)

    def for_delete(self) -> Concerned | None:
        """Return a row whose deletion the rule concerns."""
        return self._best(self._found([{}]), self._delete)

    def for_update(self) -> Concerned | None:
        """Return a row and a change of it that the rule concerns."""
        return self._best(self._found(self._changes()), self._update)

    def for_insert(self) -> Concerned | None:
        """Return the values of a row whose insertion the rule concerns."""
        return self._best(self._inserts(), self._insert)

    def needs(self) -> str:
        """Return what a row needs for the rule to concern it."""
        return f"no row that it concerns was found; it needs: {self._condition_text or 'a row'}"

    # Candidates.

    def _found(self, changes: Iterable[Values]) -> Iterator[Concerned]:
        """Yield rows with a change that the rule concerns: those that are there, those that can be brought there."""
        if any_row(self.model, self.connection.alias) is None:
            self._make_row()
        tried = list(islice(changes, _MOST_ASKED))
        for change in tried:
            for key in self._keys({}, change):
                yield Concerned(key, change, is_made_up=bool(self.made))
        for brought, change in islice(product(self._combinations(self._named("old")), tried), _MOST_ASKED):
            for key in self._keys(brought, change):
                yield Concerned(key, change, brought, is_made_up=bool(self.made))

    def _changes(self) -> Iterator[Values]:
        """Yield changes of single fields, then of those together that the condition names."""
        operations = [each for each in self.trigger.operations if isinstance(each, UpdateOf)]
        columns = {name for operation in operations for name in operation.columns}
        keys = key_fields(self.model)
        fields = [
            each
            for each in self._fields()
            if each not in keys and (not columns or {each.name, each.attname} & columns)
        ]
        # Those that the condition names come first.
        named = [each for each in self._named("new") if each in fields]
        for each in [*named, *(other for other in fields if other not in named)]:
            yield from ({each.attname: value} for value in self._values(each))
        if len(named) > 1:
            yield from self._combinations(named)

    def _inserts(self) -> Iterator[Concerned]:
        using = self.connection.alias
        row = any_row(self.model, using) or made_up(self.model, using)
        unique = unique_fields(self.model)
        base = {
            each.attname: self._new_value(each, getattr(row, each.attname), unique)
            for each in self._fields()
            if not isinstance(each, models.AutoField)
        }
        fields = [each for each in self._fields() if each.attname in base]
        single = ({each.attname: value} for each in fields for value in self._values(each))
        named = [each for each in self._named("new") if each in fields]
        together = self._combinations(named) if len(named) > 1 else iter(())
        for change in islice(({}, *single, *together), _MOST_ASKED):
            if self._holds_for_new({**base, **change}):
                yield Concerned(None, {**base, **change})

    def _new_value(self, field: Any, value: Any, unique: set[str]) -> Any:
        if field.name not in unique:
            return value
        other = unused_value(field, self.model, self.connection.alias)
        return value if other is None else other

    def _combinations(self, fields: Iterable[Any]) -> Iterator[Values]:
        """Yield values for several fields together, those of a single one first."""
        listed = [each for each in fields if each not in key_fields(self.model)]
        values = {each.attname: list(self._values(each)) for each in listed}
        for name, known in values.items():
            yield from ({name: value} for value in known)
        if len(values) > 1:
            for chosen in product(*values.values()):
                yield dict(zip(values, chosen, strict=True))

    def _values(self, field: Any) -> Iterator[Any]:
        return values_of(field, self.model, self.trigger, self._condition_text or "", self.connection.alias)

    def _fields(self) -> list[Any]:
        return [each for each in table_fields(self.model) if not each.generated]

    def _named(self, row: str) -> list[Any]:
        """Return the fields that the condition names of a row."""
        columns = {column for name, column in row_columns_in(self._condition_text or "") if name == row}
        return [each for each in self._fields() if each.column in columns]

    # Choosing one, and bringing it about.

    def _best(self, candidates: Iterator[Concerned], change: Callable[[Concerned], Any]) -> Concerned | None:
        """Return the first candidate that only triggers of pgmagic's keep from being done, or else the first.

        Its row is brought to where the rule concerns it.
        """
        first: Concerned | None = None
        for found in islice(candidates, _MOST_CANDIDATES):

            def done(found: Concerned = found) -> None:
                self._bring(found)
                with ignore():
                    change(found)

            if self._is_possible(done):
                self._bring(found)
                return found
            if first is None and self._is_possible(lambda found=found: self._bring(found)):  # type: ignore[misc]
                first = found
        if first is not None:
            self._bring(first)
        return first

    def _is_possible(self, change: Callable[[], Any]) -> bool:
        try:
            return attempt(self.connection, change, None, self.model._meta.db_table).refusal is None
        except (TypeError, ValueError):
            return False

    def _bring(self, found: Concerned) -> None:
        if found.brought:
            with ignore():
                self.rows_of(found).update(**found.brought)

    def _make_row(self) -> None:
        """Insert a row into an empty table, if one is accepted."""

        def make() -> None:
            self.made[:] = [make_row(self.model, self.connection.alias)]

        if self._is_possible(make):
            make()
        else:
            self.made.clear()

    def _update(self, found: Concerned) -> None:
        self.rows_of(found).update(**found.values)

    def _delete(self, found: Concerned) -> None:
        self.rows_of(found)._raw_delete(self.connection.alias)

    def _insert(self, found: Concerned) -> None:
        self.model(**found.values).save(force_insert=True, using=self.connection.alias)

    def rows_of(self, found: Concerned) -> Any:
        """Return the row that was found, as a query set."""
        return models.QuerySet(self.model, using=self.connection.alias).filter(pk=found.key)

    # What the server is asked.

    def _keys(self, brought: Values, change: Values) -> Iterator[Any]:
        """Yield the key of a row for which the condition holds, once brought to where it is, and with a change made."""
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

    def _changed(self, row: LiteralString, change: Values) -> Fragment:
        return compose(
            "pg_catalog.jsonb_populate_record(", verbatim(row), ", ", literal(self._json(change)), "::jsonb)"
        )

    def _holds_for_new(self, values: Values) -> bool:
        table = identifier(self.model._meta.db_table)
        new = compose(
            "pg_catalog.jsonb_populate_record(NULL::", table, ", ", literal(self._json(values)), "::jsonb) AS new"
        )  # fmt: skip
        return bool(self._rows(compose("SELECT 1 FROM ", new, " WHERE ", self._condition())))

    def _condition(self) -> Fragment:
        text = self._condition_text
        return compose("(", verbatim(text), ")") if text else verbatim("true")

    @property
    def _condition_text(self) -> str | None:
        if self.condition is not None:
            return self.condition
        declared = self.trigger.get_condition(self.model) if self.trigger.level != Row else None
        return render(condition_sql(declared, self.model)) if declared is not None else None

    def _rows(self, query: Fragment) -> list[tuple[Any, ...]]:
        try:
            with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
                cursor.execute(render(query))
                return list(cursor.fetchall())
        except DatabaseFailure:
            # A value that the column does not take, or a condition that fails for a row: this one is none.
            return []

    def _json(self, values: Values) -> str:
        columns = {each.attname: each for each in table_fields(self.model)}
        plain = {str(columns[name].column): _plain(value) for name, value in values.items()}
        return json.dumps(plain, cls=DjangoJSONEncoder)


def _plain(value: Any) -> Any:
    return "\\x" + bytes(value).hex() if isinstance(value, bytes | memoryview) else value
